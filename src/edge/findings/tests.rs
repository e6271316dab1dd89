use std::time::Duration;

use tokio::time::timeout;

use super::*;
use crate::detect::finding::fixture::finding;

fn new(id: u64) -> Report {
    Report::New(Arc::new(finding(id)))
}

fn store(capacity: usize) -> Findings {
    Findings::new(NonZeroUsize::new(capacity).unwrap())
}

fn ids(findings: &Findings) -> Vec<(u64, bool)> {
    let all = findings.list(|_| true, usize::MAX);
    all.iter().map(|f| (f.id, f.confirmed)).collect()
}

fn numbered(news: impl IntoIterator<Item = News>) -> Vec<(u64, u64, bool)> {
    let news = news.into_iter();
    news.map(|n| (n.number, n.finding.id, n.finding.confirmed))
        .collect()
}

fn drain(receiver: &mut broadcast::Receiver<News>) -> Vec<(u64, u64, bool)> {
    numbered(std::iter::from_fn(|| receiver.try_recv().ok()))
}

#[test]
fn the_newest_come_first_and_the_oldest_leave() {
    let findings = store(3);
    for id in 1..=5 {
        findings.report(new(id));
    }
    assert_eq!(ids(&findings), [(5, false), (4, false), (3, false)]);
    assert_eq!(findings.counts(), (3, 5));
    let odd = findings.list(|f| f.id % 2 == 1, 1);
    assert_eq!(odd.iter().map(|f| f.id).collect::<Vec<_>>(), [5]);
}

#[test]
fn a_confirmed_finding_keeps_its_place_and_is_news_once() {
    let findings = store(3);
    let (_, mut news) = findings.listen(None);
    findings.report(new(1));
    findings.report(new(2));
    findings.report(Report::Confirmed(1));
    findings.report(Report::Confirmed(1));
    findings.report(Report::Confirmed(77));
    assert_eq!(ids(&findings), [(2, false), (1, true)]);
    assert_eq!(
        drain(&mut news),
        [(1, 1, false), (2, 2, false), (3, 1, true)]
    );
    assert_eq!(findings.counts(), (2, 2));
}

#[test]
fn a_confirmation_may_overtake_its_finding() {
    let findings = store(3);
    findings.report(Report::Confirmed(1));
    findings.report(new(1));
    assert_eq!(ids(&findings), [(1, true)]);
    for id in 0..=EARLY_MAX as u64 {
        findings.report(Report::Confirmed(100 + id));
    }
    findings.report(new(100));
    findings.report(new(101));
    assert_eq!(ids(&findings)[..2], [(101, true), (100, false)]);
}

#[test]
fn a_listener_can_resume_without_gap_or_repetition() {
    let findings = store(3);
    for id in 1..=4 {
        findings.report(new(id));
    }
    findings.report(Report::Confirmed(2));
    let (missed, mut news) = findings.listen(Some(3));
    let found = |missed| match findings.find(missed) {
        Found::News(news) => news,
        other => panic!("{other:?}"),
    };
    let missed = missed.into_iter().map(found).collect::<VecDeque<_>>();
    assert_eq!(numbered(missed), [(4, 4, false), (5, 2, true)]);
    findings.report(new(5));
    assert_eq!(drain(&mut news), [(6, 5, false)]);
    assert!(findings.listen(None).0.is_empty());
    let (missed, _) = findings.listen(Some(0));
    assert_eq!(missed.len(), 3);
    // One of them comes true, two more come, and the oldest goes.
    findings.report(Report::Confirmed(5));
    findings.report(new(6));
    findings.report(new(7));
    assert!(
        missed
            .iter()
            .all(|missed| !matches!(findings.find(*missed), Found::News(_)))
    );
    let gone = missed
        .iter()
        .filter(|missed| matches!(findings.find(**missed), Found::Gone));
    assert_eq!(gone.count(), 2);
}

/// Against a store that keeps everything, on random reports with more findings than capacity.
#[test]
fn it_agrees_with_a_naive_model() {
    const CAPACITY: usize = 8;
    const SEED: u64 = 0x0DD5_EED5;
    let findings = store(CAPACITY);
    let mut model: Vec<(u64, bool)> = Vec::new();
    let mut random = SEED;
    let (mut confirmed, mut forgotten) = (0, 0);
    for step in 0..5000 {
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1);
        let dice = random >> 33;
        if dice.is_multiple_of(3) || model.is_empty() {
            let id = model.len() as u64;
            model.push((id, false));
            findings.report(new(id));
        } else {
            let id = model.len() - 1 - dice as usize % model.len().min(2 * CAPACITY);
            if id + CAPACITY >= model.len() {
                model[id].1 = true;
                confirmed += 1;
            } else {
                forgotten += 1;
            }
            findings.report(Report::Confirmed(id as u64));
        }
        let expected: Vec<_> = model.iter().rev().take(CAPACITY).copied().collect();
        assert_eq!(ids(&findings), expected, "seed {SEED:#x}, step {step}");
    }
    assert!(confirmed > 100 && forgotten > 100 && model.len() > 100);
}

#[tokio::test]
async fn the_collector_logs_each_finding_once_and_empties_the_queue() {
    let findings = Arc::new(store(1000));
    let (reports, queue) = mpsc::channel(500);
    for id in 1..=250 {
        reports.try_send(new(id)).unwrap();
        reports.try_send(Report::Confirmed(id)).unwrap();
    }
    let stop = CancellationToken::new();
    stop.cancel();
    let mut logged = Vec::new();
    let collecting = collect(findings.clone(), queue, stop, |f| logged.push(f.id));
    timeout(Duration::from_secs(5), collecting).await.unwrap();
    assert_eq!(logged, (1..=250).collect::<Vec<_>>());
    assert_eq!(findings.list(|f| f.confirmed, 1000).len(), 250);
    assert!(reports.is_closed());
}

#[tokio::test]
async fn the_collector_ends_with_its_last_sender() {
    let (reports, queue) = mpsc::channel(4);
    reports.try_send(new(1)).unwrap();
    drop(reports);
    let findings = Arc::new(store(4));
    let collecting = collect(findings.clone(), queue, CancellationToken::new(), |_| ());
    timeout(Duration::from_secs(5), collecting).await.unwrap();
    assert_eq!(ids(&findings), [(1, false)]);
}
