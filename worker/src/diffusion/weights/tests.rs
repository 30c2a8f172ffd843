//! Broken files are refused, each with a sentence that names what is wrong.

use std::path::Path;

use candle_core::{DType, Device};
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
    check_refused(&file(GOOD, 9), "it is cut off");
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
    let scope = Scope::root(&weights, &Device::Cpu, DType::F32);
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
fn a_rehearsal_needs_no_memory() {
    // Of a matrix that no machine of ours holds, in a file with a hole.
    let side = 1u64 << 18;
    let bytes = 4 * side * side;
    let header = format!(
        r#"{{"m.weight":{{"dtype":"F32","shape":[{side},{side}],"data_offsets":[0,{bytes}]}},
        "c.weight":{{"dtype":"F16","shape":[2,3,5,5],"data_offsets":[{bytes},{0}]}},
        "c.bias":{{"dtype":"I64","shape":[2],"data_offsets":[{0},{1}]}}}}"#,
        bytes + 300,
        bytes + 316,
    );
    let (folder, files) = folder(&[("unet/w.safetensors", &file(&header, 0))]);
    let whole = std::fs::File::options().write(true).open(folder.path().join("unet/w.safetensors")).unwrap();
    whole.set_len(8 + header.len() as u64 + bytes + 316).unwrap();

    let rehearse = |load: &dyn Fn(Scope) -> Result<(), LoadError>| {
        let root = |weights: &Weights| load(Scope::root(weights, &Device::Cpu, DType::F32));
        Weights::rehearse(&files, "unet", "w", root).map_err(|error| error.to_string())
    };
    let side = side as usize;
    let matrix = |scope: Scope| scope.sub("m").linear_no_bias(side, side).map(drop);
    assert_eq!(rehearse(&matrix), Ok((side * side) as u64));
    assert_eq!(rehearse(&|scope| scope.tensor("c.weight", &[2, 3, 5, 5]).map(drop)), Ok(150));
    let check = |load: &dyn Fn(Scope) -> Result<(), LoadError>, says: &str| {
        let refusal = rehearse(load).unwrap_err();
        assert!(refusal.contains("unet/w.safetensors") && refusal.contains(says), "{refusal}");
    };
    check(&|scope| scope.sub("m").linear(side, side).map(drop), "has no tensor m.bias of shape [262144]");
    check(&|scope| scope.sub("m").linear_no_bias(7, side).map(drop), "tensor m.weight has shape [262144, 262144]");
    check(&|scope| scope.sub("c").conv2d(3, 2, 5, 1).map(drop), "tensor c.bias has dtype I64");
}

#[test]
fn integers_are_no_weights() {
    let header = r#"{"a":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}"#;
    let (_folder, files) = folder(&[("w.fp16.safetensors", &file(header, 8))]);
    let weights = Weights::open(&files, ".", "w").unwrap();
    let message = Scope::root(&weights, &Device::Cpu, DType::F32).tensor("a", &[1]).unwrap_err().to_string();
    assert!(message.contains("tensor a has dtype I64"), "{message}");
}

