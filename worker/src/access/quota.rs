//! What credentials have used up in the last hour.
//!
//! An account is a sliding window in slices: an amount is charged to the slice in which it was spent and comes back
//! when the slice is an hour old, so an account never holds more than a fixed number of slices.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sd_protocol::Quota;

use super::caller::Caller;
use super::credentials::Credentials;

/// Length of the window, in milliseconds.
pub const HOUR_MS: u64 = 3_600_000;
/// Length of a slice, in milliseconds.
const SLICE_MS: u64 = 10_000;

/// What is counted by the hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// Pixels of accepted jobs.
    Pixels,
    /// Bytes of uploads.
    UploadBytes,
}

/// The accounts of all credentials that have a quota.
#[derive(Debug, Default)]
pub struct Accounts {
    quotas: HashMap<Arc<str>, Quota>,
    windows: Mutex<HashMap<(Arc<str>, Resource), Window>>,
}

/// An amount that was charged. Dropping it gives the amount back: what was charged was not used.
#[derive(Debug, Default)]
pub struct Charge(Option<Charged>);

#[derive(Debug)]
struct Charged {
    accounts: Arc<Accounts>,
    account: (Arc<str>, Resource),
    amount: u64,
    at_ms: u64,
}

/// A credential has used up what it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Exhausted {
    /// Time heals it.
    #[error("this credential may use {most} {} an hour and has {left} left; ask again later", .resource.unit())]
    ForNow {
        /// Of what.
        resource: Resource,
        /// What an hour may bring.
        most: u64,
        /// What is left now.
        left: u64,
        /// Milliseconds until the request fits.
        wait_ms: u64,
    },
    /// No hour brings that much.
    #[error("this takes {asked} {}, more than the {most} that this credential may use in an hour; ask for less", .resource.unit())]
    ForGood {
        /// Of what.
        resource: Resource,
        /// What was asked for.
        asked: u64,
        /// What an hour may bring.
        most: u64,
    },
}

impl Resource {
    fn unit(self) -> &'static str {
        match self {
            Self::Pixels => "pixels",
            Self::UploadBytes => "bytes of uploads",
        }
    }

    fn quota(self, quota: &Quota) -> Option<u64> {
        match self {
            Self::Pixels => quota.pixels_per_hour,
            Self::UploadBytes => quota.upload_bytes_per_hour,
        }
    }
}

impl Accounts {
    /// Empty accounts for these credentials.
    pub fn new(credentials: &Credentials) -> Self {
        let quotas = credentials.iter().map(|credential| (Arc::clone(&credential.name), credential.quota)).collect();
        Self { quotas, windows: Mutex::default() }
    }

    /// What a credential may use; without bounds where it has none.
    pub fn quota(&self, name: Option<&str>) -> Quota {
        name.and_then(|name| self.quotas.get(name)).copied().unwrap_or_default()
    }

    /// Charges a caller the whole amount, or nothing.
    ///
    /// # Errors
    /// When the account does not hold that much.
    pub fn charge(
        self: &Arc<Self>,
        caller: &Caller,
        resource: Resource,
        amount: u64,
        now_ms: u64,
    ) -> Result<Charge, Exhausted> {
        let Some((account, most)) = self.bound(caller, resource) else { return Ok(Charge::default()) };
        if amount > most {
            return Err(Exhausted::ForGood { resource, asked: amount, most });
        }
        let mut windows = self.windows();
        let window = windows.entry(account.clone()).or_default();
        window.slide(now_ms);
        let left = most.saturating_sub(window.sum);
        if amount > left {
            let wait_ms = window.wait_ms(amount - left, now_ms);
            return Err(Exhausted::ForNow { resource, most, left, wait_ms });
        }
        window.add(amount, now_ms);
        Ok(Charge(Some(Charged { accounts: Arc::clone(self), account, amount, at_ms: now_ms })))
    }

    /// Charges what was spent before this process began, whatever the account says.
    pub fn recall(&self, name: &str, resource: Resource, amount: u64, at_ms: u64) {
        let Some((name, _)) = self.quotas.get_key_value(name) else { return };
        self.windows().entry((Arc::clone(name), resource)).or_default().add(amount, at_ms);
    }

    fn bound(&self, caller: &Caller, resource: Resource) -> Option<((Arc<str>, Resource), u64)> {
        let (name, quota) = self.quotas.get_key_value(caller.name()?)?;
        Some(((Arc::clone(name), resource), resource.quota(quota)?))
    }

    fn windows(&self) -> MutexGuard<'_, HashMap<(Arc<str>, Resource), Window>> {
        // Sums and slices change together and nothing between them panics.
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Charge {
    /// What was charged is used.
    pub fn keep(&mut self) {
        self.0 = None;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let Some(Charged { accounts, account, amount, at_ms }) = self.0.take() else { return };
        if let Some(window) = accounts.windows().get_mut(&account) {
            window.take(amount, at_ms);
        }
    }
}

/// What was spent in the last hour.
#[derive(Debug, Default)]
struct Window {
    /// Number of the slice since the epoch, and what was spent in it; oldest first.
    slices: VecDeque<(u64, u64)>,
    sum: u64,
}

impl Window {
    /// Forgets slices that ended an hour ago.
    fn slide(&mut self, now_ms: u64) {
        while let Some(&(slice, amount)) = self.slices.front() {
            if now_ms < end_ms(slice) {
                return;
            }
            self.slices.pop_front();
            self.sum -= amount;
        }
    }

    fn add(&mut self, amount: u64, at_ms: u64) {
        let slice = at_ms / SLICE_MS;
        let at = self.slices.partition_point(|(known, _)| *known < slice);
        match self.slices.get_mut(at) {
            Some((known, spent)) if *known == slice => *spent += amount,
            _ => self.slices.insert(at, (slice, amount)),
        }
        self.sum += amount;
    }

    fn take(&mut self, amount: u64, at_ms: u64) {
        let slice = at_ms / SLICE_MS;
        if let Some((_, spent)) = self.slices.iter_mut().find(|(known, _)| *known == slice) {
            let taken = amount.min(*spent);
            *spent -= taken;
            self.sum -= taken;
        }
    }

    /// Milliseconds until `missing` has come back.
    fn wait_ms(&self, missing: u64, now_ms: u64) -> u64 {
        let mut back = 0;
        for &(slice, amount) in &self.slices {
            back += amount;
            if back >= missing {
                return end_ms(slice).saturating_sub(now_ms);
            }
        }
        HOUR_MS
    }
}

/// When what was spent in a slice comes back.
fn end_ms(slice: u64) -> u64 {
    (slice + 1) * SLICE_MS + HOUR_MS
}
