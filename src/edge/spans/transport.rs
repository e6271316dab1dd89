//! OTLP over plain HTTP: one POST a batch, repeated a few times where the protocol allows it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};
use tokio::time::{sleep, timeout};

/// Longest answer that is read; a collector's is a few bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Pauses before the second, third and fourth try; each has up to a third more at random, so that
/// a fleet does not return in step.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_millis(1600),
];

/// The HTTP client of the exporter. Its own retries, because those of the exporter put the thread to
/// sleep, which would stall the whole runtime.
#[derive(Debug)]
pub(super) struct Transport {
    client: Client<HttpConnector, Full<Bytes>>,
    limit: Duration,
    rejected: Arc<AtomicU64>,
}

impl Transport {
    /// `limit` bounds a request with all its retries. `rejected` receives the number of spans that
    /// a collector refused in an otherwise successful answer.
    pub(super) fn new(limit: Duration, rejected: Arc<AtomicU64>) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(limit));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(1)
            .build(connector);
        Self {
            client,
            limit,
            rejected,
        }
    }

    async fn post(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let response = self.client.request(request.map(Full::new)).await?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX)
            .collect()
            .await?
            .to_bytes();
        Ok(Response::from_parts(head, body))
    }

    async fn post_with_retries(
        &self,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, HttpError> {
        for pause in PAUSES {
            let asked = match self.post(request.clone()).await {
                Ok(response) if is_retryable(response.status()) => retry_after(&response),
                Ok(response) => return Ok(response),
                Err(_) => None,
            };
            sleep(asked.unwrap_or_default().max(pause) + jitter(pause)).await;
        }
        self.post(request).await
    }
}

#[async_trait]
impl HttpClient for Transport {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let response = timeout(self.limit, self.post_with_retries(request)).await??;
        if response.status().is_success() {
            self.rejected
                .store(rejected_spans(response.body()), Ordering::Relaxed);
        }
        Ok(response)
    }
}

/// The statuses after which OTLP asks a client to try again (specification, "Retryable Response Codes").
fn is_retryable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503 | 504)
}

/// The pause a collector asks for, where it gives it in seconds.
fn retry_after(response: &Response<Bytes>) -> Option<Duration> {
    let value = response.headers().get(http::header::RETRY_AFTER)?;
    value
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()
        .map(Duration::from_secs)
}

fn jitter(pause: Duration) -> Duration {
    let random = RandomIdGenerator::default().new_span_id().to_bytes()[0];
    pause * u32::from(random) / (3 * 256)
}

/// `rejected_spans` of an `ExportTraceServiceResponse`: field 1 (a varint) of field 1 (a message).
/// The exporter itself only logs it. What cannot be read counts as none.
fn rejected_spans(body: &[u8]) -> u64 {
    let Some((_, partial)) = fields(body).find(|(number, _)| *number == 1) else {
        return 0;
    };
    let Value::Bytes(partial) = partial else {
        return 0;
    };
    match fields(partial).find(|(number, _)| *number == 1) {
        Some((_, Value::Varint(spans))) => spans,
        _ => 0,
    }
}

/// A field's value in protobuf's wire format.
enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
}

/// The fields of a protobuf message with their numbers; ends at the first that cannot be read.
fn fields(mut rest: &[u8]) -> impl Iterator<Item = (u64, Value<'_>)> {
    std::iter::from_fn(move || {
        loop {
            let tag = varint(&mut rest)?;
            match tag & 7 {
                0 => return Some((tag >> 3, Value::Varint(varint(&mut rest)?))),
                1 => drop(rest.split_off(..8)?),
                2 => {
                    let length = usize::try_from(varint(&mut rest)?).ok()?;
                    return Some((tag >> 3, Value::Bytes(rest.split_off(..length)?)));
                }
                5 => drop(rest.split_off(..4)?),
                _ => return None,
            }
        }
    })
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *rest.split_off_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_success_is_read() {
        assert_eq!(rejected_spans(&[]), 0);
        // partial_success { rejected_spans: 300, error_message: "no" }
        assert_eq!(rejected_spans(&[10, 7, 8, 0xac, 2, 18, 2, b'n', b'o']), 300);
        // The same behind an unknown fixed64 and an unknown fixed32 field.
        let unknown = [17, 1, 2, 3, 4, 5, 6, 7, 8, 21, 1, 2, 3, 4];
        assert_eq!(
            rejected_spans(&[&unknown[..], &[10, 3, 8, 0xac, 2]].concat()),
            300
        );
        for broken in [&[10, 9, 8, 1][..], &[10], &[8, 5], &[0xff; 12], b"<html>"] {
            assert_eq!(rejected_spans(broken), 0, "{broken:?}");
        }
    }
}
