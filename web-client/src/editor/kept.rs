//! Edits as text, for the next visit: a line for each, a letter for what it is and whole numbers for the rest.
//!
//! A long stroke is thousands of numbers, and a browser keeps 5 MB.

use super::document::{Edit, Stroke};
use super::frame::{Frame, Rect};
use super::mask::{Ink, Point};

/// The edits, after the number of those that count.
pub(super) fn write(edits: &[Edit], done: usize) -> String {
    let mut text = done.to_string();
    for edit in edits {
        let (letter, numbers) = numbers(edit);
        text.push('\n');
        text.push(letter);
        for number in numbers {
            text.push(' ');
            text += &number.to_string();
        }
    }
    text
}

/// The edits as far as they can be read, and how many of them count.
pub(super) fn read(text: &str) -> (Vec<Edit>, usize) {
    let mut lines = text.lines();
    let done = lines.next().and_then(|line| line.parse().ok()).unwrap_or(0);
    let edits: Vec<_> = lines.map_while(edit).collect();
    let done = edits.len().min(done);
    (edits, done)
}

fn numbers(edit: &Edit) -> (char, Vec<i32>) {
    let of = |ink: Ink, paint, erase| if ink == Ink::Paint { paint } else { erase };
    match edit {
        Edit::Stroke(stroke) => {
            let numbers = stroke.points.iter().flat_map(|&Point(x, y, radius)| [x, y, radius]);
            (of(stroke.ink, 'p', 'e'), numbers.collect())
        }
        Edit::Fill(ink, Rect { x, y, width, height }) => {
            (of(*ink, 'P', 'E'), vec![*x, *y, *width as i32, *height as i32])
        }
        Edit::Invert => ('i', Vec::new()),
        Edit::Frame(Frame { left, top, right, bottom }) => ('f', vec![*left, *top, *right, *bottom]),
    }
}

fn edit(line: &str) -> Option<Edit> {
    let mut words = line.split(' ');
    let letter = words.next()?;
    let numbers = words.map(|word| word.parse().ok()).collect::<Option<Vec<i32>>>()?;
    let ink = if letter.eq_ignore_ascii_case("p") { Ink::Paint } else { Ink::Erase };
    Some(match (letter, numbers.as_slice()) {
        ("p" | "e", numbers) => {
            let points = numbers.chunks_exact(3).map(|point| Point(point[0], point[1], point[2])).collect();
            Edit::Stroke(Stroke { ink, points })
        }
        ("P" | "E", &[x, y, width, height]) => {
            Edit::Fill(ink, Rect { x, y, width: width.try_into().ok()?, height: height.try_into().ok()? })
        }
        ("i", []) => Edit::Invert,
        ("f", &[left, top, right, bottom]) => Edit::Frame(Frame { left, top, right, bottom }),
        _ => return None,
    })
}
