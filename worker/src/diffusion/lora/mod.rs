//! LoRA (Hu et al. 2021) and LoCon: changes of low rank to the layers of a network.
//!
//! | module | what it holds |
//! |---|---|
//! | this one | `Lora`: a file, and what it changes in a network |
//! | `key` | what the name of a tensor says in each dialect: kohya, diffusers and PEFT, diffusers of old, cloneofsimo |
//! | `names` | what the layers of a network are called in each dialect |
//! | `words` | words that were trained with the LoRA |
//!
//! A LoRA is merged by building the network once more from [`KeptLayers`](super::weights::KeptLayers), which shares
//! every tensor that no patch changes; it is un-merged by dropping that network:
//!
//! ```text
//! load:    Weights::open → Unet::load → weights.keep() → KeptLayers
//! request: Lora::open → lora.fit(network, &kept.shapes()) → Fit      (headers alone)
//!          fit.patches(weight, device) → Patches
//!          Unet::load(config, &kept.with_patches(&patches), …) → the network with the LoRA
//! ```
//!
//! # Invariants
//! * The change of a layer is `weight · α/rank · up · down`, made in f32 and added in f32.
//! * A file is merged as a whole, or refused with a name: a kind that is not LoRA, a shape that does not fit.
//! * Tensors that match nothing are told, never an error: files carry layers of networks that a model need not have.

mod key;
mod names;
mod words;

use std::collections::BTreeMap;

use candle_core::Device;
use serde_json::Value;

use self::key::{Key, Module, Part, other_kind};
use self::names::Names;
pub use self::words::TrainedWords;
use self::words::Words;
use super::embeddings::TextEncoder;
use super::weights::{LayerShape, LoadError, ModelFiles, Patch, Patches, TensorFile};

/// A network that a LoRA can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Network {
    /// `unet`
    Unet,
    /// `text_encoder`
    TextEncoder,
    /// `text_encoder_2`
    TextEncoder2,
}

/// A LoRA file whose header is understood; its matrices are read when they are merged.
#[derive(Debug)]
pub struct Lora {
    file: TensorFile,
    adapters: Vec<Adapter>,
    unread: Vec<String>,
    words: Words,
    walks_geglu: bool,
}

/// The change of one layer, as the header tells it.
#[derive(Debug)]
struct Adapter {
    network: Network,
    module: Module,
    /// Name of `[rank, in · kernel · kernel]`.
    down: String,
    /// Name of `[out, rank]`.
    up: String,
    /// `[out, in · kernel · kernel]`
    shape: [usize; 2],
    rank: usize,
    scale: Scale,
}

/// What the product of an adapter's matrices is multiplied with before the weight that a request names.
#[derive(Debug, PartialEq)]
enum Scale {
    /// The tensor of this name, divided by the rank.
    Alpha(String),
    /// α / rank, as the file's metadata has it; 1 where nothing is said.
    Said(f64),
}

/// The tensors of one layer, by their names.
#[derive(Default)]
struct Parts<'a> {
    down: Option<&'a str>,
    up: Option<&'a str>,
    alpha: Option<&'a str>,
}

/// What a LoRA changes in one network. Every shape is known to fit, and nothing is read yet.
#[derive(Debug)]
pub struct Fit<'a> {
    lora: &'a Lora,
    /// Adapters with the paths of their layers.
    changes: Vec<(&'a Adapter, String)>,
    unmatched: Vec<String>,
}

impl Lora {
    /// Reads the header of the file at `path`.
    ///
    /// # Errors
    /// When it cannot be read, is an adapter of another kind, or its matrices do not fit each other.
    pub fn open(files: &ModelFiles, path: &str) -> Result<Self, LoadError> {
        let file = TensorFile::open(files, path)?;
        let names = file.names();
        if let Some((key, kind)) = names.iter().find_map(|name| Some((name, other_kind(name)?))) {
            return Err(LoadError::AdapterKind { file: file.file().into(), kind, key: (*key).into() });
        }
        let (mut unread, mut words) = (Vec::new(), Words::default());
        let layers = layers(&names, &mut unread, &mut words);
        let is_walked = layers.keys().any(|(_, module)| matches!(module, Module::Nth(_)));
        let walks_geglu = !is_walked || walks_geglu(&file)?;
        let settings = PeftSettings::read(&file);
        let mut adapters = Vec::with_capacity(layers.len());
        for ((network, module), parts) in layers {
            match parts {
                Parts { down: Some(down), up: Some(up), alpha } => {
                    adapters.push(Adapter::read(&file, network, module, [down, up], alpha, &settings)?);
                }
                Parts { down, up, alpha } => {
                    unread.extend([down, up, alpha].into_iter().flatten().map(str::to_owned));
                }
            }
        }
        Ok(Self { adapters, unread, words, walks_geglu, file })
    }

