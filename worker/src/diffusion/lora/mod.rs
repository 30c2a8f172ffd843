//! LoRA (Hu et al. 2021) and LoCon: changes of low rank to the layers of a network.
//!
//! | module | what it holds |
//! |---|---|
//! | this one | `Lora`: a file, and what it changes in a network |
//! | `key` | what the name of a tensor says in each dialect: kohya, diffusers and PEFT, diffusers of old, cloneofsimo |
//! | `names` | what the layers of a network are called in each dialect |
//! | [`recent`] | `Recent`: the last few combinations that were merged |
//!
//! A LoRA is merged by building the network once more from [`KeptLayers`](super::weights::KeptLayers), which shares
//! every tensor that no patch changes; it is un-merged by dropping that network:
//!
//! ```text
//! load:    Weights::open → Unet::load → weights.keep() → KeptLayers
//! request: Lora::open → lora.patches_for(network, &kept.shapes(), weight) → Patches
//!          Unet::load(config, &kept.with_patches(&patches), …) → the network with the LoRA
//! ```
//!
//! # Invariants
//! * The change of a layer is `weight · α/rank · up · down`, made in f32 and added in f32.
//! * A file is merged as a whole, or refused with a name: a kind that is not LoRA, a shape that does not fit.
//! * Tensors that match nothing are told, never an error: files carry layers of networks that a model need not have.

mod key;
mod names;
pub mod recent;

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use serde_json::Value;

pub use recent::Recent;

use self::key::{Key, Module, Part, other_kind};
use self::names::Names;
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

/// A LoRA file, read.
#[derive(Debug)]
pub struct Lora {
    file: String,
    adapters: Vec<Adapter>,
    unread: Vec<String>,
    tokens: Vec<(String, Tensor)>,
    walks_geglu: bool,
}

/// The change of one layer.
#[derive(Debug)]
struct Adapter {
    network: Network,
    module: Module,
    /// The names of both matrices.
    keys: [String; 2],
    /// `[rank, in · kernel · kernel]` f32
    down: Tensor,
    /// `[out, rank]` f32
    up: Tensor,
    /// α / rank; 1 where the file names no α.
    scale: f64,
}

/// The tensors of one layer, by their names.
#[derive(Default)]
struct Parts<'a> {
    down: Option<&'a str>,
    up: Option<&'a str>,
    alpha: Option<&'a str>,
}

impl Lora {
    /// Reads the file at `path` onto `device`.
    ///
    /// # Errors
    /// When it cannot be read, is an adapter of another kind, or its matrices do not fit each other.
    pub fn open(files: &ModelFiles, path: &str, device: &Device) -> Result<Self, LoadError> {
        let file = TensorFile::open(files, path)?;
        let mut names = file.names();
        names.sort_unstable();
        if let Some((key, kind)) = names.iter().find_map(|name| Some((name, other_kind(name)?))) {
            return Err(LoadError::AdapterKind { file: file.file().into(), kind, key: (*key).into() });
        }
        let mut lora = Self {
            file: file.file().into(),
            adapters: Vec::new(),
            unread: Vec::new(),
            tokens: Vec::new(),
            walks_geglu: true,
        };
        let layers = lora.layers(&file, &names, device)?;
        if layers.keys().any(|(_, module)| matches!(module, Module::Nth(_))) {
            lora.walks_geglu = walks_geglu(&file)?;
        }
        let settings = PeftSettings::read(&file);
        for ((network, module), parts) in layers {
            let Parts { down: Some(down), up: Some(up), alpha } = parts else {
                lora.unread.extend([parts.down, parts.up, parts.alpha].into_iter().flatten().map(str::to_owned));
                continue;
            };
            let alpha = alpha.map(|key| file.number(key)).transpose()?;
            lora.adapters.push(Adapter::read(&file, network, module, [down, up], alpha, &settings, device)?);
        }
        Ok(lora)
    }

