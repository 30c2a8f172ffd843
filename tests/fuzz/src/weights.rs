//! Files that an operator found somewhere.

use std::sync::LazyLock;

use sd_worker::diffusion::Placement;
use sd_worker::diffusion::lora::{self, Lora, Network};
use sd_worker::diffusion::weights::header::Header;
use sd_worker::diffusion::weights::{LayerShape, ModelFiles};
use serde_json::{Map, json};
use tempfile::TempDir;

/// The start of a safetensors file, checked before anything is mapped.
pub fn safetensors_headers(data: &[u8]) {
    if let Err(reason) = Header::read(data, data.len() as u64) {
        assert!(!reason.is_empty());
    }
    // The same bytes as a header whose length is right, which few random lengths are.
    let mut framed = (data.len() as u64).to_le_bytes().to_vec();
    framed.extend(data);
    let tensors_bytes = data.len() as u64 % 64;
    if let Err(reason) = Header::read(framed.as_slice(), framed.len() as u64 + tensors_bytes) {
        assert!(!reason.is_empty());
    }
}

/// Most names that are made into one file.
const NAMES_MAX: usize = 64;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a temporary folder can be made"));

/// One name of a tensor a line, as a LoRA file with matrices that fit each other: every name is a layer's, a word's,
/// or is told.
pub fn lora_files(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let path = FOLDER.path().join("fuzzed.safetensors");
    std::fs::write(&path, safetensors(text.lines().take(NAMES_MAX))).expect("a temporary folder can be written");
    let lora = match Lora::open(&ModelFiles::folder(FOLDER.path()), "fuzzed.safetensors") {
        Ok(lora) => lora,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let layers = layers();
    for network in lora.networks() {
        let fit = match lora.fit(network, &layers) {
            Ok(fit) => fit,
            Err(error) => return assert!(!error.to_string().is_empty()),
        };
        let told = lora::unmatched_warning("fuzzed", fit.unmatched());
        assert_eq!(told.is_none(), fit.unmatched().is_empty());
        if let Err(error) = fit.patches(0.5, &Placement::cpu().device) {
            assert!(!error.to_string().is_empty());
        }
    }
    assert!(lora.unread().iter().all(|name| text.lines().any(|line| line == name)));
    assert!(
        lora.networks()
            .iter()
            .all(|network| [Network::Unet, Network::TextEncoder, Network::TextEncoder2].contains(network))
    );
}

/// A file of f32 tensors, the shape of each as its name has it.
fn safetensors<'a>(names: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let (mut header, mut end) = (Map::new(), 0);
    for name in names {
        let shape: &[usize] = match name {
            name if name.ends_with("alpha") => &[],
            name if name.contains("up") || name.contains("lora_B") => &[4, 2],
            _ => &[2, 4],
        };
        let bytes = 4 * shape.iter().product::<usize>();
        let entry = json!({"dtype": "F32", "shape": shape, "data_offsets": [end, end + bytes]});
        if header.insert(name.into(), entry).is_none() {
            end += bytes;
        }
    }
    let header = serde_json::Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.bytes());
    file.extend((0..end).map(|at| [0, 0, 0x80, 0x3f][at % 4]));
    file
}

fn layers() -> Vec<LayerShape> {
    let attention = "attentions.0.transformer_blocks.0.attn1";
    let paths = [
        format!("down_blocks.0.{attention}.to_q"),
        format!("mid_block.{attention}.to_out.0"),
        format!("up_blocks.1.{attention}.to_k"),
        "down_blocks.0.resnets.1.conv1".into(),
        "time_embedding.linear_1".into(),
        "text_model.encoder.layers.0.self_attn.q_proj".into(),
    ];
    paths.map(|path| LayerShape { path, shape: vec![4, 4] }).into()
}
