//! Numbers with a fraction as text: in forms, in attributes, in styles.
//!
//! The standard library reads and writes them too, with tables and long arithmetic that make 20 KiB of the compressed
//! browser build. What reads and writes JSON is there anyway, and reads right but for the last of 53 bits.

use serde::Serialize;
use serde_json::Value;

/// The number that `text` is: as JSON writes one, or without the 0 before the point.
pub fn read(text: &str) -> Option<f64> {
    let whole = format!("0{text}");
    let json = if text.starts_with('.') { &whole } else { text };
    serde_json::from_str::<Value>(json).ok()?.as_f64()
}

/// A number, `f32` or `f64`, in as few digits as tell it apart from all others of its type.
pub fn write(number: impl Serialize) -> String {
    sd_protocol::write(&number)
}

#[cfg(test)]
mod tests {
    use super::{read, write};

    #[test]
    fn numbers_are_read_and_other_texts_are_not() {
        for (text, expect) in [
            ("7.5", Some(7.5)),
            ("7", Some(7.0)),
            (".5", Some(0.5)),
            ("-0.25", Some(-0.25)),
            ("1e2", Some(100.0)),
            ("", None),
            (".", None),
            ("1e999", None),
            ("inf", None),
            ("NaN", None),
            ("true", None),
            ("\"7\"", None),
            ("7,5", None),
        ] {
            assert_eq!(read(text), expect, "{text:?}");
        }
    }

    #[test]
    fn numbers_are_written_as_short_as_they_are() {
        assert_eq!([write(7.5), write(0.1_f32), write(20.0), write(-3.0_f32)], ["7.5", "0.1", "20", "-3"]);
    }
}