    /// The patches of `network`'s `layers` for this LoRA at `weight`, and the names of tensors that match none.
    ///
    /// # Errors
    /// When a change has another shape than its layer.
    pub fn patches_for(
        &self,
        network: Network,
        layers: &[LayerShape],
        weight: f64,
    ) -> Result<(Patches, Vec<String>), LoadError> {
        let names = Names::of(network, layers, self.walks_geglu);
        let (mut patches, mut unmatched) = (Patches::default(), Vec::new());
        for adapter in self.adapters.iter().filter(|adapter| adapter.network == network) {
            let Some(layer) = names.find(&adapter.module) else {
                unmatched.extend(adapter.keys.iter().cloned());
                continue;
            };
            let found = [adapter.up.dims()[0], adapter.down.dims()[1]];
            if found != [layer.shape[0], layer.shape[1..].iter().product()] {
                return Err(LoadError::AdapterShape {
                    file: self.file.clone(),
                    key: adapter.keys[0].clone(),
                    layer: layer.path.clone(),
                    found,
                    expected: layer.shape.clone(),
                });
            }
            let Adapter { down, up, scale, .. } = adapter;
            patches.add(&layer.path, Patch { down: down.clone(), up: up.clone(), scale: weight * scale });
        }
        Ok((patches, unmatched))
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

    /// Words that were trained with the LoRA, as `<s1>` with `[vectors, hidden_size]` f32 of the first text encoder.
    pub fn tokens(&self) -> &[(String, Tensor)] {
        &self.tokens
    }

    /// The tensors of each layer; those of none are kept as words or told.
    fn layers<'a>(
        &mut self,
        file: &TensorFile,
        names: &[&'a str],
        device: &Device,
    ) -> Result<BTreeMap<(Network, Module), Parts<'a>>, LoadError> {
        let mut layers: BTreeMap<(Network, Module), Parts> = BTreeMap::new();
        for name in names {
            let Some(Key { network, module, part }) = Key::read(name) else {
                self.read_token(file, name, device)?;
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
                Some(_) => self.unread.push((*name).into()),
                None => *place = Some(name),
            }
        }
        Ok(layers)
    }

    /// Keeps a tensor that is no matrix of a layer: a trained word, or something unknown.
    fn read_token(&mut self, file: &TensorFile, name: &str, device: &Device) -> Result<(), LoadError> {
        if !(name.starts_with('<') && name.ends_with('>')) {
            self.unread.push(name.to_owned());
            return Ok(());
        }
        let vectors = file.tensor(name, device)?;
        let rows = match vectors.rank() {
            1 => vectors.unsqueeze(0),
            _ => Ok(vectors),
        };
        self.tokens.push((name.to_owned(), rows.map_err(|source| tensor_error(file, source))?));
        Ok(())
    }
}

impl Adapter {
    fn read(
        file: &TensorFile,
        network: Network,
        module: Module,
        [down_key, up_key]: [&str; 2],
        alpha: Option<f64>,
        settings: &PeftSettings,
        device: &Device,
    ) -> Result<Self, LoadError> {
        let matrix = |key: &str| {
            let tensor = file.tensor(key, device)?;
            if tensor.rank() < 2 {
                let found = tensor.dims().into();
                return Err(LoadError::TensorShape {
                    file: file.file().into(),
                    tensor: key.into(),
                    found,
                    expected: vec![0, 0],
                });
            }
            tensor.flatten_from(1).map_err(|source| tensor_error(file, source))
        };
        let (down, up) = (matrix(down_key)?, matrix(up_key)?);
        let rank = down.dims()[0];
        if up.dims()[1] != rank || rank == 0 {
            return Err(LoadError::TensorShape {
                file: file.file().into(),
                tensor: up_key.into(),
                found: up.dims().into(),
                expected: vec![up.dims()[0], rank],
            });
        }
        let scale = match alpha {
            Some(alpha) => alpha / rank as f64,
            None => settings.scale(network, &module, rank),
        };
        Ok(Self { network, module, keys: [down_key.into(), up_key.into()], down, up, scale })
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

fn tensor_error(file: &TensorFile, source: candle_core::Error) -> LoadError {
    LoadError::Tensor { file: file.file().into(), source }
}

#[cfg(test)]
mod tests;
