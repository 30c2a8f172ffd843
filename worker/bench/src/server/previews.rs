//! C7: how soon the first preview comes, and what previews of every step cost.

use std::time::Instant;

use sd_tests::socket::{Incoming, Socket};
use sd_tests::worker::Worker;

use super::Quantity;
use super::host::{self, Model, Wish};
use crate::cases::Dtype;
use crate::engines::OURS;
use crate::networks::outcome::ms;
use crate::setting::Setting;

/// Measures both.
pub(super) async fn run(setting: &Setting) -> anyhow::Result<Vec<Quantity>> {
    let mut quantities = first(setting).await?;
    quantities.extend(cost(setting).await?);
    Ok(quantities)
}

/// Time to the first preview of a guided job, beside the text encoder and one evaluation in the worker itself.
async fn first(setting: &Setting) -> anyhow::Result<Vec<Quantity>> {
    let (model, size) = if setting.quick { (Model::Builtin, 256) } else { (Model::Sd15, 512) };
    let worker = host::start(model, Dtype::Fp32, setting.threads, &[], setting).await?;
    let guided = Wish { model, size, steps: 2, guidance_scale: 7.5 };
    let single = Wish { guidance_scale: 1.0, steps: 1, ..guided };
    let (mut previews, mut evaluations) = (Vec::new(), Vec::new());
    for number in 0..=5 {
        let drawn = host::draw(&worker, &single.job(2 * number, "none")).await?;
        let preview = first_preview(&worker, guided, 2 * number + 1).await?;
        // The first of each warms up.
        if number > 0 {
            evaluations.push(drawn.compute_ms()? - drawn.view.timings.map_or(0.0, |timings| timings.decode_ms));
            previews.push(preview);
        }
    }
    let what = format!("{}, {size} px", model.title());
    Ok(vec![
        Quantity::new("C7", format!("first preview, {what}"), OURS, "ms", previews),
        Quantity::new("C7", format!("text encoder and one evaluation, {what}"), OURS, "ms", evaluations),
    ])
}

/// Milliseconds from the request to the first preview.
async fn first_preview(worker: &Worker, wish: Wish, number: usize) -> anyhow::Result<f64> {
    let mut socket = Socket::greet(worker).await?;
    let start = Instant::now();
    let job = socket.submit(1, &wish.job(number, "latent")).await?;
    let seen = socket.take("a preview", |incoming| matches!(incoming, Incoming::Preview(_)).then(Instant::now)).await?;
    socket.log(&job.view.id).await?;
    Ok(ms(seen - start))
}

/// Time of all steps with a preview of every one, beside the same without, in turns.
async fn cost(setting: &Setting) -> anyhow::Result<Vec<Quantity>> {
    let wish = Wish { model: Model::Builtin, size: 256, steps: 20, guidance_scale: 7.5 };
    let worker = host::start(wish.model, Dtype::Fp32, setting.threads, &[], setting).await?;
    let mut socket = Socket::greet(&worker).await?;
    let repeats = if setting.quick { 3 } else { 10 };
    let (mut on, mut off) = (Vec::new(), Vec::new());
    for number in 0..=repeats {
        for (preview, times) in [("latent", &mut on), ("none", &mut off)] {
            let job = socket.submit(number as u32, &wish.job(number, preview)).await?;
            socket.log(&job.view.id).await?;
            let view = worker.api().view(job.view.id.as_str()).await?;
            if let Some(timings) = view.timings.filter(|_| number > 0) {
                times.push(timings.denoise_ms);
            }
        }
    }
    let extra = on.iter().zip(&off).map(|(on, off)| 100.0 * (on / off - 1.0)).collect();
    let what = "built-in model, 256 px, 20 steps";
    Ok(vec![
        Quantity::new("C7", format!("steps with previews, {what}"), OURS, "ms", on),
        Quantity::new("C7", format!("steps without previews, {what}"), OURS, "ms", off),
        Quantity::new("C7", format!("what previews add, pair by pair, {what}"), OURS, "%", extra),
    ])
}
