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

    let expired = clock::now() + Duration::from_secs(10 * 24 * 3600);
    let listed = body(admin.tokens("", expired).await.unwrap()).await;
    let none = "{\"tokens\":[],\"total\":0,\"offset\":0,\"complete\":true}\n";
    assert_eq!(listed, none);
    let token = admin.token("my/api".into(), "o 3".into(), expired).await;
    assert!(matches!(token, Err(Refusal::NotFound(_))));
}

fn started(api: &str, token: &str, client: &str) -> String {
    format!(
        r#"{{"type":"attempt_start","api":"{api}","token":"{token}","client":"{client}","call":"c-{token}"}}"#
    )
}

/// Tokens of a list by what is shown of them, and how many there are in all.
async fn listed(admin: &Arc<Admin>, query: &str) -> (Vec<String>, u64) {
    let (status, answer) = get(admin, &format!("/api/v1/tokens?{query}")).await;
    assert_eq!(status, 200, "{query}: {answer}");
    assert_eq!(answer["complete"], true);
    let tokens = answer["tokens"].as_array().unwrap();
    let shown = |token: &Value| token["token"].as_str().unwrap().to_owned();
    (
        tokens.iter().map(shown).collect(),
        answer["total"].as_u64().unwrap(),
    )
}

#[tokio::test]
async fn the_list_is_filtered_sorted_and_paged() {
    let admin = admin_with(TokenDisplay::Full);
    for token in ["t1", "t2", "t3"] {
        tell(&admin, &[&started("my/api", token, "a/1")]);
    }
    tell(&admin, &[&started("stripe", "u1", "a/1")]);
    let end = |token: &str, outcome: &str| {
        format!(
            r#"{{"type":"attempt_end","api":"my/api","token":"{token}","call":"c-{token}","client":"a/1","outcome":"{outcome}"}}"#
        )
    };
    tell(&admin, &[&end("t1", "ok"), &end("t2", "no_response")]);
    tell(&admin, &[&started("my/api", "t1", "b/1")]);

    let all: [(&str, &[&str], u64); 14] = [
        ("", &["t1", "t2", "u1", "t3"], 4),
        ("api=my/api", &["t1", "t2", "t3"], 3),
        ("api=other", &[], 0),
        ("status=in_flight", &["u1", "t3"], 2),
        ("status=unknown", &["t2"], 1),
        ("status=undecided", &["t2", "u1", "t3"], 3),
        ("status=stuck", &[], 0),
        ("q=t", &["t1", "t2", "t3"], 3),
        ("q=3", &["t3"], 1),
        ("q=1&status=succeeded", &["t1"], 1),
        ("sort=first_start", &["u1", "t3", "t2", "t1"], 4),
        ("sort=attempts&limit=1", &["t1"], 4),
        (
            "sort=first_start&order=asc&offset=1&limit=2",
            &["t2", "t3"],
            4,
        ),
        ("offset=4", &[], 4),
    ];
    for (query, expected, total) in all {
        assert_eq!(
            listed(&admin, query).await,
            (expected.iter().map(|t| t.to_string()).collect(), total),
            "{query}"
        );
    }
    let later = clock::now() + Duration::from_secs(61);
    let stuck = body(
        admin
            .tokens("status=stuck&sort=first_start", later)
            .await
            .unwrap(),
    )
    .await;
    let stuck: Value = serde_json::from_str(&stuck).unwrap();
    assert_eq!(stuck["total"], 3);
    assert_eq!(stuck["tokens"][0]["stuck"], true);
}

#[tokio::test]
async fn a_search_tells_no_more_than_is_shown() {
    let admin = admin();
    tell(&admin, &[&started("stripe", "secret-17", "a/1")]);
    let shown = admin.parts.display.show("secret-17");
    for (query, found) in [
        ("secret-17", true),
        ("secret-1", false),
        ("secret", false),
        (&*shown, true),
        (&shown[3..9], true),
    ] {
        let (tokens, _) = listed(&admin, &format!("q={query}")).await;
        assert_eq!(!tokens.is_empty(), found, "{query}");
    }
}

#[tokio::test]
async fn a_walk_goes_through_every_slice_and_table() {
    let admin = admin_with(TokenDisplay::Full);
    let tokens: Vec<_> = (0..10_000)
        .map(|n| started("my/api", &format!("n{n}"), "a/1"))
        .collect();
    for token in &tokens {
        tell(&admin, &[token]);
    }
    tell(&admin, &[&started("stripe", "last", "a/1")]);
    let (found, total) = listed(&admin, "order=asc&offset=9999&limit=5").await;
    assert_eq!(
        (found, total),
        (vec!["n9999".to_owned(), "last".to_owned()], 10_001)
    );
    let (found, total) = listed(&admin, "q=n77").await;
    assert_eq!(
        (found.len(), total),
        (100, 111),
        "limit and number of matches"
    );
    let (_, answer) = get(&admin, "/api/v1/tokens/my%2Fapi/n0").await;
    assert_eq!(answer["tokens"][0]["attempt_count"], 1);
}

