//! What watching costs the application: `cargo bench`, or `cargo bench -- --json FILE`.
//!
//! Three figures with a sidecar that reads, one that does not, and none; each state in a process of its own, because
//! the client keeps its connection, with reader and DynamoDB stub in processes of their own.
//!
//! - hook: time of the calling thread in all hooks of a real SDK call of one attempt (its start, its end, the call's
//!   end), measured inside the call, where caches are as cold as the SDK leaves them. The clock's own part is shown.
//! - call: a whole `TransactWriteItems` against the stub on loopback, calls with and without the hook taking turns.
//! - event: one event of the generic interface, starts with a 480-byte body and ends by turns, 10,000 a second.

#[path = "../support/stub.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod stub;

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::interceptors::{
    BeforeSerializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
    FinalizerInterceptorContextRef,
};
use aws_sdk_dynamodb::config::{
    BehaviorVersion, Config, ConfigBag, Credentials, Intercept, Region, RuntimeComponents,
};
use aws_sdk_dynamodb::error::BoxError;
use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem, Update};
use oncewatch_client::{Answer, Dynamodb, Options, Outcome, begin, stats};
use serde_json::{Value, json};
use stub::{Reply, Stub};

const STATES: [&str; 3] = ["up", "stalled", "absent"];
const WARM_UP: usize = 300;
const CALLS: usize = 4000;
const EVENTS: usize = 40_000;
const EVENT_INTERVAL: Duration = Duration::from_micros(100);

fn main() {
    let arguments: Vec<String> = env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["stub"] => {
            println!("{}", Stub::scripted(&[Reply::ok("{}")]).endpoint());
            thread::sleep(Duration::from_secs(600));
        }
        ["reader", path, state] => read_events(Path::new(path), state == "up"),
        ["measure", endpoint] => println!("{}", measure(endpoint)),
        [] => print_table(&measure_all()),
        ["--json", file] => {
            let results = measure_all();
            print_table(&results);
            fs::write(file, format!("{results:#}\n")).expect("the file of --json");
        }
        _ => panic!("usage: overhead [--json FILE]"),
    }
}

/// Ends with the benchmark, however that ends.
struct Helper(Child);

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// This program again, and its first line of output.
fn helper(arguments: &[&str], socket: &Path) -> (Helper, String) {
    let program = env::current_exe().expect("this program");
    let mut command = Command::new(program);
    let mut child = command
        .args(arguments)
        .env("ONCEWATCH_SOCKET", socket)
        .stdout(Stdio::piped())
        .spawn()
        .expect("a process");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("a pipe"))
        .read_line(&mut line)
        .expect("a line");
    (Helper(child), line.trim().to_owned())
}

fn read_events(path: &Path, reads: bool) {
    let listener = UnixListener::bind(path).expect("the socket");
    println!("ready");
    let (mut connection, _) = listener.accept().expect("a client");
    let mut chunk = vec![0; 64 * 1024];
    while reads && connection.read(&mut chunk).is_ok_and(|bytes| bytes > 0) {}
    thread::sleep(Duration::from_secs(600));
}

fn measure_all() -> Value {
    let directory = tempfile::tempdir().expect("a directory");
    let measured = STATES.map(|state| {
        let socket = directory.path().join(state);
        let (_stub, endpoint) = helper(&["stub"], &socket);
        let path = socket.to_str().expect("a path of ASCII");
        let _reader = (state != "absent").then(|| helper(&["reader", path, state], &socket));
        let (_measuring, line) = helper(&["measure", &endpoint], &socket);
        let mut result: Value = serde_json::from_str(&line).expect("a result");
        result["sidecar"] = json!(state);
        result
    });
    json!({"sdk": format!("aws-sdk-dynamodb {}", aws_sdk_dynamodb::meta::PKG_VERSION), "unit": "nanoseconds", "states": measured})
}

fn measure(endpoint: &str) -> Value {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let mut result = runtime.block_on(measure_calls(endpoint));
    result["event"] = measure_events();
    let counts = stats();
    (result["sent"], result["dropped"]) = (json!(counts.sent), json!(counts.dropped));
    result
}

/// Time spent in the hooks of the current call.
static IN_HOOKS_NS: AtomicU64 = AtomicU64::new(0);

/// The interceptor, with a clock around each of its hooks; without it, the clock alone.
#[derive(Debug)]
struct Timed(Option<Dynamodb>);

fn timed<T>(hook: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let result = hook();
    IN_HOOKS_NS.fetch_add(began.elapsed().as_nanos() as u64, Ordering::Relaxed);
    result
}

impl Intercept for Timed {
    fn name(&self) -> &'static str {
        "timed"
    }

    fn read_before_execution(
        &self,
        context: &BeforeSerializationInterceptorContextRef<'_>,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        timed(|| {
            self.0
                .as_ref()
                .map_or(Ok(()), |hook| hook.read_before_execution(context, cfg))
        })
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        components: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        timed(|| {
            self.0.as_ref().map_or(Ok(()), |hook| {
                hook.read_before_transmit(context, components, cfg)
            })
        })
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        components: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        timed(|| {
            self.0.as_ref().map_or(Ok(()), |hook| {
                hook.read_after_attempt(context, components, cfg)
            })
        })
    }

    fn read_after_execution(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        components: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        timed(|| {
            self.0.as_ref().map_or(Ok(()), |hook| {
                hook.read_after_execution(context, components, cfg)
            })
        })
    }
}

