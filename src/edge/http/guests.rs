//! The connections of one address, and which of them makes room when there are too many.
//!
//! Everything in a pod can reach these addresses, and the kubelet's probes come by the same door: who
//! opens connections and says nothing must not be able to keep them out.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use tokio::task::AbortHandle;

use super::reply::{self, Response};

/// Answers under way on one connection. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Answering(Arc<AtomicUsize>);

impl Answering {
    /// Counts one answer until the value is dropped.
    pub(super) fn begin(&self) -> Answer {
        self.0.fetch_add(1, Ordering::Relaxed);
        Answer(self.0.clone())
    }

    fn is_idle(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

/// An answer that is not written yet.
#[derive(Debug)]
pub(super) struct Answer(Arc<AtomicUsize>);

impl Drop for Answer {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Answer {
    /// The response, which counts as under way until the server has taken all of its body.
    pub(super) fn with(self, response: Response) -> Response {
        let (head, body) = response.into_parts();
        let body = Told {
            body,
            _answer: self,
        };
        Response::from_parts(head, body.boxed_unsync())
    }
}

struct Told {
    body: reply::Body,
    _answer: Answer,
}

impl Body for Told {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The open connections, oldest first.
#[derive(Debug, Default)]
pub(super) struct Guests(VecDeque<(AbortHandle, Answering)>);

impl Guests {
    pub(super) fn welcome(&mut self, task: AbortHandle, answering: Answering) {
        self.0.push_back((task, answering));
    }

    /// How many are open, without those that have ended.
    pub(super) fn count(&mut self) -> usize {
        self.0.retain(|(task, _)| !task.is_finished());
        self.0.len()
    }

    /// Shows out the oldest one that waits for nothing; whether there was one.
    pub(super) fn make_room(&mut self) -> bool {
        let idle = self.0.iter().position(|(_, answering)| answering.is_idle());
        let shown_out = idle.and_then(|at| self.0.remove(at));
        shown_out.is_some_and(|(task, _)| {
            task.abort();
            true
        })
    }
}
