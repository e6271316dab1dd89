use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;
use crate::detect::event::Event;
use crate::detect::finding::{ProfileId, Status};
use crate::detect::profile::profiles;
use crate::detect::verdict::Severity;
use crate::detect::{ConnectionId, Source, Trace};

const START: i64 = 1_700_000_000_000_000;
const BYTES_MAX: u64 = 64 << 20;

/// A sidecar without sockets: a detector, its state, and a clock that the test turns.
struct Run {
    state: State,
    detector: Detector,
    metrics: Arc<Metrics>,
    gaps_before: u64,
    restored: Option<Restored>,
    now: Timestamp,
    out: Verdicts,
}

fn own(capacity: Option<usize>, more: &str) -> Vec<Profile> {
    profiles(&more.parse().unwrap(), capacity).unwrap()
}

impl Run {
    fn start(directory: &Path) -> Self {
        Self::with(directory, BYTES_MAX, own(None, ""))
    }

    fn with(directory: &Path, bytes_max: u64, profiles: Vec<Profile>) -> Self {
        let metrics = Arc::new(Metrics::new(&profiles, &[]));
        Self::open(directory, bytes_max, profiles, metrics).unwrap()
    }

    fn open(
        directory: &Path,
        bytes_max: u64,
        profiles: Vec<Profile>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, DirectoryError> {
        let gaps_before = metrics.gap_count(Gap::Restart);
        let options = Options {
            detail: Severity::Warning,
            trace: Trace::Misuse,
            hash_key: [9; 16],
        };
        let place = Place {
            directory: directory.to_owned(),
            bytes_max,
        };
        let now = Timestamp::from_micros(START);
        let found = State::open(place, profiles, options, &metrics, now)?;
        let mut run = Self {
            now: found.restored.as_ref().map_or(now, |restored| restored.now),
            state: found.state,
            detector: found.detector,
            metrics,
            gaps_before,
            restored: found.restored,
            out: Verdicts::default(),
        };
        run.detector.keep_journal();
        let connection = run
            .restored
            .as_ref()
            .map_or(0, |restored| restored.connection);
        run.state.begin(&mut run.detector, connection, run.now);
        Ok(run)
    }

    /// One batch that changes something; returns whether it is in a file.
    fn batch(&mut self, lines: &[String]) -> bool {
        self.now = self.now + Duration::from_millis(1);
        self.out.clear();
        for line in lines {
            let event = Event::decode(line.as_bytes()).unwrap();
            let (source, now) = (Source::default(), self.now);
            self.detector
                .handle_event(&event, source, now, &mut self.out);
        }
        let before = self.written();
        self.state.keep(&mut self.detector, &self.out, 3);
        let after = self.written();
        after.is_some() && after > before
    }

    /// The length of the file that is being written, if there is one.
    fn written(&self) -> Option<u64> {
        let segment = self.state.segment.as_ref()?;
        Some(fs::metadata(&segment.path).unwrap().len())
    }

    /// Does all that is to be tidied, or so many steps of it.
    fn tidy(&mut self, steps: usize) {
        for _ in 0..steps {
            match self.state.tidy(&mut self.detector, 3, self.now) {
                Chore::More => {}
                Chore::Outside(work) => work(),
                Chore::None(_) => return,
            }
        }
    }

    fn counts(&self) -> Vec<[usize; Status::ALL.len()]> {
        let ids = (0..self.detector.profiles().len()).map(ProfileId);
        ids.map(|id| self.detector.counts(id)).collect()
    }

    fn gaps(&self) -> u64 {
        self.metrics.gap_count(Gap::Restart) - self.gaps_before
    }

    /// Another one with the same profiles and series, which are not cheap to make.
    fn again(directory: &Path, profiles: &[Profile], metrics: &Arc<Metrics>) -> Self {
        Self::open(directory, BYTES_MAX, profiles.to_vec(), metrics.clone()).unwrap()
    }

    fn findings(&self) -> &[Finding] {
        self.restored
            .as_ref()
            .map_or(&[], |restored| &restored.findings)
    }
}

fn start(token: usize) -> String {
    format!(
        r#"{{"type":"attempt_start","api":"http","token":"t-{token}","call":"c{token}","fp":"f{token}","client":"orders-1/{}"}}"#,
        token % 7
    )
}

fn end(token: usize, outcome: &str) -> String {
    format!(
        r#"{{"type":"attempt_end","api":"http","token":"t-{token}","call":"c{token}","outcome":"{outcome}","client":"orders-1/{}"}}"#,
        token % 7
    )
}

/// The same token and another request: a parameter_mismatch.
fn other(token: usize) -> String {
    start(token)
        .replace("\"fp\":\"f", "\"fp\":\"other")
        .replace("\"call\":\"c", "\"call\":\"d")
}

fn position(read: u64) -> Position {
    Position {
        session: Session::new(1000, "session").unwrap(),
        read,
        connection: ConnectionId(3),
    }
}

/// Tokens of every form, a finding, a position.
fn fill(run: &mut Run) {
    assert!(run.batch(&[start(1), start(2), start(3), end(3, "no_response")]));
    run.state.position(&position(41));
    assert!(run.batch(&[end(1, "ok"), other(2), start(4)]));
    run.state.position(&position(42));
    assert!(run.batch(&[start(5)]));
}

fn files(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name != "state.lock").collect();
    names.sort();
    names
}

