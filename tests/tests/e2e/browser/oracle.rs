//! What the preview canvas shows is what plain Rust computes.

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sd_protocol::binary::PreviewPosition;
use sd_protocol::{PreviewBasis, PreviewDtype, PreviewFrame};
use sd_tests::browser::{Browser, Graphics};
use sd_tests::worker::Worker;
use sd_web_client::preview::oracle::{self, Drawn};
use sd_web_client::preview::taesd::{self, Decoder};
use serde_json::{Map, Value, json};

/// Most that a channel of a pixel may differ, of 255: a GPU rounds its own way.
const TOLERANCE: u8 = 2;

const DRAW: &str = "
    const { PreviewCanvas } = await import('/pkg/index.js');
    const [frame, basis, backend, decoder] = parameters;
    const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const canvas = document.createElement('canvas');
    const preview = await PreviewCanvas.create(canvas, { backend });
    if (decoder) await preview.setDecoder(bytes(decoder), 'always');
    preview.draw({ frame: bytes(frame), basis: JSON.parse(basis) });
    const { data, width, height } = preview.readPixels();
    let text = '';
    for (const byte of data) text += String.fromCharCode(byte);
    const answer = { backend: preview.backend, drawn: preview.drawn, width, height, pixels: btoa(text) };
    preview.close();
    return answer;
";

#[tokio::test]
async fn the_webgpu_canvas_equals_the_oracle() -> Result<()> {
    check(Graphics::WebGpu).await
}

#[tokio::test]
async fn the_2d_canvas_equals_the_oracle() -> Result<()> {
    check(Graphics::Canvas2d).await
}

