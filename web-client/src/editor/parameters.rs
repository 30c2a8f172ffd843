//! What a PNG says of how it was made: our request, or the text of A1111's web UI.

use sd_protocol::{Catalogue, JobRequest, LoraRequest};

use crate::decimal;

/// What every PNG begins with.
const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
/// Where our files keep the request.
const REQUEST_KEY: &[u8] = b"sd-worker";
/// Where files keep the text of A1111.
const INFOTEXT_KEY: &[u8] = b"parameters";

/// How a picture was made. Names of the infotext are labels, which only a catalogue can read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Imported {
    request: JobRequest,
    sampler: Option<String>,
    spacing: Option<String>,
}

impl Imported {
    /// What the text chunks of a PNG say; `None` when it is another file or says nothing.
    pub fn read(file: &[u8]) -> Option<Self> {
        let texts: Vec<_> = chunks(file)?.filter_map(text).collect();
        let find = |key| texts.iter().find(|(found, _)| *found == key).map(|(_, text)| text.as_str());
        find(REQUEST_KEY).and_then(from_json).or_else(|| find(INFOTEXT_KEY).and_then(from_infotext))
    }

    /// The request, as far as a worker with this catalogue can follow it. What it does not have is left out, so that
    /// the form keeps its own.
    pub fn request(&self, catalogue: &Catalogue) -> JobRequest {
        let mut request = self.request.clone();
        request.model = request.model.filter(|name| catalogue.models.iter().any(|model| model.name == *name));
        let has_lora = |lora: &LoraRequest| catalogue.loras.contains(&lora.name);
        request.loras = request.loras.map(|loras| loras.into_iter().filter(has_lora).collect());
        if let Some(label) = &self.sampler {
            // Before it had a menu of its own, A1111 wrote the spacing behind the sampler: "DPM++ 2M Karras".
            let label = label.to_ascii_lowercase();
            let found =
                catalogue.schedulers.iter().filter(|entry| label.starts_with(&entry.label.to_ascii_lowercase()));
            if let Some(found) = found.max_by_key(|entry| entry.label.len()) {
                let spacing = self.spacing.as_deref().unwrap_or(label[found.label.len()..].trim());
                let sigmas = catalogue.sigmas_of(&found.name).find(|entry| entry.label.eq_ignore_ascii_case(spacing));
                request.sigmas = sigmas.or(catalogue.sigmas_of(&found.name).next()).map(|entry| entry.name.clone());
                request.scheduler = Some(found.name.clone());
            }
        }
        request
    }
}

/// Type and content of each chunk that is there whole.
fn chunks(file: &[u8]) -> Option<impl Iterator<Item = (&[u8], &[u8])>> {
    let mut rest = file.strip_prefix(SIGNATURE)?;
    Some(std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (kind, after) = after.split_first_chunk::<4>()?;
        let (content, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        // Behind the content lies its checksum.
        rest = after.get(4..)?;
        Some((kind.as_slice(), content))
    }))
}

/// Key and text of a text chunk. Compressed ones are passed over: neither we nor A1111 write them.
fn text<'a>((kind, content): (&'a [u8], &'a [u8])) -> Option<(&'a [u8], String)> {
    let (key, rest) = content.split_at_checked(content.iter().position(|&byte| byte == 0)?)?;
    match kind {
        // Latin-1, whose bytes are the first 256 letters of Unicode.
        b"tEXt" => Some((key, rest[1..].iter().map(|&byte| char::from(byte)).collect())),
        b"iTXt" => {
            // Flag of compression, method of compression, language, translated key.
            let rest = rest.get(1..)?.strip_prefix(&[0])?.get(1..)?;
            let text = rest.splitn(3, |&byte| byte == 0).nth(2)?;
            Some((key, std::str::from_utf8(text).ok()?.to_owned()))
        }
        _ => None,
    }
}

fn from_json(text: &str) -> Option<Imported> {
    let mut request: JobRequest = sd_protocol::read(text).ok()?;
    // The pictures it started from lie on the worker that drew it, if anywhere.
    (request.image, request.mask, request.outpaint) = (None, None, None);
    Some(Imported { request, ..Imported::default() })
}

fn from_infotext(text: &str) -> Option<Imported> {
    let (end, separator) = text.match_indices("\nSteps: ").last()?;
    let (prompts, settings) = (&text[..end], &text[end + separator.len()..]);
    let (prompt, negative) = prompts.split_once("\nNegative prompt: ").unwrap_or((prompts, ""));
    let mut imported = Imported::default();
    let mut loras = Vec::new();
    let request = &mut imported.request;
    request.prompt = Some(without_loras(prompt, &mut loras));
    request.negative_prompt = Some(negative.trim().to_owned());
    request.loras = Some(loras);
    let mut rest = settings.lines().next()?;
    let mut name = "Steps";
    loop {
        let (value, after) = value(rest);
        match name {
            "Steps" => request.steps = value.parse().ok(),
            "Sampler" => imported.sampler = Some(value.to_owned()),
            "Schedule type" => imported.spacing = Some(value.to_owned()),
            "CFG scale" => request.guidance_scale = decimal::read(value).map(|scale| scale as f32),
            "Seed" => request.seed = value.parse().ok(),
            "Size" => {
                let size = value.split_once('x').map(|(width, height)| (width.parse().ok(), height.parse().ok()));
                (request.width, request.height) = size.unwrap_or_default();
            }
            "Model" => request.model = Some(value.to_owned()),
            "Denoising strength" => request.strength = decimal::read(value),
            "Mask blur" => request.mask_blur = value.parse().ok(),
            // A1111 counts the last layer as 1, diffusers as 0.
            "Clip skip" => request.clip_skip = value.parse().ok().and_then(|skip: u32| skip.checked_sub(1)),
            _ => {}
        }
        let Some((next, after)) = after.split_once(": ") else { break };
        (name, rest) = (next, after);
    }
    Some(imported)
}

/// The value that `rest` begins with, and what comes behind its comma.
fn value(rest: &str) -> (&str, &str) {
    let mut in_quotes = false;
    let mut is_escaped = false;
    let end = rest.find(|letter: char| {
        let ends = letter == ',' && !in_quotes;
        in_quotes ^= letter == '"' && !is_escaped;
        is_escaped = letter == '\\' && !is_escaped;
        ends
    });
    let (value, after) = rest.split_at(end.unwrap_or(rest.len()));
    (value.trim().trim_matches('"'), after.trim_start_matches(',').trim_start())
}

/// The prompt without its `<lora:name:weight>`, which become requests of their own.
fn without_loras(prompt: &str, loras: &mut Vec<LoraRequest>) -> String {
    let mut pieces = prompt.split("<lora:");
    let mut kept = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (tag, after) = piece.split_once('>').unwrap_or((piece, ""));
        let (name, weight) = tag.split_once(':').unwrap_or((tag, "1"));
        loras.push(LoraRequest {
            name: name.to_owned(),
            weight: decimal::read(weight).map_or(1.0, |weight| weight as f32),
        });
        kept += after;
    }
    kept.trim().to_owned()
}
