//! Operations → an OpenAPI 3.1 document.

use std::collections::BTreeMap;

use axum::http::{StatusCode, header};
use sd_protocol::schema::Schemas;
use sd_protocol::{ErrorCode, ErrorEnvelope, EventFrame};
use serde_json::{Map, Value, json};

use super::operation::{Answer, Door, Operation, Parameter, Place};
use crate::http::error;

/// What any operation can answer, whatever it does.
const ANYWHERE: &[ErrorCode] =
    &[ErrorCode::HostNotAllowed, ErrorCode::OriginNotAllowed, ErrorCode::Timeout, ErrorCode::Internal];
/// What one behind a door can answer.
const AT_A_DOOR: &[ErrorCode] = &[ErrorCode::Unauthorized];
/// What one with a part in its path can answer: the part may be no text.
const IN_A_PATH: &[ErrorCode] = &[ErrorCode::NotFound];

const ABOUT: &str = "A job is asked for with `POST /v1/jobs`, followed with `GET /v1/jobs/{id}/stream`, and leaves its \
    pictures under `GET /v1/jobs/{id}/images/{index}`. The same jobs can be asked for and followed over the WebSocket \
    at `/v1/ws`, which `/asyncapi.json` describes.\n\n\
    Every answer that is no success has the same body, an `ErrorEnvelope` with a code for programs and a sentence for \
    people. A path that is none is answered with 404, a method that a path does not have with 405. Clients pass over \
    fields that they do not know.";

/// The document, for a worker of this version.
pub fn openapi(operations: &[Operation], version: &str) -> Value {
    let mut schemas = Schemas::default();
    schemas.written::<EventFrame>();
    let envelope = schemas.written::<ErrorEnvelope>();
    let mut paths: Map<String, Value> = Map::new();
    for operation in operations {
        let described = describe(operation, &envelope, &mut schemas);
        let methods = paths.entry(operation.path).or_insert_with(|| json!({}));
        methods[operation.method.as_str().to_lowercase()] = described;
    }
    let schemas = schemas.finish();
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {"title": "Stable Diffusion worker", "version": version, "description": ABOUT},
        "servers": [{"url": "/", "description": "This worker."}],
        "tags": groups(operations),
        "paths": paths,
    });
    explain_errors(&mut document["paths"], &schemas["ErrorCode"]);
    document["components"] = json!({"schemas": schemas});
    document
}

fn groups(operations: &[Operation]) -> Vec<Value> {
    let mut groups: Vec<&str> = Vec::new();
    for operation in operations {
        if !groups.contains(&operation.group) {
            groups.push(operation.group);
        }
    }
    groups.into_iter().map(|name| json!({"name": name})).collect()
}

fn describe(operation: &Operation, envelope: &Value, schemas: &mut Schemas) -> Value {
    let mut parameters: Vec<Value> =
        operation.parameters.iter().map(|parameter| parameter_of(parameter, schemas)).collect();
    if let Some(query) = operation.query {
        parameters.extend(query_parameters(&query(schemas)));
    }
    let keys: &[(&str, &str)] = match operation.door {
        Door::Open | Door::Token => &[],
        Door::Viewer => &[("ticket", "A ticket in place of a token."), ("share", "The token of a share link.")],
        Door::Socket => &[("ticket", "A ticket in place of a token.")],
    };
    parameters.extend(keys.iter().map(|(name, about)| {
        json!({"name": name, "in": "query", "required": false, "description": about, "schema": {"type": "string"}})
    }));
    let mut responses: BTreeMap<String, Value> = BTreeMap::new();
    for answer in &operation.answers {
        responses.insert(answer.status.as_str().into(), response(answer, schemas));
    }
    let mut by_status: BTreeMap<StatusCode, Vec<ErrorCode>> = BTreeMap::new();
    let in_a_path = if operation.path.contains('{') { IN_A_PATH } else { &[] };
    let at_a_door = if operation.door == Door::Open { &[] } else { AT_A_DOOR };
    for &code in operation.errors.iter().chain(in_a_path).chain(at_a_door).chain(ANYWHERE) {
        by_status.entry(error::status(code)).or_default().push(code);
    }
    if !operation.not_ready.is_empty() {
        by_status.entry(StatusCode::SERVICE_UNAVAILABLE).or_default().extend(&operation.not_ready);
    }
    for (status, codes) in by_status {
        responses.insert(status.as_str().into(), error_response(status, &codes, envelope));
    }
    let mut described = json!({
        "operationId": operation.id,
        "tags": [operation.group],
        "summary": operation.summary,
        "parameters": parameters,
        "responses": responses,
    });
    if let Some(about) = operation.about {
        described["description"] = about.into();
    }
    if !operation.bodies.is_empty() {
        let contents = operation.bodies.iter();
        let contents: Map<String, Value> =
            contents.map(|(content_type, schema)| ((*content_type).into(), media(schema(schemas)))).collect();
        described["requestBody"] = json!({"required": operation.needs_body, "content": contents});
    }
    described
}

