//! What was said (flags, environment, a TOML file) → what is meant ([`Config`]).

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use directories::ProjectDirs;
use sd_protocol::{Secret, limits};
use serde::Deserialize;

use crate::access::{Credentials, CredentialsError};
use crate::device::{DeviceChoice, Dtype};
use crate::jobs::Retention;
use crate::models::hub::HubSettings;
use crate::models::source::InvalidSource;
use crate::models::{ByteSize, ModelSource};
use crate::service::OnCrash;

/// Where the worker listens unless told otherwise.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:8484";

/// Time that a stopping worker gives the job that is being drawn unless told otherwise: less than service managers give
/// the worker.
const DRAIN: Duration = Duration::from_secs(20);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "sd-worker", version, about = "Stable Diffusion over WebSocket, HTTP and SSE, with live previews.")]
pub struct CommandLine {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serves the browser client, the WebSocket and the HTTP API on one port.
    Serve(ServeArgs),
    /// Makes a new token: shows it once on standard error, and prints what `--token-file` keeps of it, so that
    /// `sd-worker token NAME >> FILE` adds it.
    Token {
        /// Whose token it is, in logs and quotas.
        name: String,
    },
    /// Lists the models that `serve` with the same flags would offer.
    Models(ServeArgs),
    /// Computes every operation of the networks on a device, compares with plain sums on the CPU, and takes times.
    Check(CheckArgs),
}

