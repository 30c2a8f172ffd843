//! Edits of a prompt by key and click: weights as the A1111 web UI writes them, names at the cursor.
//!
//! `(word:1.2)` weighs, `(word)` is 1.1 and `[word]` its inverse, `\(` is no bracket. What reads as something else,
//! such as `[from:to:0.5]`, `BREAK` or brackets that a selection cuts in two, is left alone.

use std::ops::Range;

use crate::decimal;

/// One press of a key, in hundredths.
const STEP: i32 = 10;
/// The weight of plain text, in hundredths.
const PLAIN: i32 = 100;

/// What a press of a key does to a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shift {
    /// 0.1 more.
    More,
    /// 0.1 less.
    Less,
}

/// A change of a text. Places are counted in UTF-16 code units, as the text areas of browsers do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// What is replaced.
    pub range: Range<u32>,
    /// What stands there afterwards.
    pub text: String,
    /// What is selected afterwards.
    pub selection: Range<u32>,
}

/// Shifts the weight of what is selected in `text`, or of the innermost brackets or the word at the cursor.
///
/// `None` where there is nothing to weigh.
pub fn weigh(text: &str, selection: Range<u32>, shift: Shift) -> Option<Edit> {
    let chosen = byte_at(text, selection.start)..byte_at(text, selection.end);
    let target = if chosen.is_empty() { at_cursor(text, chosen.start)? } else { selected(text, chosen.clone())? };
    let weight = match shift {
        Shift::More => target.weight? + STEP,
        Shift::Less => target.weight? - STEP,
    };
    let inner = &text[target.inner.clone()];
    let (before, replacement) =
        if weight == PLAIN { ("", inner.to_owned()) } else { ("(", format!("({inner}:{})", text_of(weight))) };
    // What was selected stays selected, and the cursor stays in its word, so that the next press finds the same.
    let kept = if chosen.is_empty() {
        let cursor = chosen.start.clamp(target.inner.start, target.inner.end);
        cursor..cursor
    } else {
        target.inner.clone()
    };
    let start = utf16(&text[..target.outer.start]);
    let place = |at: usize| start + utf16(before) + utf16(&text[target.inner.start..at]);
    Some(Edit {
        range: start..start + utf16(&text[target.outer]),
        text: replacement,
        selection: place(kept.start)..place(kept.end),
    })
}

/// Puts `name` at a place in `text`, with the commas that part it from its neighbours.
pub fn insert(text: &str, selection: Range<u32>, name: &str) -> Edit {
    let before = text[..byte_at(text, selection.start)].trim_end_matches(' ');
    let behind = text[byte_at(text, selection.end)..].trim_start_matches(' ');
    let opens = before.is_empty() || before.ends_with(['(', '[', '\n']);
    let lead = if opens { "" } else { [", ", " "][usize::from(before.ends_with(','))] };
    let trail = if behind.is_empty() || behind.starts_with([',', ')', ']', ':', '\n']) { "" } else { ", " };
    let start = utf16(before);
    let cursor = start + utf16(lead) + utf16(name);
    Edit { range: start..utf16(text) - utf16(behind), text: [lead, name, trail].concat(), selection: cursor..cursor }
}

/// Text with its weight and the brackets that give it, in bytes.
struct Target {
    outer: Range<usize>,
    inner: Range<usize>,
    /// In hundredths; `None` where a number cannot be read.
    weight: Option<i32>,
    /// Whether the weight is that of bare brackets, of which several add up.
    is_bare: bool,
}

impl Target {
    fn plain(range: Range<usize>) -> Self {
        Self { outer: range.clone(), inner: range, weight: Some(PLAIN), is_bare: false }
    }

    /// The brackets that open and close here; `None` where square ones mean something else.
    fn brackets(text: &str, open: usize, close: usize) -> Option<Self> {
        let inside = &text[open + 1..close];
        let is_round = text.as_bytes()[open] == b'(';
        if !is_round && inside.contains([':', '|']) {
            return None;
        }
        let digits = |number: &&str| {
            let number = number.trim();
            !number.is_empty() && number.chars().all(|c| c.is_ascii_digit() || "+-.".contains(c))
        };
        let number = inside.rsplit_once(':').map(|(_, number)| number).filter(digits);
        let (end, weight) = match number {
            Some(number) => (close - number.len() - 1, decimal::read(number.trim()).map(hundredths)),
            None => (close, Some(hundredths(if is_round { 1.1 } else { 1.0 / 1.1 }))),
        };
        Some(Self { outer: open..close + 1, inner: open + 1..end, weight, is_bare: number.is_none() })
    }
}

fn at_cursor(text: &str, cursor: usize) -> Option<Target> {
    let groups = groups(text);
    match groups.iter().position(|group| group.outer.start < cursor && cursor < group.outer.end) {
        Some(innermost) => Some(stacked(text, groups, innermost)),
        None => word(text, cursor).map(Target::plain),
    }
}