/// A file with the tensors `names`, each two numbers of which the first is 1, 2, 3 … in their order.
fn numbered(names: &[&str]) -> Vec<u8> {
    let entry = |(at, name): (usize, &&str)| {
        let (begin, end) = (8 * at, 8 * at + 8);
        format!(r#""{name}":{{"dtype":"F32","shape":[2],"data_offsets":[{begin},{end}]}}"#)
    };
    let entries: Vec<String> = names.iter().enumerate().map(entry).collect();
    let mut bytes = file(&format!("{{{}}}", entries.join(",")), 0);
    for number in 1..=names.len() {
        bytes.extend((number as f32).to_le_bytes());
        bytes.extend([0; 4]);
    }
    bytes
}

fn first_number(weights: &Weights, name: &str) -> f32 {
    Scope::root(weights, &Device::Cpu, DType::F32).tensor(name, &[2]).unwrap().to_vec1::<f32>().unwrap()[0]
}

#[test]
fn weights_may_be_split_over_several_files() {
    let index = br#"{"metadata":{"total_size":24},"weight_map":{"a":"w-1.safetensors","b":"w-2.safetensors",
        "c":"w-1.safetensors"}}"#;
    let first = numbered(&["a", "c"]);
    let (_folder, files) = folder(&[
        ("unet/w.safetensors.index.json", index),
        ("unet/w-1.safetensors", &first),
        // Its tensor `a` is not the one that the index means.
        ("unet/w-2.safetensors", &numbered(&["a", "b"])),
    ]);
    let weights = Weights::open(&files, "unet", "w").unwrap();
    assert_eq!(["a", "b", "c"].map(|name| first_number(&weights, name)), [1.0, 2.0, 2.0]);
    let shape = Scope::root(&weights, &Device::Cpu, DType::F32).tensor("b", &[3]).unwrap_err().to_string();
    assert!(shape.contains("unet/w-2.safetensors: tensor b has shape [2]"), "{shape}");

    let check = |index: &[u8], second: &[u8], says: &str| {
        let mut written = vec![("unet/w.safetensors.index.json", index), ("unet/w-1.safetensors", &first)];
        written.extend((!second.is_empty()).then_some(("unet/w-2.safetensors", second)));
        let (_folder, files) = folder(&written);
        let message = Weights::open(&files, "unet", "w").err().unwrap().to_string();
        assert!(message.contains(says), "{message}");
    };
    check(index, &[], "unet/w-2.safetensors is missing");
    check(index, &numbered(&["b"])[..40], "unet/w-2.safetensors is not a valid safetensors file");
    check(index, &numbered(&["d"]), "index.json does not fit its files: tensor b is not in w-2.safetensors");
    let outside = br#"{"weight_map":{"a":"../w-1.safetensors"}}"#;
    check(outside, &[], "tensor a is said to be in \"../w-1.safetensors\", which is no name of weights");
    check(b"{}", &[], "is not the JSON that was expected");
}

#[test]
fn a_variant_is_preferred_where_it_is_there() {
    let check = |written: &[&str], variant: Option<&str>, expected: &str| {
        let bytes: Vec<Vec<u8>> = (0..written.len()).map(|at| numbered(&["a", "b", "c"][..=at])).collect();
        let named: Vec<(&str, &[u8])> = written.iter().copied().zip(bytes.iter().map(Vec::as_slice)).collect();
        let (_folder, files) = folder(&named);
        let weights = Weights::open(&files.with_variant(variant.map(str::to_owned)), ".", "w").unwrap();
        let last = written.iter().position(|name| *name == expected).unwrap();
        assert_eq!(weights.shapes().count(), last + 1, "{variant:?} of {written:?}");
    };
    let both = ["w.safetensors", "w.fp16.safetensors"];
    check(&both, None, "w.safetensors");
    check(&both, Some("fp16"), "w.fp16.safetensors");
    check(&both, Some("bf16"), "w.safetensors");
    check(&both[1..], None, "w.fp16.safetensors");
}

#[test]
fn a_cut_off_file_names_the_tensor_that_is_cut() {
    let whole = numbered(&["a", "b"]);
    check_refused(&whole[..whole.len() - 1], "tensor b ends at byte");
}

proptest! {
    /// Whatever happens to a file, it is refused or every tensor of it can be read.
    #[test]
    fn mutated_files_do_no_harm(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        length in any::<prop::sample::Index>(),
        cuts: bool,
    ) {
        let mut bytes = numbered(&["a", "b"]);
        for (at, value) in changes {
            // The header is what can be wrong.
            let at = at.index(bytes.len() - 16);
            bytes[at] = value;
        }
        if cuts {
            bytes.truncate(length.index(bytes.len()));
        }
        let (_folder, files) = folder(&[("w.safetensors", &bytes)]);
        match Weights::open(&files, ".", "w") {
            Err(error) => prop_assert!(error.to_string().contains("w.safetensors"), "{error}"),
            Ok(weights) => {
                let shapes: Vec<_> = weights.shapes().map(|(name, shape)| (name.to_owned(), shape.to_vec())).collect();
                for (name, shape) in shapes {
                    match Scope::root(&weights, &Device::Cpu, DType::F32).tensor(&name, &shape) {
                        Ok(tensor) => prop_assert_eq!(tensor.dims(), shape),
                        Err(error) => prop_assert!(matches!(error, LoadError::TensorDtype { .. }), "{}", error),
                    }
                }
            }
        }
    }
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
    check("unet/pytorch_model.bin.index.json", "is a pickle");
    check("unet/w.safetensors", "is not a valid safetensors file: it has 0 bytes");
    let (_folder, files) = folder(&[]);
    assert!(Weights::open(&files, "unet", "w").err().unwrap().to_string().ends_with("w.safetensors is missing"));
}