/// Flags of `check`.
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// Which device: auto, cpu, cuda, cuda:N or metal.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: DeviceChoice,
    /// Type that networks compute in: auto, f32, f16 or bf16.
    #[arg(long, value_name = "TYPE", default_value = "auto")]
    pub dtype: Dtype,
    /// Threads that the CPU computes on [default: one for each physical core].
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// A JSON object on each line instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Flags of `serve`; each is also an environment variable and a key of the TOML file, in that order of precedence.
#[derive(Clone, Debug, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ServeArgs {
    /// A model: a catalogue name, and a folder in the diffusers layout, a `.safetensors` checkpoint, or a Hugging Face
    /// id such as `owner/name@revision` or `owner/name/file.safetensors`; options follow a `?`. May be repeated; the
    /// first is the default.
    #[arg(long = "model", value_name = "NAME=WHERE[?OPTION=VALUE&…]", env = "SD_WORKER_MODEL", value_delimiter = ',')]
    pub model: Vec<String>,
    /// A folder of LoRA files (safetensors), which requests name without the ending. May be repeated.
    #[arg(long = "lora-dir", value_name = "DIR", env = "SD_WORKER_LORA_DIR", value_delimiter = ',')]
    pub lora_dir: Vec<PathBuf>,
    /// A folder of textual-inversion embeddings (safetensors), which prompts name without the ending. May be
    /// repeated.
    #[arg(long = "embedding-dir", value_name = "DIR", env = "SD_WORKER_EMBEDDING_DIR", value_delimiter = ',')]
    pub embedding_dir: Vec<PathBuf>,
    /// Memory that loaded models may fill on each device, such as 8GiB; the least recently used leaves first [default:
    /// 60 % of the GPU's or the machine's].
    #[arg(long, value_name = "SIZE", env = "SD_WORKER_MODEL_MEMORY")]
    pub model_memory: Option<ByteSize>,
    /// Where models are loaded: auto, cpu, cuda, cuda:N or metal. Several GPUs draw a job each at the same time
    /// [default: auto, all GPUs that this build can use, else the CPU].
    #[arg(long, value_name = "DEVICE", env = "SD_WORKER_DEVICE")]
    pub device: Option<DeviceChoice>,
    /// Type that networks compute in: auto, f32, f16 or bf16, as far as the device can [default: auto, f16 on a GPU and
    /// f32 on the CPU].
    #[arg(long, value_name = "TYPE", env = "SD_WORKER_DTYPE")]
    pub dtype: Option<Dtype>,
    /// Threads that networks compute on where they compute on the CPU [default: one for each physical core].
    #[arg(long, value_name = "N", env = "SD_WORKER_THREADS")]
    pub threads: Option<NonZeroUsize>,
    /// Keep weights beside their model as the CPU reads them, which takes as much room on the disk as in memory: the next
    /// start maps them and is ready at once.
    #[arg(long, env = "SD_WORKER_PACKED_WEIGHTS", value_parser = clap::builder::FalseyValueParser::new())]
    pub packed_weights: bool,
    /// Use what is in the Hugging Face cache, and never the network.
    #[arg(long, env = "HF_HUB_OFFLINE", value_parser = clap::builder::FalseyValueParser::new())]
    pub offline: bool,
    /// A file with an access token for the Hugging Face hub [default: what `HF_TOKEN` or its own login says].
    #[arg(long, value_name = "FILE", env = "SD_WORKER_HF_TOKEN_FILE")]
    pub hf_token_file: Option<PathBuf>,
    /// Address and port to listen on; port 0 takes a free one [default: 127.0.0.1:8484].
    #[arg(long, value_name = "ADDR", env = "SD_WORKER_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// Folder for jobs and pictures [default: the user's data folder].
    #[arg(long, value_name = "DIR", env = "SD_WORKER_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Keep jobs and pictures in memory and a temporary folder only.
    #[arg(long, env = "SD_WORKER_EPHEMERAL", conflicts_with = "data_dir")]
    pub ephemeral: bool,
    /// Jobs that may wait before a submit is answered with `queue_full` [default: 64].
    #[arg(long, value_name = "N", env = "SD_WORKER_QUEUE_JOBS")]
    pub queue_jobs: Option<usize>,
    /// What becomes of a job that was being drawn when its worker died [default: rerun].
    #[arg(long, value_enum, env = "SD_WORKER_ON_CRASH")]
    pub on_crash: Option<OnCrash>,
    /// Ended jobs to keep; the oldest leave with their pictures, but favourites stay and do not count [default: 1000].
    #[arg(long, value_name = "N", env = "SD_WORKER_KEEP_JOBS")]
    pub keep_jobs: Option<usize>,
    /// Days to keep an ended job that is no favourite [default: without end].
    #[arg(long, value_name = "DAYS", env = "SD_WORKER_KEEP_DAYS")]
    pub keep_days: Option<u32>,
    /// Room for the pictures of ended jobs that are no favourites, such as 20GiB [default: without end].
    #[arg(long, value_name = "SIZE", env = "SD_WORKER_KEEP_BYTES")]
    pub keep_bytes: Option<ByteSize>,
    /// Seconds that a stopping worker gives the job that is being drawn; what is not finished then is drawn by the next
    /// worker [default: 20].
    #[arg(long, value_name = "SECONDS", env = "SD_WORKER_DRAIN_SECONDS")]
    pub drain_seconds: Option<u32>,
    /// How the log is written [default: text].
    #[arg(long, value_enum, env = "SD_WORKER_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,
    /// An origin whose pages may use this worker from a browser, such as <https://example.org>. May be repeated.
    #[arg(long = "cors-origin", value_name = "ORIGIN", env = "SD_WORKER_CORS_ORIGIN", value_delimiter = ',')]
    pub cors_origin: Vec<String>,
    /// A file with the tokens that open the worker; `sd-worker token NAME` prints what goes into it. One more token
    /// may be in the environment variable `SD_WORKER_TOKEN`.
    #[arg(long, value_name = "FILE", env = "SD_WORKER_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// The token of the environment. It is no flag, because flags show in the list of processes.
    #[arg(skip)]
    #[serde(skip)]
    pub token: Option<Secret>,
    /// Let in whoever reaches an address beyond this machine, without a token. Only for networks in which everyone is
    /// trusted.
    #[arg(long, env = "SD_WORKER_ALLOW_ANYONE", value_parser = clap::builder::FalseyValueParser::new())]
    pub allow_anyone: bool,
    /// A host name under which the worker is reached, besides localhost and its addresses, such as example.org. May be
    /// repeated.
    #[arg(long = "allowed-host", value_name = "HOST", env = "SD_WORKER_ALLOWED_HOST", value_delimiter = ',')]
    pub allowed_host: Vec<String>,
    /// Connections that may be open at the same time [default: 512].
    #[arg(long, value_name = "N", env = "SD_WORKER_CONNECTIONS")]
    pub connections: Option<usize>,
    /// A TOML file with the same keys as the flags.
    #[arg(long, value_name = "FILE", env = "SD_WORKER_CONFIG")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
}

