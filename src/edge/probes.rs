//! The metrics address: `/metrics` for Prometheus, `/livez` and `/readyz` for the kubelet.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::StatusCode;
use http::header::{ACCEPT, HeaderMap};
use http::request::Parts;

use super::http::reply::{self, HTML, Response, TEXT, reply};

const INDEX: &str = "<!doctype html>\n<title>oncewatch</title>\n<h1>oncewatch</h1>\n<ul>\n\
    <li><a href=\"/metrics\">/metrics</a>: for Prometheus</li>\n\
    <li><a href=\"/livez\">/livez</a>: the process answers</li>\n\
    <li><a href=\"/readyz\">/readyz</a>: everything has started</li>\n</ul>\n";

/// Gives the metrics for an `Accept` header: content type and text.
pub type Exposition = Box<dyn Fn(String) -> Reading + Send + Sync>;

/// What an [`Exposition`] will give.
pub type Reading = Pin<Box<dyn Future<Output = (&'static str, Vec<u8>)> + Send>>;

/// Routes of the metrics address.
pub struct Probes {
    metrics: Exposition,
    readiness: Readiness,
}

impl Probes {
    /// Serves what `metrics` gives, and `readiness`.
    pub fn new(metrics: Exposition, readiness: Readiness) -> Self {
        Self { metrics, readiness }
    }

    /// Answers one request.
    pub async fn route(self: Arc<Self>, request: Parts) -> Response {
        let path = request.uri.path();
        if !["/", "/metrics", "/livez", "/readyz"].contains(&path) {
            return reply(StatusCode::NOT_FOUND, TEXT, "no such path; see /\n");
        }
        if !reply::is_read(&request.method) {
            let refusal = reply(StatusCode::METHOD_NOT_ALLOWED, TEXT, "use GET or HEAD\n");
            return reply::only_reads(refusal);
        }
        match path {
            "/metrics" => self.metrics(&request).await,
            "/livez" => reply(StatusCode::OK, TEXT, "ok\n"),
            "/readyz" => self.readyz(),
            _ => reply(StatusCode::OK, HTML, INDEX),
        }
    }

    async fn metrics(&self, request: &Parts) -> Response {
        let (content_type, body) = (self.metrics)(accept(&request.headers)).await;
        reply(StatusCode::OK, content_type, body)
    }

    fn readyz(&self) -> Response {
        let waiting = self.readiness.waiting();
        if waiting.is_empty() {
            return reply(StatusCode::OK, TEXT, "ok\n");
        }
        let body = format!("not ready: {}\n", waiting.join(", "));
        reply(StatusCode::SERVICE_UNAVAILABLE, TEXT, body)
    }
}

/// All `Accept` headers as one; several mean the same as one with commas.
fn accept(headers: &HeaderMap) -> String {
    let values = headers.get_all(ACCEPT).iter();
    let values: Vec<_> = values.filter_map(|value| value.to_str().ok()).collect();
    values.join(", ")
}

/// What the process still waits for before it is ready. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    waiting: Arc<Mutex<Vec<&'static str>>>,
}

impl Readiness {
    /// Not ready until the latch is released. A latch that is dropped instead, because what it
    /// stands for failed, holds for ever.
    pub fn latch(&self, name: &'static str) -> Latch {
        self.lock().push(name);
        Latch {
            readiness: self.clone(),
            name,
        }
    }

    /// Names of the latches that hold, in the order in which they were made.
    pub fn waiting(&self) -> Vec<&'static str> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<&'static str>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Holds readiness back.
#[derive(Debug)]
#[must_use = "readiness is held back until the latch is released"]
pub struct Latch {
    readiness: Readiness,
    name: &'static str,
}

impl Latch {
    /// What it stands for is ready.
    pub fn release(self) {
        let mut waiting = self.readiness.lock();
        if let Some(at) = waiting.iter().position(|&name| name == self.name) {
            waiting.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::http::tests::{body, header, request};

    fn probes(readiness: &Readiness) -> Arc<Probes> {
        let metrics = |accept: String| -> Reading {
            Box::pin(async move { ("text/x-test", format!("accept={accept}").into_bytes()) })
        };
        Arc::new(Probes::new(Box::new(metrics), readiness.clone()))
    }

    async fn get(probes: &Arc<Probes>, method: &str, path: &str) -> (u16, String) {
        let response = probes.clone().route(request(method, path, &[])).await;
        let status = response.status().as_u16();
        (status, body(response).await)
    }

    #[tokio::test]
    async fn readiness_names_what_is_missing() {
        let readiness = Readiness::default();
        let probes = probes(&readiness);
        let (socket, spans) = (readiness.latch("socket"), readiness.latch("spans"));
        let missing = (503, "not ready: socket, spans\n".to_owned());
        assert_eq!(get(&probes, "GET", "/readyz").await, missing);
        assert_eq!(get(&probes, "GET", "/livez").await, (200, "ok\n".into()));
        socket.release();
        assert_eq!(get(&probes, "GET", "/readyz").await.1, "not ready: spans\n");
        drop(spans);
        assert_eq!(get(&probes, "GET", "/readyz").await.0, 503);

        let readiness = Readiness::default();
        let probes = self::probes(&readiness);
        readiness.latch("socket").release();
        assert_eq!(get(&probes, "GET", "/readyz").await, (200, "ok\n".into()));
    }

    #[tokio::test]
    async fn metrics_are_given_as_asked_for() {
        let probes = probes(&Readiness::default());
        let accepts = [
            ("accept", "application/openmetrics-text"),
            ("accept", "*/*;q=0.1"),
        ];
        let response = probes
            .clone()
            .route(request("GET", "/metrics", &accepts))
            .await;
        assert_eq!(header(&response, "content-type"), "text/x-test");
        assert_eq!(header(&response, "cache-control"), "no-store");
        assert_eq!(
            body(response).await,
            "accept=application/openmetrics-text, */*;q=0.1"
        );
        assert_eq!(get(&probes, "GET", "/metrics?a=b").await.1, "accept=");
    }

    #[tokio::test]
    async fn other_paths_and_methods_are_refused() {
        let probes = probes(&Readiness::default());
        for path in ["/", "/metrics", "/livez", "/readyz"] {
            assert_eq!(get(&probes, "HEAD", path).await.0, 200);
            assert!(get(&probes, "GET", "/").await.1.contains(path));
            for method in ["POST", "PUT", "DELETE", "OPTIONS", "BREW"] {
                let response = probes.clone().route(request(method, path, &[])).await;
                assert_eq!(response.status(), 405);
                assert_eq!(header(&response, "allow"), "GET, HEAD");
            }
        }
        for path in ["/metrics/", "//", "/Metrics", "/readyz/x", "/api/v1/tokens"] {
            assert_eq!(get(&probes, "GET", path).await.0, 404, "{path}");
            assert_eq!(get(&probes, "POST", path).await.0, 404, "{path}");
        }
    }
}
