//! Tokens that are being worked on: by two at once, by somebody else, or by nobody any more.

use super::Explanation;

pub const IN_FLIGHT_COLLISION: Explanation = Explanation {
    remedy: "Let one call at a time use a token: wait for the first one's outcome before the request is repeated.",
    what: "A second call of the same client started with the token while an attempt of the first was still open, with an equal fingerprint.",
    why: "The server refuses one of them with TransactionInProgressException, so it costs latency and capacity. Data is safe: the token is the same, so the transaction is applied once.",
    retry: "Yes, with the same token, after the open attempt ended; 5 seconds after the first attempt a retry also completes a stuck transaction.",
    confirm: look!(
        "in_flight_collision",
        "The finding's holder names the call that was first and since when. `confirmed: true` means that the server really refused the second one."
    ),
    fix: "Look for a hedged request, an impatient outer retry loop around the SDK's own one, or two workers with the same message. Share the pending result of the first call instead of sending it again.",
};

pub const CROSS_CLIENT_COLLISION: Explanation = Explanation {
    remedy: "Make sure that only one process at a time works on an operation, or that the others wait for it.",
    what: "A call started with a token while an attempt of another client, another process, was still open with it; the fingerprints are equal.",
    why: "Two processes do the same work at the same time. The shared token protects the data from being written twice, but one of them gets TransactionInProgressException and may give up or, worse, try something else.",
    retry: "Yes, with the same token, after the other client's attempt ended.",
    confirm: look!(
        "cross_client_collision",
        "The holder's client is `<pod>/<pid>` of the process that was first; compare what both were processing."
    ),
    fix: "Check queue visibility timeouts (must be longer than the processing time), consumer rebalancing, cron jobs without a lock, and rollouts in which old and new pods take the same work.",
};

pub const IN_PROGRESS_REMOTE: Explanation = Explanation {
    remedy: "Keep the token, retry with it at least 5 seconds after the first attempt, and find out which other sender uses it.",
    what: "The server answered TransactionInProgressException, and no attempt known here can be the reason: another pod, an earlier process of this pod, or an entry that was pushed out of the table holds the token. Given once per call.",
    why: "Either the same work runs in two pods, or a process died in the middle of a transaction and its successor took over. The outcome is unknown until the token is answered.",
    retry: "Yes, with the same token: 5 seconds or more after the first attempt a retry makes DynamoDB complete what is stuck.",
    confirm: look!(
        "in_progress_remote",
        "Look for the token's hash in the other pods (they agree if they share token-hash-key), and for a recent restart: increase(oncewatch_tracking_gaps_total[1h])."
    ),
    fix: "If a pod died: nothing, the retry resolves it. If two pods run the same work: give each operation one owner (partition key, lease, leader election).",
};

pub const IN_PROGRESS_EXHAUSTED: Explanation = Explanation {
    remedy: "Repeat the call with the same token and the same parameters until it gets a definite answer, 5 seconds or more after its first attempt.",
    what: "All attempts of a call were used up, and the last answer was TransactionInProgressException. The server was still working; whether the transaction is applied is unknown.",
    why: "The caller sees an error, yet the write may be applied. Whoever now sends it under a fresh token can apply it twice.",
    retry: "Yes, and only with the same token, within 10 minutes of the first attempt: that completes the ongoing transaction or reports its result.",
    confirm: look!(
        "in_progress_exhausted",
        "The same number counts oncewatch_calls_total{outcome=\"in_progress_exhausted\"}. Read the items that the transaction should have written."
    ),
    fix: "Give the call more time, not another identity: raise the attempts or the backoff so that the last attempt starts more than 5 seconds after the first, and keep the token where the next try finds it (on the message, the row, the job).",
};

pub const RETRY_BUDGET_TOO_SHORT: Explanation = Explanation {
    remedy: "Raise the attempts or the backoff so that the last attempt starts at least 5 seconds after the first, and repeat this call with the same token.",
    what: "A call gave up on TransactionInProgressException, and its last attempt had started less than 5 seconds (the recovery delay) after the token's first one.",
    why: "DynamoDB completes a stuck transaction only when the same token arrives 5 seconds or more after the first attempt. With 4 attempts, a 1 second timeout and the SDKs' default backoff only about one call in four gets there; the others fail for nothing.",
    retry: "Yes, with the same token, now: the 5 seconds are probably over, so this retry completes the transaction.",
    confirm: look!(
        "retry_budget_too_short",
        "Retries that come after 5 seconds are those above le=\"5\" in oncewatch_retry_delay_seconds_bucket; there should be some wherever there is TransactionInProgressException."
    ),
    fix: "Request timeout 1 second or more and a little above your p99, at least 5 attempts or a longer backoff, and a total call timeout well above 5 seconds. In boto3: Config(read_timeout=2, retries={'mode': 'standard', 'total_max_attempts': 6}).",
};

pub const STUCK_IN_FLIGHT: Explanation = Explanation {
    remedy: "Find out why the attempt has no end, and repeat the request with the same token before its window is over.",
    what: "An attempt was reported as started and not as ended within the lease of 60 seconds. It is counted as ambiguous from now on; an end that comes later still corrects that.",
    why: "The request may be applied or not, and nobody in this process seems to wait for the answer any more: a hung thread, a cancelled task, a missing timeout, or a client library that lost the end event.",
    retry: "Yes, with the same token, until 10 minutes after the first attempt started.",
    confirm: look!(
        "stuck_in_flight",
        "See oncewatch_oldest_open_token_timestamp_seconds. If many appear at once, look at oncewatch_events_dropped_total: lost end events look the same."
    ),
    fix: "Set a read timeout below 60 seconds (botocore's default is 60 seconds for each attempt, the JS SDK has none). If requests may rightly run longer, raise `lease` in the API's profile.",
};

pub const ORPHANED: Explanation = Explanation {
    remedy: "When the process is back, let it repeat the request with the same token within the window, counted from the first attempt.",
    what: "The connection that had reported an open attempt closed before its end came: the process exited, crashed or was killed in the middle of the request.",
    why: "The server may have applied the request, and the one who knew the token is gone. If the token was only in memory, the successor cannot ask for the result.",
    retry: "Yes, with the same token, if it was stored; otherwise read the data first to see whether the write is there.",
    confirm: look!(
        "orphaned",
        "Compare with the restarts of the application's container: kubectl get pods, kube_pod_container_status_restarts_total, and OOMKilled in kubectl describe pod."
    ),
    fix: "Store the token with the work item before the first attempt. On SIGTERM stop taking work and finish open calls; set terminationGracePeriodSeconds above the longest call.",
};