#[test]
fn what_was_known_is_known_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut first = Run::start(directory.path());
    assert!(first.restored.is_none() && first.gaps() == 0);
    fill(&mut first);
    let counts = first.counts();
    drop(first);
    for steps in [0, 1, usize::MAX, 0, 2] {
        let mut run = Run::start(directory.path());
        assert_eq!((run.counts(), run.gaps()), (counts.clone(), 0));
        let restored = run.restored.as_ref().unwrap();
        assert_eq!(restored.observation_start, Timestamp::from_micros(START));
        assert_eq!(restored.connection, 3);
        let [kept] = &restored.positions[..] else {
            panic!("{:?}", restored.positions)
        };
        let wanted = position(42);
        assert_eq!(Session::read(&kept.session), Some(wanted.session));
        assert_eq!((kept.read, kept.connection), (42, wanted.connection.0));
        assert_eq!(run.metrics.state().replayed.get(), 5);
        let verdicts: Vec<_> = run.findings().iter().map(|f| f.verdict.as_str()).collect();
        assert_eq!(verdicts, ["parameter_mismatch"]);
        run.tidy(steps);
        let on_disk: u64 = files(directory.path())
            .iter()
            .map(|name| fs::metadata(directory.path().join(name)).unwrap().len())
            .sum();
        assert_eq!(run.metrics.state().bytes.get(), on_disk as i64);
    }
    let mut last = Run::start(directory.path());
    last.tidy(usize::MAX);
    let names = files(directory.path());
    assert!(names.len() == 1 && names[0].ends_with(".log"), "{names:?}");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory.path().join(&names[0])), 0o600);
    // The lease goes on over the restarts and ends at its own time.
    let later = last.now + Duration::from_secs(3600);
    last.out.clear();
    last.detector.handle_timeout(later, &mut last.out);
    let stuck = last
        .out
        .findings
        .iter()
        .filter(|f| f.verdict.as_str() == "stuck_in_flight");
    let at: Vec<_> = stuck
        .map(|finding| finding.at.as_micros() - START)
        .collect();
    assert_eq!(at, [60_001_000, 60_002_000, 60_002_000, 60_003_000]);
}

#[test]
fn a_new_directory_is_private() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a/state");
    drop(Run::start(&path));
    let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o700);
}

#[test]
fn a_confirmation_and_a_later_file_change_a_finding_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut run = Run::start(directory.path());
    run.batch(&[start(1), other(1)]);
    let refused = r#"{"type":"attempt_end","api":"http","token":"t-1","call":"d1","outcome":"error","http_status":422,"client":"orders-1/1"}"#;
    run.batch(&[refused.to_owned()]);
    assert_eq!(run.out.confirmed.len(), 1);
    run.tidy(usize::MAX);
    drop(run);
    for _ in 0..2 {
        let mut run = Run::start(directory.path());
        assert_eq!(run.findings().len(), 1);
        assert!(run.findings()[0].confirmed);
        run.tidy(usize::MAX);
    }
}

