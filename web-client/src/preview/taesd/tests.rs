use serde_json::json;

use super::plan::{Plan, SLOT_NUMBERS, Step};
use super::{Decoder, DecoderError, Precision, Shape, examples, oracle};

#[test]
fn the_oracle_draws_what_diffusers_draws() {
    for example in examples::all() {
        let drawn = oracle::draw(&example.frame, &example.decoder).unwrap();
        assert_eq!(drawn.rgba.len() / 4, example.rgb.len() / 3, "{}", example.name);
        let pixels = drawn.rgba.as_chunks::<4>().0.iter().flat_map(|pixel| &pixel[..3]);
        let worst = pixels.zip(&example.rgb).map(|(drawn, golden)| drawn.abs_diff(*golden)).max();
        println!("{}: {worst:?}/255", example.name);
        assert!(worst <= Some(1), "{}: {worst:?}/255 apart", example.name);
    }
}

const CONFIG: &str = r#"{"decoder_block_out_channels": [8, 8], "num_decoder_blocks": [1, 0]}"#;

/// Reads the file of [`CONFIG`] with one byte string in place of another.
#[track_caller]
fn check(from: &str, to: &str, expect: &DecoderError) {
    assert_eq!(from.len(), to.len(), "the length of the header stands before it");
    let file = examples::file(CONFIG);
    let at = file.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
    let mut changed = file.clone();
    changed[at..at + to.len()].copy_from_slice(to.as_bytes());
    assert_eq!(Decoder::read(&changed).as_ref(), Err(expect));
}

#[test]
fn what_is_no_decoder_is_refused_with_a_name() {
    assert!(Decoder::read(&examples::file(CONFIG)).is_ok());
    check(
        "layers.2.conv.4.bias",
        "layers.2.conv.5.bias",
        &DecoderError::Missing("decoder.layers.2.conv.4.bias".into()),
    );
    check("__metadata__", "__no_thing__", &DecoderError::NoConfig);
    let (name, found) = ("decoder.layers.0.bias".to_owned(), "I16".to_owned());
    check(r#""F16""#, r#""I16""#, &DecoderError::Dtype { name: name.clone(), found });
    check("\"shape\":[8]", "\"shape\":[9]", &DecoderError::Sides { name, found: vec![9], expected: vec![8] });

    let file = examples::file(CONFIG);
    for end in [0, 7, 8, 100, file.len() - 1] {
        assert_eq!(Decoder::read(&file[..end]), Err(DecoderError::NoFile), "cut off at {end}");
    }
    let too_large = vec![0; super::FILE_BYTES_MAX + 1];
    assert_eq!(Decoder::read(&too_large), Err(DecoderError::TooLarge(too_large.len())));
}

#[test]
fn configurations_that_are_not_computed_are_refused() {
    let refused = |config: serde_json::Value| match Shape::parse(&config.to_string()) {
        Err(DecoderError::Config { key, .. }) => key,
        other => panic!("{config}: {other:?}"),
    };
    for (key, value) in [
        ("act_fn", json!("silu")),
        ("out_channels", json!(4)),
        ("upsample_fn", json!("bilinear")),
        ("upsampling_scaling_factor", json!(3)),
        ("scaling_factor", json!(0.5)),
        ("shift_factor", json!(0.1)),
        ("latent_channels", json!(0)),
        ("latent_channels", json!(65)),
        ("latent_channels", json!("4")),
        ("decoder_block_out_channels", json!([])),
        ("decoder_block_out_channels", json!([64, 64, 64, 32])),
        ("decoder_block_out_channels", json!([6, 6, 6, 6])),
        ("decoder_block_out_channels", json!([512, 512, 512, 512])),
        ("decoder_block_out_channels", json!([4, 4, 4, 4, 4, 4, 4])),
        ("num_decoder_blocks", json!([3, 3, 3])),
        ("num_decoder_blocks", json!([3, 3, 3, 17])),
    ] {
        assert_eq!(refused(json!({ key: value })), key, "{value}");
    }
    assert_eq!(Shape::parse("[]"), Err(DecoderError::NoConfig));
    let taesd = Shape { latent_channels: 4, channels: 64, blocks: vec![3, 3, 3, 1] };
    assert_eq!(Shape::parse(r#"{"scaling_factor": 1.0, "latent_magnitude": 3}"#), Ok(taesd));
}

#[test]
fn large_pictures_are_drawn_in_bands_that_cover_them() {
    let taesd = Shape { latent_channels: 4, channels: 64, blocks: vec![3, 3, 3, 1] };
    for (cells, bands) in [(32, 1), (64, 5), (128, 5)] {
        let plan = Plan::new(&taesd, cells, cells, SLOT_NUMBERS);
        let shown = plan.passes.iter().filter_map(|pass| match pass.step {
            Step::Show { first, rows } => Some((first, rows)),
            _ => None,
        });
        let shown: Vec<_> = shown.collect();
        assert_eq!(shown.len(), bands, "{cells} cells");
        let end = shown.iter().fold(0, |end, (first, rows)| {
            assert_eq!(*first, end);
            end + rows
        });
        assert_eq!(end, plan.height);
        let level_before = 64 * (plan.width * plan.height) as usize / 4;
        assert!(plan.slots.iter().all(|&numbers| numbers <= SLOT_NUMBERS.max(level_before)), "{:?}", plan.slots);
        assert!(plan.slot_bytes_max(Precision::F32) <= 128 << 20, "WebGPU's default limit of a binding");
    }
}
