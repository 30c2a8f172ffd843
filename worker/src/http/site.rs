//! Which pages may use the worker: `Host` and `Origin` against what a browser can be made to do.
//!
//! A page anywhere can give its own name the address of this machine (DNS rebinding) and can make a browser send
//! requests and open sockets here. The first shows in `Host`, the second in `Origin`.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use sd_protocol::ErrorCode;

use super::error::ApiError;

/// The names of the worker and the origins whose pages may use it.
#[derive(Clone, Debug)]
pub struct Site {
    hosts: Vec<String>,
    origins: Vec<HeaderValue>,
}

/// A name or an origin that is none.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSite {
    /// `--cors-origin` is not an origin.
    #[error("{0:?} is no origin; write it as https://example.org")]
    Origin(String),
    /// `--allowed-host` is not a host name.
    #[error("{0:?} is no host name; write it as example.org, without a port")]
    Host(String),
}

impl Site {
    /// A worker that is also known as `hosts`, and whose users' pages may come from `origins`.
    ///
    /// # Errors
    /// The first that is no host name or no origin.
    pub fn new(hosts: &[String], origins: &[String]) -> Result<Self, InvalidSite> {
        let host = |text: &String| match text.parse::<Authority>() {
            Ok(authority) if authority.as_str() == authority.host() => Ok(plain(authority.host())),
            _ => Err(InvalidSite::Host(text.clone())),
        };
        let origin = |text: &String| match split_origin(text) {
            Some((_, authority)) if authority.parse::<Authority>().is_ok() => {
                text.parse().map_err(|_| InvalidSite::Origin(text.clone()))
            }
            _ => Err(InvalidSite::Origin(text.clone())),
        };
        Ok(Self {
            hosts: hosts.iter().map(host).collect::<Result<_, _>>()?,
            origins: origins.iter().map(origin).collect::<Result<_, _>>()?,
        })
    }

    /// Origins whose pages may use the worker.
    pub fn origins(&self) -> &[HeaderValue] {
        &self.origins
    }

    /// Whether a request for `authority` means this worker. An address always does: rebinding needs a name. The port
    /// is not compared, so that tunnels and published container ports work.
    fn is_own(&self, authority: &str) -> bool {
        let Ok(authority) = authority.parse::<Authority>() else { return false };
        let host = plain(authority.host());
        host.parse::<IpAddr>().is_ok() || host == "localhost" || self.hosts.contains(&host)
    }

    /// Whether a page of `origin` may change something on the worker that it reached as `authority`.
    fn may_act(&self, origin: &HeaderValue, authority: Option<&str>) -> bool {
        if self.origins.contains(origin) {
            return true;
        }
        let same = origin.to_str().ok().and_then(split_origin).zip(authority);
        same.is_some_and(|((scheme, of_page), here)| {
            without_default_port(of_page, scheme).eq_ignore_ascii_case(without_default_port(here, scheme))
        })
    }
}

/// Refuses requests that mean another host, and pages of other origins that would change something.
///
/// # Errors
/// `host_not_allowed` or `origin_not_allowed`.
pub async fn check(State(site): State<Arc<Site>>, request: Request, next: Next) -> Result<Response, ApiError> {
    let headers = request.headers();
    let named = request.uri().authority().map(Authority::as_str);
    let hosts = headers.get_all(header::HOST).iter().map(|host| host.to_str().unwrap_or_default());
    if let Some(foreign) = named.into_iter().chain(hosts).find(|host| !site.is_own(host)) {
        return Err(ApiError::new(
            ErrorCode::HostNotAllowed,
            format!(
                "the worker is not known as {foreign:?}; reach it by its address or as localhost, or start it with \
                 --allowed-host NAME"
            ),
        ));
    }
    if let Some(origin) = headers.get(header::ORIGIN)
        && acts(&request)
        && !site.may_act(origin, named.or_else(|| host(headers)))
    {
        return Err(ApiError::new(
            ErrorCode::OriginNotAllowed,
            format!("pages of {origin:?} may not use this worker; start it with --cors-origin to let them"),
        ));
    }
    Ok(next.run(request).await)
}

/// Whether a request does more than read. A socket does, whatever its method says.
fn acts(request: &Request) -> bool {
    !request.method().is_safe() || request.headers().contains_key(header::UPGRADE)
}

fn host(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::HOST)?.to_str().ok()
}

/// Scheme and authority of an origin of the web.
fn split_origin(origin: &str) -> Option<(&str, &str)> {
    origin.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https"))
}

/// A host as it is compared: lower case, no brackets around an address, no dot at the end.
fn plain(host: &str) -> String {
    host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase()
}

fn without_default_port<'a>(authority: &'a str, scheme: &str) -> &'a str {
    let port = if scheme == "https" { ":443" } else { ":80" };
    authority.strip_suffix(port).unwrap_or(authority)
}

#[cfg(test)]
mod tests;