#[tokio::test]
async fn a_token_in_full_brings_its_rules_and_findings() {
    let admin = admin();
    let api = "dynamodb.TransactWriteItems";
    tell(&admin, &[&started(api, "token-1", "a/1")]);
    report(&admin, finding(1));
    report(&admin, finding(2));
    let mut elsewhere = finding(3);
    (elsewhere.token, elsewhere.scope) = ("token-1".into(), "x".into());
    report(&admin, elsewhere);
    let (_, answer) = get(&admin, &format!("/api/v1/tokens/{api}/token-1")).await;
    let token = &answer["tokens"][0];
    assert_eq!(token["window_s"].as_f64(), Some(600.0));
    assert_eq!(token["window_anchor"], "first_completed");
    assert_eq!(token["lease_s"].as_f64(), Some(60.0));
    assert_eq!(token["stuck"], false);
    let findings = token["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0]["message"], "number 1");
}

#[tokio::test]
async fn the_summary_counts_verdicts_and_what_was_lost() {
    let admin = admin();
    let api = "dynamodb.TransactWriteItems";
    let (_, quiet) = get(&admin, "/api/v1/summary").await;
    assert_eq!(quiet["history"]["verdicts"], serde_json::json!({}));
    assert!(quiet["last_event"].is_null() && quiet["trace_url"].is_null());
    tell(
        &admin,
        &[
            &started(api, "t", "a/1"),
            &started(api, "t", "b/1").replace("c-t", "c2"),
        ],
    );
    tell(&admin, &[&started("x", "u", "a/1")]);
    let broken = [&b"{"[..]];
    admin
        .parts
        .pipeline
        .process(broken.into_iter(), Source::default(), clock::now(), drop);
    let (_, summary) = get(&admin, "/api/v1/summary").await;
    let verdict = |name: &str| {
        let verdicts = summary["verdicts"].as_array().unwrap();
        verdicts
            .iter()
            .find(|verdict| verdict["verdict"] == name)
            .unwrap()
    };
    let collision = verdict("cross_client_collision");
    assert_eq!(collision["severity"], "error");
    assert_eq!(
        (&collision["total"], &collision["recent"]),
        (&1.into(), &1.into())
    );
    assert_eq!(collision["apis"], serde_json::json!({ api: 1 }));
    assert_eq!(
        verdict("first_use")["apis"],
        serde_json::json!({ api: 1, "other": 1 })
    );
    assert_eq!(
        summary["severities"][2],
        serde_json::json!({"severity": "error", "total": 1, "recent": 1})
    );
    let history = summary["history"]["verdicts"]["first_use"]
        .as_array()
        .unwrap();
    assert_eq!(summary["history"]["steps"], history.len());
    assert_eq!(history.iter().map(|n| n.as_u64().unwrap()).sum::<u64>(), 2);
    assert_eq!(summary["events"]["attempt_start"], 3);
    assert_eq!(summary["rejected"]["malformed"], 1);
    // The queue of this test's pipeline has nobody at its other end.
    assert_eq!(summary["dropped"]["findings_queue"], 1);
    for family in ["gaps", "removed", "refused"] {
        let counts = summary[family].as_object().unwrap();
        assert!(
            !counts.is_empty() && counts.values().all(|n| n == 0),
            "{family}"
        );
    }
    assert_eq!(summary["token_display"], "hash");
    let profiles = summary["profiles"].as_array().unwrap();
    let profile = profiles
        .iter()
        .find(|profile| profile["api"] == api)
        .unwrap();
    let until = profile["lower_bound_until"].as_f64().unwrap();
    assert!((until - summary["observation_start"].as_f64().unwrap() - 600.0).abs() < 0.01);
    assert_eq!(profile["tokens"]["in_flight"], 1);
    assert!(summary["oldest_open"].as_f64().unwrap() <= summary["now"].as_f64().unwrap());
}

#[tokio::test]
async fn every_verdict_has_an_explanation() {
    let admin = admin();
    for verdict in Verdict::ALL {
        let (status, answer) = get(&admin, &format!("/api/v1/explain/{verdict}")).await;
        assert_eq!(
            (status, &answer["verdict"]),
            (200, &Value::from(verdict.as_str()))
        );
        for part in [
            "severity", "summary", "remedy", "retry", "what", "why", "confirm", "fix",
        ] {
            assert!(
                answer[part].as_str().is_some_and(|text| !text.is_empty()),
                "{verdict} {part}"
            );
        }
    }
    let (status, answer) = get(&admin, "/api/v1/explain/no_such").await;
    assert_eq!(status, 404);
    let error = answer["error"].as_str().unwrap();
    assert!(
        error.starts_with("verdict: \"no_such\" is not one of first_use, "),
        "{error}"
    );
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
    assert_eq!((status, &answer["tokens"]), (200, &serde_json::json!([])));
}

#[tokio::test]
async fn the_page_and_its_files_come_with_a_strict_policy() {
    let files = ["/", "/page/app.js", "/page/page.css", "/page/icon.svg"];
    let types = [
        "text/html; charset=utf-8",
        "text/javascript; charset=utf-8",
        "text/css; charset=utf-8",
        "image/svg+xml",
    ];
    for (path, content_type) in files.into_iter().zip(types) {
        let response = ask(&admin(), "GET", path).await;
        assert_eq!(
            (response.status(), header(&response, "content-type")),
            (StatusCode::OK, content_type)
        );
        let policy = header(&response, "content-security-policy");
        for part in [
            "default-src 'none'; ",
            "frame-ancestors 'none'",
            "trusted-types 'none'",
        ] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(
            !policy.contains("unsafe") && !policy.contains('*'),
            "{policy}"
        );
        assert_eq!(header(&response, "referrer-policy"), "no-referrer");
        assert_eq!(
            header(&response, "cross-origin-resource-policy"),
            "same-origin"
        );
    }
    for missing in [
        "/page/",
        "/page/app",
        "/page/../admin.rs",
        "/page/index.html",
    ] {
        assert_eq!(
            ask(&admin(), "GET", missing).await.status(),
            404,
            "{missing}"
        );
    }
}
