//! The demo's story: healthy traffic, and one small scene for each way to misuse a token.

use std::time::Duration;

use super::script::{Answer, Call, Pod, Request, Script, Step, TRANSACT};
use crate::detect::verdict::Verdict;

/// Length of one round; the story is told again and again, each time with new tokens.
pub const ROUND: Duration = Duration::from_secs(15);

/// The demo's own profile. Windows of seconds instead of minutes let the verdicts appear that time
/// brings about; what the server answers with is DynamoDB's.
pub const PROFILE: &str = r#"
extends = "dynamodb.TransactWriteItems"
window = "4s"
retention = "30s"
lease = "2s"
recovery_delay = "1s"
"#;

/// A small scene and the verdicts that it is there to cause.
pub struct Scene {
    /// Begin within the round.
    pub begins_ms: u64,
    /// What happens, for people.
    pub tells: &'static str,
    /// The verdicts it causes: all of severity warning or worse, and the others that it is about.
    pub causes: &'static [Verdict],
    play: fn(&mut Script),
}

const fn scene(
    begins_ms: u64,
    play: fn(&mut Script),
    tells: &'static str,
    causes: &'static [Verdict],
) -> Scene {
    Scene {
        begins_ms,
        tells,
        causes,
        play,
    }
}

const MISMATCH: Answer = Answer::Error("IdempotentParameterMismatchException");
const IN_PROGRESS: Answer = Answer::Error("TransactionInProgressException");
const CANCELLED: Answer = Answer::Error("TransactionCanceledException");
const WROTE: Answer = Answer::Wrote(4);

/// All scenes in order of their begin. Those that wait for a window to end take five seconds.
#[rustfmt::skip]
pub const SCENES: [Scene; 19] = [
    scene(300, retries_after_server_error, "orders: a server error, and the SDK tries again", &[Verdict::FirstUse, Verdict::SdkRetry]),
    scene(900, delivered_again_late, "a queue delivers an order again after its window", &[Verdict::ReuseAfterWindow, Verdict::DoubleExecution]),
    scene(1500, lost_answer, "orders: an answer is lost; the same token makes it safe", &[Verdict::SafeRetry, Verdict::Replay]),
    scene(2200, cancelled, "billing: a cancelled transaction is sent again", &[Verdict::RetryAfterCancel]),
    scene(2800, retried_at_the_edge, "a retry of an unknown outcome comes too late", &[Verdict::WindowEdge]),
    scene(3400, two_threads, "orders: two threads share one token", &[Verdict::InFlightCollision]),
    scene(4100, two_pods, "two replicas of orders take the same message", &[Verdict::CrossClientCollision]),
    scene(4800, token_kept_for_another_request, "settlement: an old token for a new request", &[Verdict::TokenRecycled]),
    scene(5400, stops_answering, "settlement: a worker hangs", &[Verdict::StuckInFlight]),
    scene(6000, server_still_works, "billing: the server is still working on attempt 1", &[Verdict::InProgressLocal]),
    scene(7100, edited_order, "orders: the order changed, the token did not", &[Verdict::ParameterMismatch]),
    scene(7700, other_bytes, "orders: the same request in other bytes", &[Verdict::EncodingMismatch]),
    scene(8300, killed, "shipping: the pod is killed in the middle of a request", &[Verdict::Orphaned]),
    scene(8900, order_number_as_token, "shipping: a token that is too long", &[Verdict::TokenInvalid]),
    scene(9600, edited_after_cancel, "billing: cancelled, changed, sent under the same token", &[Verdict::ChangedAfterCancel]),
    scene(10_200, foreign_token, "billing: a token that somebody else has used", &[Verdict::RemoteMismatch]),
    scene(10_800, gives_up, "billing: gives up while another pod holds the token", &[Verdict::InProgressRemote, Verdict::InProgressExhausted, Verdict::RetryBudgetTooShort]),
    scene(11_500, constant_token, "settlement: one token for everything", &[Verdict::ParameterMismatch, Verdict::HardCodedToken]),
    scene(12_300, new_token_after_timeout, "orders: a new token after a timeout may pay twice", &[Verdict::FreshTokenAfterUnknown]),
];

