//! The sidecar with a scripted workload.

use std::time::Duration;

use crate::config::Settings;
use crate::edge::spans::SpanSettings;

/// Runs the demo for `duration`, or until Ctrl-C.
pub fn run(
    settings: Settings,
    spans: Option<SpanSettings>,
    _duration: Option<Duration>,
) -> anyhow::Result<()> {
    crate::daemon::run(&settings, spans)
}
