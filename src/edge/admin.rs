//! The admin address: what the sidecar knows, read-only, for people and scripts on this machine.
//!
//! Only requests that name this machine in `Host` (and in `Origin`, if there is one) are answered:
//! `localhost`, 127.0.0.0/8 or `[::1]` with any port; others get 403, so that no site can read this
//! address through a browser on this machine, nor have it work for it. Times in answers are Unix
//! seconds with three decimals, unknown keys are absent, errors are `{"error": …}`.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use http::header::HeaderName;
use http::request::Parts;
use lru::LruCache;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::detect::finding::{ProfileId, Seconds, Status};
use crate::detect::text::Text;
use crate::detect::time::Timestamp;
use crate::edge::clock;
use crate::edge::display::TokenDisplay;
use crate::edge::findings::Findings;
use crate::edge::http::reply::{self, JSON, Response, reply};
use crate::metrics::Metrics;
use crate::pipeline::Pipeline;

mod access;
mod bodies;
mod explain;
mod findings;
mod page;
mod query;
mod stream;
mod summary;
mod tokens;
mod walk;

pub use bodies::BODIES_BYTES;
use bodies::Bodies;
use query::Query;

/// Streams at a time; each may be [`findings`](super::findings)' backlog behind.
pub const STREAMS_MAX: usize = 16;
/// Shown tokens whose text is remembered: some pages of some readers.
const SHOWN_MAX: NonZeroUsize = NonZeroUsize::new(2048).unwrap();

/// What the admin address is made of.
pub struct Parameters {
    /// The state to show.
    pub pipeline: Arc<Pipeline>,
    /// The findings to show.
    pub findings: Arc<Findings>,
    /// The counts to show.
    pub metrics: Arc<Metrics>,
    /// How tokens are shown.
    pub display: TokenDisplay,
    /// Address of a trace with `{trace_id}` in it, if there is one.
    pub trace_url: Option<String>,
    /// Where events are read, for those who look for the place to send them to.
    pub socket: String,
    /// Version, with revision if there is one.
    pub version: String,
    /// Since when events have been observed.
    pub observation_start: Timestamp,
    /// Profiles with a metric label of their own.
    pub active: Vec<String>,
    /// Ends all streams at once.
    pub stop: CancellationToken,
}

/// Routes of the admin address.
pub struct Admin {
    parts: Parameters,
    streams: Arc<Semaphore>,
    /// One walk through the tokens at a time.
    walking: Semaphore,
    /// Tokens by their hash, those shown of late.
    shown: Mutex<LruCache<String, Text>>,
    bodies: Bodies,
}

impl Admin {
    /// Nothing is read before a request asks for it.
    pub fn new(parts: Parameters) -> Self {
        Self {
            parts,
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            walking: Semaphore::new(1),
            shown: Mutex::new(LruCache::new(SHOWN_MAX)),
            bodies: Bodies::new(),
        }
    }

    /// Answers one request.
    pub async fn route(self: Arc<Self>, request: Parts) -> Response {
        let answer = self.answer(&request).await;
        let answer = answer.and_then(|response| self.bodies.weigh(response));
        let answer = answer.unwrap_or_else(|refusal| refusal.response());
        let resource = HeaderName::from_static("cross-origin-resource-policy");
        reply::with(answer, resource, "same-origin")
    }

    async fn answer(self: &Arc<Self>, request: &Parts) -> Result<Response, Refusal> {
        access::check(request)?;
        let route = Route::of(request.uri.path())?;
        if !reply::is_read(&request.method) {
            return Err(Refusal::Method);
        }
        let query = request.uri.query().unwrap_or_default();
        self.parts.pipeline.free().await;
        match route {
            Route::Index => {
                Query::parse(query, &[])?;
                Ok(page::index())
            }
            Route::File(name) => {
                Query::parse(query, &[])?;
                page::file(name)
            }
            Route::Summary => {
                Query::parse(query, &[])?;
                Ok(json(StatusCode::OK, &self.summary(clock::now())))
            }
            Route::Explain(verdict) => {
                Query::parse(query, &[])?;
                explain::explain(verdict)
            }
            Route::Status => {
                Query::parse(query, &[])?;
                Ok(json(StatusCode::OK, &self.status(clock::now())))
            }
            Route::Tokens => self.tokens(query, clock::now()).await,
            Route::Token(api, token) => {
                Query::parse(query, &[])?;
                self.token(query::decode(api)?, query::decode(token)?, clock::now())
                    .await
            }
            Route::Findings => self.findings(query),
            Route::Stream => {
                Query::parse(query, &[])?;
                self.stream(&request.headers)
            }
        }
    }

