use axum::http::HeaderValue;

use super::{InvalidSite, Site};

fn site() -> Site {
    let hosts = ["draw.example.org".to_owned(), "WORKER".to_owned()];
    let origins = ["https://app.example.org".to_owned(), "http://localhost:3000".to_owned()];
    Site::new(&hosts, &origins).unwrap()
}

#[test]
fn a_name_that_nobody_gave_the_worker_is_foreign() {
    let check = |authority: &str, expect: bool| assert_eq!(site().is_own(authority), expect, "{authority:?}");
    for own in [
        "localhost",
        "localhost:8484",
        "LocalHost.:8484",
        "127.0.0.1:8484",
        "127.0.0.1:9000",
        "[::1]:8484",
        "[::1]",
        "192.168.1.5:8484",
        "draw.example.org",
        "Draw.Example.Org:443",
        "worker:8484",
    ] {
        check(own, true);
    }
    for foreign in [
        "",
        "evil.example",
        "evil.example:8484",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "draw.example.org.evil.example",
        "xdraw.example.org",
        "localhost@evil.example",
        "evil.example:8484:localhost",
    ] {
        check(foreign, false);
    }
}

#[test]
fn only_the_workers_own_pages_and_listed_ones_may_act() {
    let check = |origin: &'static str, here: Option<&str>, expect: bool| {
        assert_eq!(site().may_act(&HeaderValue::from_static(origin), here), expect, "{origin:?} on {here:?}");
    };
    check("http://127.0.0.1:8484", Some("127.0.0.1:8484"), true);
    check("http://localhost:8484", Some("LOCALHOST:8484"), true);
    check("https://draw.example.org", Some("draw.example.org"), true);
    check("https://draw.example.org", Some("draw.example.org:443"), true);
    check("http://draw.example.org", Some("draw.example.org:80"), true);
    check("https://app.example.org", Some("draw.example.org"), true);
    check("http://localhost:3000", Some("localhost:8484"), true);
    check("http://127.0.0.1:8484", Some("localhost:8484"), false);
    check("http://localhost:3001", Some("localhost:8484"), false);
    check("https://app.example.org:444", Some("draw.example.org"), false);
    check("http://app.example.org", Some("draw.example.org"), false);
    check("https://evil.example", Some("localhost:8484"), false);
    check("null", Some("localhost:8484"), false);
    check("file://", Some("localhost:8484"), false);
    check("http://localhost:8484", None, false);
}

#[test]
fn hosts_and_origins_are_checked_at_start() {
    let origin = |text: &str| Site::new(&[], &[text.to_owned()]);
    let host = |text: &str| Site::new(&[text.to_owned()], &[]);
    assert!(matches!(origin("example.org"), Err(InvalidSite::Origin(_))));
    assert!(matches!(origin("https://example.org/path"), Err(InvalidSite::Origin(_))));
    assert!(matches!(origin("*"), Err(InvalidSite::Origin(_))));
    assert!(matches!(host("https://example.org"), Err(InvalidSite::Host(_))));
    assert!(matches!(host("example.org:8484"), Err(InvalidSite::Host(_))));
    assert!(host("[fd00::1]").is_ok());
}
