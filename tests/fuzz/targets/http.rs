//! A request to the admin and metrics addresses, as functions: no panic, only its own machine is
//! answered, answers are what they say they are, and no token is told.

use std::cell::OnceCell;
use std::sync::Arc;

use http::request::Parts;
use http_body_util::BodyExt;
use oncewatch::detect::profile;
use oncewatch::detect::time::Timestamp;
use oncewatch::detect::verdict::Severity;
use oncewatch::detect::{Detector, Options, Source, Trace};
use oncewatch::edge::admin::{Admin, Parameters};
use oncewatch::edge::display::{HashKey, TokenDisplay};
use oncewatch::edge::findings::{CAPACITY_DEFAULT, Findings};
use oncewatch::edge::ingest::framing::Lines;
use oncewatch::edge::probes::{Probes, Readiness};
use oncewatch::metrics::Metrics;
use oncewatch::pipeline::{Pipeline, Sinks};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Part of every token that the addresses know; a request that says it itself may see it again.
const SECRET: &str = "Qz7secret";
const ANSWERS: [u16; 6] = [200, 400, 403, 404, 405, 503];

/// `METHOD TARGET`, then a header line each.
pub fn check(data: &[u8]) {
    let Some(request) = request(data) else { return };
    let told = String::from_utf8_lossy(data).contains(SECRET);
    HOUSE.with(|house| {
        let house = house.get_or_init(House::new);
        let admin = house.runtime.block_on(house.answer(request.clone(), true));
        let probes = house.runtime.block_on(house.answer(request.clone(), false));
        for (status, content_type, body) in [&admin, &probes] {
            assert!(ANSWERS.contains(status), "{status}");
            let text = String::from_utf8_lossy(body);
            assert!(told || !text.contains(SECRET), "a token is told: {text}");
            if content_type == "application/json" {
                let parsed = serde_json::from_slice::<serde_json::Value>(body);
                parsed.unwrap_or_else(|error| panic!("{error}: {text}"));
            }
        }
        assert!(
            admin.0 == 403 || names_this_machine(&request),
            "answered a stranger"
        );
    });
}

thread_local! {
    static HOUSE: OnceCell<House> = const { OnceCell::new() };
}

fn request(data: &[u8]) -> Option<Parts> {
    let mut lines = data.split(|&byte| byte == b'\n');
    let mut first = lines.next()?.splitn(2, |&byte| byte == b' ');
    let mut request = http::Request::builder()
        .method(first.next()?)
        .uri(first.next()?);
    for line in lines {
        let colon = line.iter().position(|&byte| byte == b':')?;
        request = request.header(&line[..colon], line[colon + 1..].trim_ascii());
    }
    Some(request.body(()).ok()?.into_parts().0)
}

/// A rule of its own, wider than the sidecar's: every name must contain one that can only be local.
fn names_this_machine(request: &Parts) -> bool {
    let local = |name: &[u8]| {
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        let name = name
            .trim_start_matches("http://")
            .trim_start_matches("https://")
            .to_owned();
        let host = name.rsplit_once(':').map_or(&*name, |(host, _)| host);
        [host, &name].iter().any(|host| {
            *host == "localhost"
                || *host == "[::1]"
                || (host.starts_with("127.") && !host.contains(|c: char| c.is_alphabetic()))
        })
    };
    let hosts: Vec<_> = request.headers.get_all("host").iter().collect();
    let origins = request.headers.get_all("origin").iter();
    let authority = request.uri.authority();
    hosts.len() == 1
        && hosts
            .iter()
            .chain(&origins.collect::<Vec<_>>())
            .all(|value| local(value.as_bytes()))
        && authority.is_none_or(|authority| local(authority.as_str().as_bytes()))
}

struct House {
    runtime: tokio::runtime::Runtime,
    admin: Arc<Admin>,
    probes: Arc<Probes>,
}

impl House {
    fn new() -> Self {
        let profiles = profile::profiles(&toml::Table::new(), None).expect("built in");
        let active = vec!["stripe".to_owned()];
        let metrics = Arc::new(Metrics::new(&profiles, &active));
        let options = Options {
            detail: Severity::Info,
            trace: Trace::Off,
            hash_key: [7; 16],
        };
        let (reports, mut reported) = mpsc::channel(64);
        let sinks = Sinks {
            findings: reports,
            spans: None,
        };
        let pipeline = Arc::new(Pipeline::new(
            Detector::new(profiles, options),
            metrics.clone(),
            sinks,
        ));
        let findings = Arc::new(Findings::new(CAPACITY_DEFAULT));
        let now = Timestamp::from_micros(1_700_000_000_000_000);
        pipeline.process(
            Lines::whole(history().as_bytes(), usize::MAX),
            Source::default(),
            now,
            |error| panic!("{error}"),
        );
        while let Ok(report) = reported.try_recv() {
            findings.report(report);
        }
        assert!(
            findings.counts().0 > 3,
            "the findings have something to show"
        );
        // No stream goes on: what it holds is told, and then it ends.
        let stop = CancellationToken::new();
        stop.cancel();
        let parameters = Parameters {
            pipeline,
            findings,
            metrics,
            display: TokenDisplay::Hash(HashKey::from_secret(b"a key for the fuzzer")),
            trace_url: Some("https://traces.example/{trace_id}".into()),
            socket: "/run/oncewatch/events.sock".into(),
            version: "1".into(),
            observation_start: now,
            active,
            stop,
        };
        Self {
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime"),
            admin: Arc::new(Admin::new(parameters)),
            probes: Arc::new(Probes::new(
                Box::new(|_| Box::pin(async { ("text/plain", b"up 1\n".to_vec()) })),
                Readiness::default(),
            )),
        }
    }

    /// Status, content type and body.
    async fn answer(&self, request: Parts, admin: bool) -> (u16, String, Vec<u8>) {
        let response = match admin {
            true => self.admin.clone().route(request).await,
            false => self.probes.clone().route(request).await,
        };
        let status = response.status().as_u16();
        let content_type = response.headers().get("content-type");
        let content_type = content_type.map_or("", |value| value.to_str().unwrap_or(""));
        let content_type = content_type.to_owned();
        let body = response
            .into_body()
            .collect()
            .await
            .expect("a body that ends");
        (status, content_type, body.to_bytes().to_vec())
    }
}

/// Events that leave something under every heading.
fn history() -> String {
    let mut lines = String::new();
    let mut say = |kind: &str, token: usize, more: &str| {
        lines += &format!(
            "{{\"type\":\"{kind}\",\"api\":\"stripe\",\"token\":\"{SECRET}-{token}\"{more}}}\n"
        );
    };
    for token in 0..20 {
        say(
            "attempt_start",
            token,
            ",\"client\":\"a\",\"call\":\"1\",\"fp\":\"x\"",
        );
        if token % 2 == 0 {
            say(
                "attempt_start",
                token,
                ",\"client\":\"b\",\"call\":\"2\",\"fp\":\"y\"",
            );
        }
        if token % 3 == 0 {
            say(
                "attempt_end",
                token,
                ",\"client\":\"a\",\"call\":\"1\",\"outcome\":\"ok\"",
            );
        }
    }
    lines
}
