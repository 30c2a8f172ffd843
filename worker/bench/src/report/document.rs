//! The document, of which only a part is generated.

use std::fs;
use std::path::Path;

use anyhow::Context;

const BEGIN: &str =
    "<!-- The table begins. `cargo xtask bench cpu` writes it; what is changed here by hand is lost. -->";
const END: &str = "<!-- The table ends. -->";

/// Puts `text` between the markers of the document; all else stays.
///
/// # Errors
/// When there is no such document, or no such markers in it.
pub(super) fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    let document = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let replaced = replaced(&document, text);
    let replaced = replaced.with_context(|| format!("{} has no lines {BEGIN:?} and {END:?}", path.display()))?;
    Ok(fs::write(path, replaced)?)
}

fn replaced(document: &str, text: &str) -> Option<String> {
    let (before, rest) = document.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{text}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let document = format!("above\n{BEGIN}\n\nold\n\n{END}\nbelow\n");
        let new = format!("above\n{BEGIN}\n\nnew\n{END}\nbelow\n");
        assert_eq!(replaced(&document, "new"), Some(new.clone()));
        assert_eq!(replaced(&new, "new"), Some(new));
        assert_eq!(replaced("above", "new"), None);
    }

    #[test]
    fn the_document_has_the_markers() {
        assert!(replaced(include_str!("../../../../docs/performance.md"), "").is_some());
    }
}
