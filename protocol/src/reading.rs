//! Values of the protocol from JSON, by way of one tree.
//!
//! serde_json reads every type along several roads (objects, lists, trees of its own for what is tagged by `type`) and
//! words every fault; the browser client would carry all of it for every type, some 20 KiB of its compressed module.
//! Here there is one road, on which a type is a list of its fields, and a fault names the field. What a newer worker
//! adds is passed over.

use std::slice;

use serde::de::value::{SeqDeserializer, StrDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Expected, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::{Value, map};

/// An enum that is written with the name of its variant as `type`, and `$reader`, which reads it with [`Reader`].
macro_rules! tagged {
    ($(#[$attribute:meta])* pub enum $name:ident, read as $reader:ident = $path:literal $variants:tt) => {
        $(#[$attribute])*
        #[derive(serde::Serialize)]
        #[serde(tag = "type", rename_all = "snake_case")]
        pub enum $name $variants

        /// The same, as serde reads an enum whose variant is named from outside.
        #[derive(serde::Deserialize)]
        #[serde(remote = $path, rename_all = "snake_case")]
        enum $reader $variants
    };
}
pub(crate) use tagged;

/// A text that does not hold what was looked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It is no JSON.
    #[error("this is no JSON")]
    Syntax,
    /// A field that must be there is not.
    #[error("the field {0:?} is missing")]
    Missing(&'static str),
    /// A value has another type than its field, or is out of its bounds.
    #[error("the field {0:?} cannot be read")]
    Field(String),
    /// The whole has another type.
    #[error("this is something else")]
    Other,
}

impl ReadError {
    /// The same fault, found in this field.
    fn within(self, field: &str) -> Self {
        match self {
            Self::Other => Self::Field(field.to_owned()),
            fault => fault,
        }
    }

    /// The same fault of a whole, whose last field was not there.
    fn or_missing(self, field: Option<&'static str>) -> Self {
        match (self, field) {
            (Self::Other, Some(field)) => Self::Missing(field),
            (fault, _) => fault,
        }
    }
}

impl serde::de::Error for ReadError {
    fn custom<T: std::fmt::Display>(_: T) -> Self {
        Self::Other
    }

    fn invalid_type(_: Unexpected<'_>, _: &dyn Expected) -> Self {
        Self::Other
    }

    fn invalid_value(_: Unexpected<'_>, _: &dyn Expected) -> Self {
        Self::Other
    }

    fn invalid_length(_: usize, _: &dyn Expected) -> Self {
        Self::Other
    }

    fn unknown_variant(_: &str, _: &'static [&'static str]) -> Self {
        Self::Other
    }

    fn unknown_field(field: &str, _: &'static [&'static str]) -> Self {
        Self::Field(field.to_owned())
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Missing(field)
    }
}

/// Reads one value.
///
/// # Errors
/// When `text` is no JSON, or holds something else.
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, ReadError> {
    T::deserialize(Reader(&tree(text)?))
}

/// The tree of a text.
pub(crate) fn tree(text: &str) -> Result<Value, ReadError> {
    serde_json::from_str(text).map_err(|_| ReadError::Syntax)
}

/// Reads a tree.
pub(crate) struct Reader<'a>(pub(crate) &'a Value);

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(truth) => visitor.visit_bool(*truth),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(number), ..) => visitor.visit_u64(number),
                (None, Some(number), _) => visitor.visit_i64(number),
                (None, None, Some(number)) => visitor.visit_f64(number),
                (None, None, None) => Err(ReadError::Other),
            },
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Array(items) => {
                let mut items = SeqDeserializer::new(items.iter().map(Reader));
                let value = visitor.visit_seq(&mut items)?;
                items.end()?;
                Ok(value)
            }
            Value::Object(members) => visitor.visit_map(Members { rest: members.iter(), next: None }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    /// An object, never a list; but given to the type as the list of its fields, which it reads with much less code.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let members = self.0.as_object().ok_or(ReadError::Other)?;
        let mut missing = None;
        let value = visitor.visit_seq(Record { members, fields: fields.iter(), missing: &mut missing });
        value.map_err(|fault| fault.or_missing(missing))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let members = self.0.as_object().ok_or(ReadError::Other)?;
        visitor.visit_map(Members { rest: members.iter(), next: None })
    }

    /// A name, or an object whose `type` is the name.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_enum(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, ReadError> for Reader<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> EnumAccess<'de> for Reader<'de> {
    type Error = ReadError;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), ReadError> {
        let name = self.0.get("type").unwrap_or(self.0).as_str().ok_or(ReadError::Other)?;
        Ok((seed.deserialize(StrDeserializer::new(name))?, self))
    }
}