/// The scene that began last, `at` this time of a round.
pub fn scene_at(at: Duration) -> Option<&'static Scene> {
    let began = |scene: &&Scene| Duration::from_millis(scene.begins_ms) <= at;
    SCENES.iter().rev().find(began)
}

/// The first scene that is there to cause a verdict.
pub fn scene_of(verdict: Verdict) -> Option<&'static Scene> {
    SCENES.iter().find(|scene| scene.causes.contains(&verdict))
}

/// The steps of one round, in order of time. Equal seeds give equal tokens.
pub fn round(seed: u64) -> Vec<Step> {
    let mut script = Script::new(seed);
    healthy_traffic(&mut script);
    for scene in &SCENES {
        script.begin_at(scene.begins_ms);
        (scene.play)(&mut script);
    }
    script.into_steps()
}

/// The steps of one scene alone.
#[cfg(test)]
pub fn alone(scene: &Scene, seed: u64) -> Vec<Step> {
    let mut script = Script::new(seed);
    (scene.play)(&mut script);
    script.into_steps()
}

/// About eight transactions a second, of which some are throttled, retried or repeated, as in any
/// service; none of it is a finding.
fn healthy_traffic(script: &mut Script) {
    const EVERY_MS: u64 = 120;
    let pods = [
        Pod::Orders,
        Pod::OrdersReplica,
        Pod::Billing,
        Pod::Settlement,
    ];
    let last_ms = ROUND.as_millis() as u64 - 1000;
    for (i, begins_ms) in (0..last_ms).step_by(EVERY_MS as usize).enumerate() {
        script.begin_at(begins_ms);
        let pod = pods[script.below(pods.len() as u64) as usize];
        let request = Request {
            api: TRANSACT,
            ..script.request()
        };
        let lasts_ms = 6 + script.below(40);
        let call = script.call(pod, 3);
        let mut tries = 1;
        let mut ms = 0;
        match i % 12 {
            5 => {
                let throttled = Answer::Error("ThrottlingException");
                script.attempt(&call, tries, &request, ms..ms + lasts_ms, throttled);
                (tries, ms) = (2, ms + lasts_ms + 50);
            }
            9 => {
                script.attempt(&call, tries, &request, ms..ms + 250, Answer::Lost);
                (tries, ms) = (2, ms + 250 + 40);
            }
            _ => {}
        }
        script.attempt(&call, tries, &request, ms..ms + lasts_ms, WROTE);
        ms += lasts_ms;
        script.call_end(&call, tries, &request, 0..ms);
        if i % 12 == 2 {
            once(script, pod, &request, ms + 200..ms + 206, Answer::Replayed);
        }
    }
    script.begin_at(0);
    script.report(Pod::Orders, 0, 5000);
}

/// A call of one attempt.
fn once(
    script: &mut Script,
    pod: Pod,
    request: &Request,
    lasts_ms: std::ops::Range<u64>,
    answer: Answer,
) -> Call {
    let call = script.call(pod, 1);
    script.attempt(&call, 1, request, lasts_ms, answer);
    call
}

fn retries_after_server_error(script: &mut Script) {
    let (order, call) = (script.request(), script.call(Pod::Orders, 3));
    script.attempt(
        &call,
        1,
        &order,
        0..60,
        Answer::Error("InternalServerError"),
    );
    script.attempt(&call, 2, &order, 160..220, WROTE);
}

fn delivered_again_late(script: &mut Script) {
    let order = script.request();
    once(script, Pod::Orders, &order, 0..60, WROTE);
    once(script, Pod::OrdersReplica, &order, 5000..5080, WROTE);
}

fn lost_answer(script: &mut Script) {
    let order = script.request();
    once(script, Pod::Orders, &order, 0..300, Answer::Lost);
    once(script, Pod::Orders, &order, 700..760, WROTE);
    once(
        script,
        Pod::OrdersReplica,
        &order,
        1200..1215,
        Answer::Replayed,
    );
}

fn cancelled(script: &mut Script) {
    let charge = script.request();
    once(script, Pod::Billing, &charge, 0..40, CANCELLED);
    once(script, Pod::Billing, &charge, 350..410, WROTE);
}

fn retried_at_the_edge(script: &mut Script) {
    let order = script.request();
    once(script, Pod::OrdersReplica, &order, 0..400, Answer::Lost);
    once(script, Pod::OrdersReplica, &order, 5000..5050, WROTE);
}

