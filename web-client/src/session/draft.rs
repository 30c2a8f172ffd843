//! The form as text, from which a request is made.
//!
//! A draft refuses what cannot be written as a number, and numbers beyond the worker's bounds. All else is the worker's
//! business, which reports every fault at once.

use std::fmt::Display;

use sd_protocol::limits::LORAS_MAX;
use sd_protocol::{
    Catalogue, ImageFormat, InpaintArea, InpaintFill, InpaintRequest, JobRequest, Limits, LoraRequest, ModelDefaults,
    ModelEntry, OutputOptions, RefinerRequest,
};
use serde::Serialize;
use serde_json::{Map, Value};

use super::field::{Expected, Field, Misread};
use super::size::nearest;
use crate::decimal;

/// The name under which LoRAs are kept.
const LORAS: &str = "loras";
/// Where a refiner takes over unless told otherwise.
const SWITCH_AT: f64 = 0.8;

/// What fields say that no model has a word on; of a picture, what A1111's web UI begins with.
const ALWAYS: [(Field, f64); 4] =
    [(Field::BatchSize, 1.0), (Field::SwitchAt, SWITCH_AT), (Field::Strength, 0.75), (Field::MaskBlur, 4.0)];
const AREAS: [(&str, InpaintArea); 2] = [("whole", InpaintArea::Whole), ("masked", InpaintArea::Masked)];
const FILLS: [(&str, InpaintFill); 3] =
    [("original", InpaintFill::Original), ("noise", InpaintFill::Noise), ("blank", InpaintFill::Blank)];

/// The form as text. A field that is empty is left to the worker's default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draft {
    /// In the order of the fields.
    fields: Vec<(Field, String)>,
    loras: Vec<Lora>,
}

/// A LoRA of the form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lora {
    /// A name from the catalogue.
    pub name: String,
    /// As it was written.
    pub weight: String,
}

impl Draft {
    /// What a field says.
    pub fn get(&self, field: Field) -> &str {
        match field {
            Field::LoraWeight(at) => self.loras.get(usize::from(at)).map_or("", |lora| &lora.weight),
            _ => self.place(field).map_or("", |at| &self.fields[at].1),
        }
    }

    /// Writes a field.
    pub fn set(&mut self, field: Field, text: impl Into<String>) {
        match field {
            Field::LoraWeight(at) => {
                if let Some(lora) = self.loras.get_mut(usize::from(at)) {
                    lora.weight = text.into();
                }
            }
            _ => match self.place(field) {
                Ok(at) => self.fields[at].1 = text.into(),
                Err(at) => self.fields.insert(at, (field, text.into())),
            },
        }
    }

    /// Where a field is, or would be.
    fn place(&self, field: Field) -> Result<usize, usize> {
        self.fields.binary_search_by_key(&field, |(field, _)| *field)
    }

    /// The LoRAs, in the order in which they were added.
    pub fn loras(&self) -> &[Lora] {
        &self.loras
    }

    /// Adds a LoRA as it was trained, unless it is there or there are as many as a job may have.
    pub fn add_lora(&mut self, name: impl Into<String>) {
        let name = name.into();
        if self.loras.len() < LORAS_MAX && !self.loras.iter().any(|lora| lora.name == name) {
            self.loras.push(Lora { name, weight: "1".to_owned() });
        }
    }

    /// Takes a LoRA out.
    pub fn remove_lora(&mut self, name: &str) {
        self.loras.retain(|lora| lora.name != name);
    }