    /// What it changes in the `layers` of `network`.
    ///
    /// # Errors
    /// When a change has another shape than its layer.
    pub fn fit(&self, network: Network, layers: &[LayerShape]) -> Result<Fit<'_>, LoadError> {
        let names = Names::of(network, layers, self.walks_geglu);
        let mut fit = Fit { lora: self, changes: Vec::new(), unmatched: Vec::new() };
        for adapter in self.adapters.iter().filter(|adapter| adapter.network == network) {
            let Some(layer) = names.find(&adapter.module) else {
                fit.unmatched.extend([adapter.down.clone(), adapter.up.clone()]);
                continue;
            };
            if adapter.shape != [layer.shape[0], layer.shape[1..].iter().product()] {
                return Err(LoadError::AdapterShape {
                    file: self.file.file().into(),
                    key: adapter.down.clone(),
                    layer: layer.path.clone(),
                    found: adapter.shape,
                    expected: layer.shape.clone(),
                });
            }
            fit.changes.push((adapter, layer.path.clone()));
        }
        Ok(fit)
    }

    /// The words that were trained with it, for a model with `encoders`, each with its `hidden_size`.
    ///
    /// # Errors
    /// When vectors that fit cannot be read.
    pub fn words(&self, encoders: &[(TextEncoder, usize)], device: &Device) -> Result<TrainedWords, LoadError> {
        self.words.load(&self.file, encoders, device)
    }

    /// The networks that the file changes, whether or not a model has them.
    pub fn networks(&self) -> Vec<Network> {
        let mut networks: Vec<Network> = self.adapters.iter().map(|adapter| adapter.network).collect();
        networks.sort_unstable();
        networks.dedup();
        networks
    }

    /// The names of tensors that say nothing in any dialect.
    pub fn unread(&self) -> &[String] {
        &self.unread
    }
}

impl Fit<'_> {
    /// The names of tensors that match no layer.
    pub fn unmatched(&self) -> &[String] {
        &self.unmatched
    }

    /// Whether no layer is changed.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The changes at `weight`, read onto `device`.
    ///
    /// # Errors
    /// When the file cannot be mapped or the device has no room.
    pub fn patches(&self, weight: f64, device: &Device) -> Result<Patches, LoadError> {
        let mut patches = Patches::default();
        for (adapter, path) in &self.changes {
            patches.add(path, adapter.patch(&self.lora.file, weight, device)?);
        }
        Ok(patches)
    }
}

/// The tensors of each layer; those of none are kept as words or told.
fn layers<'a>(
    names: &[&'a str],
    unread: &mut Vec<String>,
    words: &mut Words,
) -> BTreeMap<(Network, Module), Parts<'a>> {
    let mut layers: BTreeMap<(Network, Module), Parts> = BTreeMap::new();
    for name in names {
        let Some(Key { network, module, part }) = Key::read(name) else {
            if !words.take(name) {
                unread.push((*name).to_owned());
            }
            continue;
        };
        let parts = layers.entry((network, module)).or_default();
        let place = match part {
            Part::Down => &mut parts.down,
            Part::Up => &mut parts.up,
            Part::Alpha => &mut parts.alpha,
        };
        // The same layer under two names of one dialect: the second is told, not merged.
        match place {
            Some(_) => unread.push((*name).to_owned()),
            None => *place = Some(name),
        }
    }
    layers
}

