use std::io::Write as _;
use std::num::NonZeroUsize;

use clap::Parser as _;
use sd_protocol::Secret;

use super::{Command, CommandLine, ConfigError, ServeArgs, Storage};
use crate::device::{DeviceChoice, Dtype};
use crate::models::ByteSize;
use crate::models::hub::HubSettings;

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn flags_beat_the_file_and_the_file_beats_the_defaults() {
    let written = file("listen = \"127.0.0.1:1\"\nqueue-jobs = 3\nmodel = [\"a=/a\"]\nephemeral = true\n");
    let said = ServeArgs {
        listen: Some("127.0.0.1:2".parse().unwrap()),
        config: Some(written.path().into()),
        ..ServeArgs::default()
    };
    let config = said.clone().resolve().unwrap();
    assert_eq!((config.listen.port(), config.queue_jobs, config.models.len()), (2, 3, 1));
    assert_eq!(config.storage, Storage::Ephemeral);
    let config = ServeArgs { data_dir: Some("d".into()), ..said }.resolve().unwrap();
    assert_eq!(config.storage, Storage::Folder("d".into()));
    let config = ServeArgs::default().resolve().unwrap();
    assert_eq!((config.listen.to_string().as_str(), config.queue_jobs), (super::DEFAULT_LISTEN, 64));
}

#[test]
fn the_hub_and_the_memory_are_the_operators() {
    let written = file(
        "model-memory = \"2GiB\"\noffline = true\nhf-token-file = \"/secret\"\ndevice = \"cuda:1\"\ndtype = \"bf16\"\nthreads = 3\npacked-weights = true\n",
    );
    let said = ServeArgs { config: Some(written.path().into()), ..ServeArgs::default() };
    let config = said.clone().resolve().unwrap();
    assert_eq!(config.model_memory, Some(ByteSize(2 << 30)));
    assert_eq!(config.hub, HubSettings { token_file: Some("/secret".into()), is_offline: true });
    assert_eq!((config.device, config.dtype), (DeviceChoice::Cuda(Some(1)), Dtype::Bf16));
    assert!(config.packed_weights);
    assert_eq!(config.threads, NonZeroUsize::new(3));
    let config = ServeArgs { model_memory: Some(ByteSize(7)), ..said }.resolve().unwrap();
    assert_eq!(config.model_memory, Some(ByteSize(7)));
    let arguments = ["sd-worker", "serve", "--offline", "--model-memory", "1.5GB", "--device", "cpu", "--dtype", "f16"];
    let Command::Serve(said) = CommandLine::parse_from(arguments).command else { panic!("serve was asked for") };
    assert_eq!((said.offline, said.model_memory), (true, Some(ByteSize(1_500_000_000))));
    assert_eq!((said.device, said.dtype), (Some(DeviceChoice::Cpu), Some(Dtype::F16)));
    let Command::Serve(said) = CommandLine::parse_from(["sd-worker", "serve", "--packed-weights"]).command else {
        panic!("serve was asked for")
    };
    assert!(said.packed_weights);
    let config = ServeArgs::default().resolve().unwrap();
    assert!(!config.packed_weights);
    assert_eq!((config.device, config.dtype, config.model_memory), (DeviceChoice::Auto, Dtype::Auto, None));
    assert!(CommandLine::try_parse_from(["sd-worker", "serve", "--device", "gpu"]).is_err());
    assert!(CommandLine::try_parse_from(["sd-worker", "serve", "--threads", "0"]).is_err());
    assert!(CommandLine::try_parse_from(["sd-worker", "serve", "--model-memory", "lots"]).is_err());
    let faulty = file("model-memory = \"lots\"");
    let said = ServeArgs { config: Some(faulty.path().into()), ..ServeArgs::default() };
    assert!(matches!(said.resolve(), Err(ConfigError::Parse { .. })));
}

#[test]
fn what_is_wrong_is_said() {
    let unknown = file("listne = \"127.0.0.1:1\"");
    let said = |config| ServeArgs { config: Some(config), ..ServeArgs::default() };
    assert!(matches!(said(unknown.path().into()).resolve(), Err(ConfigError::Parse { .. })));
    assert!(matches!(said("/no/such/file".into()).resolve(), Err(ConfigError::Read { .. })));
    let model = ServeArgs { model: vec!["nameless".into()], ..ServeArgs::default() };
    assert!(matches!(model.resolve(), Err(ConfigError::Model(_))));
    let queue = ServeArgs { queue_jobs: Some(0), ..ServeArgs::default() };
    assert!(matches!(queue.resolve(), Err(ConfigError::NoQueue)));
}

#[test]
fn beyond_this_machine_somebody_decides_who_is_let_in() {
    let resolve = |listen: &str, token: Option<&str>, allow_anyone| {
        let (listen, token) = (Some(listen.parse().unwrap()), token.map(Secret::new));
        ServeArgs { listen, token, allow_anyone, ..ServeArgs::default() }.resolve()
    };
    let token = Some("a-token-of-many-letters");
    for here in ["127.0.0.1:8484", "[::1]:8484", "127.8.8.8:1"] {
        assert!(resolve(here, None, false).unwrap().credentials.is_empty());
        assert!(!resolve(here, token, false).unwrap().credentials.is_empty());
    }
    for beyond in ["0.0.0.0:8484", "[::]:8484", "192.168.1.5:8484"] {
        assert!(matches!(resolve(beyond, None, false), Err(ConfigError::OpenToAnyone(_))), "{beyond}");
        assert!(resolve(beyond, None, true).unwrap().credentials.is_empty());
        assert!(!resolve(beyond, token, false).unwrap().credentials.is_empty());
        assert!(matches!(resolve(beyond, token, true), Err(ConfigError::AnyoneWithToken)), "{beyond}");
    }
    assert!(matches!(resolve("0.0.0.0:1", Some("hunter2"), false), Err(ConfigError::Credentials(_))));
    let said = ServeArgs { connections: Some(0), ..ServeArgs::default() };
    assert!(matches!(said.resolve(), Err(ConfigError::NoConnections)));
}