impl<'de> VariantAccess<'de> for Reader<'de> {
    type Error = ReadError;

    fn unit_variant(self) -> Result<(), ReadError> {
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, ReadError> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, ReadError> {
        Err(ReadError::Other)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.deserialize_struct("", fields, visitor)
    }
}

/// The fields of a type, in its order, from the members of an object. Members that are no fields are passed over.
struct Record<'a, 'm> {
    members: &'a map::Map<String, Value>,
    fields: slice::Iter<'static, &'static str>,
    /// The field that was asked for last, where it is not there.
    missing: &'m mut Option<&'static str>,
}

impl<'a> Record<'a, '_> {
    /// The next field and what stands there. What may be null may be left out.
    #[inline(never)]
    fn next(&mut self) -> Option<(&'static str, &'a Value)> {
        let name = *self.fields.next()?;
        let value = self.members.get(name);
        *self.missing = if value.is_none() { Some(name) } else { None };
        Some((name, value.unwrap_or(&Value::Null)))
    }

    /// A field that is not there: its type has a default, or ends the reading.
    #[inline(never)]
    fn without(&self, name: &str, fault: ReadError) -> Result<(), ReadError> {
        if self.missing.is_some() { Ok(()) } else { Err(fault.within(name)) }
    }
}

impl<'de> SeqAccess<'de> for Record<'de, '_> {
    type Error = ReadError;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, ReadError> {
        let Some((name, value)) = self.next() else { return Ok(None) };
        match seed.deserialize(Reader(value)) {
            Ok(value) => Ok(Some(value)),
            Err(fault) => self.without(name, fault).map(|()| None),
        }
    }
}

/// The members of an object, by names that no type knows beforehand.
struct Members<'a> {
    rest: map::Iter<'a>,
    /// The one whose name was read.
    next: Option<(&'a str, Reader<'a>)>,
}

impl<'de> MapAccess<'de> for Members<'de> {
    type Error = ReadError;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, ReadError> {
        self.next = self.rest.next().map(|(name, value)| (name.as_str(), Reader(value)));
        self.next.as_ref().map(|(name, _)| seed.deserialize(StrDeserializer::new(name))).transpose()
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, ReadError> {
        let (name, value) = self.next.take().ok_or(ReadError::Other)?;
        seed.deserialize(value).map_err(|fault| fault.within(name))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Example {
        whole: Option<u8>,
        #[serde(default)]
        real: f32,
        list: Vec<[i32; 2]>,
        state: crate::JobState,
    }

    fn check(text: &str, expect: Result<Example, ReadError>) {
        assert_eq!(read(text), expect, "{text}");
    }

    #[test]
    fn a_value_is_read_or_its_fault_found() {
        let example = Example { whole: Some(3), real: 0.5, list: vec![[1, -2]], state: crate::JobState::Queued };
        check(r#"{"whole": 3, "real": 0.5, "list": [[1, -2]], "state": "queued"}"#, Ok(example));
        let bare = Example { whole: None, real: 0.0, list: Vec::new(), state: crate::JobState::Failed };
        check(r#"{"list": [], "whole": null, "state": "failed"}"#, Ok(bare));
        let field = |name: &str| Err(ReadError::Field(name.to_owned()));
        check("{", Err(ReadError::Syntax));
        check("[null, 1, [], \"queued\"]", Err(ReadError::Other));
        check(r#"{"list": []}"#, Err(ReadError::Missing("state")));
        check(r#"{"list": [], "state": "asleep"}"#, field("state"));
        check(r#"{"list": [], "state": 1}"#, field("state"));
        check(r#"{"list": [[1, 2, 3]], "state": "queued"}"#, field("list"));
        check(r#"{"list": [[1]], "state": "queued"}"#, field("list"));
        check(r#"{"whole": 256, "list": [], "state": "queued"}"#, field("whole"));
        check(r#"{"whole": 1.5, "list": [], "state": "queued"}"#, field("whole"));
        check(r#"{"list": [], "state": null}"#, field("state"));
        let queued = Example { whole: None, real: 0.0, list: Vec::new(), state: crate::JobState::Queued };
        check(r#"{"news": 1, "list": [], "state": "queued"}"#, Ok(queued));
    }
}
