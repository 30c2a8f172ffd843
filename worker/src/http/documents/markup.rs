//! Schemas and prose → HTML.

use maud::{Markup, PreEscaped, html};
use pulldown_cmark::{Options, Parser};
use serde_json::Value;

/// Prose in CommonMark, with tables.
pub(super) fn prose(text: &Value) -> Markup {
    let mut out = String::new();
    let parser = Parser::new_ext(text.as_str().unwrap_or_default(), Options::ENABLE_TABLES);
    pulldown_cmark::html::push_html(&mut out, parser);
    PreEscaped(out)
}

/// What stands for a schema in a line: names link to their types.
pub(super) fn type_of(schema: &Value) -> Markup {
    if let Some(name) = reference(schema) {
        return html! { a href=(format!("#type-{name}")) { (name) } };
    }
    if let Some(value) = schema.get("const") {
        return html! { code { (value.to_string()) } };
    }
    if let Some(Value::Array(choices)) = schema.get("oneOf").or_else(|| schema.get("anyOf")) {
        let choices = choices.iter().filter(|choice| choice["type"] != "null");
        return joined(choices.map(type_of));
    }
    if let Some(Value::Array(values)) = schema.get("enum") {
        return joined(values.iter().map(|value| html! { code { (value.to_string()) } }));
    }
    match &schema["type"] {
        Value::Array(kinds) => {
            joined(kinds.iter().filter(|kind| *kind != "null").map(|kind| of_kind(kind.as_str(), schema)))
        }
        kind => of_kind(kind.as_str(), schema),
    }
}

/// The name that a schema refers to, also where it says more beside it.
pub(super) fn reference(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str().or_else(|| schema["allOf"][0]["$ref"].as_str())?.rsplit('/').next()
}

fn of_kind(kind: Option<&str>, schema: &Value) -> Markup {
    match kind {
        Some("array") => {
            let count = schema["minItems"].as_u64().filter(|least| schema["maxItems"].as_u64() == Some(*least));
            html! { @if let Some(count) = count { (count) " × " } @else { "list of " } (type_of(&schema["items"])) }
        }
        Some("string") if schema["format"] == "binary" => html! { "bytes" },
        Some(kind) => html! { (kind) },
        None => html! { "anything" },
    }
}

fn joined(parts: impl Iterator<Item = Markup>) -> Markup {
    html! { @for (at, part) in parts.enumerate() { @if at > 0 { " or " } (part) } }
}

/// The bounds of a value and what it is where it is left out.
fn bounds(schema: &Value) -> Option<String> {
    let number = |key: &str| schema.get(key).filter(|value| value.is_number()).map(Value::to_string);
    let range = match (number("minimum").filter(|least| least != "0"), number("maximum")) {
        (Some(least), Some(most)) => Some(format!("{least} to {most}")),
        (Some(least), None) => Some(format!("at least {least}")),
        (None, Some(most)) => Some(format!("at most {most}")),
        (None, None) => None,
    };
    let between = number("exclusiveMinimum").zip(number("exclusiveMaximum"));
    let said = [
        range,
        between.map(|(least, most)| format!("between {least} and {most}")),
        number("multipleOf").map(|step| format!("in steps of {step}")),
        number("maxLength").map(|most| format!("at most {most} characters")),
        schema.get("default").filter(|value| !value.is_null()).map(|value| format!("default {value}")),
    ];
    let said: Vec<String> = said.into_iter().flatten().collect();
    (!said.is_empty()).then(|| said.join(", "))
}

/// The fields of an object, those that are always there first.
pub(super) fn fields(schema: &Value) -> Markup {
    let Some(properties) = schema["properties"].as_object() else { return html! {} };
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let others = properties.keys().map(String::as_str).filter(|name| !required.contains(name));
    let named: Vec<&str> =
        required.iter().copied().chain(others).filter(|name| properties.contains_key(*name)).collect();
    html! {
        dl.fields {
            @for name in named {
                @let field = &properties[name];
                dt {
                    code { (name) }
                    span.type { (type_of(field)) }
                    @if !required.contains(&name) { span.mark { "optional" } }
                }
                dd {
                    (prose(&field["description"]))
                    @if let Some(bounds) = bounds(field) { p.bounds { (bounds) } }
                }
            }
        }
    }
}

/// What a named type is.
pub(super) fn definition(schema: &Value) -> Markup {
    let choices: Vec<&Value> = schema["oneOf"].as_array().into_iter().flatten().collect();
    let values = choices.iter().filter(|choice| choice.get("const").is_some());
    let objects = choices.iter().filter(|choice| choice.get("properties").is_some());
    html! {
        (prose(&schema["description"]))
        @if schema.get("properties").is_some() { (fields(schema)) }
        @else if choices.is_empty() { p.bounds { (type_of(schema)) @if let Some(pattern) = schema["pattern"].as_str() { " " code { (pattern) } } } }
        dl.fields {
            @for value in values {
                dt { code { (value["const"].as_str().unwrap_or_default()) } }
                dd { (prose(&value["description"])) }
            }
        }
        @for object in objects {
            h4 { code { (object["properties"]["type"]["const"].as_str().unwrap_or_default()) } }
            (prose(&object["description"]))
            (fields(object))
        }
    }
}
