//! Which of a repository's weights are wanted: for each network one set of safetensors, as `Weights::open` will look
//! for them.

use super::{HubError, RemoteFile};
use crate::diffusion::weights::open::NETWORKS;

/// The weights among `files`, in the order in which they are fetched. A `variant` such as `fp16` is preferred where it
/// is there; without one, `fp16` is taken where only that is there.
///
/// # Errors
/// [`HubError::OnlyPickles`].
pub fn weights(files: &[RemoteFile], variant: Option<&str>) -> Result<Vec<RemoteFile>, HubError> {
    let mut chosen = Vec::new();
    for (folder, stem) in NETWORKS {
        let own: Vec<(&str, &RemoteFile)> =
            files.iter().filter_map(|file| Some((file.path.strip_prefix(folder)?.strip_prefix('/')?, file))).collect();
        let sets = variant.into_iter().chain(["", "fp16"]).map(|variant| one_set(&own, stem, variant));
        match sets.into_iter().find(|set| !set.is_empty()) {
            Some(set) => chosen.extend(set),
            None if own.iter().any(|(name, _)| name.ends_with(".bin") || name.ends_with(".ckpt")) => {
                return Err(HubError::OnlyPickles { folder: folder.into() });
            }
            None => {}
        }
    }
    Ok(chosen)
}

/// The one file of a variant, or its shards: `model.fp16.safetensors`, `model.fp16-00001-of-00002.safetensors`.
fn one_set(own: &[(&str, &RemoteFile)], stem: &str, variant: &str) -> Vec<RemoteFile> {
    let middle = if variant.is_empty() { String::new() } else { format!(".{variant}") };
    let start = format!("{stem}{middle}");
    let rest = |name: &'_ str| name.strip_prefix(&start)?.strip_suffix(".safetensors").map(str::to_owned);
    let with = |wanted: &dyn Fn(&str) -> bool| -> Vec<RemoteFile> {
        own.iter()
            .filter(|(name, _)| rest(name).is_some_and(|rest| wanted(&rest)))
            .map(|(_, file)| (*file).clone())
            .collect()
    };
    let whole = with(&str::is_empty);
    if whole.is_empty() { with(&|rest| rest.starts_with('-') && rest.contains("-of-")) } else { whole }
}
