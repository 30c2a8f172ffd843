//! What the preview canvas shows is what plain Rust computes.

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sd_protocol::binary::PreviewPosition;
use sd_protocol::{PreviewBasis, PreviewDtype, PreviewFrame};
use sd_tests::browser::{Browser, Graphics};
use sd_tests::worker::Worker;
use sd_web_client::preview::oracle;
use serde_json::json;

/// Most that a channel of a pixel may differ, of 255: a GPU rounds its own way.
const TOLERANCE: u8 = 2;

const DRAW: &str = "
    const { default: init, PreviewCanvas } = await import('/client.js');
    await init({ module_or_path: '/client_bg.wasm' });
    const [frame, basis, backend] = parameters;
    const canvas = document.createElement('canvas');
    const preview = await PreviewCanvas.create(canvas, basis, backend);
    preview.draw(Uint8Array.from(atob(frame), (letter) => letter.charCodeAt(0)));
    const pixels = await preview.readPixels();
    let text = '';
    for (const byte of pixels) text += String.fromCharCode(byte);
    const answer = { backend: preview.backend, width: canvas.width, height: canvas.height, pixels: btoa(text) };
    preview.free();
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
    browser.open(&worker.url()).await?;
    browser.element("#connection").await?;
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

async fn compare(browser: &Browser, graphics: Graphics, frame: &[u8], basis: &PreviewBasis) -> Result<()> {
    let expected = oracle::draw(frame, basis)?;
    let parameters =
        vec![BASE64_STANDARD.encode(frame).into(), serde_json::to_string(basis)?.into(), graphics.backend().into()];
    let drawn = browser.evaluate_async(DRAW, parameters).await?;
    assert_eq!(drawn["backend"], graphics.backend());
    assert_eq!((&drawn["width"], &drawn["height"]), (&json!(expected.width), &json!(expected.height)));
    let pixels = BASE64_STANDARD.decode(drawn["pixels"].as_str().context("pixels are base64")?)?;
    assert_eq!(pixels.len(), expected.rgba.len());
    let worst = pixels.iter().zip(&expected.rgba).map(|(found, expected)| found.abs_diff(*expected)).max();
    assert!(worst.is_some_and(|worst| worst <= TOLERANCE), "differs by {worst:?}/255");
    Ok(())
}

/// A latent with edges, slopes and values beyond the displayed range, and a basis that mixes all channels.
fn example(width: u16, height: u16, channels: usize, dtype: PreviewDtype) -> (Vec<u8>, PreviewBasis) {
    let mut state = 0x9e37_79b9_u32;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as f32 / u32::MAX as f32 * 2.0 - 1.0
    };
    let latent: Vec<f32> = (0..usize::from(width) * usize::from(height) * channels).map(|_| random() * 2.0).collect();
    let rows = (0..channels).map(|_| [random() * 0.3, random() * 0.3, random() * 0.3]).collect();
    let position = PreviewPosition { step: 3, steps: 20, batch_index: 0, batch_size: 1 };
    let frame = PreviewFrame::pack(position, width, height, &latent, dtype).encode(1);
    (frame, PreviewBasis { rows, bias: [0.5, 0.45, 0.4] })
}
