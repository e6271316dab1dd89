use std::num::NonZeroUsize;

use serde_json::Value;
use tokio::sync::mpsc;

use super::*;
use crate::detect::finding::Finding;
use crate::detect::finding::fixture::finding;
use crate::detect::profile::Profile;
use crate::detect::verdict::{Severity, Verdict};
use crate::detect::{Detector, Options, Source, Trace, profile};
use crate::edge::display::HashKey;
use crate::edge::http::tests::{body, header, request};
use crate::metrics::Metrics;
use crate::pipeline::{Report, Sinks};

mod overview;
mod page;
mod tokens;

fn profiles() -> Vec<Profile> {
    profile::profiles(&toml::Table::new(), None).unwrap()
}

fn pipeline(metrics: Arc<Metrics>) -> Pipeline {
    let options = Options {
        detail: Severity::Warning,
        trace: Trace::Off,
        hash_key: [7; 16],
    };
    let (findings, _) = mpsc::channel(1);
    let sinks = Sinks {
        findings,
        spans: None,
    };
    Pipeline::new(Detector::new(profiles(), options), metrics, sinks)
}

pub(super) fn admin() -> Arc<Admin> {
    admin_with(TokenDisplay::Hash(HashKey::from_secret(b"test")))
}

fn admin_with(display: TokenDisplay) -> Arc<Admin> {
    let active = vec!["dynamodb.TransactWriteItems".to_owned()];
    let metrics = Arc::new(Metrics::new(&profiles(), &active));
    Arc::new(Admin::new(Parameters {
        pipeline: Arc::new(pipeline(metrics.clone())),
        metrics,
        trace_url: None,
        socket: "/run/oncewatch/events.sock".into(),
        findings: Arc::new(Findings::new(NonZeroUsize::new(500).unwrap())),
        display,
        version: "1.2.3".into(),
        observation_start: clock::now(),
        active,
        stop: CancellationToken::new(),
    }))
}

async fn ask(admin: &Arc<Admin>, method: &str, target: &str) -> Response {
    let local = [("host", "localhost:9465")];
    admin.clone().route(request(method, target, &local)).await
}

pub(super) async fn get(admin: &Arc<Admin>, target: &str) -> (u16, Value) {
    let response = ask(admin, "GET", target).await;
    assert_eq!(header(&response, "content-type"), "application/json");
    assert_eq!(header(&response, "cache-control"), "no-store");
    assert_eq!(header(&response, "x-content-type-options"), "nosniff");
    let resource = header(&response, "cross-origin-resource-policy");
    assert_eq!(resource, "same-origin");
    let status = response.status().as_u16();
    (status, serde_json::from_str(&body(response).await).unwrap())
}

pub(super) fn report(admin: &Admin, finding: Finding) {
    admin.parts.findings.report(Report::New(Arc::new(finding)));
}

#[tokio::test]
async fn every_path_is_closed_to_other_sites_and_to_writing() {
    let admin = admin();
    let paths = [
        "/",
        "/page/app.js",
        "/api/v1/status",
        "/api/v1/summary",
        "/api/v1/explain/orphaned",
        "/api/v1/tokens",
        "/api/v1/tokens/stripe/x",
        "/api/v1/findings",
        "/api/v1/stream",
        "/nothing",
    ];
    for path in paths {
        for headers in [
            &[("host", "rebound.example.com")][..],
            &[],
            &[("host", "localhost"), ("origin", "https://example.com")],
            &[("host", "localhost"), ("sec-fetch-site", "cross-site")],
        ] {
            let response = admin.clone().route(request("GET", path, headers)).await;
            assert_eq!(response.status(), 403, "{path} {headers:?}");
            assert!(body(response).await.starts_with("{\"error\":\""));
        }
        let refused = ask(&admin, "POST", path).await;
        if path == "/nothing" {
            assert_eq!(refused.status(), 404);
            continue;
        }
        assert_eq!(refused.status(), 405);
        assert_eq!(header(&refused, "allow"), "GET, HEAD");
    }
}

#[tokio::test]
async fn wrong_parameters_are_named_with_what_is_allowed() {
    let admin = admin();
    let cases = [
        (
            "tokens?status=done",
            "status: \"done\" is not one of in_flight, succeeded, unknown, cancelled, rejected, undecided, stuck",
        ),
        (
            "tokens?limit=1001",
            "limit: \"1001\" is not a whole number from 1 to 1000",
        ),
        (
            "tokens?state=unknown",
            "state: unknown parameter; known are status, api, q, sort, order, offset, limit",
        ),
        (
            "tokens/stripe/x?limit=1",
            "limit: this path takes no parameters",
        ),
        ("tokens/stripe/%zz", "\"%zz\" is not percent-encoded UTF-8"),
        (
            "findings?severity=bad",
            "severity: \"bad\" is not one of info, warning, error, critical",
        ),
        (
            "tokens?sort=age",
            "sort: \"age\" is not one of last_seen, first_start, attempts",
        ),
        ("tokens?order=up", "order: \"up\" is not one of desc, asc"),
        (
            "tokens?offset=10001",
            "offset: \"10001\" is not a whole number from 0 to 10000",
        ),
        ("summary?x=1", "x: this path takes no parameters"),
        ("explain/orphaned?x=1", "x: this path takes no parameters"),
        ("findings?limit=", ""),
        ("status?x=1", "x: this path takes no parameters"),
        ("stream?x=1", "x: this path takes no parameters"),
    ];
    for (target, error) in cases {
        let (status, answer) = get(&admin, &format!("/api/v1/{target}")).await;
        let expected = if error.is_empty() { 200 } else { 400 };
        assert_eq!(status, expected, "{target}");
        assert_eq!(answer["error"].as_str().unwrap_or_default(), error);
    }
    let (_, answer) = get(&admin, "/api/v1/findings?verdict=none").await;
    for verdict in Verdict::ALL {
        assert!(answer["error"].as_str().unwrap().contains(verdict.as_str()));
    }
}

#[tokio::test]
async fn what_does_not_exist_is_said_in_json() {
    let admin = admin();
    for path in [
        "/api",
        "/api/v1/tokens/stripe",
        "/api/v1/tokens/",
        "/index.html",
    ] {
        let (status, answer) = get(&admin, path).await;
        assert_eq!(status, 404);
        assert_eq!(answer["error"], "no such path; see /");
    }
    let (status, answer) = get(&admin, "/api/v1/tokens/my%2Fapi/a%20b%1b/c").await;
    assert_eq!(status, 404);
    let error = "token: a b\\u{1b}/c of my/api is not known (or no longer)";
    assert_eq!(answer["error"], error);
    let (status, _) = get(&admin, "/api/v1/tokens/stripe/0123456789abcdef").await;
    assert_eq!(status, 404);
}

fn tell(admin: &Admin, events: &[&str]) {
    let lines = events.iter().map(|event| event.as_bytes());
    let reject = |error| panic!("{error:?}");
    let pipeline = &admin.parts.pipeline;
    pipeline.process(lines, Source::default(), clock::now(), reject);
}

fn started(api: &str, token: &str, client: &str) -> String {
    format!(
        r#"{{"type":"attempt_start","api":"{api}","token":"{token}","client":"{client}","call":"c-{token}"}}"#
    )
}