fn two_threads(script: &mut Script) {
    let order = script.request();
    let late = script.call(Pod::Orders, 3);
    once(script, Pod::Orders, &order, 0..900, WROTE);
    script.attempt(&late, 1, &order, 400..440, IN_PROGRESS);
    script.attempt(&late, 2, &order, 1500..1520, Answer::Replayed);
}

fn two_pods(script: &mut Script) {
    let order = script.request();
    let late = script.call(Pod::OrdersReplica, 3);
    once(script, Pod::Orders, &order, 0..900, WROTE);
    script.attempt(&late, 1, &order, 400..440, IN_PROGRESS);
    script.attempt(&late, 2, &order, 1500..1520, Answer::Replayed);
}

fn token_kept_for_another_request(script: &mut Script) {
    let monday = script.request();
    let tuesday = script.changed(&monday);
    once(script, Pod::Settlement, &monday, 0..70, WROTE);
    once(script, Pod::Settlement, &tuesday, 5000..5070, WROTE);
}

fn stops_answering(script: &mut Script) {
    let batch = script.request();
    // Its end comes after the lease, and still resolves the token.
    once(script, Pod::Settlement, &batch, 0..3000, WROTE);
}

fn server_still_works(script: &mut Script) {
    let (charge, call) = (script.request(), script.call(Pod::Billing, 4));
    script.attempt(&call, 1, &charge, 0..300, Answer::Lost);
    script.attempt(&call, 2, &charge, 400..420, IN_PROGRESS);
    // After the recovery delay the same token completes the transaction.
    script.attempt(&call, 3, &charge, 1600..1680, WROTE);
}

fn edited_order(script: &mut Script) {
    let order = script.request();
    let edited = script.changed(&order);
    once(script, Pod::Orders, &order, 0..50, WROTE);
    once(script, Pod::Orders, &edited, 350..370, MISMATCH);
}

fn other_bytes(script: &mut Script) {
    let order = script.request();
    let reordered = Request {
        fp_raw: script.request().fp_raw,
        ..order.clone()
    };
    once(script, Pod::Orders, &order, 0..50, WROTE);
    once(script, Pod::OrdersReplica, &reordered, 350..370, MISMATCH);
}

fn killed(script: &mut Script) {
    let (parcel, call) = (script.request(), script.call(Pod::Shipping, 3));
    script.start(&call, 1, &parcel, 0);
    script.close(Pod::Shipping, 350);
}

fn order_number_as_token(script: &mut Script) {
    let number = script.below(1_000_000);
    let parcel = Request {
        token: format!("parcel-eu-central-1-customer-000482-{number:06}"),
        ..script.request()
    };
    let refused = Answer::Error("ValidationException");
    once(script, Pod::Shipping, &parcel, 0..20, refused);
}

fn edited_after_cancel(script: &mut Script) {
    let charge = script.request();
    let edited = script.changed(&charge);
    once(script, Pod::Billing, &charge, 0..40, CANCELLED);
    once(script, Pod::Billing, &edited, 350..420, WROTE);
}

fn foreign_token(script: &mut Script) {
    let charge = script.request();
    once(script, Pod::Billing, &charge, 0..25, MISMATCH);
}

fn gives_up(script: &mut Script) {
    let (charge, call) = (script.request(), script.call(Pod::Billing, 2));
    script.attempt(&call, 1, &charge, 0..20, IN_PROGRESS);
    script.attempt(&call, 2, &charge, 120..140, IN_PROGRESS);
}

fn constant_token(script: &mut Script) {
    let first = Request {
        token: format!("nightly-settlement-{:04x}", script.below(1 << 16)),
        ..script.request()
    };
    let (second, third) = (script.changed(&first), script.changed(&first));
    once(script, Pod::Settlement, &first, 0..60, WROTE);
    once(script, Pod::Settlement, &second, 300..320, MISMATCH);
    once(script, Pod::Settlement, &third, 600..620, MISMATCH);
}

fn new_token_after_timeout(script: &mut Script) {
    let order = script.request();
    let again = Request {
        token: script.request().token,
        ..order.clone()
    };
    once(script, Pod::Orders, &order, 0..400, Answer::Lost);
    once(script, Pod::Orders, &again, 600..660, WROTE);
}

#[cfg(test)]
mod tests;