/// Copies the files and lets `damage` change the one at `which`.
fn damaged(from: &Path, which: &str, damage: impl Fn(&mut Vec<u8>)) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for name in files(from) {
        let mut bytes = fs::read(from.join(&name)).unwrap();
        if name == which {
            damage(&mut bytes);
        }
        fs::write(copy.path().join(&name), bytes).unwrap();
    }
    copy
}

/// A log alone, and how many tokens are in it.
fn one_file() -> (tempfile::TempDir, Vec<[usize; Status::ALL.len()]>) {
    let directory = tempfile::tempdir().unwrap();
    let mut run = Run::start(directory.path());
    fill(&mut run);
    run.tidy(usize::MAX);
    let counts = run.counts();
    drop(run);
    (directory, counts)
}

/// A log and a part after it.
fn two_files() -> (tempfile::TempDir, Vec<[usize; Status::ALL.len()]>) {
    let (directory, _) = one_file();
    let mut run = Run::start(directory.path());
    assert!(run.batch(&[end(2, "ok"), start(6), other(4)]));
    assert!(run.batch(&[end(6, "ok")]));
    let counts = run.counts();
    assert_eq!(files(directory.path()).len(), 2);
    (directory, counts)
}

#[test]
fn every_flipped_byte_is_noticed_and_none_is_fatal() {
    let (directory, counts) = two_files();
    let profiles = own(None, "");
    let metrics = Arc::new(Metrics::new(&profiles, &[]));
    let tokens = |counts: &[[usize; 5]]| counts.iter().flatten().sum::<usize>();
    let mut partly = 0;
    for name in files(directory.path()) {
        let length = fs::read(directory.path().join(&name)).unwrap().len();
        for at in 0..length {
            let mask = 1 << (at % 8);
            let copy = damaged(directory.path(), &name, |bytes| bytes[at] ^= mask);
            let mut run = Run::again(copy.path(), &profiles, &metrics);
            assert!(run.gaps() > 0, "{name}: byte {at} was not noticed");
            let known = tokens(&run.counts());
            assert!(known <= tokens(&counts), "{name}: byte {at}");
            partly += usize::from(known > 0);
            if at % 16 != 0 {
                continue;
            }
            // It goes on, and the next start finds all that is known now.
            assert!(run.batch(&[start(100)]), "{name}: byte {at}");
            run.tidy(usize::MAX);
            let now = run.counts();
            drop(run);
            let next = Run::again(copy.path(), &profiles, &metrics);
            assert_eq!((next.counts(), next.gaps()), (now, 0), "{name}: byte {at}");
            let aside = files(copy.path());
            let aside = aside.iter().filter(|name| name.ends_with(".bad")).count();
            assert!(aside <= 1, "{name}: byte {at}");
        }
    }
    assert!(partly > 100, "{partly}");
}

#[test]
fn a_file_cut_anywhere_gives_what_came_before() {
    let (directory, counts) = two_files();
    let profiles = own(None, "");
    let metrics = Arc::new(Metrics::new(&profiles, &[]));
    let mut last = (0, 0);
    for name in files(directory.path()) {
        let length = fs::read(directory.path().join(&name)).unwrap().len();
        let mut silent = 0;
        for kept in 0..=length {
            let copy = damaged(directory.path(), &name, |bytes| bytes.truncate(kept));
            let run = Run::again(copy.path(), &profiles, &metrics);
            silent += usize::from(run.gaps() == 0);
            if name.ends_with(".part") && kept == length {
                last = (run.counts().iter().flatten().sum::<usize>(), run.gaps());
                assert_eq!(run.counts(), counts);
            }
        }
        // Only a cut between two frames, or before the first one, is like an end.
        assert!(silent < length / 4, "{name}: {silent} of {length}");
    }
    assert_eq!(last, (6, 0));
}

