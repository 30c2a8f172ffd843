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
    let mut other_space = model("other", 512);
    other_space.latent_channels = 16;
    Catalogue {
        models: vec![model("small", 256), model("large", 1024), other_space],
        schedulers: vec![scheduler("euler", &["default", "karras"]), scheduler("ddim", &["default"])],
        sigmas: vec![spacing("default"), spacing("karras")],
        loras: vec!["ink".into(), "oil".into()],
        embeddings: Vec::new(),
    }
}

fn settled() -> Draft {
    let mut draft = Draft::default();
    draft.settle(&catalogue());
    draft
}

fn request(draft: &Draft) -> Result<JobRequest, Vec<Misread>> {
    draft.request(&Limits::default())
}

/// What the form says of `fields` that are filled in so.
fn misread(fields: &[(Field, &str)]) -> Vec<(Field, Expected)> {
    let mut draft = Draft::default();
    draft.add_lora("ink");
    for &(field, text) in fields {
        draft.set(field, text);
    }
    draft.misread(&Limits::default()).into_iter().map(|misread| (misread.field, misread.expected)).collect()
}

#[test]
fn empty_draft_becomes_the_default_model() {
    let mut draft = settled();
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
        strength: Some(0.75),
        mask_blur: Some(4),
        ..JobRequest::default()
    };
    assert_eq!(request(&draft), Ok(expected));
}

#[test]
fn settling_keeps_what_is_known_and_replaces_what_is_not() {
    let mut draft = settled();
    draft.set(Field::Steps, "9");
    draft.set(Field::Scheduler, "gone");
    draft.set(Field::Refiner, "large");
    for name in ["ink", "gone"] {
        draft.add_lora(name);
    }
    draft.settle(&catalogue());
    assert_eq!((draft.get(Field::Steps), draft.get(Field::Scheduler)), ("9", "euler"));
    assert_eq!(draft.get(Field::Refiner), "large");
    assert_eq!(draft.loras(), [Lora { name: "ink".into(), weight: "1".into() }]);
    draft.set(Field::Model, "removed");
    draft.set(Field::Refiner, "removed");
    draft.settle(&catalogue());
    assert_eq!((draft.get(Field::Model), draft.get(Field::Steps)), ("small", "25"));
    assert_eq!(draft.get(Field::Refiner), "");
}

#[test]
fn a_choice_brings_what_goes_with_it() {
    let mut draft = settled();
    draft.choose(Field::Sigmas, "karras", &catalogue());
    assert_eq!(draft.get(Field::Sigmas), "karras");
    draft.choose(Field::Scheduler, "ddim", &catalogue());
    assert_eq!((draft.get(Field::Scheduler), draft.get(Field::Sigmas)), ("ddim", "default"));
    draft.choose(Field::Refiner, "large", &catalogue());
    assert_eq!(draft.get(Field::Refiner), "large");
    draft.choose(Field::Model, "large", &catalogue());
    assert_eq!((draft.get(Field::Width), draft.get(Field::Scheduler)), ("1024", "euler"));
    assert_eq!(draft.get(Field::Refiner), "", "a model does not refine itself");
}

#[test]
fn refiners_share_the_latents_of_the_model() {
    let names =
        |draft: &Draft| -> Vec<String> { draft.refiners(&catalogue()).map(|model| model.name.clone()).collect() };
    let mut draft = settled();
    assert_eq!(names(&draft), ["large"]);
    draft.choose(Field::Model, "other", &catalogue());
    assert!(names(&draft).is_empty());
}

#[test]
fn loras_are_there_once_and_bounded() {
    let mut draft = Draft::default();
    for name in ["ink", "oil", "ink"] {
        draft.add_lora(name);
    }
    draft.set(Field::LoraWeight(1), "-0.35");
    draft.set(Field::LoraWeight(2), "3");
    draft.remove_lora("ink");
    assert_eq!(draft.get(Field::LoraWeight(0)), "-0.35");
    assert_eq!(request(&draft).unwrap().loras.unwrap(), [LoraRequest { name: "oil".into(), weight: -0.35 }]);
    for at in 0..=LORAS_MAX {
        draft.add_lora(at.to_string());
    }
    assert_eq!(draft.loras().len(), LORAS_MAX);
}

