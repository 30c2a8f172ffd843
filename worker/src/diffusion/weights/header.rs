//! The header of a safetensors file: eight bytes of length (little-endian), then JSON, then the tensors' bytes.

use std::collections::HashMap;
use std::io::Read;
use std::ops::Range;

use serde::Deserialize;

/// Longest length field plus header that is read, in bytes; the format's own limit for the header is 100 MB.
pub const BYTES_MAX: u64 = 8 + 100_000_000;

/// Types of the format with their size in bytes.
const DTYPES: &[(&str, usize)] = &[
    ("F32", 4),
    ("F16", 2),
    ("BF16", 2),
    ("F64", 8),
    ("I64", 8),
    ("U64", 8),
    ("I32", 4),
    ("U32", 4),
    ("I16", 2),
    ("U16", 2),
    ("I8", 1),
    ("U8", 1),
    ("BOOL", 1),
    ("F8_E4M3", 1),
    ("F8_E5M2", 1),
];

/// A header that is consistent with its file: every tensor lies inside, none overlaps another.
#[derive(Debug)]
pub struct Header {
    pub(super) tensors: HashMap<String, TensorEntry>,
    /// What the writer said about the file.
    pub(super) metadata: HashMap<String, String>,
}

/// Where one tensor lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TensorEntry {
    /// A name of the format, as in its specification.
    pub(super) dtype: &'static str,
    /// Sides of the tensor as it is asked for.
    pub(super) shape: Vec<usize>,
    /// Bytes of the file.
    pub(super) range: Range<usize>,
    /// Which of several files; 0 where there is one.
    pub(super) file: usize,
    /// Whether the bytes are those of the transposed matrix.
    pub(super) is_transposed: bool,
}

impl TensorEntry {
    /// A 1 × 1 convolution as the matrix that it is.
    pub(super) fn without_window(&self) -> Self {
        let mut shape = self.shape.clone();
        while shape.len() > 2 && shape.last() == Some(&1) {
            shape.pop();
        }
        Self { shape, ..self.clone() }
    }

    /// A matrix the other way round.
    pub(super) fn transposed(&self) -> Self {
        match *self.shape.as_slice() {
            [rows, columns] => Self { shape: vec![columns, rows], is_transposed: !self.is_transposed, ..self.clone() },
            _ => self.clone(),
        }
    }

    /// The first, second and last third of the rows, where they can be counted so.
    pub(super) fn thirds(&self) -> impl Iterator<Item = Self> {
        let rows = self.shape.first().filter(|rows| rows.is_multiple_of(3)).map(|rows| rows / 3);
        let bytes = self.range.len() / 3;
        rows.into_iter().flat_map(move |rows| {
            (0..3).map(move |third| {
                let mut shape = self.shape.clone();
                shape[0] = rows;
                let begin = self.range.start + third * bytes;
                Self { shape, range: begin..begin + bytes, ..self.clone() }
            })
        })
    }
}

#[derive(Deserialize)]
struct RawEntry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (usize, usize),
}

impl Header {
    /// Reads the header at the start of a file of `file_bytes` bytes.
    ///
    /// # Errors
    /// The first thing that is wrong, as the end of a sentence.
    pub fn read(mut start: impl Read, file_bytes: u64) -> Result<Self, String> {
        let mut length = [0; 8];
        start.read_exact(&mut length).map_err(|_| format!("it has {file_bytes} bytes, fewer than a header"))?;
        let length = u64::from_le_bytes(length);
        if length > file_bytes - 8 || length > BYTES_MAX - 8 {
            return Err(format!("its header claims {length} bytes, the file has {file_bytes}"));
        }
        let mut json = vec![0; length as usize];
        start.read_exact(&mut json).map_err(|error| format!("its header cannot be read: {error}"))?;
        let mut raw: HashMap<String, serde_json::Value> =
            serde_json::from_slice(&json).map_err(|error| format!("its header is not JSON: {error}"))?;
        let metadata = match raw.remove("__metadata__") {
            Some(serde_json::Value::Object(said)) => said,
            _ => serde_json::Map::new(),
        };
        let metadata =
            metadata.into_iter().filter_map(|(key, value)| Some((key, value.as_str()?.to_owned()))).collect();

        let file_bytes = usize::try_from(file_bytes).map_err(|_| "it is larger than memory can be".to_owned())?;
        let data = 8 + json.len()..file_bytes;
        let mut tensors = HashMap::with_capacity(raw.len());
        for (name, value) in raw {
            let entry = check(&name, value, data.start)?;
            tensors.insert(name, entry);
        }
        check_layout(&tensors, &data)?;
        Ok(Self { tensors, metadata })
    }
}

fn check(name: &str, value: serde_json::Value, data_start: usize) -> Result<TensorEntry, String> {
    let raw: RawEntry = serde_json::from_value(value).map_err(|error| format!("tensor {name}: {error}"))?;
    let (dtype, size) = *DTYPES
        .iter()
        .find(|(dtype, _)| *dtype == raw.dtype)
        .ok_or_else(|| format!("tensor {name} has the unknown dtype {:?}", raw.dtype))?;
    let (begin, end) = raw.data_offsets;
    let bytes = raw.shape.iter().try_fold(size, |bytes, &side| bytes.checked_mul(side));
    if begin > end || bytes != Some(end - begin) {
        return Err(format!("tensor {name} of dtype {dtype} and shape {:?} has bytes {begin}..{end}", raw.shape));
    }
    let place = |offset: usize| {
        data_start.checked_add(offset).ok_or_else(|| format!("tensor {name} ends outside the address space"))
    };
    let range = place(begin)?..place(end)?;
    Ok(TensorEntry { dtype, shape: raw.shape, range, file: 0, is_transposed: false })
}

/// The tensors follow one another from the header to the end of the file, as the format demands.
fn check_layout(tensors: &HashMap<String, TensorEntry>, data: &Range<usize>) -> Result<(), String> {
    let mut by_place: Vec<_> = tensors.iter().collect();
    by_place.sort_by_key(|(_, entry)| (entry.range.start, entry.range.end));
    let mut end = data.start;
    for (name, entry) in by_place {
        if entry.range.start != end {
            return Err(format!(
                "tensor {name} begins at byte {}, and the one before ends at {end}",
                entry.range.start
            ));
        }
        end = entry.range.end;
        if end > data.end {
            return Err(format!("tensor {name} ends at byte {end}, and the file has {}: it is cut off", data.end));
        }
    }
    if end != data.end {
        return Err(format!("its tensors end at byte {end}, and the file has {}", data.end));
    }
    Ok(())
}
