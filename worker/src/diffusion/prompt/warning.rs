//! What was understood differently from what may have been meant.

/// Something about a prompt that its author should hear.
#[derive(Clone, Debug, PartialEq)]
pub enum PromptWarning {
    /// It is read in parts.
    Chunks {
        /// How many.
        chunks: usize,
        /// Tokens of each.
        tokens: usize,
    },
    /// `()` or `(:1.3)`.
    EmptyBrackets,
    /// `(a:1.2.3)`; the text between the colon and the bracket.
    NoNumber(String),
    /// A weight beyond what is meant to draw anything.
    WeightBounded {
        /// As written, all brackets multiplied.
        weight: f64,
        /// As used.
        bound: f64,
    },
    /// `[from:to:when]` or `[a|b]`, as written.
    Editing(String),
    /// `<lora:name:0.8>`, as written.
    NetworkTag(String),
    /// The word `AND`.
    And,
    /// Text that the tokenizer reads as one of its own marks, or does not know.
    Mark(String),
    /// A textual inversion of more vectors than a chunk has tokens.
    EmbeddingTooLong {
        /// Its name in the prompt.
        name: String,
        /// Its length.
        vectors: usize,
        /// Tokens of a chunk.
        tokens: usize,
    },
}

impl PromptWarning {
    /// The sentence for the user about the prompt called `which`, "prompt" or "negative prompt".
    pub fn sentence(&self, which: &str) -> String {
        match self {
            Self::Chunks { chunks, tokens } => format!("The {which} fills {chunks} chunks of {tokens} tokens."),
            Self::EmptyBrackets => format!("The {which} has brackets without text between them."),
            Self::NoNumber(text) => {
                format!("The {which} has the weight “{text}”, which is no number; its brackets count as ×1.1.")
            }
            Self::WeightBounded { weight, bound } => {
                format!("The {which} has a weight of {weight:.3e}; weights end at ±{bound}.")
            }
            Self::Editing(text) => {
                format!("The {which} has “{text}”; this worker does not edit prompts while it draws and reads words.")
            }
            Self::NetworkTag(text) => {
                format!("The {which} has “{text}”, which is read as words; name LoRAs in the request's own field.")
            }
            Self::And => format!("The {which} has “AND”, which is read as a word: prompts are not combined."),
            Self::Mark(text) => {
                format!("The {which} has “{text}”, which the tokenizer reads as a mark of its own, not as text.")
            }
            Self::EmbeddingTooLong { name, vectors, tokens } => format!(
                "The {which} names the embedding “{name}”, which has {vectors} vectors, more than the {tokens} tokens \
                 of a chunk; it is read as words."
            ),
        }
    }
}
