//! The most memory that the sidecar can take, by its settings: said at the start, and held to by
//! `tests/hostile_memory.rs`.

use std::path::Path;

use super::{FINDINGS_QUEUE, READERS, SPANS_BYTES};
use crate::config::Settings;
use crate::detect::Trace;
use crate::detect::bound::{FINDING_BYTES, memory_parts};
use crate::detect::journal::FINDINGS_MAX as STATE_FINDINGS_MAX;
use crate::edge::admin::BODIES_BYTES;
use crate::edge::cgroup;
use crate::edge::findings::{BACKLOG_MAX, CAPACITY_DEFAULT};
use crate::edge::http::{BUFFER_BYTES_MAX, Limits};
use crate::edge::ingest::{READ_BYTES, datagram_bytes};
use crate::edge::spans::SpanSettings;
use crate::pipeline::AT_ONCE_MAX;
use crate::pipeline::sessions::SESSIONS_MAX;

/// The program itself, its threads and what libraries keep.
const PROGRAM: u64 = 16 << 20;
/// A connection's task and its buffers for lines of the usual length.
const CONNECTION: u64 = 8 << 10;
/// An HTTP connection besides its buffers: its head taken apart, and a small body.
const HTTP_CONNECTION: u64 = 128 << 10;
/// A session's position, here and in the state.
const SESSION: u64 = 512;
/// State on disk: the records of a large batch, twice while their room grows, and what is being read at the
/// start.
const STATE_RECORDS: u64 = 32 << 20;
/// A span in the exporter's terms and on the wire, for a byte of the lifecycle that it was made of:
/// attributes are texts with a name each.
const SPAN_FACTOR: u64 = 5;
/// Shortest line that gives a finding.
const LINE_BYTES_MIN: usize = 64;

/// The container's memory limit, as the control group at `root` says, if it is below the bound: then what
/// clients send may get the process killed.
pub(super) fn short_limit(bound: u64, root: &Path) -> Option<u64> {
    cgroup::memory_limit(root).filter(|limit| *limit < bound)
}

/// Bytes of resident memory that nothing a client does can make the sidecar exceed.
pub(super) fn memory(settings: &Settings, spans: Option<&SpanSettings>) -> u64 {
    let parts = parts(settings, spans);
    let all = parts
        .iter()
        .fold(0, |sum: u64, part| sum.saturating_add(part.1));
    // The allocator cannot use every gap.
    (all / 8).saturating_mul(9).saturating_add(PROGRAM)
}

/// The same by part, without the program and the gaps.
fn parts(settings: &Settings, spans: Option<&SpanSettings>) -> Vec<(&'static str, u64)> {
    let trace = spans.map_or(Trace::Off, |_| settings.spans);
    let journaled = settings.state_dir.is_some();
    let line = settings.max_line_bytes as u64;
    let connections = settings.max_connections as u64 * (2 * line + CONNECTION);
    let http = 2 * Limits::default().connections as u64;
    let http = http * (2 * BUFFER_BYTES_MAX as u64 + HTTP_CONNECTION) + BODIES_BYTES as u64;
    let reads = READERS.get() * READ_BYTES + datagram_bytes(settings.max_line_bytes);
    // What waits for the store, what it keeps and tells, and what one read brings, of each reader.
    let at_once = reads / LINE_BYTES_MIN + (READERS.get() + 1) * AT_ONCE_MAX;
    let findings = FINDINGS_QUEUE + CAPACITY_DEFAULT.get() + BACKLOG_MAX + at_once;
    // A session with a connection is never forgotten.
    let sessions = SESSIONS_MAX as u64 + settings.max_connections as u64;
    let exported = spans.map_or(0, |_| (1 + SPAN_FACTOR) * SPANS_BYTES as u64);
    let state = STATE_RECORDS + STATE_FINDINGS_MAX as u64 * FINDING_BYTES as u64;
    let mut parts = memory_parts(&settings.profiles, trace, journaled).to_vec();
    parts.extend([
        ("connections", connections),
        ("reads", reads as u64),
        ("http", http),
        ("findings", findings as u64 * FINDING_BYTES as u64),
        ("spans", exported),
        ("sessions", sessions * SESSION),
        ("state", if journaled { state } else { 0 }),
    ]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Flags;

    #[test]
    fn the_bound_at_default_settings_is_one_that_a_pod_can_pay() {
        let settings = Settings::load(&Flags::default(), &|_| None, &[]).unwrap().0;
        let parts = parts(&settings, None);
        let bound = memory(&settings, None);
        assert!(
            (128 << 20..288 << 20).contains(&bound),
            "{bound}: {parts:?}"
        );
        // None of them is there for nothing.
        let settled = ["settling", "changes", "spans", "state"];
        for (name, bytes) in parts {
            assert_eq!(bytes == 0, settled.contains(&name), "{name}");
        }
    }

    #[test]
    fn a_limit_below_the_bound_is_told() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(short_limit(u64::MAX, root.path()), None);
        std::fs::write(root.path().join("memory.max"), "1000").unwrap();
        assert_eq!(short_limit(1001, root.path()), Some(1000));
        assert_eq!(short_limit(1000, root.path()), None);
    }
}
