//! Every answer of the vectors that all clients share, through the real SDK.

use std::fs;
use std::path::Path;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use serde_json::Value;

use super::{Scene, write_items};
use crate::testing::stub::{Answer, Reply};

const VECTORS: usize = 46;
const FIELDS: [&str; 6] = [
    "outcome",
    "error",
    "http_status",
    "request_id",
    "read_units",
    "write_units",
];

fn reply(answer: &Value) -> Reply {
    let told = || Answer {
        status: answer["status"].as_u64().unwrap().try_into().unwrap(),
        headers: answer["headers"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
            .collect(),
        body: answer["body"].as_str().unwrap().to_owned(),
    };
    match answer["failure"].as_str() {
        None => Reply::Answer(told()),
        Some("truncated") => Reply::CutOff(told()),
        Some("close") => Reply::Close,
        Some("reset") => Reply::Reset,
        Some("timeout") => Reply::Late(Duration::from_millis(900)),
        Some(unknown) => panic!("no failure {unknown}"),
    }
}

/// Numbers as numbers: 4 and 4.0 are the same.
fn same(seen: Option<&Value>, expected: Option<&Value>) -> bool {
    match (
        seen.and_then(Value::as_f64),
        expected.and_then(Value::as_f64),
    ) {
        (Some(seen), Some(expected)) => seen == expected,
        _ => seen == expected,
    }
}

async fn check(vector: &Value) {
    let name = vector["name"].as_str().unwrap();
    let scene = Scene::new(&[reply(&vector["answer"])]);
    let config = scene
        .builder()
        .interceptor(scene.hook())
        .retry_config(RetryConfig::standard().with_max_attempts(1))
        .timeout_config(
            TimeoutConfig::builder()
                .read_timeout(Duration::from_millis(300))
                .build(),
        );
    let client = Client::from_conf(config.build());
    let result = write_items(&client)
        .client_request_token("token")
        .send()
        .await;
    let own = &vector["if_sdk_reports_success"];
    let expected = if result.is_ok() && own.is_object() {
        own
    } else {
        vector
    };
    let ok = expected["attempt_end"]["outcome"] == "ok";
    assert_eq!(result.is_ok(), ok, "{name}");
    let events = scene.collector.wait(3);
    let kinds: Vec<_> = events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        ["attempt_start", "attempt_end", "call_end"],
        "{name}"
    );
    let made_up = |field: &str| {
        vector["sdk_specific"]
            .as_array()
            .is_some_and(|fields| fields.iter().any(|name| name == field))
    };
    for (event, expected) in [
        (&events[1], &expected["attempt_end"]),
        (&events[2], &expected["call_end"]),
    ] {
        for field in FIELDS.into_iter().filter(|field| !made_up(field)) {
            assert!(
                same(event.get(field), expected.get(field)),
                "{name}: {field} of {event} is not as in {expected}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_becomes_the_event_that_it_is_in_every_language() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance/events.json");
    let document: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let vectors = document["vectors"].as_array().unwrap();
    assert_eq!(vectors.len(), VECTORS);
    for vector in vectors {
        check(vector).await;
    }
}
