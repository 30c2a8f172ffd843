use super::*;
use crate::models::hub::HubSettings;

async fn refusal(location: &str) -> LoadError {
    let source: ModelSource = format!("a={location}").parse().unwrap();
    source.resolve(|| Ok(Hub::new(&HubSettings::default()).unwrap())).await.unwrap_err()
}

#[test]
fn a_name_and_a_location() {
    let source = |location: &str, options| Ok(ModelSource { name: "sd15".into(), location: location.into(), options });
    assert_eq!("sd15 = /models/a=b".parse(), source("/models/a=b", ModelOptions::default()));
    let options = ModelOptions {
        variant: Some("fp16".into()),
        prediction_type: Some("v_prediction".into()),
        config: Some("/models/tiny".into()),
        preview_decoder: Some("/models/taesd".into()),
    };
    let text = "sd15=owner/name@v1?variant=fp16&prediction_type=v_prediction&config=/models/tiny\
        &preview_decoder=/models/taesd";
    assert_eq!(text.parse(), source("owner/name@v1", options));
    for faulty in ["sd15", "=x", "sd15=", "sd15=?variant=fp16"] {
        assert_eq!(faulty.parse::<ModelSource>(), Err(InvalidSource::Form(faulty.into())));
    }
    for option in ["variant", "variant=", "prediction_type=velocity", "colour=red"] {
        let faulty = format!("sd15=owner/name?{option}");
        assert_eq!(faulty.parse::<ModelSource>(), Err(InvalidSource::Option(option.into())));
    }
}

#[tokio::test]
async fn neither_folder_nor_file_nor_id() {
    assert!(matches!(refusal("/no/such/folder").await, LoadError::NotFound { .. }));
}

#[tokio::test]
async fn a_pickle_and_a_missing_file_are_named() {
    for (location, says) in [
        ("/no/such/model.ckpt", "model.ckpt is a pickle, which can run any code"),
        ("owner/model.safetensors", "owner/model.safetensors is missing"),
    ] {
        let LoadError::Files { source, .. } = refusal(location).await else { panic!("{location}") };
        assert!(source.to_string().contains(says), "{source}");
    }
}