/// What is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Models besides the built-in one.
    pub models: Vec<ModelSource>,
    /// Folders of LoRAs.
    pub lora_folders: Vec<PathBuf>,
    /// Folders of textual-inversion embeddings.
    pub embedding_folders: Vec<PathBuf>,
    /// Memory that loaded models may fill on each device; a part of all where nothing is said.
    pub model_memory: Option<ByteSize>,
    /// Where models are loaded.
    pub device: DeviceChoice,
    /// Type that networks compute in.
    pub dtype: Dtype,
    /// Threads that networks compute on; one for each physical core where nothing is said.
    pub threads: Option<NonZeroUsize>,
    /// Whether weights are kept beside their model as the CPU reads them.
    pub packed_weights: bool,
    /// How the Hugging Face hub is used.
    pub hub: HubSettings,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where jobs and pictures are kept.
    pub storage: Storage,
    /// Jobs that may wait.
    pub queue_jobs: usize,
    /// What becomes of a job that was being drawn when its worker died.
    pub on_crash: OnCrash,
    /// How much of the past is kept.
    pub retention: Retention,
    /// Time that a stopping worker gives the job that is being drawn.
    pub drain: Duration,
    /// How the log is written.
    pub log_format: LogFormat,
    /// Origins whose pages may use this worker.
    pub cors_origins: Vec<String>,
    /// Host names of this worker besides localhost and its addresses.
    pub allowed_hosts: Vec<String>,
    /// Who is let in; anyone where there is no credential.
    pub credentials: Credentials,
    /// Connections that may be open at the same time.
    pub connections: usize,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// An object a line, for machines.
    Json,
}

/// Where jobs and pictures are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Storage {
    /// In a folder, beyond the life of the process.
    Folder(PathBuf),
    /// As long as the process lives.
    Ephemeral,
}

/// What is wrong with what was said.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The TOML file cannot be read.
    #[error("{path}: cannot be read")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The TOML file is not what it should be.
    #[error("{path}: is no configuration")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: toml::de::Error,
    },
    /// A model is not `NAME=WHERE`.
    #[error(transparent)]
    Model(#[from] InvalidSource),
    /// The system has no folder for user data.
    #[error("no user data folder is known; name one with --data-dir, or use --ephemeral")]
    NoDataDir,
    /// A token that cannot be used.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// Everyone in the network would be let in, and nobody said that this is meant.
    #[error(
        "--listen {0} lets in everyone who reaches that address: set a token (SD_WORKER_TOKEN, or --token-file with what \
         `sd-worker token NAME` prints), or pass --allow-anyone in a network where everyone is trusted"
    )]
    OpenToAnyone(SocketAddr),
    /// Tokens, and a flag that makes them pointless.
    #[error("--allow-anyone is set and so is a token; leave out one of the two")]
    AnyoneWithToken,
    /// A worker that nobody could reach.
    #[error("--connections is 0; at least one client must be able to connect")]
    NoConnections,
    /// A queue without room.
    #[error("--queue-jobs is 0; at least one job must be able to wait")]
    NoQueue,
}

/// The environment variable with a token.
pub const TOKEN_VARIABLE: &str = "SD_WORKER_TOKEN";

impl ServeArgs {
    /// Adds the token of the environment, which is no flag.
    pub fn with_environment(self) -> Self {
        // An empty variable is how container files leave one out.
        let token = std::env::var(TOKEN_VARIABLE).ok().filter(|token| !token.is_empty());
        Self { token: token.map(Secret::new), ..self }
    }

