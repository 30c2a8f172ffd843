use axum::http::Uri;

use super::without_secrets;

#[test]
fn secrets_leave_the_address() {
    let check = |from: &str, to: Option<(&str, Option<&str>, Option<&str>)>| {
        let found = without_secrets(&from.parse::<Uri>().unwrap());
        let found = found.as_ref().map(|(uri, shown)| {
            let reveal =
                |secret: &'_ Option<sd_protocol::Secret>| secret.as_ref().map(|secret| secret.reveal().to_owned());
            (uri.to_string(), reveal(&shown.ticket), reveal(&shown.share))
        });
        let to = to.map(|(uri, ticket, share)| (uri.to_owned(), ticket.map(str::to_owned), share.map(str::to_owned)));
        assert_eq!(found, to, "{from}");
    };
    check("/v1/jobs", None);
    check("/v1/jobs/a/stream?after=3&preview=none", None);
    check(
        "/v1/jobs/a/stream?after=3&ticket=t&preview=none",
        Some(("/v1/jobs/a/stream?after=3&preview=none", Some("t"), None)),
    );
    check("/v1/ws?ticket=t", Some(("/v1/ws", Some("t"), None)));
    check("http://h/v1/jobs/a?share=s", Some(("http://h/v1/jobs/a", None, Some("s"))));
    check("/v1/jobs/a?share=s&ticket=", Some(("/v1/jobs/a", Some(""), Some("s"))));
    check("/v1/jobs/a?ticket", None);
    check("/v1/jobs/a?tickets=1", None);
}
