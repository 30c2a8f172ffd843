//! The grammar of prompts: `(a)`, `(a:1.3)`, `[a]`, escapes, `BREAK`.
//!
//! The grammar is that of the A1111 web UI. Two things differ: a `BREAK` inside brackets breaks, and a weight that
//! is no number, such as `1.2.3`, is passed over with a warning instead of failing the prompt.

use std::fmt::{self, Display, Formatter, Write};

use super::PromptWarning;

/// What `( )` multiplies by, and `[ ]` divides by.
const BRACKET_FACTOR: f64 = 1.1;

/// Largest size of a weight: far above what draws anything, far below what overflows.
const WEIGHT_MAX: f64 = 100.0;

/// A prompt, read.
///
/// No text is empty, and neighbouring texts differ in weight. `Display` writes a prompt that reads as the same pieces.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prompt {
    /// In the order of the text.
    pub pieces: Vec<Piece>,
    /// What the grammar could make nothing of.
    pub warnings: Vec<PromptWarning>,
}

/// A part of a prompt.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// Words of one weight, spaces and punctuation included, escapes resolved.
    Text {
        /// Never empty.
        text: String,
        /// Product of all brackets around the text; 1 outside any.
        weight: f64,
    },
    /// The next text begins a new chunk.
    Break,
}

impl Prompt {
    /// Reads a prompt. Any text is a prompt: brackets that nothing opened are words, brackets that nothing closes
    /// reach to the end.
    pub fn parse(text: &str) -> Self {
        let mut reader = Reader::default();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            rest = reader.read(first, rest);
        }
        reader.finish(text)
    }
}

/// What was read so far.
#[derive(Default)]
struct Reader<'a> {
    pieces: Vec<Piece>,
    /// Where each open bracket stands.
    round: Vec<Open<'a>>,
    square: Vec<Open<'a>>,
    warnings: Vec<PromptWarning>,
}

/// An open bracket.
struct Open<'a> {
    /// Pieces before it.
    pieces: usize,
    /// The text behind it.
    rest: &'a str,
}

