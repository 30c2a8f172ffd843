//! What the name of a tensor says in each dialect of LoRA files.

use super::Network;

/// Which matrix of a layer's pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// `[rank, in …]`; PEFT's A.
    Down,
    /// `[out, rank …]`; PEFT's B.
    Up,
    /// α, a number.
    Alpha,
}

/// How a dialect names a layer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Module {
    /// diffusers' or transformers' path: `mid_block.attentions.0.proj_in`.
    Path(String),
    /// A path, diffusers' own or the original layout's, with underscores for dots: `mid_block_attentions_0_proj_in`.
    Flat(String),
    /// Place in the order of cloneofsimo's walk over the network.
    Nth(usize),
}

/// The name of a tensor, read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) network: Network,
    pub(super) module: Module,
    pub(super) part: Part,
}

/// What ends the names of tensors, with the part that each is.
const ENDS: &[(&str, Part)] = &[
    // PEFT and diffusers
    (".lora_A.weight", Part::Down),
    (".lora_B.weight", Part::Up),
    (".lora_A.default.weight", Part::Down),
    (".lora_B.default.weight", Part::Up),
    // diffusers before PEFT
    (".lora_linear_layer.down.weight", Part::Down),
    (".lora_linear_layer.up.weight", Part::Up),
    (".lora_conv2d_layer.down.weight", Part::Down),
    (".lora_conv2d_layer.up.weight", Part::Up),
    (".lora_linear_layer.alpha", Part::Alpha),
    ("_lora.down.weight", Part::Down),
    ("_lora.up.weight", Part::Up),
    ("_lora.alpha", Part::Alpha),
    (".lora.down.weight", Part::Down),
    (".lora.up.weight", Part::Up),
    (".lora.alpha", Part::Alpha),
    // kohya
    (".lora_down.weight", Part::Down),
    (".lora_up.weight", Part::Up),
    (".alpha", Part::Alpha),
];

/// What begins kohya's names.
const FLAT_STARTS: &[(&str, Network)] = &[
    ("lora_unet_", Network::Unet),
    ("lora_te1_", Network::TextEncoder),
    ("lora_te2_", Network::TextEncoder2),
    ("lora_te_", Network::TextEncoder),
];

/// What begins diffusers' names.
const PATH_STARTS: &[(&str, Network)] =
    &[("unet.", Network::Unet), ("text_encoder_2.", Network::TextEncoder2), ("text_encoder.", Network::TextEncoder)];

/// What begins the names of files that hold one network only.
const BARE_STARTS: &[(&str, Network)] = &[
    ("down_blocks.", Network::Unet),
    ("mid_block.", Network::Unet),
    ("up_blocks.", Network::Unet),
    ("conv_in.", Network::Unet),
    ("conv_out.", Network::Unet),
    ("time_embedding.", Network::Unet),
    ("add_embedding.", Network::Unet),
    ("text_model.", Network::TextEncoder),
];

/// Parts of names that only adapters of other kinds have.
const OTHER_KINDS: &[(&str, &str)] = &[
    (".hada_", "a LoHa"),
    (".lokr_", "a LoKr"),
    (".oft_", "an OFT"),
    (".on_input", "an IA³"),
    (".ia3_", "an IA³"),
    ("dora_scale", "a DoRA"),
    ("lora_magnitude_vector", "a DoRA"),
    (".lora_mid.", "a LoCon with a Tucker core"),
    (".a1.weight", "a GLoRA"),
    (".b1.weight", "a GLoRA"),
    (".w_norm", "an adapter of normalisations"),
    (".b_norm", "an adapter of normalisations"),
];

/// The kind of adapter that has a tensor of this name, where it is none that is merged here.
pub(super) fn other_kind(name: &str) -> Option<&'static str> {
    // LyCORIS' "full" has whole differences of weights.
    if name.ends_with(".diff") || name.ends_with(".diff_b") {
        return Some("a full difference of weights");
    }
    OTHER_KINDS.iter().find(|(part, _)| name.contains(part)).map(|&(_, kind)| kind)
}

impl Key {
    /// Reads a name; `None` where no dialect has it.
    pub(super) fn read(name: &str) -> Option<Self> {
        if let Some(key) = cloneofsimo(name) {
            return Some(key);
        }
        let (module, part) = ENDS.iter().find_map(|&(end, part)| Some((name.strip_suffix(end)?, part)))?;
        let started = |starts: &[(&str, Network)]| {
            starts.iter().find_map(|&(start, network)| Some((network, module.strip_prefix(start)?)))
        };
        if let Some((network, flat)) = started(FLAT_STARTS) {
            return Some(Self { network, module: Module::Flat(flat.to_owned()), part });
        }
        let module = module.strip_prefix("base_model.model.").unwrap_or(module);
        let bare = || BARE_STARTS.iter().find(|(start, _)| module.starts_with(start)).map(|&(_, of)| (of, module));
        let (network, path) = started(PATH_STARTS).or_else(bare)?;
        Some(Self { network, module: Module::Path(today(path)), part })
    }
}

/// `unet:12:down`
fn cloneofsimo(name: &str) -> Option<Key> {
    let mut parts = name.split(':');
    let network = match parts.next()? {
        "unet" => Network::Unet,
        "text_encoder" => Network::TextEncoder,
        _ => return None,
    };
    let module = Module::Nth(parts.next()?.parse().ok()?);
    let part = match (parts.next()?, parts.next()) {
        ("down", None) => Part::Down,
        ("up", None) => Part::Up,
        _ => return None,
    };
    Some(Key { network, module, part })
}

/// The path of a layer as it is called today: processors were modules once, and lent their names to what they held.
fn today(path: &str) -> String {
    let path = path.replace(".processor.", ".");
    let (module, last) = path.rsplit_once('.').unwrap_or(("", &path));
    let last = match (module.ends_with("self_attn"), last) {
        (true, "to_q") => "q_proj",
        (true, "to_k") => "k_proj",
        (true, "to_v") => "v_proj",
        (true, "to_out") => "out_proj",
        (false, "to_out") => "to_out.0",
        (_, last) => last,
    };
    if module.is_empty() { last.to_owned() } else { format!("{module}.{last}") }
}