    /// The chosen model, or the default one.
    pub fn model<'a>(&self, catalogue: &'a Catalogue) -> Option<&'a ModelEntry> {
        let chosen = catalogue.models.iter().find(|model| model.name == self.get(Field::Model));
        chosen.or(catalogue.models.first())
    }

    /// The models that can end what the chosen one begins.
    pub fn refiners<'a>(&self, catalogue: &'a Catalogue) -> impl Iterator<Item = &'a ModelEntry> + use<'a> {
        let base = self.model(catalogue);
        catalogue.models.iter().filter(move |model| {
            base.is_some_and(|base| {
                let space = |model: &ModelEntry| (model.latent_channels, model.latent_scale);
                model.name != base.name && space(model) == space(base)
            })
        })
    }

    /// Writes the name of something in the catalogue. Another model brings its own defaults; what does not go with
    /// another scheduler gives way.
    pub fn choose(&mut self, field: Field, name: impl Into<String>, catalogue: &Catalogue) {
        self.set(field, name);
        if let (Field::Model, Some(model)) = (field, self.model(catalogue)) {
            for (field, default) in defaults(model) {
                self.set(field, default);
            }
        }
        self.settle(catalogue);
    }

    /// Fills in what is empty, and what names something that this worker does not have.
    pub fn settle(&mut self, catalogue: &Catalogue) {
        let Some(model) = self.model(catalogue) else { return };
        let same_model = self.get(Field::Model) == model.name;
        let stale = |draft: &Self, field| match field {
            Field::Scheduler => !catalogue.schedulers.iter().any(|entry| entry.name == draft.get(field)),
            // The spacing of another model or scheduler may not go with this one.
            Field::Sigmas => {
                !catalogue.sigmas_of(draft.get(Field::Scheduler)).any(|entry| entry.name == draft.get(field))
            }
            _ => draft.get(field).is_empty(),
        };
        for (field, default) in defaults(model) {
            if !same_model || stale(self, field) {
                self.set(field, default);
            }
        }
        if !self.refiners(catalogue).any(|model| model.name == self.get(Field::Refiner)) {
            self.set(Field::Refiner, "");
        }
        self.loras.retain(|lora| catalogue.loras.contains(&lora.name));
        for (field, default) in ALWAYS {
            if self.get(field).is_empty() {
                self.set(field, decimal::write(default));
            }
        }
    }

    /// Leaves only the words and the model, and takes the rest from that model.
    pub fn reset(&mut self, catalogue: &Catalogue) {
        self.fields.retain(|(field, _)| matches!(field, Field::Prompt | Field::NegativePrompt | Field::Model));
        self.loras.clear();
        self.settle(catalogue);
    }

    /// Brings the sides to the nearest whole latent cells.
    pub fn snap(&mut self, limits: &Limits) {
        for field in [Field::Width, Field::Height] {
            if let Ok(Some(px)) = self.number(field) {
                self.set(field, nearest(px, limits).to_string());
            }
        }
    }

    /// Takes back what changed between `before` and `after`.
    pub(super) fn restore(&mut self, before: &Self, after: &Self) {
        for field in Field::ALL {
            if before.get(field) != after.get(field) {
                self.set(field, before.get(field));
            }
        }
        if before.loras != after.loras {
            self.loras.clone_from(&before.loras);
        }
    }

    /// Takes over what another picture was made of. Its seed stays behind unless `with_seed`.
    pub fn fill(&mut self, request: &JobRequest, with_seed: bool) {
        fn text(value: Option<impl Display>) -> Option<String> {
            value.map(|value| value.to_string())
        }
        let refiner = request.refiner.as_ref();
        let output = request.output.unwrap_or_default();
        let inpaint = request.inpaint.unwrap_or_default();
        let values = [
            (Field::Prompt, request.prompt.clone()),
            (Field::Model, request.model.clone()),
            (Field::Width, text(request.width)),
            (Field::Height, text(request.height)),
            (Field::Steps, text(request.steps)),
            (Field::GuidanceScale, request.guidance_scale.map(decimal::write)),
            (Field::Scheduler, request.scheduler.clone()),
            (Field::Sigmas, request.sigmas.clone()),
            (Field::Seed, text(request.seed).filter(|_| with_seed)),
            (Field::BatchSize, text(request.batch_size)),
            // What it does without, the form does without as well.
            (Field::NegativePrompt, Some(request.negative_prompt.clone().unwrap_or_default())),
            (Field::Refiner, Some(refiner.map(|refiner| refiner.model.clone()).unwrap_or_default())),
            (Field::SwitchAt, refiner.map(|refiner| decimal::write(refiner.switch_at))),
            (Field::ClipSkip, Some(optional(request.clip_skip))),
            (Field::GuidanceRescale, Some(optional(request.guidance_rescale))),
            (Field::OutputFormat, Some(output.format.extension().to_owned())),
            (Field::OutputQuality, Some(output.quality.to_string())),
            (Field::Strength, request.strength.map(decimal::write)),
            (Field::MaskBlur, text(request.mask_blur)),
            (Field::InpaintArea, Some(name_of(&AREAS, inpaint.area).to_owned())),
            (Field::InpaintFill, Some(name_of(&FILLS, inpaint.fill).to_owned())),
        ];
        for (field, value) in values {
            if let Some(value) = value {
                self.set(field, value);
            }
        }
        let lora = |lora: &LoraRequest| Lora { name: lora.name.clone(), weight: decimal::write(lora.weight) };
        self.loras = request.loras.iter().flatten().map(lora).collect();
    }

    /// The request that the form describes.
    ///
    /// # Errors
    /// Every field that should hold a number and does not, or one beyond the worker's bounds.
    pub fn request(&self, limits: &Limits) -> Result<JobRequest, Vec<Misread>> {
        let misread = self.misread(limits);
        if !misread.is_empty() {
            return Err(misread);
        }
        let text = |field| Some(self.get(field).trim()).filter(|text| !text.is_empty()).map(str::to_owned);
        let number = |field| self.number(field).ok().flatten();
        let whole = |field| number(field).map(|number| number as u32);
        let lora = |(at, lora): (u8, &Lora)| LoraRequest {
            name: lora.name.clone(),
            weight: number(Field::LoraWeight(at)).unwrap_or(1.0) as f32,
        };
        let loras: Vec<_> = (0..).zip(&self.loras).map(lora).collect();
        let refiner = |model| RefinerRequest { model, switch_at: number(Field::SwitchAt).unwrap_or(SWITCH_AT) };
        let format = ImageFormat::ALL
            .into_iter()
            .find(|format| format.extension() == self.get(Field::OutputFormat) && *format != ImageFormat::default());
        let output = |format| {
            let quality = whole(Field::OutputQuality).and_then(|quality| quality.try_into().ok());
            OutputOptions { format, quality: quality.unwrap_or(OutputOptions::default().quality) }
        };
        let inpaint = InpaintRequest {
            area: value_of(&AREAS, self.get(Field::InpaintArea)),
            fill: value_of(&FILLS, self.get(Field::InpaintFill)),
            ..InpaintRequest::default()
        };
        Ok(JobRequest {
            prompt: Some(self.get(Field::Prompt).to_owned()),
            negative_prompt: text(Field::NegativePrompt),
            model: text(Field::Model),
            width: whole(Field::Width),
            height: whole(Field::Height),
            steps: whole(Field::Steps),
            guidance_scale: number(Field::GuidanceScale).map(|scale| scale as f32),
            seed: number(Field::Seed).map(|seed| seed as u64),
            batch_size: whole(Field::BatchSize),
            scheduler: text(Field::Scheduler),
            sigmas: text(Field::Sigmas),
            clip_skip: whole(Field::ClipSkip),
            guidance_rescale: number(Field::GuidanceRescale).map(|rescale| rescale as f32),
            loras: Some(loras).filter(|loras| !loras.is_empty()),
            refiner: text(Field::Refiner).map(refiner),
            output: format.map(output),
            strength: number(Field::Strength),
            mask_blur: whole(Field::MaskBlur),
            inpaint: Some(inpaint).filter(|inpaint| *inpaint != InpaintRequest::default()),
            ..JobRequest::default()
        })
    }

    /// Every field that should hold a number and does not, or one beyond the worker's bounds.
    pub fn misread(&self, limits: &Limits) -> Vec<Misread> {
        let loras = (0..).zip(&self.loras).map(|(at, _)| Field::LoraWeight(at));
        let numbers = Field::ALL.into_iter().filter(|field| !field.is_text()).chain(loras);
        let check = |field: Field| {
            let expected = match (self.number(field), field.bounds(limits)) {
                (Err(expected), _) => expected,
                (Ok(Some(number)), Some((low, high))) if number < low.into() || number > high.into() => {
                    Expected::Within(low, high)
                }
                _ => return None,
            };
            Some(Misread { field, expected })
        };
        numbers.filter_map(check).collect()
    }

    /// The number in a field; `None` where it is empty.
    fn number(&self, field: Field) -> Result<Option<f64>, Expected> {
        let text = self.get(field).trim();
        if text.is_empty() {
            return Ok(None);
        }
        let number = decimal::read(text);
        if field.is_whole() {
            // No whole number of a request is as large as those that f64 cannot tell apart.
            let whole = number.filter(|number| *number >= 0.0 && number.fract() == 0.0);
            return whole.map(Some).ok_or(Expected::WholeNumber);
        }
        number.map(Some).ok_or(Expected::Number)
    }
}

