//! The documents of the API are what they were at the last review.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use sd_protocol::schema::typescript;
use sd_worker::http::documents::Documents;
use sd_worker::http::routes;
use serde_json::Value;

fn documents() -> Documents {
    Documents::of(routes::table().operations())
}

/// Compares with the file at `path`, from the root of the repository. `SD_UPDATE_GOLDENS=1` writes it.
fn check(path: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    if std::env::var_os("SD_UPDATE_GOLDENS").is_some() {
        fs::write(&file, text).unwrap();
    }
    let golden = fs::read_to_string(&file).unwrap_or_default();
    let differs = golden.lines().zip(text.lines()).position(|(golden, line)| golden != line);
    let at = differs.unwrap_or(golden.lines().count().min(text.lines().count())) + 1;
    assert!(
        golden == text,
        "the API is described differently from {path}:{at}; if it is meant so, run `cargo xtask golden documents` and \
         look at the difference"
    );
}

#[test]
fn openapi_is_as_reviewed() {
    check("worker/tests/documents/openapi.json", &documents().openapi);
}

#[test]
fn asyncapi_is_as_reviewed() {
    check("worker/tests/documents/asyncapi.json", &documents().asyncapi);
}

#[test]
fn typescript_is_as_reviewed() {
    check("web-client/pkg/protocol.d.ts", &typescript());
}

/// Every string under `key`, anywhere in a document.
fn all<'a>(value: &'a Value, key: &str, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get(key).and_then(Value::as_str));
            fields.values().for_each(|inner| all(inner, key, found));
        }
        Value::Array(values) => values.iter().for_each(|inner| all(inner, key, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let documents = documents();
    for text in [&documents.openapi, &documents.asyncapi] {
        let document: Value = serde_json::from_str(text).unwrap();
        let mut references = BTreeSet::new();
        all(&document, "$ref", &mut references);
        assert!(references.len() > 10, "{references:?}");
        for reference in references {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
        }
    }
}

#[test]
fn every_field_and_every_route_says_what_it_is() {
    let documents = documents();
    let mut silent = Vec::new();
    for text in [&documents.openapi, &documents.asyncapi] {
        let document: Value = serde_json::from_str(text).unwrap();
        for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
            if schema["description"].as_str().is_none_or(str::is_empty) {
                silent.push(name.clone());
            }
            for (field, about) in schema["properties"].as_object().into_iter().flatten() {
                if about["description"].as_str().is_none_or(str::is_empty) {
                    silent.push(format!("{name}.{field}"));
                }
            }
        }
        for (name, message) in document["components"]["messages"].as_object().into_iter().flatten() {
            if message["summary"].as_str().is_none_or(str::is_empty) {
                silent.push(name.clone());
            }
        }
    }
    let openapi: Value = serde_json::from_str(&documents.openapi).unwrap();
    for (path, methods) in openapi["paths"].as_object().unwrap() {
        let parts: BTreeSet<&str> =
            path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
        for (method, operation) in methods.as_object().unwrap() {
            let parameters = operation["parameters"].as_array().unwrap();
            let described: BTreeSet<&str> =
                parameters.iter().filter(|one| one["in"] == "path").filter_map(|one| one["name"].as_str()).collect();
            assert_eq!(described, parts, "{method} {path}");
            let answers = operation["responses"].as_object().unwrap();
            let empty = answers.iter().filter(|(_, answer)| answer["description"] == "");
            silent.extend(empty.map(|(status, _)| format!("{method} {path} {status}")));
        }
    }
    assert!(silent.is_empty(), "no word about {silent:?}");
}

#[test]
fn every_frame_of_an_answer_exists() {
    let asyncapi: Value = serde_json::from_str(&documents().asyncapi).unwrap();
    let names: BTreeSet<&String> = asyncapi["components"]["messages"].as_object().unwrap().keys().collect();
    let unions = [&asyncapi["channels"]["socket"]["messages"]];
    for union in unions {
        assert_eq!(union.as_object().unwrap().keys().collect::<BTreeSet<_>>(), names);
    }
    let answered =
        asyncapi["operations"].as_object().unwrap().values().filter(|one| one.get("reply").is_some()).count();
    assert_eq!(answered, 5, "hello, submit, attach, upload and its chunks have answers");
}

#[test]
fn the_page_shows_everything_and_runs_nothing() {
    let documents = documents();
    let openapi: Value = serde_json::from_str(&documents.openapi).unwrap();
    let asyncapi: Value = serde_json::from_str(&documents.asyncapi).unwrap();
    let mut anchors: Vec<String> = Vec::new();
    for document in [&openapi, &asyncapi] {
        anchors
            .extend(document["components"]["schemas"].as_object().unwrap().keys().map(|name| format!("type-{name}")));
    }
    anchors.extend(asyncapi["components"]["messages"].as_object().unwrap().keys().map(|name| format!("frame-{name}")));
    let mut operations = BTreeSet::new();
    all(&openapi["paths"], "operationId", &mut operations);
    anchors.extend(operations.iter().map(|id| (*id).to_owned()));
    for anchor in &anchors {
        assert!(documents.page.contains(&format!(" id=\"{anchor}\"")), "{anchor} is missing");
    }
    for link in documents.page.split("href=\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(documents.page.contains(&format!("id=\"{link}\"")), "#{link} leads nowhere");
    }
    for forbidden in ["<script", "style=\"", " onclick", "http://", "https://"] {
        assert!(!documents.page.contains(forbidden), "the page has {forbidden}");
    }
}
