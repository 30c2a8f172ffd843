use std::collections::HashMap;

use sd_worker::diffusion::prompt::PromptTokenizer;

use super::{golden_json, tiny_model};

fn tokenizer(model: &str) -> PromptTokenizer {
    let files = if model == "builtin" { sd_worker::builtin::files() } else { tiny_model(model) };
    PromptTokenizer::load(&files, "tokenizer", 77, 644).unwrap()
}

#[test]
fn become_the_tokens_of_transformers() {
    let goldens: HashMap<String, Vec<(String, Vec<u32>)>> = golden_json("tokens.json");
    assert_eq!(goldens.len(), 3);
    for (model, prompts) in goldens {
        let tokenizer = tokenizer(&model);
        for (prompt, expected) in prompts {
            assert_eq!(tokenizer.tokens(&prompt).unwrap().ids, expected, "{model}: {prompt:?}");
        }
    }
}

#[test]
fn that_are_too_long_are_cut_and_the_rest_is_quoted() {
    let tokenizer = tokenizer("builtin");
    let fits = tokenizer.tokens(&"red ".repeat(75)).unwrap();
    assert_eq!(fits.dropped, None);
    let long = format!("{}a  Blue house", "red ".repeat(75));
    let tokens = tokenizer.tokens(&long).unwrap();
    assert_eq!(tokens.ids, fits.ids);
    assert_eq!(tokens.dropped.as_deref(), Some("a  Blue house"));
    assert_eq!(
        tokenizer.warning("prompt", "a  Blue house"),
        "The prompt is longer than the 75 tokens that this model reads; left out: “a  Blue house”."
    );
}
