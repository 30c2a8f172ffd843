//! The form as text, from which a request is made.
//!
//! Whether a number is within bounds is the worker's business, which reports every fault at once; a draft only
//! refuses what cannot be written as a number.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use sd_protocol::{Catalogue, JobRequest, ModelEntry};
use serde::{Deserialize, Serialize};

/// A field of the form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// What to draw.
    Prompt,
    /// What to keep away from.
    NegativePrompt,
    /// A name from the catalogue.
    Model,
    /// px
    Width,
    /// px
    Height,
    /// Denoising steps.
    Steps,
    /// Classifier-free guidance.
    GuidanceScale,
    /// A name from the catalogue.
    Scheduler,
    /// A name from the catalogue.
    Sigmas,
    /// Empty: another one every time.
    Seed,
    /// Pictures.
    BatchSize,
}

impl Field {
    /// Every field, in the order of the form.
    pub const ALL: [Self; 11] = [
        Self::Prompt,
        Self::NegativePrompt,
        Self::Model,
        Self::Width,
        Self::Height,
        Self::Steps,
        Self::GuidanceScale,
        Self::Scheduler,
        Self::Sigmas,
        Self::Seed,
        Self::BatchSize,
    ];

    /// The name in a `JobRequest` and in the details of an error.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prompt => "prompt",
            Self::NegativePrompt => "negative_prompt",
            Self::Model => "model",
            Self::Width => "width",
            Self::Height => "height",
            Self::Steps => "steps",
            Self::GuidanceScale => "guidance_scale",
            Self::Scheduler => "scheduler",
            Self::Sigmas => "sigmas",
            Self::Seed => "seed",
            Self::BatchSize => "batch_size",
        }
    }

    /// The field that an error detail names.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.name() == name)
    }
}

/// What a field should hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// 0, 1, 2 …
    WholeNumber,
    /// 7.5
    Number,
}

/// A field that holds something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misread {
    /// Where.
    pub field: Field,
    /// What it should hold.
    pub expected: Expected,
}

/// The form as text. A field that is empty is left to the worker's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Draft(BTreeMap<Field, String>);

impl Draft {
    /// What a field says.
    pub fn get(&self, field: Field) -> &str {
        self.0.get(&field).map_or("", String::as_str)
    }

    /// Writes a field.
    pub fn set(&mut self, field: Field, text: impl Into<String>) {
        self.0.insert(field, text.into());
    }

    /// The chosen model, or the default one.
    pub fn model<'a>(&self, catalogue: &'a Catalogue) -> Option<&'a ModelEntry> {
        let chosen = catalogue.models.iter().find(|model| model.name == self.get(Field::Model));
        chosen.or(catalogue.models.first())
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
        if self.get(Field::BatchSize).is_empty() {
            self.set(Field::BatchSize, "1");
        }
    }

    /// Takes over what another picture was made of. Its seed stays behind unless `with_seed`.
    pub fn fill(&mut self, request: &JobRequest, with_seed: bool) {
        fn text(value: Option<impl Display>) -> Option<String> {
            value.map(|value| value.to_string())
        }
        let values = [
            (Field::Prompt, request.prompt.clone()),
            (Field::NegativePrompt, request.negative_prompt.clone()),
            (Field::Model, request.model.clone()),
            (Field::Width, text(request.width)),
            (Field::Height, text(request.height)),
            (Field::Steps, text(request.steps)),
            (Field::GuidanceScale, text(request.guidance_scale)),
            (Field::Scheduler, request.scheduler.clone()),
            (Field::Sigmas, request.sigmas.clone()),
            (Field::Seed, text(request.seed).filter(|_| with_seed)),
            (Field::BatchSize, text(request.batch_size)),
        ];
        for (field, value) in values {
            if let Some(value) = value {
                self.set(field, value);
            }
        }
    }

    /// The request that the form describes.
    ///
    /// # Errors
    /// Every field that should hold a number and does not.
    pub fn request(&self) -> Result<JobRequest, Vec<Misread>> {
        let mut misread = Vec::new();
        let mut whole = Reader { draft: self, expected: Expected::WholeNumber, misread: &mut misread };
        let (width, height, steps) = (whole.read(Field::Width), whole.read(Field::Height), whole.read(Field::Steps));
        let (seed, batch_size) = (whole.read(Field::Seed), whole.read(Field::BatchSize));
        let mut real = Reader { draft: self, expected: Expected::Number, misread: &mut misread };
        let guidance_scale = real.read::<f32>(Field::GuidanceScale);
        // `inf` and `NaN` are numbers to Rust but not to JSON.
        if guidance_scale.is_some_and(|scale| !scale.is_finite()) {
            misread.push(Misread { field: Field::GuidanceScale, expected: Expected::Number });
        }
        if !misread.is_empty() {
            return Err(misread);
        }
        let text = |field| Some(self.get(field).trim()).filter(|text| !text.is_empty()).map(str::to_owned);
        Ok(JobRequest {
            prompt: Some(self.get(Field::Prompt).to_owned()),
            negative_prompt: text(Field::NegativePrompt),
            model: text(Field::Model),
            width,
            height,
            steps,
            guidance_scale,
            seed,
            batch_size,
            scheduler: text(Field::Scheduler),
            sigmas: text(Field::Sigmas),
            ..JobRequest::default()
        })
    }
}

