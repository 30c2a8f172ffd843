//! Why a model cannot be loaded.

/// Why a model cannot be loaded. Every variant names the file.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file that the layout asks for.
    #[error("{file} is missing")]
    Missing {
        /// Where it was looked for.
        file: String,
    },
    /// The file system refused.
    #[error("{file} cannot be read")]
    Read {
        /// Which file.
        file: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not JSON, or not of the expected form.
    #[error("{file} is not the JSON that was expected")]
    Json {
        /// Which file.
        file: String,
        /// Where and why.
        source: serde_json::Error,
    },
    /// No row of `FAMILIES` matches.
    #[error("{file} names the pipeline \"{class}\"; this worker knows {known}")]
    UnknownFamily {
        /// The model index.
        file: String,
        /// Its `_class_name`.
        class: String,
        /// The names that would have been understood.
        known: String,
    },
    /// A setting that changes the computation in a way that is not implemented.
    #[error("{file}: `{key}` is {value}, and this worker supports {supported}")]
    Unsupported {
        /// The configuration.
        file: String,
        /// The setting.
        key: String,
        /// Its value.
        value: String,
        /// What would have been understood.
        supported: String,
    },
    /// Weights that would have to be unpickled.
    #[error("{file} is {found}; {advice}")]
    Format {
        /// The file that is there.
        file: String,
        /// What it is.
        found: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// A safetensors file whose header is wrong.
    #[error("{file} is not a valid safetensors file: {reason}")]
    Header {
        /// Which file.
        file: String,
        /// The first thing that is wrong.
        reason: String,
    },
    /// An index of weights in several files that says what is not so.
    #[error("{file} does not fit its files: {reason}")]
    ShardIndex {
        /// The index.
        file: String,
        /// The first thing that is wrong.
        reason: String,
    },
    /// A single file with the tensors of something else.
    #[error("{file} is no checkpoint of Stable Diffusion 1, 2 or XL in the original layout: {reason}")]
    UnknownCheckpoint {
        /// Which file.
        file: String,
        /// What gives it away.
        reason: String,
    },
    /// A single file without the tensors of one network.
    #[error("{file} holds no tensors of the {component}")]
    MissingComponent {
        /// Which file.
        file: String,
        /// The folder of the diffusers layout that would hold them.
        component: String,
    },
    /// A tensor that the configuration asks for.
    #[error("{file} has no tensor {tensor} of shape {expected:?}")]
    MissingTensor {
        /// The weights.
        file: String,
        /// Its name.
        tensor: String,
        /// What the configuration asks for.
        expected: Vec<usize>,
    },
    /// A tensor of another shape than the configuration asks for.
    #[error("{file}: tensor {tensor} has shape {found:?}, and its config.json asks for {expected:?}")]
    TensorShape {
        /// The weights.
        file: String,
        /// Its name.
        tensor: String,
        /// In the file.
        found: Vec<usize>,
        /// What the configuration asks for.
        expected: Vec<usize>,
    },
    /// A tensor of a type that weights do not have.
    #[error("{file}: tensor {tensor} has dtype {found}; F32, F16 and BF16 can be loaded")]
    TensorDtype {
        /// The weights.
        file: String,
        /// Its name.
        tensor: String,
        /// In the file.
        found: &'static str,
    },
    /// An adapter of a kind that is not implemented.
    #[error("{file} is {kind} (it has `{key}`); this worker merges LoRA and LoCon")]
    AdapterKind {
        /// Which file.
        file: String,
        /// What it is.
        kind: &'static str,
        /// The first key that says so.
        key: String,
    },
    /// A matrix of a LoRA that does not fit its layer, most often because it was made for another model.
    #[error("{file}: `{key}` gives the layer {layer} a change of shape {found:?}, and its weight is {expected:?}")]
    AdapterShape {
        /// Which file.
        file: String,
        /// The tensor in it.
        key: String,
        /// The layer of the model.
        layer: String,
        /// What the file's matrices make: `[out, in · kernel · kernel]`.
        found: [usize; 2],
        /// What the model has.
        expected: Vec<usize>,
    },
    /// A file of textual inversion that is none for this model.
    #[error("{file} is no embedding for this model: {reason}")]
    Embedding {
        /// Which file.
        file: String,
        /// Why.
        reason: String,
    },
    /// The tokenizer's files.
    #[error("{file} gives no tokenizer: {reason}")]
    Tokenizer {
        /// Which file.
        file: String,
        /// Why.
        reason: String,
    },
    /// The device refused a tensor: out of memory, or a fault of ours.
    #[error("{file}: a tensor operation failed")]
    Tensor {
        /// The weights.
        file: String,
        /// What candle said.
        source: candle_core::Error,
    },
}
