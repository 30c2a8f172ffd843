//! `GET /v1/jobs`: which jobs, page by page.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use schemars::JsonSchema;
use sd_protocol::limits::{LIST_JOBS_MAX, SEARCH_BYTES_MAX};
use sd_protocol::{ErrorBody, ErrorDetail, JobList, JobState};
use serde::Deserialize;

use super::App;
use super::error::ApiError;
use crate::access::Caller;
use crate::jobs::JobFilter;

/// Jobs on a page that names no `limit`.
const LIST_JOBS_DEFAULT: u32 = 50;

/// The query of `GET /v1/jobs`. Its fields are read as text, so that the faults of all are told at once.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    /// Only jobs that stand in one of these, separated by commas.
    #[schemars(with = "Option<Vec<JobState>>")]
    state: Option<String>,
    /// Only jobs that have every one of these words in their prompt, negative prompt or model name, also as a part of a
    /// longer word and whether in capitals or not. Accents count, and no letter stands for others.
    #[schemars(length(max = SEARCH_BYTES_MAX))]
    search: Option<String>,
    /// Only favourites, or only the others.
    #[schemars(with = "Option<bool>")]
    favorite: Option<String>,
    /// Jobs on the page at most; 50 unless told otherwise.
    #[schemars(with = "Option<u32>", range(min = 1, max = LIST_JOBS_MAX))]
    limit: Option<String>,
    /// The `next_cursor` of the page before. The other fields stay as they were there.
    cursor: Option<String>,
}

/// A page of jobs, as it is meant.
struct Page {
    filter: JobFilter,
    before: Option<(u64, String)>,
    limit: u32,
}

/// `GET /v1/jobs`
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<JobList>, ApiError> {
    let Query(query) = query.map_err(|rejection| {
        ErrorBody::invalid(vec![ErrorDetail { field: "query".into(), message: rejection.body_text() }])
    })?;
    let Page { filter, before, limit } = query.read().map_err(ErrorBody::invalid)?;
    let jobs = app.service.list(&caller, filter, before, limit).await?;
    let is_full = jobs.len() == limit as usize;
    let next_cursor = jobs.last().filter(|_| is_full).map(|job| format!("{}_{}", job.created_at_ms, job.id));
    Ok(Json(JobList { jobs, next_cursor }))
}

impl ListQuery {
    /// # Errors
    /// Every fault.
    fn read(&self) -> Result<Page, Vec<ErrorDetail>> {
        let mut faults = Vec::new();
        let mut fault = |field: &str, message: String| faults.push(ErrorDetail { field: field.into(), message });
        let mut filter = JobFilter::default();
        for name in self.state.iter().flat_map(|states| states.split(',')) {
            match JobState::ALL.into_iter().find(|state| state.as_str() == name) {
                Some(state) => filter.states.push(state),
                None => {
                    let known = JobState::ALL.map(JobState::as_str).join(", ");
                    fault("state", format!("has {name:?}; states are {known}, separated by commas"));
                }
            }
        }
        if let Some(favorite) = &self.favorite {
            match favorite.parse() {
                Ok(favorite) => filter.favorite = Some(favorite),
                Err(_) => fault("favorite", format!("is {favorite:?}, allowed is true or false")),
            }
        }
        let search = self.search.as_deref().unwrap_or_default();
        if search.len() > SEARCH_BYTES_MAX {
            fault("search", format!("has {} bytes, the limit is {SEARCH_BYTES_MAX}", search.len()));
        }
        let limit = self.limit.as_ref().map_or(Ok(LIST_JOBS_DEFAULT), |limit| limit.parse());
        let limit = limit.ok().filter(|limit| (1..=LIST_JOBS_MAX).contains(limit)).unwrap_or_else(|| {
            let given = self.limit.as_deref().unwrap_or_default();
            fault("limit", format!("is {given:?}, allowed is 1 to {LIST_JOBS_MAX}"));
            LIST_JOBS_DEFAULT
        });
        let before = self.cursor.as_deref().and_then(|cursor| {
            let before = cursor.split_once('_').and_then(|(ms, id)| Some((ms.parse().ok()?, id.to_owned())));
            if before.is_none() {
                fault("cursor", "is not a next_cursor of this worker".into());
            }
            before
        });
        filter.search = search.to_owned();
        if faults.is_empty() { Ok(Page { filter, before, limit }) } else { Err(faults) }
    }
}
