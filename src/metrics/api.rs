//! The series that carry the label `api`, and which values it has.

use std::collections::HashSet;

use prometheus::{Histogram, IntCounter, IntGauge, Registry};

use super::family::Family;
use super::{ATTEMPT_DURATION_BUCKETS, OTHER, RETRY_DELAY_BUCKETS, REUSE_AGE_BUCKETS};
use crate::detect::finding::{CallOutcome, Removal, Status};
use crate::detect::profile::{Class, Profile};
use crate::detect::verdict::Verdict;

/// The series of one value of the label `api`.
pub(super) struct ApiSeries {
    pub(super) attempts: [IntCounter; Class::ALL.len()],
    pub(super) calls: [IntCounter; CallOutcome::ALL.len()],
    pub(super) verdicts: [IntCounter; Verdict::ALL.len()],
    pub(super) removed: [IntCounter; Removal::ALL.len()],
    pub(super) tokens: [IntGauge; Status::ALL.len()],
    pub(super) attempt_duration: Histogram,
    pub(super) retry_delay: Histogram,
    pub(super) reuse_age: Histogram,
}

/// The values of the label `api` in the order of the profiles, `other` last, and for each profile
/// which of them is its own.
pub(super) fn label_values(profiles: &[Profile], active: &[String]) -> (Vec<Box<str>>, Vec<usize>) {
    let active: HashSet<&str> = active.iter().map(String::as_str).collect();
    let is_active = |profile: &Profile| active.contains(&*profile.name) && *profile.name != *OTHER;
    let mut names: Vec<Box<str>> = Vec::new();
    for profile in profiles.iter().filter(|profile| is_active(profile)) {
        names.push(profile.name.clone());
    }
    names.push(OTHER.into());
    let of = |profile: &Profile| names.iter().position(|name| *name == profile.name);
    let slots = profiles
        .iter()
        .map(|profile| of(profile).unwrap_or(names.len() - 1))
        .collect();
    (names, slots)
}

/// The series that never change: what was built, and what the profiles say. `other` shows the sum
/// of its profiles' capacities and the longest of their windows, so that "lower bounds until one
/// window after the start" holds for all of them.
pub(super) fn describe(
    registry: &Registry,
    profiles: &[Profile],
    names: &[Box<str>],
    slots: &[usize],
) {
    let revision = option_env!("ONCEWATCH_REVISION").unwrap_or("unknown");
    Family::new(registry, "build_info", "Always 1; which build this is.")
        .labelled_gauge(&[
            ("version", env!("CARGO_PKG_VERSION")),
            ("revision", revision),
        ])
        .set(1.0);
    let capacity = Family::new(
        registry,
        "tokens_capacity",
        "Tokens that are remembered at most.",
    )
    .gauges_by_api(names);
    let window = Family::new(
        registry,
        "window_seconds",
        "How long the server remembers a token; the longest one for other.",
    )
    .gauges_by_api(names);
    for (profile, &slot) in profiles.iter().zip(slots) {
        capacity[slot].add(profile.capacity as f64);
        window[slot].set(window[slot].get().max(profile.window.as_secs_f64()));
    }
}

/// Registers the families and resolves the children of each value.
pub(super) fn register(registry: &Registry, names: &[Box<str>]) -> Vec<ApiSeries> {
    let family = |name, help| Family::new(registry, name, help);
    let attempts = family("attempts_total", "Attempts that ended, by how.").counters_by_api(
        names,
        "result",
        Class::ALL.map(Class::as_str),
    );
    let calls = family(
        "calls_total",
        "Calls that ended, by what is known of their effect.",
    )
    .counters_by_api(names, "outcome", CallOutcome::ALL.map(CallOutcome::as_str));
    let verdicts = family(
        "verdicts_total",
        "Verdicts on events; those of severity warning or worse are findings.",
    )
    .verdicts_by_api(names);
    let removed = family(
        "tokens_removed_total",
        "Tokens that are no longer remembered, by why.",
    )
    .counters_by_api(names, "reason", Removal::ALL.map(Removal::as_str));
    let tokens = family("tokens", "Tokens remembered, by status.").int_gauges_by_api(
        names,
        "status",
        Status::ALL.map(Status::as_str),
    );
    let durations = family("attempt_duration_seconds", "How long attempts took.")
        .histograms_by_api(names, &ATTEMPT_DURATION_BUCKETS);
    let delays = family(
        "retry_delay_seconds",
        "From the first attempt to a later one while the outcome was undecided.",
    )
    .histograms_by_api(names, &RETRY_DELAY_BUCKETS);
    let ages = family(
        "reuse_age_seconds",
        "From completion to the next use of the token.",
    )
    .histograms_by_api(names, &REUSE_AGE_BUCKETS);
    let counters = attempts
        .into_iter()
        .zip(calls)
        .zip(verdicts)
        .zip(removed)
        .zip(tokens);
    let observed = durations.into_iter().zip(delays).zip(ages);
    counters
        .zip(observed)
        .map(|(counters, observed)| {
            let ((((attempts, calls), verdicts), removed), tokens) = counters;
            let ((attempt_duration, retry_delay), reuse_age) = observed;
            ApiSeries {
                attempts,
                calls,
                verdicts,
                removed,
                tokens,
                attempt_duration,
                retry_delay,
                reuse_age,
            }
        })
        .collect()
}
