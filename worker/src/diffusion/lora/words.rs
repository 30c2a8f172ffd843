//! Words that were trained together with a LoRA: textual inversion inside its file.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Device;

use crate::diffusion::embeddings::{Embedding, TextEncoder};
use crate::diffusion::weights::{LoadError, TensorFile};

/// The words of one file, with the tensors of each.
#[derive(Debug, Default)]
pub(super) struct Words(BTreeMap<String, Vec<Vectors>>);

/// A tensor of a word.
#[derive(Debug, PartialEq, Eq)]
struct Vectors {
    key: String,
    /// Whose vectors; `None` for a form that is not known.
    encoder: Option<TextEncoder>,
}

/// What begins the names of kohya's bundled embeddings: `bundle_emb.WORD.…`.
const BUNDLE: &str = "bundle_emb.";

/// What ends them: the form of a file of the word alone, as the A1111 web UI reads it.
const BUNDLE_ENDS: &[(&str, TextEncoder)] = &[
    (".string_to_param.*", TextEncoder::First),
    (".emb_params", TextEncoder::First),
    (".clip_l", TextEncoder::First),
    (".clip_g", TextEncoder::Second),
];

/// What can be said in a prompt while a LoRA is chosen.
#[derive(Debug, Default)]
pub struct TrainedWords {
    /// Words with their vectors.
    pub words: Vec<(String, Arc<Embedding>)>,
    /// Those that cannot be used with this model, each with why as the end of a sentence.
    pub unusable: Vec<(String, String)>,
}

impl Words {
    /// Keeps the tensor `name` where it belongs to a word; `false` where it does not.
    pub(super) fn take(&mut self, name: &str) -> bool {
        let Some((word, encoder)) = read(name) else { return false };
        self.0.entry(word.to_owned()).or_default().push(Vectors { key: name.to_owned(), encoder });
        true
    }

    /// The words for a model with `encoders`, each with its `hidden_size`, on `device`.
    ///
    /// # Errors
    /// When vectors that fit cannot be read.
    pub(super) fn load(
        &self,
        file: &TensorFile,
        encoders: &[(TextEncoder, usize)],
        device: &Device,
    ) -> Result<TrainedWords, LoadError> {
        let mut trained = TrainedWords::default();
        for (word, vectors) in &self.0 {
            if let Some(unknown) = vectors.iter().find(|vectors| vectors.encoder.is_none()) {
                let reason = format!("`{}` is of a form that is not known here", unknown.key);
                trained.unusable.push((word.clone(), reason));
                continue;
            }
            let keys: Vec<_> = vectors.iter().filter_map(|of| Some((of.encoder?, of.key.as_str()))).collect();
            match Embedding::of_tensors(file, &keys, encoders, device) {
                Ok(embedding) => trained.words.push((word.clone(), Arc::new(embedding))),
                Err(LoadError::Embedding { reason, .. }) => trained.unusable.push((word.clone(), reason)),
                Err(error) => return Err(error),
            }
        }
        Ok(trained)
    }
}

/// The word that the tensor `name` belongs to, and whose vectors it holds.
fn read(name: &str) -> Option<(&str, Option<TextEncoder>)> {
    if let Some(rest) = name.strip_prefix(BUNDLE) {
        let known = BUNDLE_ENDS.iter().find_map(|&(end, encoder)| Some((rest.strip_suffix(end)?, encoder)));
        let (word, encoder) = match known {
            Some((word, encoder)) => (word, Some(encoder)),
            None => (rest.split('.').next().unwrap_or(rest), None),
        };
        return (!word.is_empty()).then_some((word, encoder));
    }
    // cloneofsimo's trainer, and diffusers' scripts.
    let is_token = name.len() > 2 && name.starts_with('<') && name.ends_with('>');
    is_token.then_some((name, Some(TextEncoder::First)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tensors_say_the_word() {
        let (first, second) = (Some(TextEncoder::First), Some(TextEncoder::Second));
        assert_eq!(read("<s1>"), Some(("<s1>", first)));
        assert_eq!(read("bundle_emb.hills.string_to_param.*"), Some(("hills", first)));
        assert_eq!(read("bundle_emb.v1.5 hills.emb_params"), Some(("v1.5 hills", first)));
        assert_eq!(read("bundle_emb.hills.clip_l"), Some(("hills", first)));
        assert_eq!(read("bundle_emb.hills.clip_g"), Some(("hills", second)));
        assert_eq!(read("bundle_emb.hills.t5xxl"), Some(("hills", None)));
        for none in ["", "<>", "s1", "bundle_emb..clip_l", "bundle_emb.", "lora_unet_x.alpha"] {
            assert_eq!(read(none), None, "{none}");
        }
    }
}
