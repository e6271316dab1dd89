//! Tokens that are sent with what they are not bound to, and tokens of a bad form.

use super::Explanation;

pub const PARAMETER_MISMATCH: Explanation = Explanation {
    remedy: "Send one token with exactly one request: repeat the original parameters, or make a token for each distinct operation before its first attempt.",
    what: "A start with a token that is bound to another fingerprint, while that request is running, unknown or inside its window; or the server's IdempotentParameterMismatchException, and the attempts seen here differ.",
    why: "The server refuses this payload; it is not applied. An API that drops it silently (SQS FIFO) loses it without any error. The request the token was first used for is not affected.",
    retry: "Not as it is: it will be refused until the window ends, and after that be executed. The original request may be repeated with its token.",
    confirm: look!(
        "parameter_mismatch",
        "The holder is the attempt that bound the token. `confirmed: true` means that the server did refuse it; a prediction that is never confirmed usually means a parameter that the server ignores."
    ),
    fix: "Build the request once and keep it with the token. Usual causes: a timestamp or random id computed anew in the retry, a token derived from too little (the order number, but not the operation), a payload that was edited after a timeout.",
};

pub const ENCODING_MISMATCH: Explanation = Explanation {
    remedy: "Send the very bytes of the first attempt again: build and serialize the request once, outside the retry loop.",
    what: "The server answered IdempotentParameterMismatchException, yet the canonical fingerprint (keys sorted) is equal and only the raw bytes differ: map order, or number text such as 1 and 1.0.",
    why: "A correct retry fails for the look of its bytes, so the outcome of the first request stays unknown. Languages with random map order (Go) hit this at random.",
    retry: "Yes, with the same token and the bytes of the first attempt, inside the window.",
    confirm: look!(
        "encoding_mismatch",
        "fp is equal and fp_raw differs between the two attempts. SDK-internal retries send the same bytes and never show it; look at retries that the application makes."
    ),
    fix: "Let the SDK do the retries, or keep the serialized request. Write numbers as text in one form, and sort map keys where the SDK allows it.",
};

pub const REMOTE_MISMATCH: Explanation = Explanation {
    remedy: "Find the other sender of this token, and derive tokens from what is unique to the operation.",
    what: "The server answered IdempotentParameterMismatchException, and nothing seen here explains it: every attempt known here carried these parameters. Somebody else bound the token to other ones.",
    why: "Two senders make the same tokens for different operations; the second one's write is refused, and which one comes second is chance.",
    retry: "Not with this token: it is bound to another request until the window ends. This payload was surely not applied.",
    confirm: look!(
        "remote_mismatch",
        "Search the token's hash in the other pods' /api/v1/tokens; they agree if they share token-hash-key. After a sidecar restart the first sender may simply have been forgotten: see oncewatch_observation_start_timestamp_seconds."
    ),
    fix: "Use random UUIDs, or hash everything that makes the operation unique (tenant, kind, id, version) into the token. Check for a random generator that is seeded alike in all forks or containers.",
};

pub const CHANGED_AFTER_CANCEL: Explanation = Explanation {
    remedy: "Make a token for the changed request: what was cancelled is settled, and this is another operation.",
    what: "The transaction was cancelled, and the token came again with another fingerprint.",
    why: "Nothing can happen twice, as the cancelled request was not applied. But whether the server takes other parameters under the token is not documented: it may execute the request or refuse it with IdempotentParameterMismatchException.",
    retry: "Yes: the cancelled request was surely not applied, and a changed one is an operation of its own.",
    confirm: look!(
        "changed_after_cancel",
        "The holder is the attempt that was cancelled. Usual is a read, change, write loop after ConditionalCheckFailed that keeps the token."
    ),
    fix: "In an optimistic-locking loop make the token inside the loop over versions and outside the loop over attempts: one for each payload, kept for all its retries.",
};

pub const TOKEN_RECYCLED: Explanation = Explanation {
    remedy: "Give each operation a token of its own that is never taken again for something else.",
    what: "A token came back with another fingerprint after its window had passed. The server has probably forgotten it and will execute the request.",
    why: "This time it works. A little earlier it would have been refused, and if the former outcome was unknown, two requests hide behind one name in every log.",
    retry: "Yes, inside the window of this new use and with its parameters; the server treats it as a request of its own.",
    confirm: look!(
        "token_recycled",
        "The holder is the attempt that first bound the token; its age tells the period. A constant one points to a counter that wraps or a name that is reused daily."
    ),
    fix: "Replace counters, dates and names by a random UUID, or add what makes them unique (version, day, sequence) to the hash they are made from.",
};

pub const TOKEN_INVALID: Explanation = Explanation {
    remedy: "Send a token of the form that the API takes; for DynamoDB 1 to 36 characters, for example a UUID.",
    what: "The token is empty, longer than the API's profile allows, or has characters outside its charset. Lengths are counted in characters; a UUID has 36.",
    why: "The server refuses the request with ValidationException, always. It is not tracked any further here.",
    retry: "Not as it is: every attempt fails the same way. The request was surely not applied.",
    confirm: look!(
        "token_invalid",
        "The message gives the length. If the server does take such tokens, the profile is wrong: oncewatch check-config prints it."
    ),
    fix: "Use a UUID, or the first 32 hex digits of a SHA-256 over what identifies the operation. A prefix such as `orders-` before a UUID is already too long for DynamoDB.",
};

pub const HARD_CODED_TOKEN: Explanation = Explanation {
    remedy: "Make a token for each operation instead of one constant for all.",
    what: "The third different request was sent under one token, counting distinct fingerprints. Given once for each token.",
    why: "Inside the window every request but the first is refused or, with SQS FIFO, dropped without an error: writes are lost. It works in tests with one write every 10 minutes and fails under load.",
    retry: "Not with this token: requests that were refused were not applied, and need a token for each of them.",
    confirm: look!(
        "hard_coded_token",
        "Many findings with one token hash and changing calls. Search the code for a literal, a default argument evaluated once, or a token made when the module is loaded."
    ),
    fix: "Make the token where the operation begins (one for each order, message or job) and pass it down; never in a constant, a class attribute or a configuration value.",
};
