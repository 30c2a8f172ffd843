//! The names by which the browser client and its JavaScript know each other, made short.
//!
//! wasm-bindgen ends hundreds of them with a hash of sixteen digits, which no compression makes smaller: they are 12 KiB
//! of the page on the wire. Nobody but the two files reads them.

use std::collections::HashMap;

use walrus::Module;

/// Beginnings of names that wasm-bindgen made up.
const MADE_UP: [&str; 2] = ["__wb", "wasm_bindgen__"];

/// Names as wasm-bindgen made them, and the short ones.
pub(crate) type Names = HashMap<String, String>;

/// Gives every import and export with a name that wasm-bindgen made up a short one.
pub(crate) fn shorten(module: &mut Module) -> Names {
    let mut names = Names::new();
    let imports = module.imports.iter_mut().map(|import| &mut import.name);
    let exports = module.exports.iter_mut().map(|export| &mut export.name);
    for name in imports.chain(exports).filter(|name| MADE_UP.iter().any(|start| name.starts_with(start))) {
        // No name of wasm-bindgen's begins like this.
        let short = format!("${:x}", names.len());
        *name = names.entry(name.clone()).or_insert(short).clone();
    }
    names
}

/// The script with the short names, without indentation and comments.
pub(crate) fn shortened(script: &str, names: &Names) -> String {
    let mut short = String::new();
    let mut in_comment = false;
    for line in script.lines().map(str::trim_start) {
        in_comment |= line.starts_with("/**");
        if in_comment {
            in_comment = !line.ends_with("*/");
            continue;
        }
        let mut rest = line;
        while !rest.is_empty() {
            let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
            let (word, after) = rest.split_at(rest.find(|letter| !is_part(letter)).unwrap_or(rest.len()));
            short += names.get(word).map_or(word, String::as_str);
            let (between, after) = after.split_at(after.find(is_part).unwrap_or(after.len()));
            short += between;
            rest = after;
        }
        short.push('\n');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::{Names, shortened};

    #[test]
    fn a_script_gets_the_short_names_and_loses_its_comments() {
        let names = Names::from([("__wbg_new_0123".to_owned(), "$0".to_owned())]);
        let script = "/**\n * Says __wbg_new_0123.\n */\nexport function start() {\n    wasm.__wbg_new_0123(\"a b\", other__wbg_new_0123);\n}\n";
        let expect = "export function start() {\nwasm.$0(\"a b\", other__wbg_new_0123);\n}\n";
        assert_eq!(shortened(script, &names), expect);
    }
}