#[test]
fn what_is_not_ours_is_set_aside_and_a_few_are_kept() {
    let (directory, counts) = one_file();
    let path = |name: &str| directory.path().join(name);
    let ours = fs::read(path(&files(directory.path())[0])).unwrap();
    let mut newer = ours.clone();
    newer[8] = 2;
    fs::write(path("state-00000100.part"), &newer).unwrap();
    fs::write(path("state-00000101.part"), "a diary").unwrap();
    fs::write(path("state-00000102.part"), vec![b'x'; 5000]).unwrap();
    fs::create_dir(path("state-00000103.part")).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", path("state-00000104.part")).unwrap();
    // An earlier life of another state.
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(path("state-00000105.part"), of_another(elsewhere.path())).unwrap();
    for name in ["notes.txt", "state-x.log", "state-1.txt"] {
        fs::write(path(name), "not mine").unwrap();
    }
    let mut run = Run::start(directory.path());
    assert_eq!((run.counts(), run.gaps()), (counts, 6));
    run.tidy(usize::MAX);
    let names = files(directory.path());
    let aside = names.iter().filter(|name| name.ends_with(".bad"));
    assert_eq!(
        aside.collect::<Vec<_>>(),
        ["state-00000104.part.bad", "state-00000105.part.bad"]
    );
    for name in ["notes.txt", "state-x.log", "state-1.txt"] {
        assert_eq!(fs::read(path(name)).unwrap(), b"not mine");
    }
    assert!(Path::new("/etc/hostname").exists());
    drop(run);
    assert_eq!(Run::start(directory.path()).gaps(), 0);
}

/// The bytes of a state with another secret.
fn of_another(directory: &Path) -> Vec<u8> {
    let mut run = Run::start(directory);
    fill(&mut run);
    run.tidy(usize::MAX);
    drop(run);
    let mut bytes = fs::read(directory.join(&files(directory)[0])).unwrap();
    let length = u32::from_le_bytes(bytes[16..20].try_into().unwrap()) as usize;
    bytes[25] ^= 1;
    let sum = segment::checksum(length as u32, &bytes[24..24 + length]);
    bytes[20..24].copy_from_slice(&sum.to_le_bytes());
    bytes
}

#[test]
fn two_sidecars_do_not_share_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let first = Run::start(directory.path());
    let second = Run::open(
        directory.path(),
        BYTES_MAX,
        own(None, ""),
        first.metrics.clone(),
    );
    let error = second.err().unwrap().to_string();
    assert!(error.starts_with("state-dir: another process"), "{error}");
    drop(first);
    assert_eq!(Run::start(directory.path()).gaps(), 0);
}

#[test]
fn tokens_without_profile_or_room_are_counted() {
    let directory = tempfile::tempdir().unwrap();
    let mine = "[\"payments.Charge\"]\nextends = \"http\"\n";
    let mut run = Run::with(directory.path(), BYTES_MAX, own(None, mine));
    for token in 0..10 {
        run.batch(&[
            start(token),
            start(token).replace("\"http\"", "\"payments.Charge\""),
        ]);
    }
    run.tidy(usize::MAX);
    drop(run);
    let run = Run::with(directory.path(), BYTES_MAX, own(Some(4), ""));
    let restored = run.restored.as_ref().unwrap();
    let lost = (restored.lost.without_profile, restored.lost.without_room);
    assert_eq!((lost, run.gaps(), restored.tokens), ((10, 6), 2, 4));
    // The newest ones stay.
    let mut run = run;
    run.batch(&[end(9, "ok"), end(6, "ok"), start(5)]);
    let first_uses = run.out.observations.iter().filter(|seen| {
        let first = crate::detect::verdict::Verdict::FirstUse;
        matches!(seen, crate::detect::finding::Observation::Verdict(_, verdict, _) if *verdict == first)
    });
    assert_eq!(first_uses.count(), 1);
}

