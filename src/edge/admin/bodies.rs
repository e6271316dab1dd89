//! Bounds the memory of answers that wait to be taken.
//!
//! A list can be several megabytes long, and a reader who takes nothing keeps it for half a minute: a few
//! dozen of those would be the largest thing in the process. So large answers share a budget, and what
//! does not fit into it is told to come back later.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Refusal;
use crate::edge::http::reply::{self, Response};

/// Bytes of all large answers together.
pub const BODIES_BYTES: usize = 8 << 20;
/// Bytes up to which an answer is small: as much as a connection has anyway.
const SMALL_BYTES: u64 = 64 << 10;
/// Bytes that one permit stands for.
const UNIT: u64 = 1 << 10;

/// The budget.
pub(super) struct Bodies(Arc<Semaphore>);

impl Bodies {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(BODIES_BYTES / UNIT as usize)))
    }

    /// The answer, which keeps its part of the budget until it is written or given up. One that is
    /// larger than all of it must be alone.
    pub(super) fn weigh(&self, response: Response) -> Result<Response, Refusal> {
        let bytes = response.body().size_hint().exact();
        // Without an exact size it is a stream, which makes its parts when they are wanted.
        let Some(bytes) = bytes.filter(|bytes| *bytes > SMALL_BYTES) else {
            return Ok(response);
        };
        let units = bytes.div_ceil(UNIT).min(BODIES_BYTES as u64 / UNIT);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let Ok(permit) = self.0.clone().try_acquire_many_owned(units) else {
            return Err(Refusal::Busy(
                "too many large answers wait to be taken, try again later",
            ));
        };
        let (head, body) = response.into_parts();
        let body = Weighed {
            body,
            permit: Some(permit),
        };
        Ok(Response::from_parts(head, body.boxed_unsync()))
    }
}

/// A body of one part, which takes the permit along.
struct Weighed {
    body: reply::Body,
    permit: Option<OwnedSemaphorePermit>,
}

/// The part: the server holds it until it is written, not the body that it came from.
struct Part {
    bytes: Bytes,
    _permit: Option<OwnedSemaphorePermit>,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Body for Weighed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        frame.map_ok(|frame| {
            frame.map_data(|bytes| {
                let _permit = self.permit.take();
                Bytes::from_owner(Part { bytes, _permit })
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::http::tests::body;
    use http::StatusCode;

    fn answer(bytes: usize) -> Response {
        reply::reply(StatusCode::OK, reply::TEXT, vec![b'x'; bytes])
    }

    #[tokio::test]
    async fn large_answers_share_a_budget_until_they_are_written() {
        let bodies = Bodies::new();
        let large = BODIES_BYTES / 4;
        let mut waiting: Vec<_> = (0..4)
            .map(|_| bodies.weigh(answer(large)).unwrap())
            .collect();
        assert!(matches!(bodies.weigh(answer(large)), Err(Refusal::Busy(_))));
        assert!(bodies.weigh(answer(1000)).is_ok(), "small ones are free");
        // Taken out of its body, it still waits to be written.
        let mut first = waiting.pop().unwrap();
        let part = first.body_mut().frame().await.unwrap().unwrap();
        drop(first);
        assert!(bodies.weigh(answer(large)).is_err());
        drop(part);
        let again = bodies.weigh(answer(large)).unwrap();
        assert_eq!(body(again).await.len(), large);
        waiting.clear();
        assert!(bodies.weigh(answer(2 * BODIES_BYTES)).is_ok(), "alone");
    }
}
