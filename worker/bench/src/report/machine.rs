//! What it was measured on, and with which versions.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Serialize;

use crate::setting::Setting;

/// Instruction sets that matter to arithmetic, as Linux calls them.
const INSTRUCTIONS: [&str; 9] =
    ["avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8"];
/// Distributions whose versions are told, each with the environment that it is in.
const PACKAGES: [&str; 4] = ["torch", "diffusers", "transformers", "openvino"];
const SDCPP: &str = "stable-diffusion-cpp-python";
const LOCK: &str = include_str!("../../../../Cargo.lock");

/// The machine, and everything that was measured on it.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) date: String,
    cpu: String,
    instructions: Vec<&'static str>,
    /// That every engine was given.
    pub(crate) threads: usize,
    cores: usize,
    memory_bytes: Option<u64>,
    versions: Vec<(String, String)>,
}

impl Machine {
    pub(super) fn of(setting: &Setting) -> Self {
        let information = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            let line = information.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let flags = field("flags").unwrap_or_default();
        let has = |name: &&&str| flags.split_whitespace().any(|flag| flag == **name);
        let mut versions =
            vec![("rustc".to_owned(), said(Command::new("rustc").arg("--version")).replace("rustc ", ""))];
        versions.push(("candle".to_owned(), locked("candle-core").unwrap_or_default().to_owned()));
        versions.extend(PACKAGES.map(|name| (name.to_owned(), installed(&setting.python, name))));
        let sdcpp = setting.sdcpp.as_ref().map_or_else(Clone::clone, |python| installed(python, SDCPP));
        versions.push((SDCPP.to_owned(), sdcpp));
        let memory = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
            Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
        });
        Self {
            date: said(Command::new("date").args(["--utc", "+%F"])),
            cpu: field("model name").unwrap_or_else(|| "an unknown CPU".into()),
            instructions: INSTRUCTIONS.iter().filter(has).copied().collect(),
            threads: setting.threads,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: memory,
            versions,
        }
    }
}

/// What a command prints, or why it prints nothing.
fn said(command: &mut Command) -> String {
    match command.output() {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        Ok(output) => format!("unknown ({})", output.status),
        Err(error) => format!("unknown ({error})"),
    }
}

/// The version of a distribution of Python.
fn installed(python: &Path, name: &str) -> String {
    let code = format!("import importlib.metadata as m; print(m.version({name:?}))");
    said(Command::new(python).args(["-c", &code]))
}

/// The version of a crate that this program is built with.
fn locked(name: &str) -> Option<&'static str> {
    let (_, rest) = LOCK.split_once(&format!("name = \"{name}\"\nversion = \""))?;
    rest.split('"').next()
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { cpu, instructions, threads, cores, memory_bytes, versions, .. } = self;
        let memory = memory_bytes.map_or(String::new(), |bytes| format!(", {:.0} GB of memory", bytes as f64 / 1e9));
        writeln!(f, "- {cpu}, {cores} cores{memory}; {threads} threads for every engine")?;
        writeln!(f, "- Instruction sets: {}", instructions.join(", "))?;
        let versions: Vec<_> = versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
        writeln!(f, "- Versions: {}", versions.join(", "))
    }
}
