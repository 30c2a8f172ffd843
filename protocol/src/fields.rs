//! Objects of which every field has a default, read field by field, so that no fault hides another.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{ErrorBody, ErrorCode, ErrorDetail};

/// Reads an object and collects *every* field that is unknown or of the wrong type. What could be read is in the value,
/// so that the rest can be checked in the same breath. `form` says what the object looks like.
///
/// # Errors
/// `malformed_json` when `value` is no object.
pub(crate) fn read<T: DeserializeOwned>(value: Value, form: &str) -> Result<(T, Vec<ErrorDetail>), ErrorBody> {
    let malformed = |fault: String| ErrorBody::new(ErrorCode::MalformedJson, fault);
    let Value::Object(mut fields) = value else { return Err(malformed(form.into())) };
    let mut faults = Vec::new();
    fields.retain(|name, value| {
        let alone = Value::Object([(name.clone(), value.clone())].into_iter().collect());
        let fault = serde_json::from_value::<T>(alone).err();
        faults.extend(fault.iter().map(|fault| ErrorDetail { field: name.clone(), message: fault.to_string() }));
        fault.is_none()
    });
    let read = serde_json::from_value(Value::Object(fields)).map_err(|fault| malformed(fault.to_string()))?;
    Ok((read, faults))
}
