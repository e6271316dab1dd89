//! `oncewatch check-config`: the effective settings, as TOML that reads back.

use std::io::Write;

use super::Failure;
use crate::config::catalogue::SETTINGS;
use crate::config::{Origin, Settings, toml_text};
use crate::daemon::memory_bound;
use crate::edge::spans::SpanSettings;

pub fn run(settings: &Settings, spans: Option<&SpanSettings>) -> Result<(), Failure> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    writeln!(out, "# Effective settings of oncewatch. Valid.\n")?;
    for setting in SETTINGS {
        let name = setting.name;
        let origin = settings.origin(name);
        match settings.toml_value(name) {
            Some(value) => writeln!(out, "{name} = {value}  # {origin}")?,
            None if origin == Origin::Default => writeln!(out, "# {name} is not set")?,
            None => writeln!(out, "# {name} is hidden  # {origin}")?,
        }
    }
    match spans {
        Some(spans) => writeln!(out, "# spans are exported to {}", spans.endpoint)?,
        None => writeln!(
            out,
            "# spans are not exported: no OTEL_EXPORTER_OTLP_ENDPOINT"
        )?,
    }
    let mib = memory_bound(settings, spans).div_ceil(1 << 20);
    writeln!(out, "# memory stays below {mib} MiB, whatever clients send")?;
    for profile in &settings.profiles {
        let name = &*profile.name;
        let from = if settings.profile_overrides.contains_key(name) {
            "with the file's changes"
        } else {
            "built in"
        };
        write!(out, "\n# {from}\n[profiles.{}]\n", toml_text(name))?;
        out.write_all(profile.to_toml().as_bytes())?;
    }
    Ok(out.flush()?)
}
