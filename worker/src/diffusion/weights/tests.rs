//! Broken files are refused, each with a sentence that names what is wrong.

use std::path::Path;

use candle_core::Device;
use proptest::prelude::*;

use super::header::Header;
use super::*;

/// A safetensors file: the length of the header, the header, `data` bytes of zeros.
fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

fn refusal(bytes: &[u8]) -> String {
    Header::read(bytes, bytes.len() as u64).unwrap_err()
}

#[track_caller]
fn check_refused(bytes: &[u8], because: &str) {
    let reason = refusal(bytes);
    assert!(reason.contains(because), "{reason:?} does not say {because:?}");
}

const GOOD: &str = r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
    "b":{"dtype":"F16","shape":[],"data_offsets":[8,10]}}"#;

#[test]
fn a_good_header_is_read() {
    let header = Header::read(file(GOOD, 10).as_slice(), file(GOOD, 10).len() as u64).unwrap();
    let entry = &header.tensors["b"];
    assert_eq!((entry.dtype, entry.shape.as_slice(), entry.range.len()), ("F16", [].as_slice(), 2));
    assert_eq!(entry.range.end, file(GOOD, 10).len());
    assert_eq!(header.tensors.len(), 2);
}

#[test]
fn a_header_that_lies_is_refused() {
    check_refused(b"abc", "fewer than a header");
    check_refused(&u64::MAX.to_le_bytes(), "claims 18446744073709551615 bytes");
    check_refused(&file("[]", 0), "not JSON");
    check_refused(&file(GOOD, 9), "end at byte");
    check_refused(&file(GOOD, 11), "end at byte");
    let one = |dtype, shape, begin: u64, end: u64| {
        let header = format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{begin},{end}]}}}}"#);
        file(&header, 8)
    };
    check_refused(&one("F32", "[3]", 0, 8), "tensor a of dtype F32 and shape [3] has bytes 0..8");
    check_refused(&one("F32", "[2]", 8, 0), "has bytes 8..0");
    check_refused(&one("F31", "[2]", 0, 8), "unknown dtype \"F31\"");
    check_refused(&one("F32", "[-2]", 0, 8), "tensor a: invalid value");
    check_refused(&one("F32", "[4294967296,4294967296,4]", 0, 8), "has bytes 0..8");
    check_refused(&one("F32", "[2]", u64::MAX - 8, u64::MAX), "outside the address space");
    check_refused(&one("F16", "[2]", 4, 8), "the one before ends");
    let overlap = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
        "b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#;
    check_refused(&file(overlap, 8), "tensor b begins at byte");
}

proptest! {
    #[test]
    fn no_header_panics(header in ".{0,80}", cut in 0usize..100) {
        let bytes = file(&header, 4);
        let bytes = &bytes[..bytes.len().min(cut)];
        if let Ok(read) = Header::read(bytes, bytes.len() as u64) {
            prop_assert!(read.tensors.is_empty());
        }
    }

    #[test]
    fn no_offsets_lead_outside(shape in prop::collection::vec(any::<usize>(), 0..4), begin: usize, end: usize) {
        let header = format!(r#"{{"a":{{"dtype":"U8","shape":{shape:?},"data_offsets":[{begin},{end}]}}}}"#);
        let bytes = file(&header, 16);
        if let Ok(header) = Header::read(bytes.as_slice(), bytes.len() as u64) {
            prop_assert!(header.tensors["a"].range.end <= bytes.len());
        }
    }
}

fn folder(files: &[(&str, &[u8])]) -> (tempfile::TempDir, ModelFiles) {
    let folder = tempfile::tempdir().unwrap();
    for (path, bytes) in files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let files = ModelFiles::folder(folder.path());
    (folder, files)
}

#[test]
fn tensors_come_with_the_shape_that_is_asked_for() {
    let (_folder, files) = folder(&[("unet/weights.safetensors", &file(GOOD, 10))]);
    let weights = Weights::open(&files, "unet", "weights").unwrap();
    let scope = Scope::root(&weights, &Device::Cpu);
    assert_eq!(scope.tensor("a", &[2]).unwrap().to_vec1::<f32>().unwrap(), [0.0, 0.0]);
    let message = |name, shape: &[usize]| scope.sub("x").tensor(name, shape).unwrap_err().to_string();
    assert!(
        message("a", &[2]).ends_with("weights.safetensors has no tensor x.a of shape [2]"),
        "{}",
        message("a", &[2])
    );
    let other = scope.tensor("a", &[4]).unwrap_err().to_string();
    assert!(other.contains("tensor a has shape [2], and its config.json asks for [4]"), "{other}");
}

#[test]
fn integers_are_no_weights() {
    let header = r#"{"a":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}"#;
    let (_folder, files) = folder(&[("w.fp16.safetensors", &file(header, 8))]);
    let weights = Weights::open(&files, ".", "w").unwrap();
    let message = Scope::root(&weights, &Device::Cpu).tensor("a", &[1]).unwrap_err().to_string();
    assert!(message.contains("tensor a has dtype I64"), "{message}");
}

#[test]
fn what_is_no_safetensors_file_gets_a_sentence() {
    let check = |name: &str, says: &str| {
        let (_folder, files) = folder(&[(name, b"")]);
        let message = Weights::open(&files, "unet", "w").err().unwrap().to_string();
        assert!(message.contains(says), "{message}");
        assert!(message.contains(Path::new(name).file_name().unwrap().to_str().unwrap()), "{message}");
    };
    check("unet/w.bin", "is a pickle, which can run any code when it is opened; save the model again");
    check("unet/pytorch_model.bin", "is a pickle");
    check("unet/w.safetensors.index.json", "split over several files");
    check("unet/w.safetensors", "is not a valid safetensors file: it has 0 bytes");
    let (_folder, files) = folder(&[]);
    assert!(Weights::open(&files, "unet", "w").err().unwrap().to_string().ends_with("w.safetensors is missing"));
}