/// Between visits: one text for each field by its name, and a line for each LoRA with its weight before its name.
impl Draft {
    /// The draft of an earlier visit; what cannot be read is left out.
    pub fn restored(kept: &str) -> Self {
        let mut draft = Self::default();
        let kept = serde_json::from_str::<Value>(kept).unwrap_or_default();
        for (name, text) in kept.as_object().into_iter().flatten() {
            let text = text.as_str().unwrap_or_default();
            if let Some(field) = Field::parse(name) {
                draft.set(field, text);
            } else if name == LORAS {
                let lora = |(weight, name): (&str, &str)| Lora { name: name.to_owned(), weight: weight.to_owned() };
                draft.loras = text.lines().filter_map(|line| line.split_once('\t')).map(lora).collect();
            }
        }
        draft
    }

    /// What the next visit needs.
    pub fn kept(&self) -> String {
        let mut kept = Map::new();
        for (field, text) in &self.fields {
            kept.insert(field.name().to_owned(), text.as_str().into());
        }
        let line = |lora: &Lora| [lora.weight.as_str(), &lora.name].join("\t");
        kept.insert(LORAS.to_owned(), self.loras.iter().map(line).collect::<Vec<_>>().join("\n").into());
        sd_protocol::write(&kept)
    }
}

/// A number as the form shows it, which leaves out what changes nothing.
fn optional(value: Option<impl Serialize + Default + PartialEq>) -> String {
    value.filter(|value| *value != Default::default()).map(decimal::write).unwrap_or_default()
}

fn name_of<T: PartialEq>(table: &[(&'static str, T)], value: T) -> &'static str {
    table.iter().find(|(_, entry)| *entry == value).map_or("", |(name, _)| name)
}

fn value_of<T: Copy + Default>(table: &[(&str, T)], name: &str) -> T {
    table.iter().find(|(entry, _)| *entry == name).map(|(_, value)| *value).unwrap_or_default()
}

fn defaults(model: &ModelEntry) -> [(Field, String); 7] {
    let ModelDefaults { width, height, steps, guidance_scale, scheduler, sigmas } = &model.defaults;
    [
        (Field::Width, width.to_string()),
        (Field::Height, height.to_string()),
        (Field::Steps, steps.to_string()),
        (Field::GuidanceScale, decimal::write(guidance_scale)),
        (Field::Scheduler, scheduler.clone()),
        (Field::Sigmas, sigmas.clone()),
        (Field::Model, model.name.clone()),
    ]
}

#[cfg(test)]
mod tests;