#[test]
fn files_never_exceed_their_limit() {
    const LIMIT: u64 = 1 << 20;
    let directory = tempfile::tempdir().unwrap();
    let small = || own(Some(1000), "");
    let mut run = Run::with(directory.path(), LIMIT, small());
    let (mut most, mut anew) = (0, 0);
    for token in 0..20_000 {
        assert!(run.batch(&[start(token), end(token, "ok")]), "{token}");
        most = most.max(run.metrics.state().bytes.get());
        let number = run.state.number;
        run.tidy(3);
        anew += run.state.number - number;
    }
    assert!(anew > 3 && most > LIMIT as i64 / 2, "{anew} {most}");
    assert!(most <= LIMIT as i64, "{most}");
    assert_eq!(run.metrics.state().failures.get(), 0);
    let counts = run.counts();
    drop(run);
    let run = Run::with(directory.path(), LIMIT, small());
    assert_eq!((run.counts(), run.gaps()), (counts, 0));
}

#[test]
fn a_limit_that_does_not_suffice_is_a_failure_and_a_gap() {
    let directory = tempfile::tempdir().unwrap();
    let mut run = Run::with(directory.path(), 20_000, own(None, ""));
    let failed = (0..1000)
        .find(|token| !run.batch(&[start(*token), end(*token, "ok")]))
        .unwrap();
    assert!(failed > 50, "{failed}");
    assert_eq!(run.metrics.state().failures.get(), 1);
    for token in failed..1000 {
        run.batch(&[start(token), end(token, "ok")]);
        run.tidy(usize::MAX);
        assert!(run.metrics.state().bytes.get() <= 20_000);
    }
    // Tried again, not with every batch, and in vain.
    let failures = run.metrics.state().failures.get();
    assert!((2..10).contains(&failures), "{failures}");
    // Few tokens fit again.
    run.now = run.now + Duration::from_secs(3 * 86_400);
    for _ in 0..100 {
        run.batch(&[start(1), end(1, "ok")]);
    }
    run.tidy(usize::MAX);
    assert!(run.batch(&[start(2)]));
    let counts = run.counts();
    drop(run);
    let run = Run::with(directory.path(), 20_000, own(None, ""));
    assert_eq!((run.counts(), run.gaps()), (counts, 0));
}

#[test]
fn what_could_not_be_written_is_a_gap_at_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let mut run = Run::start(directory.path());
    fill(&mut run);
    let counts = run.counts();
    // As a full disk does.
    run.state.fail(&io::ErrorKind::StorageFull.into(), run.now);
    assert!(!run.batch(&[start(50)]));
    drop(run);
    let mut run = Run::start(directory.path());
    assert_eq!((run.counts(), run.gaps()), (counts, 1));
    run.tidy(usize::MAX);
    drop(run);
    assert_eq!(Run::start(directory.path()).gaps(), 0);
}

/// After a failure a file holds everything only when all of it has been written.
#[test]
fn what_is_not_yet_written_after_a_failure_is_a_gap() {
    let directory = tempfile::tempdir().unwrap();
    let mut run = Run::start(directory.path());
    run.state.fail(&io::ErrorKind::StorageFull.into(), run.now);
    run.batch(&[start(1)]);
    run.now = run.now + Duration::from_secs(60);
    run.tidy(1);
    assert!(run.batch(&[start(2)]));
    drop(run);
    let run = Run::start(directory.path());
    let tokens: usize = run.counts().iter().flatten().sum();
    assert!(run.gaps() > 0 && tokens <= 1, "{} {tokens}", run.gaps());
}

#[test]
fn it_is_tried_again_and_then_all_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let mut run = Run::start(directory.path());
    fill(&mut run);
    for failures in 1..4 {
        run.state.fail(&io::ErrorKind::StorageFull.into(), run.now);
        assert!(!run.batch(&[start(50 + failures)]));
        run.tidy(usize::MAX);
        assert!(run.state.segment.is_none(), "at once");
        run.now = run.now + Duration::from_secs(60);
        if failures < 3 {
            run.tidy(1);
        }
    }
    run.tidy(usize::MAX);
    assert!(run.batch(&[start(60)]));
    let counts = run.counts();
    drop(run);
    let run = Run::start(directory.path());
    assert_eq!((run.counts(), run.gaps()), (counts, 0));
}

