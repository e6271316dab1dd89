//! Healthy use.

use super::Explanation;

pub const FIRST_USE: Explanation = Explanation {
    remedy: "Nothing to do: this is how every token begins.",
    what: "A start with a token that is not known here: neither seen before nor still remembered. A token is remembered for its window plus retention, 10 minutes plus 24 hours for DynamoDB, unless the table was full.",
    why: "It is the baseline: compare the others with it. After a restart of the sidecar, or after an eviction, an old token looks like a first use; then verdicts are lower bounds until one window has passed.",
    retry: "Yes, with the same token, if the outcome stays unknown.",
    confirm: count!(
        "first_use",
        "A rate close to that of your writes is right. Whether knowledge was lost tells oncewatch_tracking_gaps_total."
    ),
    fix: "Nothing. If every retry of your application shows up as first_use, it makes its token inside the retry loop: make the token once, before the first attempt, and keep it with the request.",
};

pub const SDK_RETRY: Explanation = Explanation {
    remedy: "Nothing to do: the SDK repeats the token by itself, as it should.",
    what: "A further attempt of a call that is already known, by its call id: the SDK's own retry. AWS SDKs make the token once for each call, outside their retry loop, so all attempts carry it.",
    why: "It costs latency, and read capacity when the first attempt had in fact succeeded. Many of them mean that the network, the timeouts or the server are in trouble.",
    retry: "Yes: with the same token any number of attempts inside the 10 minute window apply the transaction at most once.",
    confirm: count!(
        "sdk_retry",
        "Divide by the rate of first_use; more than a few percent deserve a look at oncewatch_attempts_total by result."
    ),
    fix: "Nothing for single ones. If most results are no_response, raise the request timeout above the latency you see (oncewatch_attempt_duration_seconds); if they are throttled, add capacity or back off more.",
};

pub const SAFE_RETRY: Explanation = Explanation {
    remedy: "Nothing to do: repeating the same token with the same request is the right answer to an unknown outcome.",
    what: "Another call sends the token again with an equal fingerprint, after the outcome of the former was unknown and inside the window, or after the former was rejected or throttled.",
    why: "This is what tokens are for. If the first request was applied, the server recognises the token and does nothing; if not, it is applied now.",
    retry: "Yes, with the same token and the same parameters, until 10 minutes after the first attempt started.",
    confirm: count!(
        "safe_retry",
        "See what made the retry necessary: oncewatch_attempts_total by result, no_response and server_error above all."
    ),
    fix: "Nothing. If a rejected request is repeated many times without a change, stop retrying errors that cannot go away, such as ValidationException.",
};

pub const REPLAY: Explanation = Explanation {
    remedy: "Nothing to do for single ones; if there are many, stop repeating requests that were already answered with success.",
    what: "A start with a token that has already succeeded, inside the window and with an equal fingerprint. The server answers with success and changes nothing.",
    why: "It is harmless for the data and costs read capacity (2 units for each item of up to 4 KB) and a round trip. Many of them point to a queue that delivers twice or to a caller that lost the answer.",
    retry: "Yes, inside the window it does nothing; 10 minutes after completion the same request would be executed again.",
    confirm: count!(
        "replay",
        "How old the reused tokens are shows oncewatch_reuse_age_seconds; ages close to 600 will turn into reuse_after_window."
    ),
    fix: "Record completion before you acknowledge the message that caused the write. If deliveries may come more than 10 minutes apart, add a condition to the write itself, such as attribute_not_exists on the key.",
};

pub const RETRY_AFTER_CANCEL: Explanation = Explanation {
    remedy: "Nothing to do if the reason for the cancellation was looked at; the retry is executed as a request of its own.",
    what: "The server cancelled the transaction (TransactionCanceledException: nothing was applied), and the same token comes again with an equal fingerprint.",
    why: "The outcome of the first one is known, so nothing can happen twice. How the live service treats the token after a cancellation is not documented; emulators execute the request again.",
    retry: "Yes: the cancelled request was surely not applied. A failed condition will fail again until the data changes.",
    confirm: count!(
        "retry_after_cancel",
        "The cancellation reasons are in the application's own log: ConditionalCheckFailed will not go away by itself, TransactionConflict will."
    ),
    fix: "Retry TransactionConflict with backoff and do not retry ConditionalCheckFailed without reading the item again.",
};

pub const IN_PROGRESS_LOCAL: Explanation = Explanation {
    remedy: "Keep the token and retry with it at least 5 seconds after the first attempt.",
    what: "The server answered TransactionInProgressException, and an attempt that is known here explains it: one that is still open, timed out, or lost its connection. The server still works on that one.",
    why: "It is the usual sequel of a client timeout that is shorter than the transaction takes. The retry is right; it also costs capacity.",
    retry: "Yes, with the same token: a retry 5 seconds or more after the first attempt makes DynamoDB complete the stuck transaction.",
    confirm: count!(
        "in_progress_local",
        "Compare the times of the token's attempts: the earlier one should have ended as no_response."
    ),
    fix: "Set the request timeout above the latency you see (1 second or more), and give the call enough attempts that the last one starts more than 5 seconds after the first.",
};
