//! Weights in the order in which products read them: packed, turned, kept in files and read from them.

use half::{bf16, f16};
use sd_kernels::{PackedMatrix, SharedBytes, Stored, WinogradMatrix};

use super::{Tested, numbers};

#[test]
fn turned_weights_are_turned_back_and_added_to() {
    for (columns, channels) in [(1, 1), (33, 300), (5, 40)] {
        let weights = numbers::<f32>(columns * channels * 9, 1);
        let turned = WinogradMatrix::new(&weights, columns, channels);
        let place = |k: usize, n: usize| (n * channels + k % channels) * 9 + k / channels;
        let in_rows = |of: &dyn Fn(usize, usize) -> f32| -> Vec<f32> {
            (0..9 * channels).flat_map(|k| (0..columns).map(move |n| (k, n))).map(|(k, n)| of(k, n)).collect()
        };
        let near = |found: Vec<f32>, expected: Vec<f32>| {
            let furthest = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(found.len() == expected.len() && furthest <= 1e-6, "{furthest:e}");
        };
        near(turned.to_rows(), in_rows(&|k, n| weights[place(k, n)]));
        let delta = numbers::<f32>(columns * channels * 9, 2);
        near(turned.plus(&delta).to_rows(), in_rows(&|k, n| weights[place(k, n)] + delta[k * columns + n]));
    }
}

/// `pieces` one after the other in bytes that are shared, and where in them they begin: at a line of the cache.
fn shared(pieces: &[&[u8]]) -> (SharedBytes, usize) {
    let pieces = pieces.concat();
    let mut bytes = vec![0; 64 + pieces.len() + 63];
    let start = bytes.as_ptr().align_offset(64);
    bytes[start..][..pieces.len()].copy_from_slice(&pieces);
    (std::sync::Arc::new(bytes), start)
}

#[test]
fn weights_are_turned_from_the_bytes_of_a_file_and_read_from_shared_ones() {
    for (columns, channels) in [(1, 1), (33, 300), (5, 40)] {
        let weights = numbers::<f32>(columns * channels * 9, 1);
        let expected = WinogradMatrix::new(&weights, columns, channels);
        let file: Vec<u8> = weights.iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!(WinogradMatrix::of_stored(Stored::F32(&file), columns, channels).bytes(), expected.bytes());
        let (shared, start) = shared(&expected.bytes());
        let of_packed = |start| WinogradMatrix::of_packed(&shared, start, columns, channels);
        assert_eq!(of_packed(start).expect("it begins at a line").bytes(), expected.bytes());
        assert!(of_packed(start + 4).is_none() && of_packed(start + 128).is_none());
    }
}

#[test]
fn numbers_of_a_file_are_the_nearest_of_a_type() {
    // More than a task converts, and not a multiple of it.
    let halves: Vec<f16> = (0..70_001).map(|i| f16::from_bits((i % 0x7c00) as u16)).collect();
    let file: Vec<u8> = halves.iter().flat_map(|x| x.to_le_bytes()).collect();
    let wide: Vec<f32> = halves.iter().map(|x| x.to_f32()).collect();
    assert_eq!(Stored::F16(&file).to_numbers::<f32>(), wide);
    let narrow: Vec<bf16> = wide.iter().map(|&x| bf16::from_f32(x)).collect();
    assert_eq!(Stored::F16(&file).to_numbers::<bf16>(), narrow);
}

#[test]
fn weights_are_packed_from_the_bytes_of_a_file_and_read_from_shared_ones() {
    fn check_stored<N: Tested>(columns: usize, inputs: usize, taps: usize) {
        let depth = inputs * taps;
        // Numbers that every type has.
        let weights: Vec<f32> = (0..columns * depth).map(|i| ((i * 37) % 255) as f32 / 128.0 - 1.0).collect();
        let narrow: Vec<N> = weights.iter().map(|&x| N::from_f32(x)).collect();
        let expected = N::pack(&narrow, columns, depth, taps);
        // A file promises no place where numbers may begin.
        let file =
            |number: &dyn Fn(f32) -> Vec<u8>| [vec![0], weights.iter().flat_map(|&x| number(x)).collect()].concat();
        let f32s = file(&|x| x.to_le_bytes().to_vec());
        let f16s = file(&|x| f16::from_f32(x).to_le_bytes().to_vec());
        let bf16s = file(&|x| bf16::from_f32(x).to_le_bytes().to_vec());
        for stored in [Stored::F32(&f32s[1..]), Stored::F16(&f16s[1..]), Stored::Bf16(&bf16s[1..])] {
            assert_eq!(N::pack_stored(stored, columns, depth, taps).bytes(), expected.bytes());
        }
        let (shared, start) = shared(&[expected.bytes()]);
        let of_packed = |start| PackedMatrix::<N>::of_packed(SharedBytes::clone(&shared), start, columns, depth, taps);
        assert_eq!(of_packed(start).expect("it begins at a line").to_rows(), expected.to_rows());
        assert!(of_packed(start + 4).is_none() && of_packed(start + 128).is_none());
    }
    for (columns, inputs, taps) in [(1, 1, 1), (33, 100, 3), (64, 1, 9), (5, 1000, 1), (81, 513, 1)] {
        check_stored::<f32>(columns, inputs, taps);
        check_stored::<bf16>(columns, inputs, taps);
    }
}

#[test]
fn packing_is_undone_and_added_to() {
    fn check_packing<N: Tested>(columns: usize, inputs: usize, taps: usize) {
        let depth = inputs * taps;
        let weights = numbers::<N>(columns * depth, 1);
        let packed = N::pack(&weights, columns, depth, taps);
        let rows = packed.to_rows();
        let expected: Vec<N> = (0..depth)
            .flat_map(|k| (0..columns).map(move |n| (k, n)))
            .map(|(k, n)| weights[n * depth + k % inputs * taps + k / inputs])
            .collect();
        assert_eq!(rows, expected);
        let delta = numbers::<f32>(columns * depth, 2);
        let sum: Vec<N> = rows.iter().zip(&delta).map(|(a, b)| N::from_f32(a.to_f32() + b)).collect();
        assert_eq!(N::plus(&packed, &delta).to_rows(), sum);
    }
    for (columns, inputs, taps) in [(1, 1, 1), (33, 100, 3), (64, 1, 9), (5, 1000, 1)] {
        check_packing::<f32>(columns, inputs, taps);
        check_packing::<bf16>(columns, inputs, taps);
    }
}
