//! The most memory that the sidecar can take, by its settings: said at the start, and held to by
//! `tests/hostile_memory.rs`.

use super::{FINDINGS_QUEUE, READERS, SPANS_QUEUE};
use crate::config::Settings;
use crate::detect::Trace;
use crate::detect::bound::{FINDING_BYTES, LIFECYCLE_BYTES, memory_bytes};
use crate::detect::journal::FINDINGS_MAX as STATE_FINDINGS_MAX;
use crate::edge::admin::{BODIES_BYTES, STREAMS_MAX};
use crate::edge::findings::{BACKLOG_MAX, CAPACITY_DEFAULT};
use crate::edge::http::{BUFFER_BYTES_MAX, Limits};
use crate::edge::ingest::{READ_BYTES, datagram_bytes};
use crate::edge::spans::SpanSettings;
use crate::pipeline::sessions::SESSIONS_MAX;

/// The program itself, its threads and what libraries keep.
const PROGRAM: u64 = 24 << 20;
/// A connection's task and its buffers for lines of the usual length.
const CONNECTION: u64 = 8 << 10;
/// An HTTP connection besides its buffers: its head taken apart, and a small body.
const HTTP_CONNECTION: u64 = 128 << 10;
/// A session's position, here and in the state.
const SESSION: u64 = 512;
/// State on disk: the records of a large batch, twice while their room grows, and what is being read at the
/// start.
const STATE_RECORDS: u64 = 32 << 20;
/// A span in the exporter's terms, for a byte of the lifecycle that it was made of: attributes are
/// texts with a name each.
const SPAN_FACTOR: u64 = 4;

/// Bytes of resident memory that nothing a client does can make the sidecar exceed.
pub(super) fn memory(settings: &Settings, spans: Option<&SpanSettings>) -> u64 {
    let trace = spans.map_or(Trace::Off, |_| settings.spans);
    let line = settings.max_line_bytes as u64;
    let connections = settings.max_connections as u64 * (2 * line + CONNECTION);
    let reads =
        READERS.get() as u64 * READ_BYTES as u64 + datagram_bytes(settings.max_line_bytes) as u64;
    let http = 2 * Limits::default().connections as u64;
    let http = http * (2 * BUFFER_BYTES_MAX as u64 + HTTP_CONNECTION) + BODIES_BYTES as u64;
    // A stream that stands still holds what it has not told yet.
    let kept = CAPACITY_DEFAULT.get() + BACKLOG_MAX;
    let findings = (FINDINGS_QUEUE + (1 + STREAMS_MAX) * kept) as u64 * FINDING_BYTES as u64;
    let exported = spans.map_or(0, |spans| {
        let queued = (spans.queue_max + spans.batch_max) as u64 * SPAN_FACTOR;
        (SPANS_QUEUE as u64 + queued) * LIFECYCLE_BYTES as u64
    });
    let sessions = SESSIONS_MAX as u64 * SESSION;
    let state = settings.state_dir.as_ref().map_or(0, |_| {
        STATE_RECORDS + STATE_FINDINGS_MAX as u64 * FINDING_BYTES as u64
    });
    let parts = [
        connections,
        reads,
        http,
        findings,
        exported,
        sessions,
        state,
    ];
    let detector = memory_bytes(&settings.profiles, trace);
    // The allocator cannot use every gap.
    let all = parts
        .iter()
        .fold(detector, |sum, part| sum.saturating_add(*part));
    (all / 8).saturating_mul(9).saturating_add(PROGRAM)
}
