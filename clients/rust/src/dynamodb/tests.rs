//! The real SDK against a scripted server: what the hooks see is what was sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{
    BehaviorVersion, Builder, ConfigBag, Credentials, Intercept, Region, RuntimeComponents,
};
use aws_sdk_dynamodb::error::BoxError;
use aws_sdk_dynamodb::types::{AttributeValue, ParameterizedStatement, Put, TransactWriteItem};
use aws_smithy_types::body::SdkBody;
use serde_json::Value;

use super::Dynamodb;
use crate::fingerprint::fingerprint;
use crate::testing::collector::Collector;
use crate::testing::stub::{Answer, Reply, Stub};
use crate::testing::{Bench, QUICK};

/// Names what varies from run to run.
const UUID_CHARACTERS: usize = 36;

mod conformance;

struct Scene {
    bench: Bench,
    collector: Collector,
    stub: Stub,
}

impl Scene {
    fn new(replies: &[Reply]) -> Self {
        let bench = Bench::new(QUICK);
        let collector = Collector::new(&bench.socket());
        Self {
            bench,
            collector,
            stub: Stub::scripted(replies),
        }
    }

    fn hook(&self) -> Dynamodb {
        Dynamodb::reporting_to(self.bench.transport)
    }

    fn builder(&self) -> Builder {
        let retries = RetryConfig::standard()
            .with_max_attempts(3)
            .with_initial_backoff(Duration::from_millis(1));
        Builder::default()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .endpoint_url(self.stub.endpoint())
            .region(Region::new("eu-west-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .retry_config(retries.with_max_backoff(Duration::from_millis(5)))
    }

    fn client(&self) -> Client {
        Client::from_conf(self.builder().interceptor(self.hook()).build())
    }

    fn client_with(&self, timeouts: TimeoutConfig) -> Client {
        Client::from_conf(
            self.builder()
                .interceptor(self.hook())
                .timeout_config(timeouts)
                .build(),
        )
    }

    /// Events of the type in order, once there are `count` in all and no more come.
    fn events(&self, count: usize) -> Vec<Value> {
        self.collector.wait(count);
        std::thread::sleep(Duration::from_millis(20));
        let events = self.collector.events();
        assert_eq!(events.len(), count, "{events:#?}");
        events
    }
}

fn write_items(
    client: &Client,
) -> aws_sdk_dynamodb::operation::transact_write_items::builders::TransactWriteItemsFluentBuilder {
    let put = Put::builder()
        .table_name("orders")
        .item("id", AttributeValue::S("1".to_owned()))
        .build()
        .unwrap();
    client
        .transact_write_items()
        .transact_items(TransactWriteItem::builder().put(put).build())
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect()
}

fn outcomes(events: &[Value]) -> Vec<(&str, &str, Option<u64>)> {
    let ends = events
        .iter()
        .filter(|event| event["type"] != "attempt_start");
    ends.map(|event| {
        (
            event["outcome"].as_str().unwrap(),
            event["error"].as_str().unwrap_or(""),
            event["http_status"].as_u64(),
        )
    })
    .collect()
}

#[tokio::test]
async fn a_token_made_by_the_sdk_is_seen_as_it_was_sent() {
    let scene = Scene::new(&[Reply::ok("{}")]);
    write_items(&scene.client()).send().await.unwrap();
    let events = scene.events(3);
    assert_eq!(kinds(&events), ["attempt_start", "attempt_end", "call_end"]);
    let request = &scene.stub.received()[0];
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let header = |name: &str| {
        let line = request
            .head
            .lines()
            .find_map(|line| line.strip_prefix(name));
        line.unwrap().trim_start_matches(": ").to_owned()
    };
    for event in &events {
        assert_eq!(event["token"], body["ClientRequestToken"]);
        assert_eq!(event["token"].as_str().unwrap().len(), UUID_CHARACTERS);
        assert_eq!(event["api"], "dynamodb.TransactWriteItems");
        assert_eq!(
            event["call"].as_str().unwrap(),
            header("amz-sdk-invocation-id")
        );
        assert_eq!(event["scope"], "eu-west-1");
        assert_eq!(event["client"], format!("host/{}", std::process::id()));
        assert!(event["at"].as_f64().unwrap() > 1.7e9);
    }
    let ignored = ["ReturnConsumedCapacity", "ReturnItemCollectionMetrics"];
    let prints = fingerprint(
        "dynamodb.TransactWriteItems",
        &request.body,
        Some("ClientRequestToken"),
        &ignored,
    );
    assert_eq!(events[0]["fp"].as_str(), prints.fp.as_deref());
    assert_eq!(events[0]["fp_raw"], prints.fp_raw);
    assert_eq!(events[0]["token_origin"], "sdk");
    assert_eq!(events[0]["attempt"], 1);
    assert_eq!(events[0]["max_attempts"], 3);
    assert_eq!(events[1]["outcome"], "ok");
    assert_eq!(events[1]["http_status"], 200);
    assert_eq!(events[1]["request_id"], "REQUEST-1");
    assert!(events[1]["duration_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(events[2]["attempts"], 1);
    assert!(events[2]["duration_ms"].as_f64() >= events[1]["duration_ms"].as_f64());
}

#[tokio::test]
async fn a_callers_token_and_execute_transaction() {
    let scene = Scene::new(&[Reply::ok("{}")]);
    let statement = ParameterizedStatement::builder()
        .statement("INSERT INTO \"t\" VALUE {'id': '1'}")
        .build()
        .unwrap();
    let call = scene
        .client()
        .execute_transaction()
        .transact_statements(statement)
        .client_request_token("mine");
    call.send().await.unwrap();
    let events = scene.events(3);
    assert_eq!(events[0]["api"], "dynamodb.ExecuteTransaction");
    assert_eq!(events[0]["token"], "mine");
    assert_eq!(events[0]["token_origin"], "caller");
}

#[tokio::test]
async fn other_operations_are_not_reported() {
    let scene = Scene::new(&[Reply::ok("{}")]);
    scene
        .client()
        .get_item()
        .table_name("t")
        .key("id", AttributeValue::S("1".to_owned()))
        .send()
        .await
        .unwrap();
    write_items(&scene.client()).send().await.unwrap();
    assert_eq!(scene.events(3)[0]["api"], "dynamodb.TransactWriteItems");
}

#[tokio::test]
async fn every_attempt_of_the_sdk_is_seen_with_one_token_and_one_call() {
    let scene = Scene::new(&[
        Reply::error(400, "TransactionInProgressException"),
        Reply::error(500, "InternalServerError"),
        Reply::ok("{}"),
    ]);
    write_items(&scene.client()).send().await.unwrap();
    let events = scene.events(7);
    let expected = [
        "attempt_start",
        "attempt_end",
        "attempt_start",
        "attempt_end",
        "attempt_start",
        "attempt_end",
        "call_end",
    ];
    assert_eq!(kinds(&events), expected);
    let ends = outcomes(&events);
    let expected = [
        ("error", "TransactionInProgressException", Some(400)),
        ("error", "InternalServerError", Some(500)),
        ("ok", "", Some(200)),
        ("ok", "", Some(200)),
    ];
    assert_eq!(ends, expected);
    let numbers: Vec<_> = events[..6]
        .iter()
        .map(|event| event["attempt"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [1, 1, 2, 2, 3, 3]);
    assert_eq!(events[6]["attempts"], 3);
    for event in &events {
        assert_eq!(
            (&event["call"], &event["token"]),
            (&events[0]["call"], &events[0]["token"])
        );
    }
    assert_eq!(events[0]["fp_raw"], events[4]["fp_raw"]);
}

#[tokio::test]
async fn the_servers_last_error_ends_the_call_and_reaches_the_caller() {
    let scene = Scene::new(&[Reply::error(400, "TransactionCanceledException")]);
    let error = write_items(&scene.client())
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert!(error.is_transaction_canceled_exception());
    let canceled = ("error", "TransactionCanceledException", Some(400));
    assert_eq!(outcomes(&scene.events(3)), [canceled; 2]);
}

#[tokio::test]
async fn an_error_that_the_sdk_does_not_model_keeps_its_code() {
    let scene = Scene::new(&[Reply::error(400, "UnrecognizedClientException")]);
    write_items(&scene.client()).send().await.unwrap_err();
    assert_eq!(
        outcomes(&scene.events(3))[0],
        ("error", "UnrecognizedClientException", Some(400))
    );
}

#[tokio::test]
async fn answers_without_a_code() {
    let page = "<html>bad gateway</html>";
    let scene = Scene::new(&[Reply::with_status(502, page), Reply::with_status(403, "{}")]);
    write_items(&scene.client()).send().await.unwrap_err();
    assert_eq!(
        outcomes(&scene.events(5))[..2],
        [("error", "", Some(502)), ("error", "", Some(403))]
    );
    // A success that cannot be read: applied or not, nobody knows.
    let scene = Scene::new(&[Reply::ok(page)]);
    write_items(&scene.client()).send().await.unwrap_err();
    assert_eq!(outcomes(&scene.events(3)), [("no_response", "", None); 2]);
}

#[tokio::test]
async fn lost_connections_are_no_response() {
    let scene = Scene::new(&[
        Reply::Close,
        Reply::CutOff(Answer::new(200, "{")),
        Reply::ok("{}"),
    ]);
    write_items(&scene.client()).send().await.unwrap();
    let events = scene.events(7);
    let expected = [
        ("no_response", "", None),
        ("no_response", "", None),
        ("ok", "", Some(200)),
        ("ok", "", Some(200)),
    ];
    assert_eq!(outcomes(&events), expected);
}

#[tokio::test]
async fn read_and_attempt_timeouts_are_no_response() {
    let late = Reply::Late(Duration::from_secs(2));
    let limits = [
        TimeoutConfig::builder().read_timeout(Duration::from_millis(300)),
        TimeoutConfig::builder().operation_attempt_timeout(Duration::from_millis(300)),
    ];
    for limit in limits {
        let scene = Scene::new(&[late.clone(), Reply::ok("{}")]);
        write_items(&scene.client_with(limit.build()))
            .send()
            .await
            .unwrap();
        let events = scene.events(5);
        assert_eq!(
            outcomes(&events),
            [
                ("no_response", "", None),
                ("ok", "", Some(200)),
                ("ok", "", Some(200))
            ]
        );
    }
}

#[tokio::test]
async fn an_operation_timeout_ends_attempt_and_call() {
    let scene = Scene::new(&[Reply::Late(Duration::from_secs(2))]);
    let limit = TimeoutConfig::builder()
        .operation_timeout(Duration::from_millis(300))
        .build();
    write_items(&scene.client_with(limit))
        .send()
        .await
        .unwrap_err();
    let events = scene.events(3);
    assert_eq!(kinds(&events), ["attempt_start", "attempt_end", "call_end"]);
    assert_eq!(outcomes(&events), [("no_response", "", None); 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_future_is_no_response() {
    let scene = Scene::new(&[Reply::Late(Duration::from_secs(2))]);
    let client = scene.client();
    let limit = Duration::from_millis(300);
    assert!(
        tokio::time::timeout(limit, write_items(&client).send())
            .await
            .is_err()
    );
    let events = scene.events(3);
    assert_eq!(kinds(&events), ["attempt_start", "attempt_end", "call_end"]);
    assert_eq!(outcomes(&events), [("no_response", "", None); 2]);
    assert!(events[1]["duration_ms"].as_f64().unwrap() >= 40.0);

    let scene = Scene::new(&[Reply::Late(Duration::from_secs(2))]);
    let client = scene.client();
    tokio::select! {
        _ = write_items(&client).send() => panic!("answered too early"),
        () = tokio::time::sleep(limit) => {}
    }
    assert_eq!(outcomes(&scene.events(3)), [("no_response", "", None); 2]);

    let scene = Scene::new(&[Reply::Late(Duration::from_secs(2))]);
    let task = tokio::spawn(write_items(&scene.client()).send());
    scene.collector.wait(1);
    task.abort();
    assert_eq!(outcomes(&scene.events(3)), [("no_response", "", None); 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_future_dropped_between_attempts_keeps_the_last_answer() {
    let scene = Scene::new(&[Reply::error(500, "InternalServerError")]);
    let retries = RetryConfig::standard()
        .with_max_attempts(2)
        .with_initial_backoff(Duration::from_secs(60))
        .with_max_backoff(Duration::from_secs(60));
    let config = scene
        .builder()
        .interceptor(scene.hook())
        .retry_config(retries);
    let client = Client::from_conf(config.build());
    let task = tokio::spawn(write_items(&client).send());
    scene.collector.wait(2);
    task.abort();
    let failed = ("error", "InternalServerError", Some(500));
    assert_eq!(outcomes(&scene.events(3)), [failed; 2]);
}

#[tokio::test]
async fn consumed_capacity_is_summed_over_the_tables() {
    let body = r#"{"ConsumedCapacity":[{"TableName":"a","CapacityUnits":2,"WriteCapacityUnits":2},{"TableName":"b","WriteCapacityUnits":1.5}]}"#;
    let scene = Scene::new(&[Reply::ok(body)]);
    write_items(&scene.client()).send().await.unwrap();
    let events = scene.events(3);
    assert_eq!(events[1]["write_units"], 3.5);
    assert_eq!(events[1]["read_units"], Value::Null);
    assert_eq!(
        events[2]["write_units"],
        Value::Null,
        "only attempts carry units"
    );
}

#[tokio::test]
async fn a_call_that_fails_before_its_first_request_reports_nothing() {
    let scene = Scene::new(&[Reply::ok("{}")]);
    let config = scene.builder().interceptor(scene.hook());
    let unsigned = Client::from_conf(config.endpoint_url("not an endpoint").build());
    write_items(&unsigned).send().await.unwrap_err();
    write_items(&scene.client())
        .client_request_token("second")
        .send()
        .await
        .unwrap();
    assert_eq!(scene.events(3)[0]["token"], "second");
}

#[tokio::test]
async fn scope_and_traceparent_are_the_applications() {
    let scene = Scene::new(&[Reply::ok("{}")]);
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let hook = scene
        .hook()
        .scope("1234/eu")
        .traceparent(move || Some(trace.to_owned()));
    let client = Client::from_conf(scene.builder().interceptor(hook).build());
    write_items(&client).send().await.unwrap();
    let events = scene.events(3);
    assert_eq!(events[2]["scope"], "1234/eu");
    assert_eq!(events[0]["traceparent"], trace);
    assert_eq!(events[1]["traceparent"], Value::Null);
}

#[tokio::test]
async fn a_body_too_large_to_be_kept_is_hashed_at_once() {
    let scene = Scene::new(&[Reply::ok("{}")]);
    let text = "x".repeat(300 * 1024);
    let put = Put::builder()
        .table_name("t")
        .item("id", AttributeValue::S(text))
        .build()
        .unwrap();
    let call = scene
        .client()
        .transact_write_items()
        .transact_items(TransactWriteItem::builder().put(put).build());
    call.client_request_token("large").send().await.unwrap();
    let events = scene.events(3);
    assert_eq!(events[0]["token"], "large");
    assert_eq!(events[0]["fp"], Value::Null, "over 256 KiB");
    let prints = fingerprint::<&str>(
        "dynamodb.TransactWriteItems",
        &scene.stub.received()[0].body,
        Some("ClientRequestToken"),
        &[],
    );
    assert_eq!(events[0]["fp_raw"], prints.fp_raw);
}

#[tokio::test]
async fn request_result_and_retries_are_those_without_the_hook() {
    let script = [
        Reply::error(500, "InternalServerError"),
        Reply::Close,
        Reply::error(400, "ValidationException"),
    ];
    let watched = Scene::new(&script);
    let plain = Scene::new(&script);
    let with = write_items(&watched.client())
        .client_request_token("t")
        .send()
        .await
        .unwrap_err();
    let client = Client::from_conf(plain.builder().build());
    let without = write_items(&client)
        .client_request_token("t")
        .send()
        .await
        .unwrap_err();
    assert_eq!(
        with.into_service_error().to_string(),
        without.into_service_error().to_string()
    );
    let (with, without) = (watched.stub.received(), plain.stub.received());
    assert_eq!((with.len(), without.len()), (3, 3));
    for (with, without) in with.iter().zip(&without) {
        assert_eq!(with.body, without.body);
        let names = |head: &str| -> Vec<String> {
            head.lines()
                .skip(1)
                .filter_map(|line| line.split(':').next())
                .map(str::to_owned)
                .collect()
        };
        assert_eq!(names(&with.head), names(&without.head));
    }
}

#[tokio::test]
async fn nothing_there_is_no_matter_to_the_call() {
    let bench = Bench::new(QUICK);
    let stub = Stub::scripted(&[Reply::ok("{}")]);
    let collector = Collector::new(&bench.directory().join("unused.sock"));
    let scene = Scene {
        bench,
        collector,
        stub,
    };
    let client = scene.client();
    for _ in 0..5 {
        write_items(&client).send().await.unwrap();
    }
    scene
        .bench
        .wait_for("15 drops", |stats| stats.dropped == 15);
}

/// Counts how often the layer that it puts around the body is made.
#[derive(Debug)]
struct CountingBody(Arc<AtomicUsize>);

impl Intercept for CountingBody {
    fn name(&self) -> &'static str {
        "counting"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let layers = Arc::clone(&self.0);
        let body = context.request_mut().body_mut();
        *body = std::mem::replace(body, SdkBody::taken()).map_preserve_contents(move |inner| {
            layers.fetch_add(1, Ordering::Relaxed);
            inner
        });
        Ok(())
    }
}

#[tokio::test]
async fn the_layers_around_the_body_are_not_repeated() {
    let mut made = Vec::new();
    for watched in [false, true] {
        let scene = Scene::new(&[Reply::ok("{}")]);
        let layers = Arc::new(AtomicUsize::new(0));
        let mut builder = scene
            .builder()
            .interceptor(CountingBody(Arc::clone(&layers)));
        if watched {
            builder = builder.interceptor(scene.hook());
        }
        write_items(&Client::from_conf(builder.build()))
            .send()
            .await
            .unwrap();
        if watched {
            scene.events(3);
        }
        made.push(layers.load(Ordering::Relaxed));
    }
    assert!(made[0] > 0, "the layer was not put in");
    assert_eq!(made[0], made[1]);
}

#[tokio::test]
async fn twice_is_once() {
    let scene = Scene::new(&[Reply::error(500, "InternalServerError"), Reply::ok("{}")]);
    let config = scene
        .builder()
        .interceptor(scene.hook())
        .interceptor(scene.hook());
    write_items(&Client::from_conf(config.build()))
        .send()
        .await
        .unwrap();
    let events = scene.events(5);
    let expected = [
        ("error", "InternalServerError", Some(500)),
        ("ok", "", Some(200)),
        ("ok", "", Some(200)),
    ];
    assert_eq!(outcomes(&events), expected);
    assert_eq!(events[0]["token_origin"], "sdk");
}

#[tokio::test]
async fn a_panic_of_the_traceparents_source_stays_inside() {
    let scene = Scene::new(&[Reply::ok("{}")]);
    let hook = scene.hook().traceparent(|| panic!("on purpose"));
    let client = Client::from_conf(scene.builder().interceptor(hook).build());
    write_items(&client).send().await.unwrap();
    let events = scene.events(3);
    assert_eq!(events[0]["traceparent"], Value::Null);
    assert_eq!(scene.bench.transport.stats().failures, 1);
}

#[tokio::test]
async fn a_body_nested_too_deep_for_a_fingerprint_is_reported() {
    let scene = Scene::new(&[Reply::ok("{}")]);
    let deep = (0..600).fold(AttributeValue::Null(true), |inner, _| {
        AttributeValue::L(vec![inner])
    });
    let put = Put::builder()
        .table_name("t")
        .item("id", deep)
        .build()
        .unwrap();
    let call = scene
        .client()
        .transact_write_items()
        .transact_items(TransactWriteItem::builder().put(put).build());
    call.client_request_token("deep").send().await.unwrap();
    let events = scene.events(3);
    assert_eq!(events[2]["token"], "deep");
    assert_eq!(events[0]["fp"], Value::Null);
    let body = &scene.stub.received()[0].body;
    let prints = fingerprint::<&str>(
        "dynamodb.TransactWriteItems",
        body,
        Some("ClientRequestToken"),
        &[],
    );
    assert_eq!(events[0]["fp_raw"], prints.fp_raw);
}
