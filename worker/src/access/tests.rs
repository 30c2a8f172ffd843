use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sd_protocol::limits::{TICKET_LIFETIME_MS, TICKETS_MAX};
use sd_protocol::{JobId, Quota, Secret};

use super::credentials::{Credentials, CredentialsError, ENVIRONMENT_NAME, file_entry};
use super::quota::{Exhausted, HOUR_MS, Resource};
use super::secret::{SecretHash, SecretKind, fresh};
use super::{Accounts, Caller, Gate, Pass, Tickets};

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn read(text: &str) -> Result<Credentials, CredentialsError> {
    Credentials::read(Some(file(text).path()), None)
}

fn from_environment(token: &str) -> Result<Credentials, CredentialsError> {
    Credentials::read(None, Some(&Secret::new(token)))
}

fn token() -> Secret {
    fresh(SecretKind::Token).unwrap()
}

#[test]
fn what_the_command_prints_opens_the_worker() {
    let (alice, bob, carol) = (token(), token(), token());
    let text = format!(
        "{}{}queued-jobs = 8\nrunning-jobs = 1\npixels-per-hour = 1_000_000\nupload-bytes-per-hour = 5\n",
        file_entry("alice", &alice).unwrap(),
        file_entry("bob.smith", &bob).unwrap()
    );
    let credentials = Credentials::read(Some(file(&text).path()), Some(&carol)).unwrap();
    let name = |token: &Secret| credentials.find(token.reveal()).map(|credential| credential.name.to_string());
    assert_eq!(name(&alice).as_deref(), Some("alice"));
    assert_eq!(name(&bob).as_deref(), Some("bob.smith"));
    assert_eq!(name(&carol).as_deref(), Some(ENVIRONMENT_NAME));
    assert_eq!(name(&token()), None);
    assert_eq!(name(&Secret::new("")), None);
    assert_eq!(credentials.find(alice.reveal()).unwrap().quota, Quota::default());
    let quota = Quota {
        queued_jobs: Some(8),
        running_jobs: Some(1),
        pixels_per_hour: Some(1_000_000),
        upload_bytes_per_hour: Some(5),
    };
    assert_eq!(credentials.find(bob.reveal()).unwrap().quota, quota);
}

#[test]
fn faulty_tokens_are_refused_with_the_way_out() {
    let hash = "0f".repeat(32);
    let two = format!("[tokens.a]\nsha256 = \"{hash}\"\n[tokens.b]\nsha256 = \"{hash}\"\n");
    let taken = format!("[tokens.{ENVIRONMENT_NAME}]\nsha256 = \"{hash}\"\n");
    assert!(matches!(read(""), Err(CredentialsError::None(_))));
    assert!(matches!(read("[tokens.a]\nsha256 = \"0f\"\n"), Err(CredentialsError::Hash { .. })));
    assert!(matches!(read(&format!("[tokens.\"a b\"]\nsha256 = \"{hash}\"\n")), Err(CredentialsError::Name(_))));
    assert!(matches!(read(&two), Err(CredentialsError::TokenTaken(..))));
    assert!(matches!(from_environment("short"), Err(CredentialsError::Weak)));
    assert!(matches!(from_environment("twenty characters, spaced"), Err(CredentialsError::Weak)));
    let both = Credentials::read(Some(file(&taken).path()), Some(&token()));
    assert!(matches!(both, Err(CredentialsError::NameTaken)));
    let nowhere = Credentials::read(Some("/no/such/file".as_ref()), None);
    assert!(matches!(nowhere, Err(CredentialsError::Read { .. })));
    assert!(file_entry("no/name", &token()).is_err());
}

#[test]
fn a_token_that_was_pasted_into_the_file_is_not_repeated() {
    let token = token();
    let fault = read(&format!("\n[tokens.a]\ntoken = \"{}\"\n", token.reveal())).unwrap_err();
    assert!(matches!(fault, CredentialsError::Parse { line: 3, .. }), "{fault}");
    assert!(!format!("{fault} {fault:?}").contains(token.reveal()), "{fault:?}");
}

