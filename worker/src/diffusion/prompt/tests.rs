//! Any text is a prompt, and a prompt that is written again is read as the same.

use proptest::prelude::*;

use super::{Piece, Prompt};

/// Texts made of what the grammar knows, where a random text would hardly have any of it.
fn nasty() -> impl Strategy<Value = String> {
    let parts = vec![
        "a",
        "é",
        "🎈",
        " ",
        "\n",
        ",",
        "(",
        "(",
        ")",
        ")",
        "[",
        "]",
        ":",
        ":1.3)",
        ":-.5)",
        ": 2 )",
        ":0)",
        ":1)",
        ":1.2.3)",
        ":9999999999)",
        "\\",
        "BREAK",
        " BREAK ",
        "_",
        "1",
        ".",
        "|",
        "<lora:",
        ">",
        "AND",
    ];
    prop::collection::vec(prop::sample::select(parts), 0..40).prop_map(|parts| parts.concat())
}

fn check(text: &str) {
    let read = Prompt::parse(text);
    let written = read.to_string();
    let again = Prompt::parse(&written);
    assert_eq!(again.pieces, read.pieces, "{text:?} was written as {written:?}");
    let mut before: Option<f64> = None;
    for piece in &read.pieces {
        before = match piece {
            Piece::Break => None,
            Piece::Text { text, weight } => {
                assert!(!text.is_empty() && weight.abs() <= 100.0 && before != Some(*weight), "{read:?}");
                Some(*weight)
            }
        };
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_text_is_a_prompt_and_round_trips(text: String) {
        check(&text);
    }

    #[test]
    fn nasty_prompts_round_trip(text in nasty()) {
        check(&text);
    }
}

#[test]
fn weights_stay_numbers_however_deep_the_brackets() {
    let deep = format!("{}a{}", "(".repeat(900), ":99999999)".repeat(900));
    let [Piece::Text { weight, .. }] = &Prompt::parse(&deep).pieces[..] else { panic!("one text") };
    assert_eq!(*weight, 100.0);
    let zero = format!("{}a{}:0)", "(".repeat(901), ":99999999)".repeat(900));
    let [Piece::Text { weight, .. }] = &Prompt::parse(&zero).pieces[..] else { panic!("one text") };
    assert_eq!(*weight, 0.0);
}
