//! The detector itself, driven as offline analysis drives it, with its answers in the reference model's words.

use oncewatch::detect::event::{Event, Reason};
use oncewatch::detect::finding::{Gap, Observation, ProfileId, Verdicts};
use oncewatch::detect::journal::Restore;
use oncewatch::detect::profile::profiles;
use oncewatch::detect::time::Timestamp;
use oncewatch::detect::verdict::Severity;
use oncewatch::detect::{Detector, Options, Source, Trace};

use crate::kept::Kept;
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
    if lines.len() >= 250 {
        let (restarts, of_several) = detector.kept.restarts;
        assert!(restarts >= 10 && of_several > 0, "{restarts} {of_several}");
    }
    outcome
}

/// Damages the journal of a stream where no checksum sees it, and goes on with what it gives. Returns how
/// often that was a detector that knew tokens.
pub fn judge_damaged(lines: &[String], own: &[Profile], mut random: impl FnMut() -> u64) -> usize {
    let profiles = profiles(&toml_of(own).parse().unwrap(), None).unwrap();
    let options = Options {
        detail: Severity::Warning,
        trace: Trace::All,
        hash_key: [7; 16],
    };
    let mut kept = Kept::new(profiles.clone(), options);
    let mut out = Verdicts::default();
    let events = lines
        .iter()
        .filter_map(|line| Event::decode(line.as_bytes()).ok());
    let events: Vec<_> = events.filter(|event| event.at.is_some()).collect();
    let give = |event: &Event<'_>, detector: &mut Detector, out: &mut Verdicts| {
        let at = event.at.unwrap_or_default();
        detector.handle_event(event, Source::default(), at, out);
    };
    let mut known = 0;
    for (step, event) in events.iter().enumerate() {
        out.clear();
        kept.step(&mut out, &|detector, out| give(event, detector, out));
        if step % 5 != 0 {
            continue;
        }
        let mut restore = Restore::new(profiles.clone(), options);
        let mut frames: Vec<_> = kept.journals.iter().flatten().cloned().collect();
        let which = random() as usize % frames.len();
        for _ in 0..=random() % 3 {
            let frame = &mut frames[which];
            let at = random() as usize % frame.len();
            match random() % 4 {
                0 => frame.truncate(at + 1),
                1 => frame[at] = random() as u8,
                2 => frame[at] ^= 1 << (random() % 8),
                _ => frame.insert(at, [0, 1, 127, 128, 255][random() as usize % 5]),
            }
        }
        for frame in &frames {
            // Whoever reads it stops there.
            let _ = restore.apply(frame);
        }
        let Some((mut detector, restored)) = restore.finish() else {
            continue;
        };
        known += usize::from(restored.tokens > 0);
        detector.keep_journal();
        for event in &events[step..events.len().min(step + 30)] {
            give(event, &mut detector, &mut out);
        }
        let mut frame = Vec::new();
        detector.write_changes(0, &mut frame);
        detector.handle_shutdown(Timestamp::from_micros(2_000_000_000_000_000), &mut out);
    }
    known
}

/// A detector that tells every verdict; one that tells findings only, as the sidecar's does: what
/// is healthy goes a short way there, which must lead to the same place; and one that does so, too, and
/// is made again from its journal every now and then.
struct Both {
    told: Detector,
    quiet: Detector,
    of_quiet: Verdicts,
    kept: Kept,
    of_kept: Verdicts,
    trace: Trace,
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
            quiet: Detector::new(profiles.clone(), options(Severity::Warning)),
            of_quiet: Verdicts::default(),
            kept: Kept::new(profiles, options(Severity::Warning)),
            of_kept: Verdicts::default(),
            trace,
        }
    }

    /// Gives both the same input.
    fn step(&mut self, out: &mut Verdicts, input: impl Fn(&mut Detector, &mut Verdicts)) {
        let Self {
            told,
            quiet,
            of_quiet,
            kept,
            of_kept,
            trace,
        } = self;
        out.clear();
        of_quiet.clear();
        of_kept.clear();
        input(told, out);
        input(quiet, of_quiet);
        kept.step(of_kept, &input);
        assert_eq!(of_kept.observations, of_quiet.observations);
        assert_eq!(of_kept.findings, of_quiet.findings);
        assert_eq!(of_kept.confirmed, of_quiet.confirmed);
        if *trace == Trace::Off {
            // A span that waits for an unknown outcome waits anew after a restart.
            assert_eq!(kept.detector.poll_timeout(), quiet.poll_timeout());
        }
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
            assert_eq!(kept.detector.counts(id), told.counts(id));
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