#[test]
fn every_unreadable_number_is_named() {
    use Expected::{Number, WholeNumber, Within};
    let fields = [(Field::Width, "wide"), (Field::Seed, "-1"), (Field::Steps, "2.5"), (Field::GuidanceScale, "inf")];
    let expected = [
        (Field::Width, WholeNumber),
        (Field::Steps, WholeNumber),
        (Field::GuidanceScale, Number),
        (Field::Seed, WholeNumber),
    ];
    assert_eq!(misread(&fields), expected);
    let fields = [
        (Field::Width, "4096"),
        (Field::Height, "32"),
        (Field::BatchSize, "0"),
        (Field::GuidanceRescale, "1.5"),
        (Field::OutputQuality, "0"),
        (Field::LoraWeight(0), "11"),
    ];
    let expected = [
        (Field::Width, Within(64, 2048)),
        (Field::Height, Within(64, 2048)),
        (Field::BatchSize, Within(1, 8)),
        (Field::GuidanceRescale, Within(0, 1)),
        (Field::OutputQuality, Within(1, 100)),
        (Field::LoraWeight(0), Within(-10, 10)),
    ];
    assert_eq!(misread(&fields), expected);
    assert!(misread(&[(Field::Seed, " 9007199254740991 "), (Field::LoraWeight(0), ""), (Field::Width, "")]).is_empty());
}

#[test]
fn sides_snap_to_latent_cells() {
    let mut draft = Draft::default();
    draft.set(Field::Width, "513");
    draft.set(Field::Height, "tall");
    draft.snap(&Limits::default());
    assert_eq!((draft.get(Field::Width), draft.get(Field::Height)), ("512", "tall"));
}

#[test]
fn filling_from_a_request_draws_it_again() {
    let mut draft = settled();
    let everything = [
        (Field::Prompt, "a balloon"),
        (Field::NegativePrompt, "rain"),
        (Field::Seed, "9007199254740991"),
        (Field::Refiner, "large"),
        (Field::SwitchAt, "0.6"),
        (Field::ClipSkip, "1"),
        (Field::GuidanceRescale, "0.7"),
        (Field::OutputFormat, "jpg"),
        (Field::OutputQuality, "80"),
        (Field::Strength, "0.6"),
        (Field::MaskBlur, "12"),
        (Field::InpaintArea, "masked"),
        (Field::InpaintFill, "noise"),
    ];
    for (field, text) in everything {
        draft.set(field, text);
    }
    draft.add_lora("ink");
    draft.set(Field::LoraWeight(0), "0.8");
    let made = request(&draft).unwrap();
    let mut other = Draft::default();
    other.fill(&made, true);
    assert_eq!(request(&other).as_ref(), Ok(&made));
    other.set(Field::Seed, "");
    other.fill(&made, false);
    assert_eq!(other.get(Field::Seed), "");

    let plain = request(&settled()).unwrap();
    other.fill(&plain, true);
    assert_eq!(request(&other), Ok(plain), "what the picture did without is gone");
}

#[test]
fn a_reset_leaves_words_and_model() {
    let mut draft = settled();
    draft.choose(Field::Model, "large", &catalogue());
    for (field, text) in [(Field::Prompt, "a balloon"), (Field::Steps, "9"), (Field::ClipSkip, "1")] {
        draft.set(field, text);
    }
    draft.add_lora("ink");
    draft.reset(&catalogue());
    let mut fresh = settled();
    fresh.choose(Field::Model, "large", &catalogue());
    fresh.set(Field::Prompt, "a balloon");
    assert_eq!(request(&draft), request(&fresh));
}

#[test]
fn draft_survives_storage() {
    let mut draft = Draft::default();
    draft.set(Field::GuidanceScale, "7.5");
    draft.add_lora("ink");
    assert_eq!(draft.kept(), r#"{"guidance_scale":"7.5","loras":"1\tink"}"#);
    assert_eq!(Draft::restored(&draft.kept()), draft);
    for field in Field::ALL {
        draft.set(field, field.name());
    }
    assert_eq!(Draft::restored(&draft.kept()), draft);
    assert_eq!(Draft::restored("[1"), Draft::default());
}

#[test]
fn faults_of_the_worker_find_their_field() {
    assert_eq!(Field::ALL.map(|field| Field::parse(field.name())), Field::ALL.map(Some));
    let check = |name, field| assert_eq!(Field::parse(name), field, "{name}");
    check("loras[2].weight", Some(Field::LoraWeight(2)));
    check("loras[0].name", Some(Field::LoraWeight(0)));
    check("loras", None);
    check("loras[x", None);
}