    /// Adds the TOML file, then the defaults, and checks the lot.
    ///
    /// # Errors
    /// The first thing that is wrong, with the way out.
    pub fn resolve(self) -> Result<Config, ConfigError> {
        let said = match &self.config {
            None => self,
            Some(path) => {
                let text =
                    std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.clone(), source })?;
                let file: Self =
                    toml::from_str(&text).map_err(|source| ConfigError::Parse { path: path.clone(), source })?;
                self.or(file)
            }
        };
        let storage = match said.data_dir {
            _ if said.ephemeral => Storage::Ephemeral,
            Some(folder) => Storage::Folder(folder),
            None => {
                let folders = ProjectDirs::from("", "", "sd-worker").ok_or(ConfigError::NoDataDir)?;
                Storage::Folder(folders.data_dir().to_owned())
            }
        };
        let queue_jobs = said.queue_jobs.unwrap_or(limits::QUEUE_JOBS_MAX);
        if queue_jobs == 0 {
            return Err(ConfigError::NoQueue);
        }
        let listen = said.listen.unwrap_or_else(|| DEFAULT_LISTEN.parse().expect("the constant is an address"));
        let credentials = Credentials::read(said.token_file.as_deref(), said.token.as_ref())?;
        match (credentials.is_empty(), said.allow_anyone) {
            (true, false) if !listen.ip().is_loopback() => return Err(ConfigError::OpenToAnyone(listen)),
            (false, true) => return Err(ConfigError::AnyoneWithToken),
            _ => {}
        }
        let connections = said.connections.unwrap_or(limits::CONNECTIONS_MAX);
        if connections == 0 {
            return Err(ConfigError::NoConnections);
        }
        Ok(Config {
            models: said.model.iter().map(|text| text.parse()).collect::<Result<_, _>>()?,
            lora_folders: said.lora_dir,
            embedding_folders: said.embedding_dir,
            model_memory: said.model_memory,
            device: said.device.unwrap_or_default(),
            dtype: said.dtype.unwrap_or_default(),
            threads: said.threads,
            packed_weights: said.packed_weights,
            hub: HubSettings { token_file: said.hf_token_file, is_offline: said.offline },
            listen,
            storage,
            queue_jobs,
            on_crash: said.on_crash.unwrap_or_default(),
            retention: Retention {
                jobs: said.keep_jobs.unwrap_or(limits::KEEP_JOBS),
                age: said.keep_days.map(|days| DAY * days),
                bytes: said.keep_bytes.map(|size| size.0),
            },
            drain: said.drain_seconds.map_or(DRAIN, |seconds| Duration::from_secs(seconds.into())),
            log_format: said.log_format.unwrap_or_default(),
            cors_origins: said.cors_origin,
            allowed_hosts: said.allowed_host,
            credentials,
            connections,
        })
    }

    /// What `self` says, and what `file` says where `self` is silent.
    fn or(self, file: Self) -> Self {
        fn first<T>(said: Vec<T>, written: Vec<T>) -> Vec<T> {
            if said.is_empty() { written } else { said }
        }
        Self {
            model: first(self.model, file.model),
            lora_dir: first(self.lora_dir, file.lora_dir),
            embedding_dir: first(self.embedding_dir, file.embedding_dir),
            model_memory: self.model_memory.or(file.model_memory),
            device: self.device.or(file.device),
            dtype: self.dtype.or(file.dtype),
            threads: self.threads.or(file.threads),
            packed_weights: self.packed_weights || file.packed_weights,
            offline: self.offline || file.offline,
            hf_token_file: self.hf_token_file.or(file.hf_token_file),
            listen: self.listen.or(file.listen),
            // A folder on the command line beats `ephemeral` in the file, and the other way round.
            ephemeral: self.ephemeral || (self.data_dir.is_none() && file.ephemeral),
            data_dir: self.data_dir.or(file.data_dir),
            queue_jobs: self.queue_jobs.or(file.queue_jobs),
            on_crash: self.on_crash.or(file.on_crash),
            keep_jobs: self.keep_jobs.or(file.keep_jobs),
            keep_days: self.keep_days.or(file.keep_days),
            keep_bytes: self.keep_bytes.or(file.keep_bytes),
            drain_seconds: self.drain_seconds.or(file.drain_seconds),
            log_format: self.log_format.or(file.log_format),
            cors_origin: first(self.cors_origin, file.cors_origin),
            token_file: self.token_file.or(file.token_file),
            token: self.token,
            allow_anyone: self.allow_anyone || file.allow_anyone,
            allowed_host: first(self.allowed_host, file.allowed_host),
            connections: self.connections.or(file.connections),
            config: self.config,
        }
    }
}

#[cfg(test)]
mod tests;
