//! The limit of file descriptors, raised to what the settings can ask for.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors besides those of connections: sockets, logs, watches, the runtime, and what a scrape
/// opens.
const OTHERS: usize = 64;

/// Makes room for so many connections of clients, and those that the HTTP addresses take. Shells and
/// some container runtimes start programs with a soft limit of 1024 below a hard one that is far higher.
///
/// Where the hard limit is too low, says so: then connections wait that `--max-connections` would allow,
/// the probes' among them.
pub fn make_room(connections: usize, http_connections: usize) {
    let needed = (connections + http_connections + OTHERS) as u64;
    let limits = getrlimit(Resource::Nofile);
    if limits.current.is_none_or(|current| current >= needed) {
        return;
    }
    let raised = Rlimit {
        current: Some(limits.maximum.map_or(needed, |most| most.min(needed))),
        maximum: limits.maximum,
    };
    let allowed = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised.current,
        Err(_) => limits.current,
    };
    if let Some(allowed) = allowed.filter(|allowed| *allowed < needed) {
        tracing::warn!(
            needed,
            allowed,
            "too few file descriptors for max-connections: lower it, or raise the limit"
        );
    }
}
