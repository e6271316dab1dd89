"""What each finding means for the person who is called: its cause, and the first thing to do."""

from grafana import traces_url

# Cause -> its findings. Each finding belongs to exactly one cause; the tests compare with the binary.
CAUSES = {
    "Retried too early": ("in_progress_exhausted", "retry_budget_too_short"),
    "Reused too late": ("double_execution", "reuse_after_window", "window_edge"),
    "Other parameters": ("parameter_mismatch", "encoding_mismatch", "remote_mismatch", "changed_after_cancel"),
    "Shared or hard-coded": (
        "in_flight_collision", "cross_client_collision", "in_progress_remote", "hard_coded_token", "token_recycled",
        "token_invalid",
    ),
    "Lost idempotency": ("fresh_token_after_unknown", "stuck_in_flight", "orphaned"),
}

COLORS = {
    "Retried too early": "orange",
    "Reused too late": "dark-red",
    "Other parameters": "purple",
    "Shared or hard-coded": "blue",
    "Lost idempotency": "red",
}

# Reds may have applied an operation twice, the rest goes by cause.
VERDICT_COLORS = {
    "double_execution": "dark-red", "fresh_token_after_unknown": "red", "reuse_after_window": "light-red",
    "window_edge": "super-light-red",
    "in_progress_exhausted": "orange", "retry_budget_too_short": "dark-orange",
    "parameter_mismatch": "purple", "encoding_mismatch": "light-purple", "remote_mismatch": "dark-purple",
    "changed_after_cancel": "super-light-purple",
    "in_flight_collision": "light-blue", "cross_client_collision": "blue", "in_progress_remote": "dark-blue",
    "hard_coded_token": "green", "token_recycled": "light-green", "token_invalid": "dark-green",
    "stuck_in_flight": "yellow", "orphaned": "light-yellow",
}

# In order of urgency.
FIRST_ACTIONS = {
    "double_execution": "**Stop the job that retries.** Compare the data with the token in the trace, repair, add a "
                        "condition expression.",
    "fresh_token_after_unknown": "Compare the data of both tokens. Find the code that makes a token inside its retry "
                                 "loop, and make it once, outside.",
    "reuse_after_window": "Cap the age of retries below the window, guard the write with a condition, look for queue "
                          "delay.",
    "in_progress_exhausted": "The outcome is unknown. Retry with the **same** token, 5 s or more after the first attempt and "
                             "inside the window; after it read the data first.",
    "retry_budget_too_short": "Raise timeout or attempts, so that one retry starts 5 s or more after the first attempt.",
    "cross_client_collision": "Two senders, one live token. Find the other holder by token hash in the traces.",
    "in_flight_collision": "The same process sends one operation twice at a time: look for a second thread or a second "
                           "delivery.",
    "in_progress_remote": "Another pod or an earlier process holds the token. Keep it, wait 5 s, retry; look for a restart.",
    "parameter_mismatch": "One token, two payloads. A retry that was rebuilt: send the original payload with its token, "
                          "inside the window. Two operations: each has a token of its own from its beginning.",
    "remote_mismatch": "Another sender used this token for another payload. Find who shares the way tokens are made.",
    "encoding_mismatch": "Resend identical bytes: keep the serialised request, do not build it again.",
    "changed_after_cancel": "A cancelled request came back changed: another operation, which has a token of its own.",
    "hard_coded_token": "One constant for many requests. Search the code for it.",
    "token_invalid": "The service refuses this token: 1 to 36 characters for DynamoDB.",
    "window_edge": "Reuse where the window may have ended. Treat it like a reuse after the window.",
    "token_recycled": "An old token now names another request. Make tokens random, not counted or by date.",
    "stuck_in_flight": "The client died or its end was lost; the outcome is unknown. Retry with the same token, inside the "
                       "window; after it read the data first.",
    "orphaned": "The process went away in the middle of a call. Its successor retries with the same token, inside the "
                "window; after it reads the data first.",
}


def traces_of(verdicts):
    """A trace search for lifecycles whose worst verdict is one of these."""
    return traces_url('{ span.oncewatch.verdict =~ "%s" }' % "|".join(verdicts))
