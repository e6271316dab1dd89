//! The list of settings: one place for names, units, defaults and help, from which the flags, the
//! environment variables and the keys of the file are made.

/// One setting, as users write it.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Flag without its dashes and key in the file.
    pub name: &'static str,
    /// What its value is, in capitals.
    pub value: &'static str,
    /// The default as the help shows it; empty if there is none.
    pub default: &'static str,
    /// Group in the help.
    pub heading: &'static str,
    /// Whether it may be given several times: comma-separated in the environment, a list in the file.
    pub repeatable: bool,
    /// What it does.
    pub help: &'static str,
}

impl Setting {
    /// The environment variable: `ONCEWATCH_MAX_LINE_BYTES` for `max-line-bytes`.
    pub fn variable(&self) -> String {
        format!("ONCEWATCH_{}", self.name.to_uppercase().replace('-', "_"))
    }
}

/// Finds a setting by its name.
pub fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

const EVENTS: &str = "Events in";
const DETECTION: &str = "Detection";
const ADDRESSES: &str = "Addresses";
const OUTPUT: &str = "Output";

const fn one(
    heading: &'static str,
    name: &'static str,
    value: &'static str,
    default: &'static str,
    help: &'static str,
) -> Setting {
    Setting {
        name,
        value,
        default,
        heading,
        repeatable: false,
        help,
    }
}

const fn many(
    heading: &'static str,
    name: &'static str,
    value: &'static str,
    default: &'static str,
    help: &'static str,
) -> Setting {
    Setting {
        repeatable: true,
        ..one(heading, name, value, default, help)
    }
}

/// All settings but `config` itself and the tables of `profiles`, in the order of the help.
pub const SETTINGS: &[Setting] = &[
    one(
        EVENTS,
        "socket",
        "PATH",
        "/run/oncewatch/events.sock if that directory is writable",
        "Unix stream socket on which applications report; else below $XDG_RUNTIME_DIR or the temporary directory",
    ),
    one(
        EVENTS,
        "datagram-socket",
        "PATH",
        "",
        "Unix datagram socket to listen on as well; senders lose events when its short kernel queue is full",
    ),
    one(
        EVENTS,
        "socket-mode",
        "OCTAL",
        "0666",
        "Permissions of the sockets; who can reach them is decided by who mounts the volume",
    ),
    many(
        EVENTS,
        "allow-uid",
        "UID",
        "everyone",
        "Take events only from processes of this user id; repeatable",
    ),
    one(
        EVENTS,
        "max-connections",
        "COUNT",
        "512",
        "Stream connections served at a time; further ones are closed and counted [1 to 65536]",
    ),
    one(
        EVENTS,
        "max-line-bytes",
        "SIZE",
        "16KiB",
        "Longest event; a longer line is skipped and counted [1KiB to 1MiB]",
    ),
    one(
        DETECTION,
        "capacity",
        "TOKENS",
        "65536",
        "Tokens remembered for each API; when it is full, those not seen for longest make room [1 to 16777216]",
    ),
    one(
        DETECTION,
        "state-dir",
        "PATH",
        "",
        "Directory in which what is known is kept over a restart; it holds tokens in full. In Kubernetes an emptyDir of this container alone",
    ),
    one(
        DETECTION,
        "state-max-bytes",
        "SIZE",
        "256MiB",
        "Most that is ever written to state-dir; room for three times what is remembered, some 100 bytes for most tokens [4MiB to 65536MiB]",
    ),
    many(
        DETECTION,
        "api",
        "NAME",
        "the two DynamoDB ones and those of [profiles]",
        "API with a metric label value of its own; others are judged too and share the label \"other\"; repeatable",
    ),
    one(
        ADDRESSES,
        "metrics-addr",
        "IP:PORT",
        "127.0.0.1:9464",
        "Where Prometheus scrapes /metrics and Kubernetes probes /livez and /readyz",
    ),
    one(
        ADDRESSES,
        "admin-addr",
        "IP:PORT",
        "127.0.0.1:9465",
        "Where the page and the JSON API are served; loopback only, reach it with kubectl port-forward",
    ),
    one(
        OUTPUT,
        "spans",
        "WHICH",
        "misuse",
        "Token lifecycles exported as OpenTelemetry spans [misuse: those with a finding, all, off]; needs OTEL_EXPORTER_OTLP_ENDPOINT",
    ),
    one(
        OUTPUT,
        "token-display",
        "HOW",
        "hash",
        "How tokens appear in logs, spans and the JSON API, as they can carry personal data [hash, prefix, full]",
    ),
    one(
        OUTPUT,
        "token-hash-key",
        "SECRET",
        "",
        "The secret itself; a flag shows in the process list, so prefer the file or the environment",
    ),
    one(
        OUTPUT,
        "token-hash-key-file",
        "PATH",
        "",
        "File with a secret of at least 16 bytes that makes token hashes agree between pods, such as a mounted Kubernetes Secret; without it, hashes agree only within one process",
    ),
    one(
        OUTPUT,
        "trace-url",
        "URL",
        "",
        "Where the page links traces to: an http(s) address with {trace_id} in it",
    ),
    one(
        OUTPUT,
        "log-format",
        "FORMAT",
        "text on a terminal, else json",
        "How log lines are written to standard error [json, text]",
    ),
    one(
        OUTPUT,
        "log-level",
        "LEVEL",
        "info",
        "Least important log lines written [off, error, warn, info, debug, trace]",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_make_good_variables() {
        for (i, setting) in SETTINGS.iter().enumerate() {
            assert!(SETTINGS[..i].iter().all(|other| other.name != setting.name));
            let name = setting.name;
            assert!(
                name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'),
                "{name}"
            );
            assert!(!setting.help.ends_with('.') && !setting.help.is_empty());
        }
        assert_eq!(
            find("max-line-bytes").unwrap().variable(),
            "ONCEWATCH_MAX_LINE_BYTES"
        );
    }
}
