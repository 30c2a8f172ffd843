//! The WebSocket as an AsyncAPI 3 document, from the worker's side: it receives what clients send.

use serde_json::{Map, Value, json};

use super::Schemas;
use crate::limits::{BINARY_BYTES_MAX, PING_INTERVAL_MS, SEND_TIMEOUT_MS, TEXT_BYTES_MAX};
use crate::{ClientFrame, EventFrame, PROTOCOL_VERSION, SUBPROTOCOL, SessionFrame};

/// Which frames answer a client's frame; one that is not listed has no answer of its own.
const REPLIES: &[(&str, &[&str])] = &[
    ("hello", &["welcome"]),
    ("submit", &["accepted", "rejected"]),
    ("attach", &["attached", "error"]),
    ("upload", &["uploaded", "upload_rejected"]),
    ("upload_chunk", &["uploaded", "upload_rejected"]),
];

/// The document, for a worker of this version.
pub fn asyncapi(version: &str) -> Value {
    let mut schemas = Schemas::default();
    let client = schemas.read::<ClientFrame>();
    let session = schemas.written::<SessionFrame>();
    let events = schemas.written::<EventFrame>();
    let mut schemas = schemas.finish();
    // A union of frames is the list of messages here, and stands nowhere else.
    let mut frames = |union: &Value| -> Vec<Message> {
        let name = union["$ref"].as_str().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
        schemas.remove(name).map(|union| variants(&union)).unwrap_or_default()
    };
    let (client, session, events) = (frames(&client), frames(&session), frames(&events));
    let layout = include_str!("../binary.md");
    let chunk = Message::binary("upload_chunk", "A part of a picture on its way to the worker.", layout);
    let previews = [
        Message::binary("preview_latent", "A preview of a running job, as a latent.", layout),
        Message::binary("preview_picture", "A preview of a running job, as a picture.", layout),
    ];

    let sent_by_clients = || client.iter().chain([&chunk]);
    let sent_by_worker = || session.iter().chain(&events).chain(&previews);
    let all = || sent_by_clients().chain(sent_by_worker());
    let reference = |message: &Message| json!({"$ref": format!("#/components/messages/{}", message.name)});
    let mut operations: Map<String, Value> =
        sent_by_clients().map(|message| (message.name.clone(), receive(message))).collect();
    operations.insert("answer".into(), send("Answers to what a client sent.", session.iter()));
    operations.insert("tell".into(), send("What happens to the jobs that a socket follows.", events.iter()));
    operations.insert("show".into(), send("Previews of those jobs.", previews.iter()));
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Stable Diffusion worker: WebSocket",
            "version": version,
            "description": about(),
        },
        "defaultContentType": "application/json",
        "channels": {
            "socket": {
                "address": "/v1/ws",
                "title": "Many jobs on one socket",
                "description": format!("Subprotocol `{SUBPROTOCOL}`. Text frames are JSON objects with a `type`; bulk data is binary."),
                "messages": all().map(|message| (message.name.clone(), reference(message))).collect::<Map<_, _>>(),
                "bindings": {"ws": {"method": "GET"}},
            },
        },
        "operations": operations,
        "components": {
            "messages": all().map(|message| (message.name.clone(), message.document.clone())).collect::<Map<_, _>>(),
            "schemas": schemas,
        },
    })
}

fn about() -> String {
    let (text, binary) = (TEXT_BYTES_MAX >> 10, BINARY_BYTES_MAX >> 10);
    let (ping, send) = (PING_INTERVAL_MS / 1000, SEND_TIMEOUT_MS / 1000);
    format!(
        "Version {PROTOCOL_VERSION} of the protocol. A client greets with `hello`, submits jobs or attaches to jobs that \
         run, and is told what happens to them. Durable events carry a `seq` and are replayed to whoever attaches; \
         progress and previews are the newest there are.\n\n\
         A frame that cannot be honoured is answered with `error`, and the socket lives. Text frames have at most \
         {text} KiB, binary frames of clients {binary} KiB. The worker pings every {ping} s. It closes with 1001 when it \
         stops, 1009 after a frame beyond the limits, and 1013 when a client leaves two pings unanswered or does not \
         read for {send} s: connect again and attach.\n\n\
         Clients pass over frames and fields that they do not know."
    )
}

/// One message: its name, and what stands under `components`.
struct Message {
    name: String,
    document: Value,
}

impl Message {
    fn binary(name: &str, summary: &str, layout: &str) -> Self {
        let document = json!({
            "name": name,
            "summary": summary,
            "description": layout.trim_end(),
            "contentType": "application/octet-stream",
            "payload": {"type": "string", "format": "binary"},
        });
        Self { name: name.into(), document }
    }

    fn summary(&self) -> &str {
        self.document["summary"].as_str().unwrap_or_default()
    }
}

/// The variants of a union that is told apart by `type`, each with the fields that all of them share.
fn variants(union: &Value) -> Vec<Message> {
    let shared = union["properties"].as_object().cloned().unwrap_or_default();
    let shared_required = union["required"].as_array().cloned().unwrap_or_default();
    let of_variant = |variant: &Value| {
        let name = variant["properties"]["type"]["const"].as_str().unwrap_or_default();
        let mut properties = variant["properties"].as_object().cloned().unwrap_or_default();
        properties.extend(shared.clone());
        let mut required = variant["required"].as_array().cloned().unwrap_or_default();
        required.extend(shared_required.iter().cloned());
        let document = json!({
            "name": name,
            "summary": variant["description"],
            "payload": {"type": "object", "properties": properties, "required": required},
        });
        Message { name: name.into(), document }
    };
    union["oneOf"].as_array().into_iter().flatten().map(of_variant).collect()
}

fn of_channel(name: &str) -> Value {
    json!({"$ref": format!("#/channels/socket/messages/{name}")})
}

fn receive(message: &Message) -> Value {
    let mut operation = json!({
        "action": "receive",
        "channel": {"$ref": "#/channels/socket"},
        "summary": message.summary(),
        "messages": [of_channel(&message.name)],
    });
    if let Some((_, replies)) = REPLIES.iter().find(|(name, _)| *name == message.name) {
        let messages: Vec<Value> = replies.iter().map(|name| of_channel(name)).collect();
        operation["reply"] = json!({"channel": {"$ref": "#/channels/socket"}, "messages": messages});
    }
    operation
}

fn send<'a>(summary: &str, messages: impl Iterator<Item = &'a Message>) -> Value {
    json!({
        "action": "send",
        "channel": {"$ref": "#/channels/socket"},
        "summary": summary,
        "messages": messages.map(|message| of_channel(&message.name)).collect::<Vec<_>>(),
    })
}
