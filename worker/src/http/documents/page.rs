//! Both documents → the page for people: HTTP, WebSocket, types.

use maud::{DOCTYPE, Markup, html};
use serde_json::{Map, Value};

use super::markup::{definition, fields, prose, reference, type_of};

/// The page.
pub fn page(openapi: &Value, asyncapi: &Value) -> Markup {
    let mut types = asyncapi["components"]["schemas"].as_object().cloned().unwrap_or_default();
    types.extend(openapi["components"]["schemas"].as_object().cloned().unwrap_or_default());
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (openapi["info"]["title"].as_str().unwrap_or_default()) }
                link rel="stylesheet" href="/docs/style.css";
            }
            body {
                main { (http(openapi)) (socket(asyncapi)) (named(&types)) }
                (contents(openapi, asyncapi, &types))
            }
        }
    }
}

fn contents(openapi: &Value, asyncapi: &Value, types: &Map<String, Value>) -> Markup {
    html! {
        nav #contents aria-label="Contents" {
            h2 { a href="#http" { "HTTP" } }
            ul {
                @for (path, method, operation) in operations(openapi) {
                    li { a href=(format!("#{}", id(operation))) { (method) " " (path) } }
                }
            }
            h2 { a href="#socket" { "WebSocket" } }
            ul { @for name in messages(asyncapi).keys() { li { a href=(format!("#frame-{name}")) { (name) } } } }
            h2 { a href="#types" { "Types" } }
            ul { @for name in types.keys() { li { a href=(format!("#type-{name}")) { (name) } } } }
        }
    }
}

fn http(openapi: &Value) -> Markup {
    let info = &openapi["info"];
    html! {
        section #http {
            header {
                h1 { (info["title"].as_str().unwrap_or_default()) " " span.version { (info["version"].as_str().unwrap_or_default()) } }
                p.files {
                    a href="#socket" { "WebSocket" } a href="#types" { "Types" } a href="#contents" { "Contents" }
                }
                p.files {
                    a href="/" { "The page" } a href="/openapi.json" { "OpenAPI 3.1" }
                    a href="/asyncapi.json" { "AsyncAPI 3" } a href="/pkg/protocol.d.ts" { "TypeScript" }
                }
                (prose(&info["description"]))
            }
            @for group in openapi["tags"].as_array().into_iter().flatten() {
                h2 { (group["name"].as_str().unwrap_or_default()) }
                @for (path, method, operation) in operations(openapi) {
                    @if operation["tags"][0] == group["name"] { (operation_article(path, method, operation)) }
                }
            }
        }
    }
}

fn operation_article(path: &str, method: &str, operation: &Value) -> Markup {
    html! {
        article id=(id(operation)) {
            h3 { span.method data-method=(method) { (method) } code { (path) } }
            p.summary { (operation["summary"].as_str().unwrap_or_default()) }
            (prose(&operation["description"]))
            @if let Some(parameters) = operation["parameters"].as_array().filter(|list| !list.is_empty()) {
                h4 { "Parameters" }
                dl.fields {
                    @for parameter in parameters {
                        dt {
                            code { (parameter["name"].as_str().unwrap_or_default()) }
                            span.type { (type_of(&parameter["schema"])) }
                            span.mark { (parameter["in"].as_str().unwrap_or_default()) }
                        }
                        dd { (prose(&parameter["description"])) }
                    }
                }
            }
            @if let Some(body) = operation["requestBody"]["content"].as_object() {
                h4 { "Body" }
                (contents_of(body))
            }
            h4 { "Answers" }
            dl.answers {
                @for (status, answer) in operation["responses"].as_object().into_iter().flatten() {
                    dt data-class=(status.get(..1).unwrap_or_default()) { (status) }
                    dd {
                        (prose(&answer["description"]))
                        @if let Some(content) = answer["content"].as_object() { (contents_of(content)) }
                        @for (name, header) in answer["headers"].as_object().into_iter().flatten() {
                            p.header { code { (name) } " " (header["description"].as_str().unwrap_or_default()) }
                        }
                    }
                }
            }
        }
    }
}

fn contents_of(content: &Map<String, Value>) -> Markup {
    html! {
        @for (content_type, media) in content {
            p.content {
                code { (content_type) }
                @if reference(&media["schema"]).is_some() { " " (type_of(&media["schema"])) }
            }
        }
    }
}

fn socket(asyncapi: &Value) -> Markup {
    let sent_by_clients = |name: &str| asyncapi["operations"][name]["action"] == "receive";
    html! {
        section #socket {
            h2 { "WebSocket " code { (asyncapi["channels"]["socket"]["address"].as_str().unwrap_or_default()) } }
            (prose(&asyncapi["channels"]["socket"]["description"]))
            (prose(&asyncapi["info"]["description"]))
            @for (heading, from_clients) in [("What clients send", true), ("What the worker sends", false)] {
                h3 { (heading) }
                @for (name, message) in messages(asyncapi).iter().filter(|(name, _)| sent_by_clients(name) == from_clients) {
                    article id=(format!("frame-{name}")) {
                        h4 { code { (name) } }
                        (prose(&message["summary"]))
                        (prose(&message["description"]))
                        (fields(&message["payload"]))
                        (replies(&asyncapi["operations"][name.as_str()]))
                    }
                }
            }
        }
    }
}

fn replies(operation: &Value) -> Markup {
    let names = operation["reply"]["messages"].as_array().into_iter().flatten();
    let names: Vec<&str> = names.filter_map(reference).collect();
    html! {
        @if !names.is_empty() {
            p.content {
                "Answered by "
                @for (at, name) in names.iter().enumerate() {
                    @if at > 0 { " or " }
                    a href=(format!("#frame-{name}")) { (name) }
                }
            }
        }
    }
}

fn named(types: &Map<String, Value>) -> Markup {
    html! {
        section #types {
            h2 { "Types" }
            @for (name, schema) in types {
                article id=(format!("type-{name}")) { h3 { code { (name) } } (definition(schema)) }
            }
        }
    }
}

/// Every operation with its path and method, in the order of the groups' table.
fn operations(openapi: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    let paths = openapi["paths"].as_object().into_iter().flatten();
    paths.flat_map(|(path, methods)| {
        let methods = methods.as_object().into_iter().flatten();
        methods.map(|(method, operation)| (path.as_str(), upper(method), operation))
    })
}

fn upper(method: &str) -> &'static str {
    match method {
        "delete" => "DELETE",
        "post" => "POST",
        "put" => "PUT",
        _ => "GET",
    }
}

fn id(operation: &Value) -> &str {
    operation["operationId"].as_str().unwrap_or_default()
}

fn messages(asyncapi: &Value) -> Map<String, Value> {
    asyncapi["components"]["messages"].as_object().cloned().unwrap_or_default()
}