#[test]
fn secrets_are_long_plain_and_hidden() {
    let (one, other) = (token(), token());
    assert_ne!(one, other);
    assert!(one.reveal().len() >= 43, "256 bits in six a letter");
    assert!(one.reveal().bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')));
    let credentials = from_environment(one.reveal()).unwrap();
    let hash = SecretHash::of(one.reveal());
    let logged = format!("{one:?} {credentials:?} {hash:?} {:?}", Gate::new(credentials.clone()));
    assert!(!logged.contains(one.reveal()) && !logged.contains(&hash.to_string()), "{logged}");
    assert_eq!(hash.to_string().parse(), Ok(hash));
    assert!("é".repeat(32).parse::<SecretHash>().is_err());
}

#[test]
fn a_gate_without_credentials_is_open() {
    let gate = Gate::new(Credentials::default());
    assert_eq!(gate.by_token(&token()), Some(Caller::anyone()));
    assert!(gate.by_ticket(&token()).is_some());
    let token = token();
    let gate = Gate::new(from_environment(token.reveal()).unwrap());
    assert_eq!(gate.by_token(&token), Some(Caller::named(ENVIRONMENT_NAME)));
    assert_eq!(gate.by_token(&self::token()), None);
    assert!(gate.by_ticket(&token).is_none(), "a token is no ticket");
}

#[test]
fn a_ticket_opens_once_and_not_for_long() {
    let (tickets, now) = (Tickets::default(), Instant::now());
    let lifetime = Duration::from_millis(TICKET_LIFETIME_MS);
    let pass = |job: Option<&str>| Pass { caller: Caller::named("a"), job: job.map(|id| JobId::parse(id).unwrap()) };
    let ticket = tickets.issue(pass(Some("one")), now).unwrap();
    assert!(tickets.redeem("sdt_guess", now).is_none());
    let opened = tickets.redeem(ticket.reveal(), now + lifetime - Duration::from_millis(1)).unwrap();
    assert_eq!(opened.caller, Caller::named("a"));
    assert!(opened.opens(&JobId::parse("one").unwrap()) && !opened.opens(&JobId::parse("other").unwrap()));
    assert!(tickets.redeem(ticket.reveal(), now).is_none(), "a ticket is good for one use");
    let late = tickets.issue(pass(None), now).unwrap();
    assert!(tickets.redeem(late.reveal(), now + lifetime).is_none());
}

#[test]
fn one_credential_cannot_use_up_the_tickets_of_another() {
    let (tickets, now) = (Tickets::default(), Instant::now());
    let pass = |name: &str| Pass { caller: Caller::named(name), job: None };
    let all: Vec<_> = (0..TICKETS_MAX).map(|_| tickets.issue(pass("greedy"), now).unwrap()).collect();
    assert!(tickets.issue(pass("greedy"), now).is_err());
    assert!(tickets.issue(pass("other"), now).is_ok());
    assert!(tickets.redeem(all[0].reveal(), now).is_some());
    assert!(tickets.issue(pass("greedy"), now).is_ok(), "a used ticket makes room");
    assert!(tickets.issue(pass("greedy"), now).is_err());
    assert!(tickets.issue(pass("greedy"), now + Duration::from_millis(TICKET_LIFETIME_MS)).is_ok());
}

fn accounts(pixels_per_hour: u64) -> (Arc<Accounts>, Caller) {
    let text = format!("[tokens.a]\nsha256 = \"{}\"\npixels-per-hour = {pixels_per_hour}\n", "0f".repeat(32));
    (Arc::new(Accounts::new(&read(&text).unwrap())), Caller::named("a"))
}

/// Spends an amount for good.
fn spend(accounts: &Arc<Accounts>, caller: &Caller, amount: u64, now_ms: u64) -> Result<(), Exhausted> {
    accounts.charge(caller, Resource::Pixels, amount, now_ms).map(|mut charge| charge.keep())
}

#[test]
fn an_account_refills_as_its_hour_passes() {
    let (accounts, caller) = accounts(100);
    let spend = |amount, now_ms| spend(&accounts, &caller, amount, now_ms);
    let start = 1_000_000_000;
    assert_eq!(spend(60, start), Ok(()));
    assert_eq!(spend(30, start + HOUR_MS / 2), Ok(()));
    let Err(Exhausted::ForNow { left: 10, wait_ms, .. }) = spend(20, start + HOUR_MS / 2) else {
        panic!("60 and 30 leave 10 of 100")
    };
    let soon = start + HOUR_MS / 2 + wait_ms;
    assert!(spend(20, soon - 1).is_err());
    assert_eq!(spend(20, soon), Ok(()), "after the time that was named it fits");
    assert_eq!(spend(101, start), Err(Exhausted::ForGood { resource: Resource::Pixels, asked: 101, most: 100 }));
}

#[test]
fn what_was_not_used_is_given_back() {
    let (accounts, caller) = accounts(100);
    let now = 5_000_000;
    let charge = accounts.charge(&caller, Resource::Pixels, 40, now).unwrap();
    assert_eq!(spend(&accounts, &caller, 60, now), Ok(()));
    assert!(spend(&accounts, &caller, 1, now).is_err());
    drop(charge);
    assert_eq!(spend(&accounts, &caller, 40, now), Ok(()));
    assert!(spend(&accounts, &caller, 1, now).is_err());
}

#[test]
fn what_was_spent_before_a_restart_counts() {
    let (accounts, caller) = accounts(100);
    let now = 50 * HOUR_MS;
    accounts.recall("nobody", Resource::Pixels, 40, now);
    accounts.recall("a", Resource::Pixels, 70, now - HOUR_MS / 2);
    accounts.recall("a", Resource::Pixels, 30, now - HOUR_MS / 4);
    assert!(spend(&accounts, &caller, 1, now).is_err());
    assert_eq!(spend(&accounts, &caller, 70, now + HOUR_MS / 2 + 20_000), Ok(()));
    assert!(spend(&accounts, &caller, 1, now + HOUR_MS / 2 + 20_000).is_err());
}

#[test]
fn no_quota_is_no_bound() {
    let (accounts, caller) = accounts(100);
    for caller in [Caller::anyone(), Caller::named("unknown")] {
        assert_eq!(spend(&accounts, &caller, u64::MAX, 0), Ok(()));
        assert_eq!(accounts.quota(caller.name()), Quota::default());
    }
    assert!(accounts.charge(&caller, Resource::UploadBytes, u64::MAX, 0).is_ok());
}