struct Reader<'a> {
    draft: &'a Draft,
    expected: Expected,
    misread: &'a mut Vec<Misread>,
}

impl Reader<'_> {
    fn read<T: FromStr>(&mut self, field: Field) -> Option<T> {
        let text = self.draft.get(field).trim();
        if text.is_empty() {
            return None;
        }
        let value = text.parse().ok();
        if value.is_none() {
            self.misread.push(Misread { field, expected: self.expected });
        }
        value
    }
}

fn defaults(model: &ModelEntry) -> [(Field, String); 7] {
    let defaults = &model.defaults;
    [
        (Field::Width, defaults.width.to_string()),
        (Field::Height, defaults.height.to_string()),
        (Field::Steps, defaults.steps.to_string()),
        (Field::GuidanceScale, defaults.guidance_scale.to_string()),
        (Field::Scheduler, defaults.scheduler.clone()),
        (Field::Sigmas, defaults.sigmas.clone()),
        (Field::Model, model.name.clone()),
    ]
}

#[cfg(test)]
mod tests {
    use sd_protocol::{NamedEntry, SchedulerEntry};

    use super::*;
    use crate::session::tests::model;

    fn catalogue() -> Catalogue {
        let spacing = |name: &str| NamedEntry { name: name.into(), label: name.into() };
        let scheduler = |name: &str, sigmas: &[&str]| SchedulerEntry {
            name: name.into(),
            label: name.into(),
            sigmas: sigmas.iter().map(|&sigmas| sigmas.to_owned()).collect(),
        };
        Catalogue {
            models: vec![model("small", 256), model("large", 1024)],
            schedulers: vec![scheduler("euler", &["default", "karras"]), scheduler("ddim", &["default"])],
            sigmas: vec![spacing("default"), spacing("karras")],
            loras: Vec::new(),
            embeddings: Vec::new(),
        }
    }

    #[test]
    fn empty_draft_becomes_the_default_model() {
        let mut draft = Draft::default();
        draft.settle(&catalogue());
        draft.set(Field::Prompt, "a balloon");
        let expected = JobRequest {
            prompt: Some("a balloon".into()),
            model: Some("small".into()),
            width: Some(256),
            height: Some(256),
            steps: Some(25),
            guidance_scale: Some(7.5),
            scheduler: Some("euler".into()),
            sigmas: Some("default".into()),
            batch_size: Some(1),
            ..JobRequest::default()
        };
        assert_eq!(draft.request(), Ok(expected));
    }

    #[test]
    fn settling_keeps_what_is_known_and_replaces_what_is_not() {
        let mut draft = Draft::default();
        draft.settle(&catalogue());
        draft.set(Field::Steps, "9");
        draft.set(Field::Scheduler, "gone");
        draft.settle(&catalogue());
        assert_eq!((draft.get(Field::Steps), draft.get(Field::Scheduler)), ("9", "euler"));
        draft.set(Field::Model, "removed");
        draft.settle(&catalogue());
        assert_eq!((draft.get(Field::Model), draft.get(Field::Steps)), ("small", "25"));
    }

    #[test]
    fn a_choice_brings_what_goes_with_it() {
        let mut draft = Draft::default();
        draft.settle(&catalogue());
        draft.choose(Field::Sigmas, "karras", &catalogue());
        assert_eq!(draft.get(Field::Sigmas), "karras");
        draft.choose(Field::Scheduler, "ddim", &catalogue());
        assert_eq!((draft.get(Field::Scheduler), draft.get(Field::Sigmas)), ("ddim", "default"));
        draft.choose(Field::Model, "large", &catalogue());
        assert_eq!((draft.get(Field::Width), draft.get(Field::Scheduler)), ("1024", "euler"));
    }

    #[test]
    fn every_unreadable_number_is_named() {
        let mut draft = Draft::default();
        draft.set(Field::Width, "wide");
        draft.set(Field::Seed, "-1");
        draft.set(Field::GuidanceScale, "inf");
        let misread = draft.request().unwrap_err();
        let fields: Vec<_> = misread.iter().map(|fault| fault.field).collect();
        assert_eq!(fields, [Field::Width, Field::Seed, Field::GuidanceScale]);
    }

    #[test]
    fn filling_from_a_request_draws_it_again() {
        let mut draft = Draft::default();
        draft.settle(&catalogue());
        draft.set(Field::Prompt, "a balloon");
        draft.set(Field::Seed, "42");
        let request = draft.request().unwrap();
        let mut other = Draft::default();
        other.fill(&request, true);
        assert_eq!(other.request().as_ref(), Ok(&request));
        other.set(Field::Seed, "");
        other.fill(&request, false);
        assert_eq!(other.get(Field::Seed), "");
    }

    #[test]
    fn draft_survives_storage() {
        let mut draft = Draft::default();
        draft.set(Field::GuidanceScale, "7.5");
        let text = serde_json::to_string(&draft).unwrap();
        assert_eq!(text, r#"{"guidance_scale":"7.5"}"#);
        assert_eq!(serde_json::from_str::<Draft>(&text).unwrap(), draft);
        assert_eq!(Field::ALL.map(|field| Field::parse(field.name())), Field::ALL.map(Some));
    }
}