impl<'a> Reader<'a> {
    /// Reads what begins with `first` at the start of `rest`; what is left comes back.
    fn read(&mut self, first: char, rest: &'a str) -> &'a str {
        let behind = &rest[first.len_utf8()..];
        match first {
            '\\' => match behind.chars().next() {
                Some(escaped) if is_syntax(escaped) && escaped != ':' => {
                    self.push(&behind[..1]);
                    &behind[1..]
                }
                _ => behind,
            },
            '(' => {
                self.round.push(Open { pieces: self.pieces.len(), rest: behind });
                behind
            }
            '[' => {
                self.square.push(Open { pieces: self.pieces.len(), rest: behind });
                behind
            }
            ')' => {
                match self.round.pop() {
                    Some(open) => self.close(&open, BRACKET_FACTOR),
                    None => self.push(")"),
                }
                behind
            }
            ']' => {
                match self.square.pop() {
                    Some(open) => {
                        let inside = &open.rest[..open.rest.len() - rest.len()];
                        if is_editing(inside) {
                            self.warnings.push(PromptWarning::Editing(format!("[{inside}]")));
                        }
                        self.close(&open, 1.0 / BRACKET_FACTOR);
                    }
                    None => self.push("]"),
                }
                behind
            }
            ':' => self.read_colon(rest),
            _ => {
                let end = rest.find(is_syntax).unwrap_or(rest.len());
                self.read_words(&rest[..end]);
                &rest[end..]
            }
        }
    }

    /// A colon: the weight of the innermost round bracket with its closing half, or a character like any other.
    fn read_colon(&mut self, rest: &'a str) -> &'a str {
        let Some((number, behind)) = weight_and_bracket(rest) else {
            self.push(":");
            return &rest[1..];
        };
        match self.round.pop() {
            None => self.push(&rest[..rest.len() - behind.len()]),
            Some(open) => {
                let factor = number.parse().ok().filter(|factor: &f64| factor.is_finite()).unwrap_or_else(|| {
                    self.warnings.push(PromptWarning::NoNumber(number.into()));
                    BRACKET_FACTOR
                });
                self.close(&open, factor);
            }
        }
        behind
    }

    /// Text without brackets, split where it says `BREAK`.
    fn read_words(&mut self, mut words: &str) {
        while let Some(at) = find_word(words, BREAK) {
            self.push(words[..at].trim_end());
            self.pieces.push(Piece::Break);
            words = words[at + BREAK.len()..].trim_start();
        }
        self.push(words);
    }

    fn push(&mut self, text: &str) {
        if !text.is_empty() {
            self.pieces.push(Piece::Text { text: text.into(), weight: 1.0 });
        }
    }

    fn close(&mut self, open: &Open, factor: f64) {
        if open.pieces == self.pieces.len() {
            self.warnings.push(PromptWarning::EmptyBrackets);
        }
        self.multiply(open.pieces, factor);
    }

    fn multiply(&mut self, from: usize, factor: f64) {
        for piece in &mut self.pieces[from..] {
            if let Piece::Text { weight, .. } = piece {
                *weight *= factor;
            }
        }
    }

    /// Closes what is open, bounds the weights and joins texts of the same weight.
    fn finish(mut self, prompt: &str) -> Prompt {
        for open in std::mem::take(&mut self.round) {
            self.multiply(open.pieces, BRACKET_FACTOR);
        }
        for open in std::mem::take(&mut self.square) {
            self.multiply(open.pieces, 1.0 / BRACKET_FACTOR);
        }
        let mut pieces: Vec<Piece> = Vec::with_capacity(self.pieces.len());
        for mut piece in self.pieces {
            if let Piece::Text { text, weight } = &mut piece {
                if let Some(bounded) = bounded(*weight) {
                    self.warnings.push(PromptWarning::WeightBounded { weight: *weight, bound: WEIGHT_MAX });
                    *weight = bounded;
                }
                if let Some(Piece::Text { text: before, weight: same }) = pieces.last_mut()
                    && same == weight
                {
                    before.push_str(text);
                    continue;
                }
            }
            pieces.push(piece);
        }
        self.warnings.extend(foreign_syntax(prompt));
        Prompt { pieces, warnings: self.warnings }
    }
}

/// What stands in for a weight that is too large, or that a factor of 0 made of one.
fn bounded(weight: f64) -> Option<f64> {
    if weight.is_nan() {
        return Some(0.0);
    }
    (weight.abs() > WEIGHT_MAX).then(|| weight.clamp(-WEIGHT_MAX, WEIGHT_MAX))
}

const BREAK: &str = "BREAK";

/// Characters that words end at.
fn is_syntax(c: char) -> bool {
    matches!(c, '\\' | '(' | ')' | '[' | ']' | ':')
}

/// The number in `:1.3)` at the start of `rest`, and what stands behind the bracket.
fn weight_and_bracket(rest: &str) -> Option<(&str, &str)> {
    let number_on = rest.strip_prefix(':')?.trim_start();
    let signed = number_on.strip_prefix(['+', '-']).unwrap_or(number_on);
    let behind = signed.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    if behind.len() == signed.len() {
        return None;
    }
    let number = &number_on[..number_on.len() - behind.len()];
    Some((number, behind.trim_start().strip_prefix(')')?))
}

/// Where `text` has `word` with no letter, digit or underscore on either side.
fn find_word(text: &str, word: &str) -> Option<usize> {
    let in_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(word)
        .map(|(at, _)| at)
        .find(|&at| !in_word(text[..at].chars().next_back()) && !in_word(text[at + word.len()..].chars().next()))
}

/// Whether the text between square brackets is what the web UI edits while it draws: `from:to:when` or `a|b`.
fn is_editing(inside: &str) -> bool {
    let is_time = |text: &str| text.trim().parse::<f64>().is_ok();
    inside.contains('|') || inside.rsplit_once(':').is_some_and(|(_, when)| is_time(when))
}

/// What other programs read in prompts beyond brackets.
fn foreign_syntax(prompt: &str) -> Vec<PromptWarning> {
    let mut found = Vec::new();
    for (at, _) in prompt.match_indices('<') {
        if let Some(end) = prompt[at..].find('>')
            && let tag = &prompt[at..=at + end]
            && ["<lora:", "<lyco:", "<hypernet:"].iter().any(|kind| tag.starts_with(kind))
        {
            found.push(PromptWarning::NetworkTag(tag.into()));
        }
    }
    if find_word(prompt, "AND").is_some() {
        found.push(PromptWarning::And);
    }
    found
}

impl Display for Prompt {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, piece) in self.pieces.iter().enumerate() {
            match piece {
                Piece::Break => write!(f, " {BREAK} ")?,
                Piece::Text { text, weight } => {
                    let is_break = |at: Option<usize>| at.and_then(|at| self.pieces.get(at)) == Some(&Piece::Break);
                    // The spaces around a BREAK belong to it, unless brackets keep them.
                    let keeps_spaces =
                        text.trim().len() < text.len() && (is_break(index.checked_sub(1)) || is_break(Some(index + 1)));
                    if *weight == 1.0 && !keeps_spaces {
                        write_escaped(f, text)?;
                    } else {
                        f.write_char('(')?;
                        write_escaped(f, text)?;
                        write!(f, ":{weight})")?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Writes `text` for it to be read as words; a backslash that escapes nothing separates what would be a BREAK.
fn write_escaped(f: &mut Formatter<'_>, text: &str) -> fmt::Result {
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if rest.starts_with(BREAK) {
            f.write_str("BREA\\")?;
            rest = &rest["BREA".len()..];
            continue;
        }
        if is_syntax(first) && first != ':' {
            f.write_char('\\')?;
        }
        f.write_char(first)?;
        rest = &rest[first.len_utf8()..];
    }
    Ok(())
}
