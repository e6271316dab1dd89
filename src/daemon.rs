//! Composition root: builds the parts, binds, owns tasks and shutdown order.

use std::time::Duration;

use crate::config::Settings;

/// Looks up an environment variable: OpenTelemetry's own are no settings of oncewatch.
type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Runs the sidecar until SIGTERM or SIGINT.
pub fn run(_settings: Settings, _lookup: Lookup<'_>) -> anyhow::Result<()> {
    anyhow::bail!("this build cannot run the sidecar")
}

/// Runs the sidecar with the scripted workload, for `duration` or until Ctrl-C.
pub fn demo(
    _settings: Settings,
    _lookup: Lookup<'_>,
    _duration: Option<Duration>,
) -> anyhow::Result<()> {
    anyhow::bail!("this build cannot run the demo")
}