async fn check(graphics: Graphics) -> Result<()> {
    let worker = Worker::start().await?;
    let browser = Browser::start(graphics).await?;
    open(&browser, &worker, graphics).await?;
    // Sizes around a row's alignment on a GPU, fewer and more channels than a texel has, both number formats.
    for (width, height, channels) in [(32, 32, 4), (1, 1, 4), (17, 9, 3), (40, 24, 16), (64, 128, 4)] {
        for dtype in [PreviewDtype::F16, PreviewDtype::U8] {
            let name = format!("{width}×{height}×{channels} {dtype:?}");
            let (frame, basis) = example(width, height, channels, dtype);
            compare(&browser, graphics, &frame, &basis).await.context(name)?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_webgpu_canvas_decodes_as_the_oracle() -> Result<()> {
    let worker = Worker::start().await?;
    let browser = Browser::start(Graphics::WebGpu).await?;
    open(&browser, &worker, Graphics::WebGpu).await?;
    // Of an even and an odd number of groups of channels, with and without blocks, and with latents that the wire pads.
    for (channels, blocks, latent_channels) in [(16, &[1, 1, 1, 1][..], 4), (12, &[1, 0], 3)] {
        let file = decoder_file(channels, blocks, latent_channels);
        let decoder = Decoder::read(&file)?;
        for (width, height, dtype) in [(8, 8, PreviewDtype::F16), (17, 5, PreviewDtype::U8)] {
            let name = format!("{channels} channels, {width}×{height} {dtype:?}");
            let (frame, basis) = example(width, height, latent_channels, dtype);
            let expected = taesd::oracle::draw(&frame, &decoder)?;
            let drawn = draw(&browser, Graphics::WebGpu, &frame, &basis, Some(&file)).await.context(name)?;
            assert_eq!(drawn.0, "decoder");
            assert_same(&drawn.1, &expected);
        }
    }
    Ok(())
}

/// Opens the page, whose module is used, and lets it have its own canvas first.
async fn open(browser: &Browser, worker: &Worker, graphics: Graphics) -> Result<()> {
    browser.open(&worker.url()).await?;
    browser.element(&format!("#preview[data-backend={}]", graphics.backend())).await?;
    Ok(())
}

async fn compare(browser: &Browser, graphics: Graphics, frame: &[u8], basis: &PreviewBasis) -> Result<()> {
    let drawn = draw(browser, graphics, frame, basis, None).await?;
    assert_eq!(drawn.0, "linear");
    assert_same(&drawn.1, &oracle::draw(frame, basis)?);
    Ok(())
}

#[track_caller]
fn assert_same(drawn: &Drawn, expected: &Drawn) {
    assert_eq!((drawn.width, drawn.height), (expected.width, expected.height));
    assert_eq!(drawn.rgba.len(), expected.rgba.len());
    let worst = drawn.rgba.iter().zip(&expected.rgba).map(|(found, expected)| found.abs_diff(*expected)).max();
    assert!(worst.is_some_and(|worst| worst <= TOLERANCE), "differs by {worst:?}/255");
}

/// What a canvas of the browser shows of a frame, and what it says that it was drawn with.
async fn draw(
    browser: &Browser,
    graphics: Graphics,
    frame: &[u8],
    basis: &PreviewBasis,
    decoder: Option<&[u8]>,
) -> Result<(String, Drawn)> {
    let parameters = vec![
        BASE64_STANDARD.encode(frame).into(),
        serde_json::to_string(basis)?.into(),
        graphics.backend().into(),
        decoder.map(|file| BASE64_STANDARD.encode(file)).into(),
    ];
    let drawn = browser.evaluate_async(DRAW, parameters).await?;
    assert_eq!(drawn["backend"], graphics.backend());
    let side = |name: &str| drawn[name].as_u64().context("a side is a number")?.try_into().context("a side in px");
    let (width, height) = (side("width")?, side("height")?);
    let rgba = BASE64_STANDARD.decode(drawn["pixels"].as_str().context("pixels are base64")?)?;
    Ok((drawn["drawn"].as_str().context("a name")?.to_owned(), Drawn { width, height, rgba }))
}

/// A decoder of random weights, f32, as `GET /v1/models/{name}/preview-decoder` answers.
fn decoder_file(channels: usize, blocks: &[usize], latent_channels: usize) -> Vec<u8> {
    let config = json!({
        "decoder_block_out_channels": vec![channels; blocks.len()],
        "num_decoder_blocks": blocks,
        "latent_channels": latent_channels,
    });
    let mut random = random();
    let mut header = Map::from_iter([("__metadata__".to_owned(), json!({ "config": config.to_string() }))]);
    let mut numbers = Vec::new();
    let mut tensor = |name: String, sides: &[usize], bound: f32, middle: f32| {
        let from = numbers.len();
        for _ in 0..sides.iter().product() {
            numbers.extend((random() * bound + middle).to_le_bytes());
        }
        let entry = json!({ "dtype": "F32", "shape": sides, "data_offsets": [from, numbers.len()] });
        header.insert(format!("decoder.layers.{name}"), entry);
    };
    let mut convolution = |layer: String, inputs: usize, outputs: usize, is_last: bool| {
        let bound = (1.0 / (inputs * 9) as f32).sqrt();
        tensor(format!("{layer}.weight"), &[outputs, inputs, 3, 3], bound, 0.0);
        tensor(format!("{layer}.bias"), &[outputs], 0.1, if is_last { 0.5 } else { 0.0 });
    };
    convolution("0".to_owned(), latent_channels, channels, false);
    let mut layer = 2;
    for (level, &blocks_here) in blocks.iter().enumerate() {
        let is_last = level + 1 == blocks.len();
        for _ in 0..blocks_here {
            for part in [0, 2, 4] {
                convolution(format!("{layer}.conv.{part}"), channels, channels, false);
            }
            layer += 1;
        }
        layer += usize::from(!is_last);
        convolution(layer.to_string(), channels, if is_last { 3 } else { channels }, is_last);
        layer += 1;
    }
    let header = Value::Object(header).to_string();
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &numbers].concat()
}

/// Numbers in [-1, 1].
fn random() -> impl FnMut() -> f32 {
    let mut state = 0x9e37_79b9_u32;
    move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as f32 / u32::MAX as f32 * 2.0 - 1.0
    }
}

/// A latent with edges, slopes and values beyond the displayed range, and a basis that mixes all channels.
fn example(width: u16, height: u16, channels: usize, dtype: PreviewDtype) -> (Vec<u8>, PreviewBasis) {
    let mut random = random();
    let latent: Vec<f32> = (0..usize::from(width) * usize::from(height) * channels).map(|_| random() * 2.0).collect();
    let rows = (0..channels).map(|_| [random() * 0.3, random() * 0.3, random() * 0.3]).collect();
    let position = PreviewPosition { step: 3, steps: 20, batch_index: 0, batch_size: 1 };
    let frame = PreviewFrame::pack(position, width, height, &latent, dtype).encode(1);
    (frame, PreviewBasis { rows, bias: [0.5, 0.45, 0.4] })
}
