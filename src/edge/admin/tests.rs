use std::num::NonZeroUsize;

use serde_json::Value;
use tokio::sync::mpsc;

use super::*;
use crate::detect::finding::Finding;
use crate::detect::profile::Profile;
use crate::detect::verdict::{Severity, Verdict};
use crate::detect::{Detector, Options, Source, Trace, profile};
use crate::edge::display::HashKey;
use crate::edge::findings::tests::finding;
use crate::edge::http::tests::{body, header, request};
use crate::metrics::Metrics;
use crate::pipeline::{Report, Sinks};

fn profiles() -> Vec<Profile> {
    profile::profiles(&toml::Table::new(), None).unwrap()
}

fn pipeline() -> Pipeline {
    let options = Options {
        detail: Severity::Warning,
        trace: Trace::Off,
        hash_key: [7; 16],
    };
    let metrics = Arc::new(Metrics::new(&profiles(), &[]));
    let (findings, _) = mpsc::channel(1);
    let sinks = Sinks {
        findings,
        spans: None,
    };
    Pipeline::new(Detector::new(profiles(), options), metrics, sinks)
}

pub(super) fn admin() -> Arc<Admin> {
    Arc::new(Admin::new(Parameters {
        pipeline: Arc::new(pipeline()),
        findings: Arc::new(Findings::new(NonZeroUsize::new(500).unwrap())),
        display: TokenDisplay::Hash(HashKey::from_secret(b"test")),
        version: "1.2.3".into(),
        observation_start: clock::now(),
        active: vec!["dynamodb.TransactWriteItems".into()],
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
        "/api/v1/status",
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
            "status: \"done\" is not one of in_flight, succeeded, unknown, cancelled, rejected",
        ),
        (
            "tokens?limit=1001",
            "limit: \"1001\" is not a whole number from 1 to 1000",
        ),
        (
            "tokens?state=unknown",
            "state: unknown parameter; known are status, api, limit",
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

#[tokio::test]
async fn findings_are_listed_newest_first_and_filtered() {
    let admin = admin();
    for id in 1..=150 {
        let mut finding = finding(id);
        if id % 2 == 0 {
            finding.verdict = Verdict::CrossClientCollision;
        }
        if id % 3 == 0 {
            finding.api = "stripe/v1 é".into();
        }
        report(&admin, finding);
    }
    admin.parts.findings.report(Report::Confirmed(150));
    let numbers = |answer: &Value| -> Vec<u64> {
        let findings = answer["findings"].as_array().unwrap();
        let message = |f: &Value| f["message"].as_str().unwrap()[7..].parse().unwrap();
        findings.iter().map(message).collect()
    };
    let (status, all) = get(&admin, "/api/v1/findings").await;
    assert_eq!(status, 200);
    assert_eq!(numbers(&all), (51..=150).rev().collect::<Vec<_>>());
    let newest = &all["findings"][0];
    assert_eq!(newest["confirmed"], true);
    assert_eq!(newest["token"], admin.parts.display.show("token-150"));
    assert!(!all.to_string().contains("token-1"));

    let target = "/api/v1/findings?severity=error&api=stripe%2Fv1+%C3%A9&limit=3";
    assert_eq!(numbers(&get(&admin, target).await.1), [150, 144, 138]);
    let target = "/api/v1/findings?verdict=orphaned&limit=2";
    assert_eq!(numbers(&get(&admin, target).await.1), [149, 147]);
    let target = "/api/v1/findings?severity=critical";
    assert!(numbers(&get(&admin, target).await.1).is_empty());
}

fn tell(admin: &Admin, events: &[&str]) {
    let lines = events.iter().map(|event| event.as_bytes());
    let reject = |error| panic!("{error:?}");
    let pipeline = &admin.parts.pipeline;
    pipeline.process(lines, Source::default(), clock::now(), reject);
}

#[tokio::test]
async fn tokens_are_found_by_text_and_by_what_is_shown() {
    let admin = admin();
    let start = |token: &str, scope: &str| {
        format!(
            r#"{{"type":"attempt_start","api":"my/api","token":"{token}","scope":"{scope}","client":"a/1","call":"c-{scope}"}}"#
        )
    };
    let events = [start("o 1/2", "x"), start("o 1/2", "y"), start("o 3", "x")];
    let end = r#"{"type":"attempt_end","api":"my/api","token":"o 1/2","scope":"x","client":"a/1","call":"c-x","outcome":"ok"}"#;
    tell(&admin, &[&events[0], &events[1], &events[2], end]);
    tell(&admin, &[&start("other", "").replace("my/api", "stripe")]);

    let shown = admin.parts.display.show("o 1/2");
    for name in ["o%201%2F2", "o%201/2", &shown] {
        let (status, answer) = get(&admin, &format!("/api/v1/tokens/my%2Fapi/{name}")).await;
        assert_eq!(status, 200, "{name}: {answer}");
        let mut found: Vec<_> = answer["tokens"].as_array().unwrap().iter().collect();
        found.sort_by_key(|token| token["scope"].to_string());
        let brief = |token: &&Value| {
            let names = ["scope", "token", "status"];
            names.map(|name| token[name].as_str().unwrap().to_owned())
        };
        let found_briefly: Vec<_> = found.iter().map(brief).collect();
        let x = ["x", &*shown, "succeeded"].map(str::to_owned);
        let y = ["y", &*shown, "in_flight"].map(str::to_owned);
        assert_eq!(found_briefly, [x, y], "{name}");
        assert_eq!(found[0]["attempts"][0]["class"], "success");
        assert_eq!(found[1]["attempts"][0]["verdict"], "first_use");
    }
    let hash_of_none = admin.parts.display.show("o 4");
    for missing in [
        "my%2Fapi/o%204",
        &format!("my%2Fapi/{hash_of_none}"),
        "stripe/o%203",
    ] {
        let (status, _) = get(&admin, &format!("/api/v1/tokens/{missing}")).await;
        assert_eq!(status, 404, "{missing}");
    }

    let count = async |query: &str| {
        let (_, answer) = get(&admin, &format!("/api/v1/tokens?{query}")).await;
        let tokens = answer["tokens"].as_array().unwrap();
        assert!(
            tokens
                .iter()
                .all(|t| t["attempt_count"] == 1 && t["attempts"].is_null())
        );
        tokens.len()
    };
    assert_eq!(count("").await, 4);
    assert_eq!(count("api=my/api").await, 3);
    assert_eq!(count("api=my/api&status=in_flight").await, 2);
    assert_eq!(count("status=in_flight&limit=1").await, 1);
    let expired = clock::now() + Duration::from_secs(10 * 24 * 3600);
    let listed = body(admin.tokens("", expired).await.unwrap()).await;
    assert_eq!(listed, "{\"tokens\":[]}\n");
    let token = admin.token("my/api".into(), "o 3".into(), expired).await;
    assert!(matches!(token, Err(Refusal::NotFound(_))));
}

#[tokio::test]
async fn the_status_names_profiles_and_counts() {
    let admin = admin();
    report(&admin, finding(1));
    let (status, answer) = get(&admin, "/api/v1/status").await;
    assert_eq!((status, &answer["version"]), (200, &Value::from("1.2.3")));
    assert!(answer["uptime_s"].as_f64().unwrap() < 60.0);
    assert!(answer["observation_start"].as_f64().unwrap() > 1.7e9);
    assert_eq!(
        answer["findings"],
        serde_json::json!({"kept": 1, "seen": 1})
    );
    let profiles = answer["profiles"].as_array().unwrap();
    let dynamodb = |p: &&Value| p["api"] == "dynamodb.TransactWriteItems";
    let dynamodb = profiles.iter().find(dynamodb).unwrap();
    assert_eq!(dynamodb["active"], true);
    assert_eq!(dynamodb["window_s"].as_f64(), Some(600.0));
    for status in Status::ALL {
        assert_eq!(dynamodb["tokens"][status.as_str()], 0);
    }
    assert_eq!(profiles.iter().filter(|p| p["active"] == true).count(), 1);
    let (status, answer) = get(&admin, "/api/v1/tokens?status=unknown&limit=5").await;
    assert_eq!((status, answer), (200, serde_json::json!({"tokens": []})));
}

#[tokio::test]
async fn the_index_links_what_there_is() {
    let response = ask(&admin(), "GET", "/").await;
    assert_eq!(
        header(&response, "content-type"),
        "text/html; charset=utf-8"
    );
    let page = body(response).await;
    let links = page.split("href=\"").skip(1);
    let links: Vec<_> = links.map(|link| link.split('"').next().unwrap()).collect();
    assert_eq!(links.len(), 4);
    for link in links {
        assert_eq!(ask(&admin(), "HEAD", link).await.status(), 200, "{link}");
    }
}
