//! Which jobs a list shows: by state, by words, favourites.

use rusqlite::params;
use sd_protocol::{JobRequest, JobState, JobView};

use super::{Store, StoreError};

/// Which jobs a list shows; all where it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// Only those that stand in one of these; in any where there is none.
    pub states: Vec<JobState>,
    /// Only favourites, or only the others.
    pub favorite: Option<bool>,
    /// Only those that have every word of this somewhere in their prompt, negative prompt or model name, whole or as a
    /// part of a word, in capitals or not.
    pub search: String,
}

impl Store {
    /// Jobs of `owner`, or of everyone, from the newest, those older than `before` (creation time and id), at most
    /// `limit`.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn list(
        &self,
        owner: Option<&str>,
        filter: &JobFilter,
        before: Option<(u64, &str)>,
        limit: u32,
    ) -> Result<Vec<JobView>, StoreError> {
        let states = (!filter.states.is_empty()).then(|| serde_json::to_string(&filter.states)).transpose()?;
        let words = serde_json::to_string(&folded(&filter.search).split_whitespace().collect::<Vec<_>>())?;
        let (created_at_ms, id) = before.map_or((i64::MAX, ""), |(ms, id)| (ms as i64, id));
        let connection = self.connection();
        // Walks `jobs_by_age` and stops at the limit. `instr` compares text as it is: no letter stands for others.
        let mut statement = connection.prepare_cached(
            "SELECT view FROM jobs
             WHERE (?1 IS NULL OR owner = ?1)
                 AND (?2 IS NULL OR state IN (SELECT value FROM json_each(?2)))
                 AND (?3 IS NULL OR favorite = ?3)
                 AND (created_at_ms, id) < (?4, ?5)
                 AND NOT EXISTS (SELECT 1 FROM json_each(?6) WHERE instr(words, value) = 0)
             ORDER BY created_at_ms DESC, id DESC LIMIT ?7",
        )?;
        let rows = statement
            .query_map(params![owner, states, filter.favorite, created_at_ms, id, words, limit], |row| {
                row.get::<_, String>(0)
            })?;
        rows.map(|view| Ok(serde_json::from_str(&view?)?)).collect()
    }
}

/// What a search finds a job by.
pub(super) fn words(request: &JobRequest) -> String {
    let texts = [&request.prompt, &request.negative_prompt, &request.model];
    // No searched word reaches over a line.
    folded(&texts.map(|text| text.as_deref().unwrap_or_default()).join("\n"))
}

/// Text without the difference of small and capital letters: each letter by the capital that it has, so that the two
/// small sigmas are one and `ß` is `ss`. Accents count, in the form in which they are written.
fn folded(text: &str) -> String {
    text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}
