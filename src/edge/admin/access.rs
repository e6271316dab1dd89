//! Who may ask: pages of other sites must not read this address through a visitor's browser.
//!
//! Binding to loopback keeps other machines out, not other sites: a name that its owner points at
//! 127.0.0.1 (DNS rebinding) makes a browser send their requests here. Such requests carry that
//! name in `Host`, so only names that cannot be another site's are accepted: `localhost`,
//! 127.0.0.0/8 and `[::1]`, with any port (`kubectl port-forward` chooses its own). All else is
//! answered 403, also a request without `Host`.
//!
//! A site can also ask by the right name: it may not read the answer, and `Origin` is not even sent
//! with such a request, but it would take one of the few streams or have a table searched. Browsers
//! mark it with `Sec-Fetch-Site: cross-site`; only a link that opens a document may come from there.

use std::net::Ipv4Addr;

use http::HeaderMap;
use http::header::{HOST, HeaderName, ORIGIN};
use http::request::Parts;

use super::Refusal;

const FOREIGN_HOST: &str =
    "Host must be localhost, 127.0.0.0/8 or [::1]: this address answers to its own machine only";
const FOREIGN_ORIGIN: &str =
    "Origin must be http(s)://localhost, 127.0.0.0/8 or [::1]: no other site may read this address";
const FOREIGN_SITE: &str =
    "Sec-Fetch-Site is cross-site: no other site may ask this address, but by a link to it";

/// Refuses a request that does not name this machine.
pub(super) fn check(request: &Parts) -> Result<(), Refusal> {
    let host = single(&request.headers, HOST);
    let named = matches!(host, Ok(Some(host)) if is_local(host));
    // A target in absolute form overrides Host (RFC 9112, section 3.2.2).
    let target = request.uri.authority();
    if !named || target.is_some_and(|target| !is_local(target.as_str())) {
        return Err(Refusal::Forbidden(FOREIGN_HOST));
    }
    match single(&request.headers, ORIGIN) {
        Ok(None) => {}
        Ok(Some(origin)) if is_local_origin(origin) => {}
        _ => return Err(Refusal::Forbidden(FOREIGN_ORIGIN)),
    }
    match is_sent_by_another_site(&request.headers) {
        true => Err(Refusal::Forbidden(FOREIGN_SITE)),
        false => Ok(()),
    }
}

/// Whether a browser sends it for another site, and not because somebody opened a link.
fn is_sent_by_another_site(headers: &HeaderMap) -> bool {
    let says = |name, value| headers.get(name).is_some_and(|given| given == value);
    let is_link = says("sec-fetch-mode", "navigate") && says("sec-fetch-dest", "document");
    says("sec-fetch-site", "cross-site") && !is_link
}

/// The header's text; an error if it is there twice or not text.
fn single(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(drop),
        (Some(_), Some(_)) => Err(()),
    }
}

fn is_local_origin(origin: &str) -> bool {
    let schemes = ["http://", "https://"];
    let mut authorities = schemes.iter().filter_map(|s| origin.strip_prefix(s));
    authorities.any(is_local)
}

/// Whether `host[:port]` is this machine and cannot be anything else.
fn is_local(authority: &str) -> bool {
    // The colons of an IPv6 address stand in brackets.
    let (host, port) = match authority.rfind(':') {
        Some(colon) if !authority.ends_with(']') => authority.split_at(colon),
        _ => (authority, ""),
    };
    let port_is_number = port.is_empty() || port[1..].parse::<u16>().is_ok();
    let is_loopback = |address: Ipv4Addr| address.is_loopback();
    port_is_number
        && (host.eq_ignore_ascii_case("localhost")
            || host == "[::1]"
            || host.parse().is_ok_and(is_loopback))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::http::tests::request;

    fn allowed(headers: &[(&'static str, &str)]) -> bool {
        check(&request("GET", "/", headers)).is_ok()
    }

    #[test]
    fn only_this_machine_by_name() {
        let local = ["localhost", "LocalHost", "127.0.0.1", "127.9.8.7", "[::1]"];
        for host in local {
            assert!(allowed(&[("host", host)]), "{host}");
            assert!(allowed(&[("host", &format!("{host}:9465"))]), "{host}");
            let origin = format!("http://{host}:3000");
            assert!(allowed(&[("host", host), ("origin", &origin)]));
        }
        let foreign = [
            "",
            ":80",
            "example.com",
            "example.com:9465",
            "localhost.example.com",
            "127.0.0.1.example.com",
            "localhost:80@example.com",
            "localhost@example.com",
            "user@localhost",
            "localhost:",
            "localhost:http",
            "localhost:99999",
            "localhost.",
            "128.0.0.1",
            "0.0.0.0",
            "127.1",
            "2130706433",
            "0177.0.0.1",
            "10.0.0.7:9465",
            "::1",
            "[::2]",
            "[::1",
            "[::ffff:10.0.0.7]",
            "localhost, example.com",
        ];
        for host in foreign {
            assert!(!allowed(&[("host", host)]), "{host}");
            let origin = format!("http://{host}");
            assert!(
                !allowed(&[("host", "localhost"), ("origin", &origin)]),
                "{origin}"
            );
        }
    }

    #[test]
    fn host_must_be_there_once_and_origin_at_most() {
        assert!(!allowed(&[]));
        assert!(!allowed(&[("host", "localhost"), ("host", "example.com")]));
        assert!(!allowed(&[("host", "localhost"), ("host", "localhost")]));
        for origin in [
            "null",
            "",
            "localhost",
            "file://localhost",
            "https://example.com",
        ] {
            assert!(
                !allowed(&[("host", "localhost"), ("origin", origin)]),
                "{origin}"
            );
        }
        let local = ("origin", "https://localhost");
        assert!(allowed(&[("host", "localhost"), local]));
        assert!(!allowed(&[("host", "localhost"), local, local]));
    }

    #[test]
    fn another_site_may_link_here_and_no_more() {
        let sent = |site, mode, dest| {
            allowed(&[
                ("host", "localhost"),
                ("sec-fetch-site", site),
                ("sec-fetch-mode", mode),
                ("sec-fetch-dest", dest),
            ])
        };
        assert!(sent("cross-site", "navigate", "document"));
        assert!(!sent("cross-site", "navigate", "iframe"));
        assert!(!sent("cross-site", "no-cors", "empty"));
        assert!(!sent("cross-site", "no-cors", "document"));
        assert!(!allowed(&[
            ("host", "localhost"),
            ("sec-fetch-site", "cross-site")
        ]));
        for site in ["same-origin", "same-site", "none"] {
            assert!(sent(site, "cors", "empty"), "{site}");
        }
    }

    #[test]
    fn a_target_in_absolute_form_counts_too() {
        let headers = [("host", "localhost")];
        let check = |target| check(&request("GET", target, &headers));
        assert!(check("http://127.0.0.1:9465/").is_ok());
        assert!(check("http://example.com/").is_err());
    }
}