fn selected(text: &str, range: Range<usize>) -> Option<Target> {
    let chosen = &text[range.clone()];
    let start = range.start + chosen.len() - chosen.trim_start().len();
    let range = start..start + chosen.trim().len();
    let groups = groups(text);
    if let Some(at) = groups.iter().position(|group| group.outer == range || group.inner == range) {
        return Some(stacked(text, groups, at));
    }
    (!range.is_empty() && is_balanced(&text[range.clone()])).then(|| Target::plain(range))
}

/// Bare brackets directly around bare brackets are one weight: `((a))` is 1.2.
fn stacked(text: &str, mut groups: Vec<Target>, at: usize) -> Target {
    let mut target = groups.swap_remove(at);
    let kind = text.as_bytes()[target.outer.start];
    let (factor, mut count) = (if kind == b'(' { 1.1_f64 } else { 1.0 / 1.1 }, 1);
    while target.is_bare
        && let Some(around) = groups.iter().find(|group| group.is_bare && group.inner == target.outer)
        && text.as_bytes()[around.outer.start] == kind
    {
        target.outer = around.outer.clone();
        count += 1;
    }
    if target.is_bare {
        target.weight = Some(hundredths((factor.powi(count) * 10.0).round() / 10.0));
    }
    target
}

/// Every pair of brackets, inner ones before those around them.
fn groups(text: &str) -> Vec<Target> {
    let (mut round, mut square, mut found) = (Vec::new(), Vec::new(), Vec::new());
    for (at, bracket) in brackets(text) {
        let opened = match bracket {
            b'(' => {
                round.push(at);
                None
            }
            b'[' => {
                square.push(at);
                None
            }
            b')' => round.pop(),
            _ => square.pop(),
        };
        found.extend(opened.and_then(|open| Target::brackets(text, open, at)));
    }
    found
}

fn is_balanced(text: &str) -> bool {
    let mut open = Vec::new();
    for (_, bracket) in brackets(text) {
        match bracket {
            b'(' | b'[' => open.push(bracket),
            _ => {
                let opposite = if bracket == b')' { b'(' } else { b'[' };
                if open.pop() != Some(opposite) {
                    return false;
                }
            }
        }
    }
    open.is_empty()
}

/// The brackets that no backslash takes for words, with their places in bytes.
fn brackets(text: &str) -> impl Iterator<Item = (usize, u8)> {
    let mut is_escaped = false;
    text.bytes().enumerate().filter(move |(_, byte)| {
        let is_bracket = b"()[]".contains(byte) && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        is_bracket
    })
}

/// The word that the cursor is in or at.
fn word(text: &str, cursor: usize) -> Option<Range<usize>> {
    let ends_word = |c: char| c.is_whitespace() || ".,\\/!?%^*;:{}=`~()[]|".contains(c);
    let start =
        text[..cursor].rfind(ends_word).map_or(0, |at| at + text[at..].chars().next().map_or(0, char::len_utf8));
    let end = text[cursor..].find(ends_word).map_or(text.len(), |at| cursor + at);
    (start < end && &text[start..end] != "BREAK").then_some(start..end)
}

fn hundredths(weight: f64) -> i32 {
    (weight * 100.0).round() as i32
}

/// `120` as `1.2`, `100` as `1.0`.
fn text_of(hundredths: i32) -> String {
    let sign = if hundredths < 0 { "-" } else { "" };
    let (whole, fraction) = (hundredths.abs() / 100, hundredths.abs() % 100);
    let text = format!("{sign}{whole}.{fraction:02}");
    text.strip_suffix('0').unwrap_or(&text).to_owned()
}

fn utf16(text: &str) -> u32 {
    text.chars().map(|c| c.len_utf16() as u32).sum()
}

