//! JSON Schema 2020-12 of types, under their names.

use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value};

/// Where documents keep schemas by name; OpenAPI and AsyncAPI have the same place.
const PLACE: &str = "/components/schemas";

/// Collects the schemas of types.
///
/// What a client may leave out, the worker fills in. So a type that only the worker writes is described as it is
/// written, and one that clients write as it is read, wherever it stands.
#[derive(Debug)]
pub struct Schemas {
    read: SchemaGenerator,
    written: SchemaGenerator,
}

impl Default for Schemas {
    fn default() -> Self {
        let settings = || SchemaSettings::draft2020_12().with(|settings| settings.definitions_path = PLACE.into());
        Self { read: settings().for_deserialize().into(), written: settings().for_serialize().into() }
    }
}

impl Schemas {
    /// A type that clients write: a reference to it, or all of it where it has no name of its own.
    pub fn read<T: JsonSchema>(&mut self) -> Value {
        readable(self.read.subschema_for::<T>())
    }

    /// A type that only the worker writes.
    pub fn written<T: JsonSchema>(&mut self) -> Value {
        let mut schema = readable(self.written.subschema_for::<T>());
        without_nulls(&mut schema);
        schema
    }

    /// All schemas that were referred to, by name.
    pub fn finish(mut self) -> Map<String, Value> {
        let mut schemas = self.written.take_definitions(true);
        schemas.values_mut().for_each(without_nulls);
        schemas.append(&mut self.read.take_definitions(true));
        schemas.values_mut().for_each(describe);
        schemas
    }
}

fn readable(schema: Schema) -> Value {
    let mut schema = schema.to_value();
    describe(&mut schema);
    schema
}

/// Turns the comments of Rust into prose: no line breaks within a paragraph, no links into the crate.
fn describe(schema: &mut Value) {
    each_schema(schema, &mut |schema| {
        if let Some(Value::String(description)) = schema.get_mut("description") {
            *description = prose(description);
        }
    });
}

/// Fields that the worker leaves out where they are empty are never `null`.
fn without_nulls(schema: &mut Value) {
    each_schema(schema, &mut |schema| {
        let required: Vec<Value> = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
        let Some(Value::Object(properties)) = schema.get_mut("properties") else { return };
        for (_, property) in properties.iter_mut().filter(|(name, _)| !required.contains(&Value::from(name.as_str()))) {
            let Value::Object(property) = property else { continue };
            if let Some(Value::Array(types)) = property.get_mut("type") {
                types.retain(|kind| kind != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    property.insert("type".into(), only);
                }
            }
            if let Some(Value::Array(choices)) = property.get_mut("anyOf") {
                choices.retain(|choice| choice.get("type").is_none_or(|kind| kind != "null"));
                if choices.len() == 1
                    && let Some(Value::Object(mut only)) = choices.pop()
                {
                    property.remove("anyOf");
                    property.append(&mut only);
                }
            }
        }
    });
}

/// Every schema within a schema, outermost first.
fn each_schema(value: &mut Value, change: &mut impl FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Object(schema) => {
            change(schema);
            schema.values_mut().for_each(|inner| each_schema(inner, change));
        }
        Value::Array(values) => values.iter_mut().for_each(|inner| each_schema(inner, change)),
        _ => {}
    }
}

/// A comment as prose: `[`Name`](path)` is `Name`, and a paragraph is one line. Tables keep their lines.
fn prose(comment: &str) -> String {
    let mut text = String::with_capacity(comment.len());
    let mut rest = comment;
    while let Some((before, linked)) = rest.split_once("[`") {
        let Some((name, after)) = linked.split_once("`]") else { break };
        text.push_str(before);
        text.push('`');
        text.push_str(name.trim_start_matches("crate::"));
        text.push('`');
        rest = match after.strip_prefix('(').and_then(|link| link.split_once(')')) {
            Some((_, after)) => after,
            None => after,
        };
    }
    text.push_str(rest);
    let paragraphs = text.trim().split("\n\n").map(|paragraph| match paragraph.starts_with('|') {
        true => paragraph.to_owned(),
        false => paragraph.lines().map(str::trim).collect::<Vec<_>>().join(" "),
    });
    paragraphs.collect::<Vec<_>>().join("\n\n")
}
