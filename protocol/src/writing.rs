//! Values of the protocol as JSON, whose numbers with a fraction need no tables.
//!
//! serde_json writes any `f64` in as few digits as tell it apart from all others, by multiplication with 128-bit powers of
//! ten. The numbers of requests are short, and found quicker than the tables are sent to a browser.

use std::io;

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// Writes one value; numbers in as few digits as tell them apart from all others of their type. An `f64` that takes 17
/// digits for that, as results of calculations may, becomes one beside itself.
///
/// # Panics
/// When `value` cannot be JSON: a map whose keys are no strings.
pub fn write(value: &impl Serialize) -> String {
    let mut bytes = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut bytes, Short)).expect("the protocol's maps have string keys");
    String::from_utf8(bytes).expect("JSON is UTF-8")
}

/// Writes what serde_json would, but for numbers with a fraction.
struct Short;

impl Formatter for Short {
    fn write_f32<W: io::Write + ?Sized>(&mut self, writer: &mut W, value: f32) -> io::Result<()> {
        writer.write_all(decimal(value.into(), |found| found as f32 == value.abs()).as_bytes())
    }

    fn write_f64<W: io::Write + ?Sized>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        writer.write_all(decimal(value, |found| found == value.abs()).as_bytes())
    }
}

/// The least digits that `is_same` takes for the size of `number`.
fn decimal(number: f64, is_same: impl Fn(f64) -> bool) -> String {
    let (mut size, mut exponent, mut scale) = (number.abs(), 0, 1.0);
    while size >= 1e18 {
        (size, exponent, scale) = (size / 10.0, exponent + 1, scale * 10.0);
    }
    while size < 1e-7 && size > 0.0 {
        (size, exponent, scale) = (size * 10.0, exponent - 1, scale / 10.0);
    }
    // Both the whole number and the power of ten are exact, so that their quotient is the number that is read from the
    // text.
    let (mut unit, mut places) = (1.0, 0);
    let mut whole = size.round();
    while !is_same(whole / unit * scale) && whole < 1e16 && places < 22 {
        (unit, places) = (unit * 10.0, places + 1);
        whole = (size * unit).round();
    }
    let mut text = (whole as u64).to_string();
    if places > 0 {
        // At least one digit before the point.
        let missing = (places + 1_usize).saturating_sub(text.len());
        text.insert_str(0, &"0".repeat(missing));
        text.insert(text.len() - places, '.');
    }
    if exponent != 0 {
        text.push('e');
        text += &exponent.to_string();
    }
    if number < 0.0 {
        text.insert(0, '-');
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::write;

    #[test]
    fn numbers_are_as_short_as_they_are() {
        let f32s =
            [7.5, 0.1, 20.0, -3.0, 0.0, 1e-6, 0.333_333_34, 16_777_216.0, 0.05].map(|number: f32| write(&number));
        assert_eq!(f32s, ["7.5", "0.1", "20", "-3", "0", "0.000001", "0.33333334", "16777216", "0.05"]);
        let f64s = [0.1, 2.0 / 3.0, 1e18, 4e-9, f64::NAN].map(|number| write(&number));
        assert_eq!(f64s, ["0.1", "0.6666666666666666", "100000000000000000e1", "0.0000004e-2", "null"]);
    }

    #[test]
    fn all_else_is_json() {
        let value = json!({"text": "a \"b\"\n", "list": [1, null, true], "none": {}});
        assert_eq!(write(&value), value.to_string());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(single: f32, digits in -999_999_999_999_999..999_999_999_999_999_i64, places in 0..15) {
            prop_assume!(single.is_finite());
            let again = write(&single).parse::<f32>().unwrap();
            let is_small = single.abs() < 1e-30;
            prop_assert!(again == single || is_small, "{} for {}", write(&single), single);
            let typed = format!("{digits}e-{places}").parse::<f64>().unwrap();
            prop_assert_eq!(write(&typed).parse::<f64>(), Ok(typed));
        }

        #[test]
        fn results_are_written_next_to_themselves(number in -1e300..1e300_f64, small in -1.0..1.0_f64) {
            for number in [number, small] {
                let again = write(&number).parse::<f64>().unwrap();
                prop_assert!((again - number).abs() <= number.abs() * 1e-13, "{} for {}", again, number);
            }
        }
    }
}