/// The byte at a place in UTF-16 code units; the end where there is no such place.
fn byte_at(text: &str, place: u32) -> usize {
    let mut passed = 0;
    let found = text.char_indices().find(|(_, c)| {
        let here = passed;
        passed += c.len_utf16() as u32;
        here >= place
    });
    found.map_or(text.len(), |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `text` with `|` around what is selected, or once where the cursor is.
    fn parse(marked: &str) -> (String, Range<u32>) {
        let parts: Vec<&str> = marked.split('|').collect();
        let start = utf16(parts[0]);
        let end = if parts.len() == 3 { start + utf16(parts[1]) } else { start };
        (parts.concat(), start..end)
    }

    fn mark(text: &str, selection: &Range<u32>) -> String {
        let (start, end) = (byte_at(text, selection.start), byte_at(text, selection.end));
        let second = if start == end { "" } else { "|" };
        format!("{}|{}{second}{}", &text[..start], &text[start..end], &text[end..])
    }

    fn apply(text: &str, edit: &Edit) -> String {
        let (start, end) = (byte_at(text, edit.range.start), byte_at(text, edit.range.end));
        mark(&[&text[..start], &edit.text, &text[end..]].concat(), &edit.selection)
    }

    fn check(shift: Shift, before: &str, after: &str) {
        let (text, selection) = parse(before);
        let edited = weigh(&text, selection, shift).map(|edit| apply(&text, &edit));
        assert_eq!(edited.as_deref().unwrap_or(before), after, "{before}");
    }

    #[test]
    fn a_word_gains_and_loses_weight() {
        check(Shift::More, "a r|ed house", "a (r|ed:1.1) house");
        check(Shift::More, "a (r|ed:1.1) house", "a (r|ed:1.2) house");
        check(Shift::Less, "a (r|ed:1.1) house", "a r|ed house");
        check(Shift::Less, "a red| house", "a (red|:0.9) house");
        check(Shift::More, "a (red:0.9|) house", "a red| house");
        check(Shift::Less, "(red:0.1|)", "(red|:0.0)");
        check(Shift::Less, "(re|d:0.0)", "(re|d:-0.1)");
        check(Shift::More, "(re|d:1.25)", "(re|d:1.35)");
        check(Shift::More, "(re|d:1.9)", "(re|d:2.0)");
        check(Shift::More, "(re|d: 1 )", "(re|d:1.1)");
        check(Shift::More, "|<hills> at noon", "(|<hills>:1.1) at noon");
    }

    #[test]
    fn a_selection_is_weighed_as_a_whole() {
        check(Shift::More, "a |red house| at noon", "a (|red house|:1.1) at noon");
        check(Shift::More, "a (|red house|:1.1) at noon", "a (|red house|:1.2) at noon");
        check(Shift::More, "a| red house |at noon", "a (|red house|:1.1) at noon");
        check(Shift::Less, "a |(red house:1.1)| at noon", "a |red house| at noon");
        check(Shift::More, "|a (red:1.2) house|", "(|a (red:1.2) house|:1.1)");
        check(Shift::More, "|a, b BREAK c|", "(|a, b BREAK c|:1.1)");
    }

    #[test]
    fn brackets_nest_and_stack() {
        check(Shift::More, "(a (r|ed:1.1) house:1.3)", "(a (r|ed:1.2) house:1.3)");
        check(Shift::More, "(a| (red:1.1) house:1.3)", "(a| (red:1.1) house:1.4)");
        check(Shift::More, "(r|ed)", "(r|ed:1.2)");
        check(Shift::Less, "(r|ed)", "r|ed");
        check(Shift::More, "((r|ed))", "(r|ed:1.3)");
        check(Shift::More, "[r|ed]", "r|ed");
        check(Shift::Less, "[[r|ed]]", "(r|ed:0.7)");
        check(Shift::More, "[(r|ed)]", "[(r|ed:1.2)]");
    }

    #[test]
    fn what_is_no_bracket_stays_as_it_is() {
        check(Shift::More, r"smile \(ha|ppy\)", r"smile \((ha|ppy:1.1)\)");
        check(Shift::More, r"(smile \(ha|ppy\):1.1)", r"(smile \(ha|ppy\):1.2)");
        check(Shift::More, r"\\(r|ed)", r"\\(r|ed:1.2)");
        check(Shift::More, "a (r|ed", "a ((r|ed:1.1)");
        check(Shift::More, "a BRE|AK b", "a BRE|AK b");
        check(Shift::More, "a , |, b", "a , |, b");
        check(Shift::More, "", "");
        check(Shift::More, "|(a| b)", "|(a| b)");
        check(Shift::More, "[a:b|:0.5]", "[a:(b|:1.1):0.5]");
        check(Shift::More, "(r|ed:1.2.3)", "(r|ed:1.2.3)");
    }

    #[test]
    fn places_are_counted_as_browsers_do() {
        check(Shift::More, "🎈 ü r|öd 🎈", "🎈 ü (r|öd:1.1) 🎈");
        let edit = weigh("🎈 red", 4..4, Shift::More).unwrap();
        assert_eq!(edit, Edit { range: 3..6, text: "(red:1.1)".into(), selection: 5..5 });
        check(Shift::More, "|🎈| red", "(|🎈|:1.1) red");
    }

    #[test]
    fn names_are_parted_by_commas() {
        let check = |before: &str, after: &str| {
            let (text, selection) = parse(before);
            assert_eq!(apply(&text, &insert(&text, selection, "ink")), after, "{before}");
        };
        check("|", "ink|");
        check("a house|", "a house, ink|");
        check("a house, |", "a house, ink|");
        check("a house|, at noon", "a house, ink|, at noon");
        check("|a house", "ink|, a house");
        check("(|:1.2)", "(ink|:1.2)");
        check("a |red| house", "a, ink|, house");
        check("🎈 |", "🎈, ink|");
    }
}