    fn status(&self, now: Timestamp) -> StatusView<'_> {
        let parts = &self.parts;
        let profiles = parts.pipeline.inspect(|detector| {
            let profiles = detector.profiles().iter().enumerate();
            let of = |(id, profile): (usize, &crate::detect::profile::Profile)| ProfileView {
                api: profile.name.clone(),
                active: parts.active.iter().any(|name| **name == *profile.name),
                window_s: duration(profile.window),
                capacity: profile.capacity,
                tokens: Counts(detector.counts(ProfileId(id))),
            };
            profiles.map(of).collect()
        });
        let (kept, seen) = parts.findings.counts();
        StatusView {
            version: &parts.version,
            uptime_s: duration(now.since(parts.observation_start)),
            observation_start: Seconds(parts.observation_start),
            findings: FindingCounts { kept, seen },
            streams: self.open_streams(),
            profiles,
        }
    }

    fn shown(&self) -> MutexGuard<'_, LruCache<String, Text>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_streams(&self) -> usize {
        STREAMS_MAX - self.streams.available_permits()
    }
}

enum Route<'a> {
    Index,
    /// Something that the page loads.
    File(&'a str),
    Status,
    Summary,
    /// A verdict's name.
    Explain(&'a str),
    Tokens,
    /// API and token or hash, still percent-encoded.
    Token(&'a str, &'a str),
    Findings,
    Stream,
}

impl<'a> Route<'a> {
    fn of(path: &'a str) -> Result<Self, Refusal> {
        match path {
            "/" => Ok(Self::Index),
            "/api/v1/status" => Ok(Self::Status),
            "/api/v1/summary" => Ok(Self::Summary),
            "/api/v1/tokens" => Ok(Self::Tokens),
            "/api/v1/findings" => Ok(Self::Findings),
            "/api/v1/stream" => Ok(Self::Stream),
            _ => {
                Self::with_name(path).ok_or_else(|| Refusal::NotFound("no such path; see /".into()))
            }
        }
    }

    fn with_name(path: &'a str) -> Option<Self> {
        if let Some(name) = path.strip_prefix("/page/") {
            return Some(Self::File(name));
        }
        if let Some(verdict) = path.strip_prefix("/api/v1/explain/") {
            return Some(Self::Explain(verdict));
        }
        // A token may contain slashes; nothing comes after it.
        let (api, token) = path.strip_prefix("/api/v1/tokens/")?.split_once('/')?;
        Some(Self::Token(api, token))
    }
}

/// Why a request is not answered: the peer's fault, but for `Busy`.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    /// It does not name this machine.
    Forbidden(&'static str),
    /// There is no such thing.
    NotFound(String),
    /// It wants to do something.
    Method,
    /// A parameter is wrong.
    Bad(String),
    /// Too many ask at a time.
    Busy(&'static str),
}

impl Refusal {
    fn response(self) -> Response {
        let (status, error) = match self {
            Self::Forbidden(error) => (StatusCode::FORBIDDEN, error.into()),
            Self::NotFound(error) => (StatusCode::NOT_FOUND, error),
            Self::Bad(error) => (StatusCode::BAD_REQUEST, error),
            Self::Busy(error) => (StatusCode::SERVICE_UNAVAILABLE, error.into()),
            Self::Method => {
                let error = "read-only: use GET or HEAD".into();
                let status = StatusCode::METHOD_NOT_ALLOWED;
                return reply::only_reads(json(status, &ErrorView { error }));
            }
        };
        json(status, &ErrorView { error })
    }
}

#[derive(Serialize)]
struct ErrorView {
    error: String,
}

#[derive(Serialize)]
struct StatusView<'a> {
    version: &'a str,
    uptime_s: Seconds,
    observation_start: Seconds,
    findings: FindingCounts,
    streams: usize,
    profiles: Vec<ProfileView>,
}

#[derive(Serialize)]
struct FindingCounts {
    kept: usize,
    seen: u64,
}

#[derive(Serialize)]
struct ProfileView {
    api: Box<str>,
    active: bool,
    window_s: Seconds,
    capacity: usize,
    tokens: Counts,
}

/// Tokens by status, in the order of [`Status::ALL`].
struct Counts([usize; Status::ALL.len()]);

impl Serialize for Counts {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let names = Status::ALL.iter().map(|status| status.as_str());
        serializer.collect_map(names.zip(self.0))
    }
}

/// A length of time, printed as times are.
fn duration(length: Duration) -> Seconds {
    Seconds(Timestamp::from_micros(0) + length)
}

fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let mut body = serde_json::to_vec(value).unwrap_or_default();
    body.push(b'\n');
    reply(status, JSON, body)
}

#[cfg(test)]
mod tests;