/// Who may write to the directory must not make us write elsewhere.
#[test]
fn a_link_in_the_place_of_a_file_is_not_followed_and_that_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::NamedTempFile::new().unwrap();
    fs::write(elsewhere.path(), [b'x'; 100]).unwrap();
    let mut run = Run::start(directory.path());
    fill(&mut run);
    let file = directory.path().join(&files(directory.path())[0]);
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), &file).unwrap();
    run.state.fail(&io::ErrorKind::StorageFull.into(), run.now);
    assert_eq!(fs::read(elsewhere.path()).unwrap(), [b'x'; 100]);
    // The failure itself, and that it cannot be noted.
    assert_eq!(run.metrics.state().failures.get(), 2);
    assert!(segment::mark_incomplete(&file).is_err());
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(segment::mark_incomplete(&file).is_err());
}

#[test]
fn a_forged_number_is_not_ours_and_one_before_it_is_said_to_be_the_last() {
    let (directory, counts) = one_file();
    let path = |number: u64| directory.path().join(format!("state-{number}.part"));
    fs::write(path(u64::MAX), "not mine").unwrap();
    let run = Run::start(directory.path());
    assert_eq!((run.counts(), run.gaps()), (counts.clone(), 0));
    assert_eq!(run.metrics.state().failures.get(), 0);
    assert_eq!(fs::read(path(u64::MAX)).unwrap(), b"not mine");
    drop(run);
    // One that cannot be used takes no number away.
    fs::write(path(u64::MAX - 1), "a diary").unwrap();
    let mut run = Run::start(directory.path());
    assert_eq!((run.counts(), run.gaps()), (counts, 1));
    assert_eq!(run.metrics.state().failures.get(), 0);
    // One that is, does: events are judged, and what is missing is said.
    run.tidy(usize::MAX);
    drop(run);
    let log = files(directory.path())
        .into_iter()
        .find(|name| name.ends_with(".log"));
    fs::rename(directory.path().join(log.unwrap()), path(u64::MAX - 1)).unwrap();
    let mut run = Run::start(directory.path());
    assert_eq!(run.metrics.state().failures.get(), 1);
    assert!(!run.batch(&[start(77)]));
    drop(run);
    assert_eq!(Run::start(directory.path()).gaps(), 1);
}

/// A file that holds everything takes the place of those before it; if it cannot be used, they are
/// all that there is.
#[test]
fn where_the_newest_log_cannot_be_used_an_older_one_is() {
    let (directory, counts) = two_files();
    let names = files(directory.path());
    let [log, part] = &names[..] else {
        panic!("{names:?}")
    };
    let good = fs::read(directory.path().join(log)).unwrap();
    // A record that nobody writes, after the first one, and with the right checksum.
    let length = u32::from_le_bytes(good[16..20].try_into().unwrap()) as usize;
    let mut unreadable = good[..24 + length].to_vec();
    unreadable.push(250);
    unreadable[16..20].copy_from_slice(&(length as u32 + 1).to_le_bytes());
    let sum = segment::checksum(length as u32 + 1, &unreadable[24..]);
    unreadable[20..24].copy_from_slice(&sum.to_le_bytes());
    let mut damaged = good.clone();
    damaged[30] ^= 1;
    let cases: [(&str, &[u8]); 6] = [
        ("empty", b""),
        ("another program's", b"a diary, of more than sixteen bytes"),
        ("a header alone", &good[..16]),
        ("cut off", &good[..30]),
        ("damaged", &damaged),
        ("unreadable", &unreadable),
    ];
    for (what, bytes) in cases {
        let copy = tempfile::tempdir().unwrap();
        let path = |name: &str| copy.path().join(name);
        fs::write(path(log), &good).unwrap();
        fs::write(path("state-00000050.log"), bytes).unwrap();
        fs::copy(directory.path().join(part), path("state-00000060.part")).unwrap();
        let mut run = Run::start(copy.path());
        assert_eq!((run.counts(), run.gaps()), (counts.clone(), 1), "{what}");
        let now = files(copy.path());
        assert!(now.contains(log), "{what}: {now:?}");
        assert_eq!(fs::read(path("state-00000050.log.bad")).unwrap(), bytes);
        run.tidy(usize::MAX);
        drop(run);
        let next = Run::start(copy.path());
        assert_eq!((next.counts(), next.gaps()), (counts.clone(), 0), "{what}");
    }
}
