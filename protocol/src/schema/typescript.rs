//! The types for TypeScript, written from their JSON Schema, so that both say the same.

use serde_json::{Map, Value};

use super::Schemas;
use crate::{ClientFrame, ErrorEnvelope, JobChange, JobList, ModelsView, ServerFrame, TokensRequest, TokensView};

/// A declaration file with every type of frames, jobs, errors, catalogue and limits.
pub fn typescript() -> String {
    let mut schemas = Schemas::default();
    schemas.read::<ClientFrame>();
    schemas.read::<JobChange>();
    schemas.read::<TokensRequest>();
    schemas.written::<ServerFrame>();
    schemas.written::<JobList>();
    schemas.written::<ModelsView>();
    schemas.written::<TokensView>();
    schemas.written::<ErrorEnvelope>();
    let mut text = String::from("// The types of the worker's protocol, written from the Rust types of sd-protocol.\n");
    for (name, schema) in schemas.finish() {
        text.push('\n');
        comment(&mut text, &schema, 0);
        let declared = match (schema.get("properties"), schema.get("oneOf")) {
            (Some(_), None) => format!("export interface {name} {}\n", object(&schema, 0)),
            _ => format!("export type {name} ={};\n", alternatives(&schema)),
        };
        text.push_str(&declared);
    }
    text
}

/// What an alias stands for: choices that are explained have a line each.
fn alternatives(schema: &Value) -> String {
    let choices =
        schema["oneOf"].as_array().filter(|choices| choices.iter().any(|one| one.get("description").is_some()));
    let Some(choices) = choices else { return format!(" {}", type_of(schema, 0)) };
    let shared = schema.get("properties").map(|_| format!(" {} & (", object(&without_choices(schema), 0)));
    let mut text = shared.clone().unwrap_or_default();
    for choice in choices {
        text.push('\n');
        comment(&mut text, choice, 1);
        text.push_str(&format!("  | {}", type_of(choice, 1)));
    }
    if shared.is_some() {
        text.push_str("\n)");
    }
    text
}

fn without_choices(schema: &Value) -> Value {
    let mut schema = schema.clone();
    if let Value::Object(schema) = &mut schema {
        schema.remove("oneOf");
    }
    schema
}

/// The expression for a schema, at a depth of indentation.
fn type_of(schema: &Value, depth: usize) -> String {
    if let Some(path) = schema["$ref"].as_str() {
        return path.rsplit('/').next().unwrap_or("unknown").to_owned();
    }
    if let Some(value) = schema.get("const") {
        return value.to_string();
    }
    if let Some(Value::Array(values)) = schema.get("enum") {
        return values.iter().map(Value::to_string).collect::<Vec<_>>().join(" | ");
    }
    if let Some(Value::Array(choices)) = schema.get("oneOf").or_else(|| schema.get("anyOf")) {
        return choices.iter().map(|choice| type_of(choice, depth)).collect::<Vec<_>>().join(" | ");
    }
    match &schema["type"] {
        Value::Array(kinds) => {
            kinds.iter().map(|kind| of_kind(kind.as_str(), schema, depth)).collect::<Vec<_>>().join(" | ")
        }
        kind => of_kind(kind.as_str(), schema, depth),
    }
}

fn of_kind(kind: Option<&str>, schema: &Value, depth: usize) -> String {
    match kind {
        Some("integer") => "number".into(),
        Some("array") => array(schema, depth),
        Some("object") => object(schema, depth),
        Some(kind) => kind.into(),
        None => "unknown".into(),
    }
}

fn array(schema: &Value, depth: usize) -> String {
    let item = type_of(&schema["items"], depth);
    match (schema["minItems"].as_u64(), schema["maxItems"].as_u64()) {
        (Some(least), Some(most)) if least == most => format!("[{}]", vec![item; most as usize].join(", ")),
        _ if item.contains(' ') => format!("Array<{item}>"),
        _ => format!("{item}[]"),
    }
}

/// The fields that are always there first, as the Rust type has them, then the others.
fn object(schema: &Value, depth: usize) -> String {
    let Some(Value::Object(properties)) = schema.get("properties") else { return "Record<string, unknown>".into() };
    let mut text = String::from("{\n");
    let indent = "  ".repeat(depth + 1);
    for (name, is_required) in ordered(schema, properties) {
        comment(&mut text, &properties[name], depth + 1);
        let mark = if is_required { "" } else { "?" };
        text.push_str(&format!("{indent}{name}{mark}: {};\n", type_of(&properties[name], depth + 1)));
    }
    text + &"  ".repeat(depth) + "}"
}

fn ordered<'a>(schema: &'a Value, properties: &'a Map<String, Value>) -> Vec<(&'a str, bool)> {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let optional = properties.keys().map(String::as_str).filter(|name| !required.contains(name));
    required.iter().map(|name| (*name, true)).chain(optional.map(|name| (name, false))).collect()
}

fn comment(text: &mut String, schema: &Value, depth: usize) {
    let Some(description) = schema["description"].as_str() else { return };
    let indent = "  ".repeat(depth);
    if !description.contains('\n') {
        text.push_str(&format!("{indent}/** {description} */\n"));
        return;
    }
    text.push_str(&format!("{indent}/**\n"));
    for line in description.lines() {
        text.push_str(format!("{indent} * {line}").trim_end());
        text.push('\n');
    }
    text.push_str(&format!("{indent} */\n"));
}
