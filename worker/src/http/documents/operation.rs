//! What a route takes and answers.

use std::borrow::Cow;

use axum::http::{HeaderName, Method, StatusCode};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use sd_protocol::ErrorCode;
use sd_protocol::schema::Schemas;
use serde_json::Value;

/// Adds a type to the schemas of a document and refers to it.
pub(super) type SchemaOf = fn(&mut Schemas) -> Value;

/// What a route asks of whoever comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// Nothing.
    Open,
    /// A token, where there are any.
    Token,
    /// A token, a ticket or a share link.
    Viewer,
    /// A token or a ticket, or one of them in `hello`.
    Socket,
}

/// One method of one path.
#[derive(Debug)]
pub struct Operation {
    pub(super) door: Door,
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) group: &'static str,
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    pub(super) about: Option<&'static str>,
    pub(super) parameters: Vec<Parameter>,
    pub(super) query: Option<SchemaOf>,
    pub(super) bodies: Vec<(&'static str, SchemaOf)>,
    pub(super) needs_body: bool,
    pub(super) answers: Vec<Answer>,
    pub(super) errors: Vec<ErrorCode>,
    pub(super) not_ready: Vec<ErrorCode>,
}

/// Where a parameter stands.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    Path,
    Header,
}

/// A part of the path, or a header.
#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) place: Place,
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) schema: SchemaOf,
}

impl Operation {
    /// An operation that takes and answers nothing yet. `id` is its name for programs, `group` its heading.
    pub fn new(group: &'static str, id: &'static str, summary: &'static str) -> Self {
        Self {
            door: Door::Token,
            method: Method::GET,
            path: "",
            group,
            id,
            summary,
            about: None,
            parameters: Vec::new(),
            query: None,
            bodies: Vec::new(),
            needs_body: true,
            answers: Vec::new(),
            errors: Vec::new(),
            not_ready: Vec::new(),
        }
    }

    /// Where it is found.
    pub(crate) fn at(self, door: Door, method: Method, path: &'static str) -> Self {
        Self { door, method, path, ..self }
    }

    /// More than a sentence.
    pub fn about(self, about: &'static str) -> Self {
        Self { about: Some(about), ..self }
    }

    /// A part of the path, `{name}`.
    pub fn path<T: JsonSchema>(self, name: &'static str, about: &'static str) -> Self {
        self.parameter::<T>(Place::Path, name, about)
    }

    /// A header that changes the answer.
    pub fn header<T: JsonSchema>(self, name: &'static str, about: &'static str) -> Self {
        self.parameter::<T>(Place::Header, name, about)
    }

    fn parameter<T: JsonSchema>(mut self, place: Place, name: &'static str, about: &'static str) -> Self {
        self.parameters.push(Parameter { place, name, about, schema: Schemas::read::<T> });
        self
    }

    /// The query string; its fields are those of `T`.
    pub fn query<T: JsonSchema>(self) -> Self {
        Self { query: Some(Schemas::read::<T>), ..self }
    }

    /// A body of JSON.
    pub fn json<T: JsonSchema>(self) -> Self {
        self.body::<T>("application/json")
    }

    /// A body of JSON that may be left out.
    pub fn optional_json<T: JsonSchema>(self) -> Self {
        Self { needs_body: false, ..self.json::<T>() }
    }

    /// Why it answers with 503, whatever status the code has elsewhere.
    pub fn not_ready(mut self, errors: &[ErrorCode]) -> Self {
        self.not_ready.extend(errors);
        self
    }

    /// A body of another type; several calls offer a choice.
    pub fn body<T: JsonSchema>(mut self, content_type: &'static str) -> Self {
        self.bodies.push((content_type, Schemas::read::<T>));
        self
    }

    /// One of the answers that are no errors.
    pub fn answers(mut self, answer: Answer) -> Self {
        self.answers.push(answer);
        self
    }

    /// What can go wrong; the status of each is decided in [`crate::http::error`].
    pub fn fails(mut self, errors: &[ErrorCode]) -> Self {
        self.errors.extend(errors);
        self
    }
}

/// An answer that is no error.
#[derive(Debug)]
pub struct Answer {
    pub(super) status: StatusCode,
    pub(super) about: &'static str,
    pub(super) headers: Vec<(HeaderName, &'static str)>,
    pub(super) contents: Vec<(&'static str, SchemaOf)>,
}

impl Answer {
    /// An answer without a body.
    pub fn empty(status: StatusCode, about: &'static str) -> Self {
        Self { status, about, headers: Vec::new(), contents: Vec::new() }
    }

    /// An answer of JSON.
    pub fn json<T: JsonSchema>(status: StatusCode, about: &'static str) -> Self {
        Self::empty(status, about).content::<T>("application/json")
    }

    /// A body, or one more type that it may have.
    pub fn content<T: JsonSchema>(mut self, content_type: &'static str) -> Self {
        self.contents.push((content_type, Schemas::written::<T>));
        self
    }

    /// A header that it carries.
    pub fn header(mut self, name: HeaderName, about: &'static str) -> Self {
        self.headers.push((name, about));
        self
    }
}

/// The bytes of a file, as a body or in a form.
#[derive(Debug)]
pub enum Bytes {}

impl JsonSchema for Bytes {
    fn schema_name() -> Cow<'static, str> {
        "Bytes".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "binary"})
    }
}