impl Adapter {
    fn read(
        file: &TensorFile,
        network: Network,
        module: Module,
        [down, up]: [&str; 2],
        alpha: Option<&str>,
        settings: &PeftSettings,
    ) -> Result<Self, LoadError> {
        let refuse = |tensor: &str, found: &[usize], expected: Vec<usize>| {
            let (file, tensor, found) = (file.file().to_owned(), tensor.to_owned(), found.to_vec());
            Err(LoadError::TensorShape { file, tensor, found, expected })
        };
        let (down_shape, up_shape) = (file.shape(down)?, file.shape(up)?);
        let [rank, inputs @ ..] = down_shape else { return refuse(down, down_shape, vec![0, 0]) };
        if inputs.is_empty() {
            return refuse(down, down_shape, vec![0, 0]);
        }
        let [outputs, ranks @ ..] = up_shape else { return refuse(up, up_shape, vec![0, *rank]) };
        if ranks.is_empty() || ranks.iter().product::<usize>() != *rank || *rank == 0 {
            return refuse(up, up_shape, vec![*outputs, *rank]);
        }
        let scale = match alpha {
            Some(alpha) => {
                file.check_number(alpha)?;
                Scale::Alpha(alpha.to_owned())
            }
            None => Scale::Said(settings.scale(network, &module, *rank)),
        };
        let shape = [*outputs, inputs.iter().product()];
        Ok(Self { network, module, down: down.into(), up: up.into(), shape, rank: *rank, scale })
    }

    fn patch(&self, file: &TensorFile, weight: f64, device: &Device) -> Result<Patch, LoadError> {
        let matrix = |key: &str, shape: [usize; 2]| {
            let matrix = file.tensor(key, device)?.reshape(&shape);
            matrix.map_err(|source| LoadError::Tensor { file: file.file().into(), source })
        };
        let [outputs, inputs] = self.shape;
        Ok(Patch {
            down: matrix(&self.down, [self.rank, inputs])?,
            up: matrix(&self.up, [outputs, self.rank])?,
            scale: weight * self.scale_in(file)?,
        })
    }

    /// α / rank; 1 where the file names no α.
    fn scale_in(&self, file: &TensorFile) -> Result<f64, LoadError> {
        match &self.scale {
            Scale::Alpha(alpha) => Ok(file.number(alpha)? / self.rank as f64),
            Scale::Said(scale) => Ok(*scale),
        }
    }
}

/// What PEFT says of its adapters in `lora_adapter_metadata`, as diffusers writes it: settings below the names of
/// networks.
struct PeftSettings(Value);

impl PeftSettings {
    fn read(file: &TensorFile) -> Self {
        let text = file.metadata().get("lora_adapter_metadata");
        Self(text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default())
    }

    /// α / rank of a layer, or α / √rank where PEFT's `use_rslora` is on; 1 where nothing is said.
    fn scale(&self, network: Network, module: &Module, rank: usize) -> f64 {
        let Module::Path(path) = module else { return 1.0 };
        let setting = |key: &str| &self.0[format!("{}.{key}", network.folder())];
        let patterns = setting("alpha_pattern").as_object();
        let own = patterns.into_iter().flatten().find(|(pattern, _)| {
            path.strip_suffix(pattern.as_str()).is_some_and(|before| before.is_empty() || before.ends_with('.'))
        });
        let alpha = own.map_or_else(|| setting("lora_alpha"), |(_, alpha)| alpha).as_f64();
        let divisor = if setting("use_rslora") == &Value::Bool(true) { (rank as f64).sqrt() } else { rank as f64 };
        alpha.map_or(1.0, |alpha| alpha / divisor)
    }
}

impl Network {
    /// Its folder in the diffusers layout.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Unet => "unet",
            Self::TextEncoder => "text_encoder",
            Self::TextEncoder2 => "text_encoder_2",
        }
    }
}

/// The sentence about the tensors of the LoRA `name` that match nothing in a model; none where all match.
pub fn unmatched_warning(name: &str, keys: &[String]) -> Option<String> {
    const NAMED_MAX: usize = 8;
    let named = keys[..keys.len().min(NAMED_MAX)].join(", ");
    let more = match keys.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let count = keys.len();
    (count > 0)
        .then(|| format!("The LoRA “{name}” has {count} tensors that match nothing in this model: {named}{more}."))
}

/// Whether cloneofsimo's trainer adapted feed-forward layers too, which its places in the network depend on.
fn walks_geglu(file: &TensorFile) -> Result<bool, LoadError> {
    let Some(said) = file.metadata().get("unet") else { return Ok(true) };
    let classes: Vec<String> = serde_json::from_str(said).unwrap_or_default();
    if let Some(class) =
        classes.iter().find(|class| !["CrossAttention", "Attention", "GEGLU"].contains(&class.as_str()))
    {
        let kind = "a LoRA of layers other than attention";
        return Err(LoadError::AdapterKind { file: file.file().into(), kind, key: class.clone() });
    }
    Ok(classes.iter().any(|class| class == "GEGLU"))
}

#[cfg(test)]
mod tests;
