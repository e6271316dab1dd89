//! The detector itself, driven as offline analysis drives it, with its answers in the reference model's words.

use oncewatch::detect::event::{Event, Reason};
use oncewatch::detect::finding::{Gap, Observation, ProfileId, Verdicts};
use oncewatch::detect::profile::profiles;
use oncewatch::detect::verdict::Severity;
use oncewatch::detect::{Detector, Options, Source, Trace};

use crate::reference::{Anchor, Charset, Finding, Holder, Outcome, Profile};

/// Framing refuses longer lines before they are decoded.
const LINE_BYTES_MAX: usize = 16 << 10;

/// Judges JSON lines in input order; `trace` must make no difference.
pub fn judge(lines: &[String], own: &[Profile], trace: Trace) -> Outcome {
    let overrides = toml_of(own).parse().expect("profiles as TOML");
    let profiles = profiles(&overrides, None).expect("profiles");
    let mut detector = Both::new(profiles, trace);
    let mut outcome = Outcome::default();
    let mut out = Verdicts::default();
    for line in lines.iter().filter(|line| !line.trim().is_empty()) {
        if line.len() > LINE_BYTES_MAX {
            reject(&mut outcome, Reason::TooLong);
            continue;
        }
        let event = match Event::decode(line.as_bytes()) {
            Ok(event) => event,
            Err(error) => {
                reject(&mut outcome, error.reason);
                continue;
            }
        };
        let Some(at) = event.at else {
            reject(&mut outcome, Reason::MissingField);
            continue;
        };
        let judge = |detector: &mut Detector, out: &mut Verdicts| {
            detector.handle_event(&event, Source::default(), at, out);
        };
        detector.step(&mut out, judge);
        collect(&detector.told, &event, &out, &mut outcome);
        // Sweeping is spread over steps on purpose; the model removes everything at once.
        while out
            .observations
            .iter()
            .any(|o| matches!(o, Observation::Removed(..)))
        {
            detector.step(&mut out, |detector, out| detector.handle_timeout(at, out));
            collect(&detector.told, &event, &out, &mut outcome);
        }
    }
    outcome
}

/// A detector that tells every verdict, and one that tells findings only, as the sidecar's does: what
/// is healthy goes a short way there, which must lead to the same place.
struct Both {
    told: Detector,
    quiet: Detector,
    of_quiet: Verdicts,
}

impl Both {
    fn new(profiles: Vec<oncewatch::detect::profile::Profile>, trace: Trace) -> Self {
        let options = |detail| Options {
            detail,
            trace,
            hash_key: [7; 16],
        };
        Self {
            told: Detector::new(profiles.clone(), options(Severity::Info)),
            quiet: Detector::new(profiles, options(Severity::Warning)),
            of_quiet: Verdicts::default(),
        }
    }

    /// Gives both the same input.
    fn step(&mut self, out: &mut Verdicts, input: impl Fn(&mut Detector, &mut Verdicts)) {
        let Self {
            told,
            quiet,
            of_quiet,
        } = self;
        out.clear();
        of_quiet.clear();
        input(told, out);
        input(quiet, of_quiet);
        assert_eq!(of_quiet.observations, out.observations);
        assert_eq!(of_quiet.settled, out.settled);
        assert_eq!(of_quiet.confirmed.len(), out.confirmed.len());
        // Findings are numbered as they are told.
        for finding in out.findings.iter_mut().chain(&mut of_quiet.findings) {
            finding.id = 0;
        }
        let findings = out.findings.iter();
        let findings = findings.filter(|finding| finding.verdict.is_finding());
        assert!(of_quiet.findings.iter().eq(findings));
        assert_eq!(quiet.poll_timeout(), told.poll_timeout());
        for id in (0..told.profiles().len()).map(ProfileId) {
            assert_eq!(quiet.counts(id), told.counts(id));
        }
    }
}

