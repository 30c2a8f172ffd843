//! What can be changed about a job that was accepted.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{ErrorBody, ErrorDetail};
use crate::fields;
use crate::limits::PRIORITY_MAX;

/// The body of `PATCH /v1/jobs/{id}`. What it leaves out stays as it is; all of it happens, or nothing does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct JobChange {
    /// Order among the waiting jobs of one credential, -10 to 10; a higher one is drawn first, and of equal ones the
    /// older. Only for a job that waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = -PRIORITY_MAX, max = PRIORITY_MAX)))]
    pub priority: Option<i32>,
    /// Whether the job is kept, however many come after it, until it is forgotten on demand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub favorite: Option<bool>,
}

impl JobChange {
    /// Reads a change and checks it.
    ///
    /// # Errors
    /// `malformed_json` when `value` is no object, `invalid_request` with every field that is unknown, of the wrong type
    /// or out of bounds.
    pub fn from_json(value: Value) -> Result<Self, ErrorBody> {
        let form = "a change is a JSON object such as {\"priority\": 5} or {\"favorite\": true}";
        let (change, mut faults): (Self, _) = fields::read(value, form)?;
        if let Some(priority) = change.priority.filter(|priority| !(-PRIORITY_MAX..=PRIORITY_MAX).contains(priority)) {
            let message = format!("is {priority}, allowed is {} to {PRIORITY_MAX}", -PRIORITY_MAX);
            faults.push(ErrorDetail { field: "priority".into(), message });
        }
        if faults.is_empty() { Ok(change) } else { Err(ErrorBody::invalid(faults)) }
    }
}