fn media(schema: Value) -> Value {
    json!({"schema": schema})
}

fn parameter_of(parameter: &Parameter, schemas: &mut Schemas) -> Value {
    let (place, is_required) = match parameter.place {
        Place::Path => ("path", true),
        Place::Header => ("header", false),
    };
    json!({
        "name": parameter.name,
        "in": place,
        "required": is_required,
        "description": parameter.about,
        "schema": (parameter.schema)(schemas),
    })
}

/// The fields of a query, which has no name of its own in the document.
fn query_parameters(query: &Value) -> Vec<Value> {
    let fields = query["properties"].as_object().into_iter().flatten();
    let parameter = |(name, schema): (&String, &Value)| {
        let mut schema = schema.clone();
        let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
        let mut parameter =
            json!({"name": name, "in": "query", "required": false, "description": description, "schema": schema});
        if schema["items"].is_object() {
            // Lists are written with commas.
            parameter["style"] = "form".into();
            parameter["explode"] = false.into();
        }
        parameter
    };
    fields.map(parameter).collect()
}

fn response(answer: &Answer, schemas: &mut Schemas) -> Value {
    let mut response = json!({"description": answer.about});
    if !answer.headers.is_empty() {
        let headers = answer.headers.iter();
        let headers: Map<String, Value> = headers
            .map(|(name, about)| (title(name.as_str()), json!({"description": about, "schema": {"type": "string"}})))
            .collect();
        response["headers"] = headers.into();
    }
    if !answer.contents.is_empty() {
        let contents = answer.contents.iter();
        let contents: Map<String, Value> =
            contents.map(|(content_type, schema)| ((*content_type).into(), media(schema(schemas)))).collect();
        response["content"] = contents.into();
    }
    response
}

/// The error object, with the codes that come with this status.
fn error_response(status: StatusCode, codes: &[ErrorCode], envelope: &Value) -> Value {
    let codes: Vec<Value> = codes.iter().map(|code| json!(code)).collect();
    let narrowed = json!({"properties": {"error": {"properties": {"code": {"enum": codes}}}}});
    let mut response = json!({
        "description": "",
        "content": {"application/json": {"schema": {"allOf": [envelope, narrowed]}}},
    });
    if error::is_temporary(status) {
        let about = "Seconds after which to try again.";
        let name = title(header::RETRY_AFTER.as_str());
        response["headers"] = json!({name: {"description": about, "required": false, "schema": {"type": "integer"}}});
    }
    response
}

/// Says of every error answer what its codes mean, in the words of the type.
fn explain_errors(paths: &mut Value, codes: &Value) {
    let meaning = |code: &Value| -> String {
        let codes = codes["oneOf"].as_array().into_iter().flatten();
        let about = codes.filter(|known| known["const"] == *code).find_map(|known| known["description"].as_str());
        format!("`{}`: {}", code.as_str().unwrap_or_default(), about.unwrap_or_default())
    };
    let operations = paths.as_object_mut().into_iter().flatten().flat_map(|(_, path)| path.as_object_mut());
    for (_, operation) in operations.flatten() {
        for (_, response) in operation["responses"].as_object_mut().into_iter().flatten() {
            let Some(codes) = response
                .pointer("/content/application~1json/schema/allOf/1/properties/error/properties/code/enum")
                .and_then(Value::as_array)
            else {
                continue;
            };
            let meanings: Vec<String> = codes.iter().map(meaning).collect();
            response["description"] = meanings.join("\n\n").into();
        }
    }
}

/// A header as people write it.
fn title(name: &str) -> String {
    let word = |word: &str| word[..1].to_uppercase() + &word[1..];
    let name: Vec<String> = name.split('-').map(word).collect();
    if name == ["Etag"] { "ETag".into() } else { name.join("-") }
}