fn reject(outcome: &mut Outcome, reason: Reason) {
    *outcome
        .rejected
        .entry(reason.as_str().to_owned())
        .or_default() += 1;
}

fn collect(detector: &Detector, event: &Event<'_>, out: &Verdicts, outcome: &mut Outcome) {
    outcome
        .findings
        .extend(out.findings.iter().map(|finding| Finding {
            at_us: finding.at.as_micros(),
            verdict: finding.verdict.as_str().to_owned(),
            severity: finding.severity().as_str().to_owned(),
            api: finding.api.to_string(),
            token: finding.token.to_string(),
            scope: finding.scope.to_string(),
            client: finding.client.as_deref().map(str::to_owned),
            call: finding.call.as_deref().map(str::to_owned),
            attempt: Some(finding.attempt),
            holder: finding.holder.as_ref().map(|holder| Holder {
                client: holder.client.as_deref().map(str::to_owned),
                call: holder.call.as_deref().map(str::to_owned),
                since_us: holder.since.as_micros(),
                token: holder.token.as_deref().map(str::to_owned),
            }),
        }));
    outcome.confirmed += out.confirmed.len();
    let api = event.api.to_string();
    for observation in &out.observations {
        match observation {
            Observation::Duplicate => reject(outcome, Reason::Duplicate),
            Observation::Attempt(_, class) => {
                *outcome
                    .attempts
                    .entry((api.clone(), class.as_str().to_owned()))
                    .or_default() += 1;
            }
            Observation::Call(_, ended) => {
                *outcome
                    .calls
                    .entry((api.clone(), ended.as_str().to_owned()))
                    .or_default() += 1;
            }
            Observation::Removed(_, reason) => {
                *outcome
                    .removed
                    .entry(reason.as_str().to_owned())
                    .or_default() += 1;
            }
            // The reference model counts only what the specification names.
            Observation::Gap(Gap::CallsOverflow) => {}
            Observation::Gap(gap) => *outcome.gaps.entry(gap.as_str().to_owned()).or_default() += 1,
            _ => {}
        }
    }
    let counted: usize = (0..detector.profiles().len())
        .map(|id| detector.counts(ProfileId(id)).iter().sum::<usize>())
        .sum();
    assert!(counted < 1 << 20, "a status count went below zero");
}

/// The reference model's profiles as a user would configure them.
fn toml_of(own: &[Profile]) -> String {
    let one = |profile: &Profile| {
        let micros = |us: i64| format!("\"{}us\"", us);
        let mut table = format!(
            "[{:?}]\ntoken_max_len = {}\ntoken_charset = {:?}\nwindow = {}\nwindow_anchor = {:?}\nretention = {}\nlease = {}\ncapacity = {}\nmismatch = {:?}\nfailures_remembered = {}\n",
            profile.name,
            profile.token_max_len,
            match profile.charset {
                Charset::Any => "any",
                Charset::AsciiPrintable => "ascii_printable",
                Charset::Uuid => "uuid",
            },
            micros(profile.window_us),
            match profile.anchor {
                Anchor::FirstCompleted => "first_completed",
                Anchor::FirstStart => "first_start",
            },
            micros(profile.retention_us),
            micros(profile.lease_us),
            profile.capacity,
            if profile.mismatch_silent {
                "silent"
            } else {
                "error"
            },
            profile.failures_remembered,
        );
        if let Some(delay) = profile.recovery_delay_us {
            table += &format!("recovery_delay = {}\n", micros(delay));
        }
        for (class, codes) in [
            ("in_progress", &profile.in_progress),
            ("mismatch", &profile.mismatch),
            ("cancelled", &profile.cancelled),
            ("throttled", &profile.throttled),
            ("rejected", &profile.rejected),
            ("server_error", &profile.server_error),
        ] {
            table += &format!("codes.{class} = {codes:?}\n");
        }
        table
    };
    own.iter().map(one).collect::<Vec<_>>().join("\n")
}
