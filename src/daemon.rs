//! Composition root: builds the parts, binds, owns tasks and shutdown order.

use std::time::Duration;

use crate::config::Settings;

/// Runs the sidecar until SIGTERM or SIGINT.
pub fn run(_settings: Settings) -> anyhow::Result<()> {
    anyhow::bail!("this build cannot run the sidecar")
}

/// Runs the sidecar with the scripted workload, for `duration` or until Ctrl-C.
pub fn demo(_settings: Settings, _duration: Option<Duration>) -> anyhow::Result<()> {
    anyhow::bail!("this build cannot run the demo")
}
