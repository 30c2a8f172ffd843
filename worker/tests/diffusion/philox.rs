use sd_worker::diffusion::noise::CudaGenerator;
use sd_worker::diffusion::noise::philox::philox4x32;

/// Torch prints four decimals.
const PRINTED_DIFFERENCE_MAX: f32 = 0.000_05 + 1e-6;

fn check(found: &[f32], printed: &[f32]) {
    assert_eq!(found.len(), printed.len());
    for (at, (found, printed)) in found.iter().zip(printed).enumerate() {
        assert!((found - printed).abs() <= PRINTED_DIFFERENCE_MAX, "number {at}: {found}, torch says {printed}");
    }
}

#[test]
fn has_the_known_answers_of_random123() {
    assert_eq!(philox4x32([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
    let ones = u32::MAX;
    assert_eq!(philox4x32([ones; 4], [ones; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
    // The digits of π.
    let counter = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
    let expected = [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1];
    assert_eq!(philox4x32(counter, [0xa409_3822, 0x299f_31d0]), expected);
}

/// Three `torch.randn(…, device="cuda")` after `torch.manual_seed(0)`, of 80, 10 and 80 numbers, as a published
/// lecture on CUDA kernels printed them from its GPU.
#[test]
fn gives_what_a_gpu_printed_call_after_call() {
    let mut generator = CudaGenerator::new(0);
    check(
        &generator.normals(80),
        &[
            -0.9247, -0.4253, -2.6438, 0.1452, -0.1209, -0.5797, -0.6229, -0.3284, -1.0745, -0.3631, //
            -1.6711, 2.2655, 0.3117, -0.1842, 1.2866, 1.1820, -0.1271, 1.2169, 1.4353, 1.0605, //
            -0.4941, -1.4244, -0.7244, -1.2973, 0.0697, -0.0074, 1.8969, 0.6878, -0.0779, -0.8373, //
            1.3506, -0.2879, -0.5965, -0.3283, -0.9086, -0.8059, -0.7407, -0.0504, 0.5435, 1.5150, //
            0.0141, 0.4532, 1.6349, 0.7124, -0.1806, 1.0252, -1.4622, -0.7554, -0.1836, 0.3824, //
            0.3918, -0.0830, 0.8971, -1.1123, 0.1116, 0.4863, -0.5499, -0.3231, -0.5469, 0.9049, //
            0.2837, 0.1210, 0.4730, -1.0823, -0.0334, -0.9734, 0.9559, -1.1795, -1.0064, 0.1160, //
            0.6852, -0.4124, -0.6738, -0.5404, 0.6898, -1.5517, 0.3805, -0.0436, 0.3597, -0.5043,
        ],
    );
    check(&generator.normals(10), &[0.1808, -0.5523, 0.9238, -0.7350, 1.3800, 0.8676, 0.1297, -0.9406, 0.8109, 0.8821]);
    check(
        &generator.normals(80)[..20],
        &[
            2.5441, -0.7163, -0.4934, 0.1267, 0.1014, -0.4035, 0.9023, 0.8099, -0.6884, 0.1372, //
            1.0377, 0.0925, -0.3752, -0.0908, 2.0639, -1.8164, -0.2719, 0.2811, -1.0399, 0.7765,
        ],
    );
}

/// `torch.randn([1, 64, 2048], generator=torch.Generator("cuda").manual_seed(42))` as pytorch/pytorch#158398 quotes
/// it: the ends of its first rows. From number 43 008 on, that GPU has wrapped around.
#[test]
fn gives_what_a_gpu_printed_for_a_large_tensor() {
    let numbers = CudaGenerator::new(42).normals(64 * 2048);
    for (row, first, last) in [
        (0, [0.1940, 2.1614, -0.1721], [1.4540, -2.7733, -0.8932]),
        (1, [-0.4574, 0.8063, 0.1580], [0.1124, 0.2769, -1.2535]),
        (2, [1.1346, -0.6329, -0.9147], [-1.0001, -1.1552, -0.6955]),
    ] {
        let row = &numbers[row * 2048..(row + 1) * 2048];
        check(&row[..3], &first);
        check(&row[2045..], &last);
    }
}

#[test]
fn reads_all_bits_of_a_seed() {
    let draw = |seed| CudaGenerator::new(seed).normals(4);
    assert_ne!(draw(5), draw(5 + (1 << 32)));
}
