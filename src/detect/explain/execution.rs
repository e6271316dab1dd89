//! Requests that may be, will be or were executed twice.

use super::Explanation;

pub const WINDOW_EDGE: Explanation = Explanation {
    remedy: "Read the data before you send again: the server may have forgotten the token and would then execute the request a second time.",
    what: "The token is used again when 10 minutes have passed since its first attempt started, but not surely since the server completed it; or its outcome is still unknown by then.",
    why: "DynamoDB counts its 10 minutes from completion, which cannot be seen from here. Before that point the retry does nothing, after it the request is executed again.",
    retry: "Not blindly: neither the same token nor a fresh one protects any more. Look at the items; if the write is missing, send it with a condition that it is missing.",
    confirm: look!(
        "window_edge",
        "A double_execution finding for the same token, or write_units in the answer, says that it was executed again; read_units alone say that it was not."
    ),
    fix: "Bound the total time of retries well below 10 minutes, also across queues and restarts, and put a condition into the write (attribute_not_exists, a version check) where deliveries can be older.",
};

pub const REUSE_AFTER_WINDOW: Explanation = Explanation {
    remedy: "Stop repeating this request: the server has forgotten the token and executes it again; check the data and undo the second write where needed.",
    what: "A token that had succeeded was sent again with an equal fingerprint after its window: more than 10 minutes after the success was received. For the server it is a request like any other.",
    why: "Counters are increased twice, payments made twice, and the caller sees two successes.",
    retry: "No: the first request had succeeded. Every further repetition is executed again, once per window.",
    confirm: look!(
        "reuse_after_window",
        "`confirmed: true` means that the server reported written capacity, so it did execute it. How late the reuse was shows oncewatch_reuse_age_seconds."
    ),
    fix: "Find who keeps the request for so long: a dead-letter queue that is replayed, a job that restarts from its beginning, a backoff without a limit. Record completion durably, or add a condition to the write; a token protects for 10 minutes only.",
};

pub const DOUBLE_EXECUTION: Explanation = Explanation {
    remedy: "Check the items that this token wrote and undo the second write: the server reported that it wrote again.",
    what: "An attempt succeeded and consumed write capacity although the token had already succeeded with an equal fingerprint. A replay consumes read capacity only.",
    why: "It happened: increments are counted twice, list items appended twice. Writes that set the same values again have done no visible harm.",
    retry: "No: it was executed at least twice already.",
    confirm: look!(
        "double_execution",
        "Compare the times of both successes with the 10 minute window; the holder is the first one. Read the items, and the table's stream if there is one."
    ),
    fix: "As for reuse_after_window: bound how long a request can be repeated, and make the write itself conditional. If both lie inside the window, check that both went to the same Region and account, as each of them knows only its own tokens.",
};

pub const FRESH_TOKEN_AFTER_UNKNOWN: Explanation = Explanation {
    remedy: "Check whether both were applied, and change the retry to repeat the same token: only that one is applied at most once.",
    what: "The same request (equal api, scope and fingerprint) was sent under a new token after, or while, the outcome of the former token became unknown. The holder is the former token.",
    why: "If the first one was applied after all, the second one is applied as well: a possible double execution. With a dropped first response, the recipe of a token for each attempt left a counter at 2 where the same token left it at 1.",
    retry: "Not before the data was read. If the second request was applied, repeating the first token applies it again, unless the first was applied, too. If neither was: the same token as the first attempt, inside its window. Never a third one.",
    confirm: look!(
        "fresh_token_after_unknown",
        "Two customers may rightly send equal requests; the finding is certain only if both come from one operation. Look at the former token's outcome: /api/v1/tokens/{api}/{token} with the holder's token."
    ),
    fix: "Make the token once, outside the retry loop, and pass it explicitly to every call: an SDK that fills it in makes one for each call, so an application's own retry around the call is not protected. Catch TransactionInProgressException and timeouts, wait, and repeat the same token 5 seconds or more after the first attempt.",
};
