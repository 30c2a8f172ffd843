//! The parameters of a picture, kept inside its file.

use sd_protocol::{JobRequest, LoraRequest};

use crate::diffusion::schedulers::{self, SigmaSpacing};

/// What it takes to draw a picture again, in the two forms that are written into its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// The text that A1111's web UI writes under `parameters`, and that galleries read: prompt, negative prompt, and
    /// one line of settings.
    pub infotext: String,
    /// The request as JSON, which draws this picture alone when it is submitted.
    pub request: String,
}

impl Parameters {
    /// Those of the picture that `seed` draws in a job, whose request has everything filled in.
    pub fn new(request: &JobRequest, seed: u64) -> Self {
        // What a job is called, who waits for it, and in which file it ends does not change the picture.
        let request = JobRequest {
            id: None,
            seed: Some(seed),
            batch_size: Some(1),
            preview: None,
            output: None,
            lane: None,
            supersede: None,
            on_disconnect: None,
            priority: None,
            ..request.clone()
        };
        let text = serde_json::to_string(&request).expect("a request is a JSON object");
        Self { infotext: infotext(&request), request: text }
    }
}

fn infotext(request: &JobRequest) -> String {
    let mut text = request.prompt.clone().unwrap_or_default();
    for LoraRequest { name, weight } in request.loras.iter().flatten() {
        text.extend([" <lora:", name, ":", &weight.to_string(), ">"]);
    }
    if let Some(negative) = request.negative_prompt.as_deref().filter(|negative| !negative.is_empty()) {
        text += "\nNegative prompt: ";
        text += negative;
    }
    let mut settings = Vec::new();
    let mut add = |name: &str, value: Option<String>| settings.extend(value.map(|value| format!("{name}: {value}")));
    add("Steps", request.steps.map(|steps| steps.to_string()));
    let sampler = request.scheduler.as_deref().and_then(schedulers::find);
    add("Sampler", sampler.map(|sampler| sampler.label.to_owned()));
    let spacing = request.sigmas.as_deref().and_then(SigmaSpacing::find);
    add("Schedule type", spacing.filter(|&spacing| spacing != SigmaSpacing::Default).map(|s| s.label().to_owned()));
    add("CFG scale", request.guidance_scale.map(|scale| scale.to_string()));
    add("Seed", request.seed.map(|seed| seed.to_string()));
    add("Size", request.width.zip(request.height).map(|(width, height)| format!("{width}x{height}")));
    add("Model", request.model.as_deref().map(quoted));
    add("Denoising strength", request.strength.map(|strength| strength.to_string()));
    // A1111 counts the last layer as 1, diffusers as 0.
    add("Clip skip", request.clip_skip.filter(|&skip| skip > 0).map(|skip| (skip + 1).to_string()));
    add("Eta", request.eta.filter(|&eta| eta != 0.0).map(|eta| eta.to_string()));
    let rescale = request.guidance_rescale.filter(|&rescale| rescale != 0.0);
    add("CFG Rescale phi", rescale.map(|rescale| rescale.to_string()));
    add("Mask blur", request.mask_blur.map(|blur| blur.to_string()));
    if let Some(refiner) = &request.refiner {
        add("Refiner", Some(quoted(&refiner.model)));
        add("Refiner switch at", Some(refiner.switch_at.to_string()));
    }
    add("Version", Some(concat!("sd-worker ", env!("CARGO_PKG_VERSION")).to_owned()));
    text.push('\n');
    text += &settings.join(", ");
    text
}

/// A value in the form that A1111 reads back: with quotation marks where it would end the value before its end.
fn quoted(value: &str) -> String {
    let needs_quotes = value.contains([',', '\n', ':']);
    if needs_quotes { serde_json::Value::from(value).to_string() } else { value.to_owned() }
}