fn client(endpoint: &str) -> aws_sdk_dynamodb::config::Builder {
    Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .endpoint_url(endpoint)
        .region(Region::new("eu-west-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "bench"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
}

async fn call(client: &Client) -> u64 {
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let number = |text: &str| AttributeValue::N(text.to_owned());
    let update = Update::builder()
        .table_name("orders")
        .key("id", text("customer-000117"))
        .update_expression("ADD balance :a SET #s = :s")
        .expression_attribute_names("#s", "status")
        .expression_attribute_values(":a", number("25"))
        .expression_attribute_values(":s", text("paid"));
    let put = Put::builder()
        .table_name("payments")
        .item("id", text("6b8f7c1e-0d7e-4a53-9f8b"))
        .item("at", number("1790000000"));
    let items = [
        TransactWriteItem::builder()
            .update(update.build().expect("an update"))
            .build(),
        TransactWriteItem::builder()
            .put(put.build().expect("a put"))
            .build(),
    ];
    let request = client
        .transact_write_items()
        .set_transact_items(Some(items.into()));
    let began = Instant::now();
    request.send().await.expect("the stub answers");
    began.elapsed().as_nanos() as u64
}

async fn measure_calls(endpoint: &str) -> Value {
    let plain = Client::from_conf(client(endpoint).build());
    let hooked = Client::from_conf(client(endpoint).interceptor(Dynamodb::new()).build());
    let timed = Client::from_conf(
        client(endpoint)
            .interceptor(Timed(Some(Dynamodb::new())))
            .build(),
    );
    let clock = Client::from_conf(client(endpoint).interceptor(Timed(None)).build());
    let (mut without, mut with, mut hook, mut clocks) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for index in 0..WARM_UP + CALLS {
        // By turns first, because each call leaves the caches warm for the next.
        let (first, second) = if index % 2 == 0 {
            (&plain, &hooked)
        } else {
            (&hooked, &plain)
        };
        let durations = (call(first).await, call(second).await);
        if index < WARM_UP {
            continue;
        }
        let (plain, hooked) = if index % 2 == 0 {
            durations
        } else {
            (durations.1, durations.0)
        };
        without.push(plain);
        with.push(hooked);
        for (client, spent) in [(&timed, &mut hook), (&clock, &mut clocks)] {
            IN_HOOKS_NS.store(0, Ordering::Relaxed);
            call(client).await;
            spent.push(IN_HOOKS_NS.load(Ordering::Relaxed));
        }
    }
    json!({"call_without": summary(without), "call_with": summary(with), "hook": summary(hook), "clock": summary(clocks)})
}

fn measure_events() -> Value {
    let body = format!(
        r#"{{"TransactItems":[{{"Put":{{"TableName":"payments","Item":{{"id":{{"S":"{}"}}}}}}}}],"ClientRequestToken":"t"}}"#,
        "x".repeat(375)
    );
    let options = Options {
        body: Some(body.as_bytes()),
        token_field: Some("ClientRequestToken"),
        scope: "eu-west-1",
        call: Some("c"),
        ..Options::default()
    };
    let mut durations = Vec::with_capacity(EVENTS);
    let mut next = Instant::now();
    let mut open = None;
    for index in 0..WARM_UP + EVENTS {
        while Instant::now() < next {
            std::hint::spin_loop();
        }
        next += EVENT_INTERVAL;
        let began = Instant::now();
        open = match open.take() {
            None => Some(begin(
                "dynamodb.TransactWriteItems",
                "6b8f7c1e-0d7e-4a53-9f8b-000000000117",
                options,
            )),
            Some(mut attempt) => {
                oncewatch_client::Attempt::end(
                    &mut attempt,
                    Outcome::Ok,
                    Answer {
                        http_status: Some(200),
                        request_id: Some("0123456789ABCDEF"),
                        ..Answer::default()
                    },
                );
                None
            }
        };
        if index >= WARM_UP {
            durations.push(began.elapsed().as_nanos() as u64);
        }
    }
    summary(durations)
}

fn summary(mut durations: Vec<u64>) -> Value {
    durations.sort_unstable();
    let at = |percent: usize| durations[(durations.len() - 1) * percent / 100];
    json!({"p10": at(10), "p50": at(50), "p99": at(99), "count": durations.len()})
}

fn print_table(results: &Value) {
    println!(
        "{}; times in microseconds, median / p99",
        results["sdk"].as_str().unwrap_or_default()
    );
    println!(
        "{:8} | {:>15} | {:>13} | {:>17} | {:>17} | {:>9} | {:>15} | {:>7} | {:>7}",
        "sidecar",
        "hook, 1 attempt",
        "of it clock",
        "SDK call without",
        "SDK call with",
        "with/out",
        "event, 10,000/s",
        "sent",
        "dropped"
    );
    for state in results["states"].as_array().into_iter().flatten() {
        let micros = |name: &str, percentile: &str| {
            state[name][percentile].as_f64().unwrap_or_default() / 1000.0
        };
        let both = |name: &str, digits: usize| {
            format!(
                "{:.digits$} / {:.digits$}",
                micros(name, "p50"),
                micros(name, "p99")
            )
        };
        let ratio = micros("call_with", "p50") / micros("call_without", "p50");
        println!(
            "{:8} | {:>15} | {:>13} | {:>17} | {:>17} | {ratio:>9.3} | {:>15} | {:>7} | {:>7}",
            state["sidecar"].as_str().unwrap_or_default(),
            both("hook", 2),
            both("clock", 2),
            both("call_without", 0),
            both("call_with", 0),
            both("event", 2),
            state["sent"],
            state["dropped"]
        );
    }
}
