//! C0–C4 and C10: operations and networks on every engine.
//!
//! | module | what it holds |
//! |---|---|
//! | [`inputs`] | weights and inputs, the same for all engines |
//! | [`round`] | one case: outputs compared, times taken in turns |
//! | [`outcome`] | what came of it |

mod inputs;
pub(crate) mod outcome;
mod round;

use anyhow::Context;

pub(crate) use self::outcome::{Line, Outcome};
pub(crate) use self::round::Rounds;
use crate::cases::Case;
use crate::setting::Setting;

/// Computes the cases on every engine; `done` is called with each.
///
/// # Errors
/// When there are no weights, nothing to compare with, or `done` says so. What an engine cannot do is in the outcome.
pub(crate) fn run(
    cases: &[Case],
    setting: &Setting,
    mut done: impl FnMut(Outcome) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut rounds = Rounds::new(setting);
    for (at, case) in cases.iter().enumerate() {
        eprintln!("({}/{}) {} {} {}", at + 1, cases.len(), case.id, case.name, case.dtype.name());
        done(rounds.run(case).with_context(|| case.name.clone())?)?;
    }
    Ok(())
}
