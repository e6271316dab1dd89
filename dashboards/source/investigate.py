"""Investigate: which cause, which instance, since when?"""

from grafana import (
    ANY_IS_ODD, NEUTRAL, ZERO_IS_GOOD, ZERO_IS_GOOD_WARN, colored_count, column, dashboard_url, data_link, graph, heatmap,
    panel_link, query, stat, steps, table, text,
)
from overview import QUANTILE_COLORS
from promql import (
    FINDING, POD, first_seen, last_seen, one_of, or_zero, quantile, rate, rows_or_none, series, total,
)
from verdicts import CAUSES, COLORS, VERDICT_COLORS, traces_of

UID = "oncewatch-investigate"
FILE = "investigate"
TITLE = "oncewatch / Investigate"
DESCRIPTION = "Which cause, which instance, since when? One row of panels for each cause, with its meaning and its traces."

VERDICTS = "oncewatch_verdicts_total"
# From this age of the first attempt DynamoDB completes a stuck transaction.
RECOVERY_SECONDS = 5
# How long DynamoDB remembers a token after its first completion.
WINDOW_SECONDS = 600

MEANINGS = {
    "Retried too early":
        "The service was still working on the token when the last attempt came. The outcome is **unknown**. A retry with the "
        "same token that starts **5 s or more after the first attempt** makes DynamoDB complete the transaction. Raise "
        "timeout or attempts until one retry starts that late; never change the token.",
    "Reused too late":
        "A token came back after the service had forgotten it (DynamoDB: **10 min** after the first completion). The service "
        "then **executes the request again**. Cap the age of retries below the window, guard the write with a condition, "
        "look for delay in queues and for replays of dead letters.",
    "Other parameters":
        "One token, two payloads: the service refuses the second one. A retry must repeat the **original payload** with its "
        "token; only another operation has a token of its own, from its beginning. `encoding_mismatch` is the same request in other bytes (order of keys, text of numbers): keep and resend "
        "the serialised request. `remote_mismatch`: the other payload came from a sender that is not seen here.",
    "Shared or hard-coded":
        "Two senders use one token, or one constant names many requests. Only one of the requests takes effect. Find the "
        "other holder by its token hash in the traces (links lead there); give each operation one owner and a random token.",
    "Lost idempotency":
        "The outcome of a request is unknown and its token was given up: replaced by a new one "
        "(`fresh_token_after_unknown`), or its client died (`orphaned`, `stuck_in_flight`). Compare the data of both requests. "
        "Make the token once, outside the retry loop, and keep it across restarts.",
}

ALERTS = {
    "Retried too early": "OncewatchRetryBudgetTooShort",
    "Reused too late": "OncewatchReuseAfterWindow, OncewatchDoubleExecution",
    "Other parameters": "OncewatchParameterMismatch, OncewatchUnstableEncoding",
    "Shared or hard-coded": "OncewatchCollisions, OncewatchHardCodedToken, OncewatchInvalidToken",
    "Lost idempotency": "OncewatchLostIdempotency, OncewatchTokenStuck",
}


def fill(board):
    which(board)
    early(board)
    late(board)
    cause_row(board, "Other parameters")
    cause_row(board, "Shared or hard-coded")
    lost(board)


def findings(cause):
    return series(VERDICTS, one_of("verdict", CAUSES[cause]))


def which(board):
    widths = (5, 5, 5, 5, 4)
    for (cause, verdicts), width in zip(CAUSES.items(), widths, strict=True):
        worst = ZERO_IS_GOOD if cause in ("Reused too late", "Lost idempotency") else ZERO_IS_GOOD_WARN
        board.add(stat(
            cause, f"{MEANINGS[cause]} Counted in the shown time range. Alerts: {ALERTS[cause]}.",
            or_zero(total(findings(cause))), worst,
            links=[panel_link(f"Traces: {cause.lower()}", traces_of(verdicts))]), width, 4)
    queries = [query(rate(findings(cause), scale=" * 60"), cause, exemplar=True) for cause in CAUSES]
    board.add(graph(
        "Since when: findings by cause",
        "Findings per minute by cause. Look at what changed where a colour begins: annotations show restarts, new versions "
        "and alerts; dots are single events with their trace.",
        queries, ANY_IS_ODD, unit="cpm", stacked=True, colors=COLORS), 24, 8)
    board.add(since_when(), 24, 9)


def since_when():
    labels = f"{POD}, api, verdict"
    selector = series(VERDICTS, FINDING)
    nothing = rows_or_none(total(selector, by=labels), "verdict", "no findings")
    to_pod = data_link("Show only this pod", dashboard_url(
        UID, namespace="namespace", service="service", instance="instance", api="API"))
    to_traces = data_link("Find traces", traces_of(["${__data.fields.verdict}"]))
    times = {"unit": "dateTimeAsLocalNoDateIfToday", "noValue": "unknown", "custom_width": 200}
    return table(
        "Which instance: findings with first and last time",
        "Every instance and verdict in the shown time range. Times are unknown where the finding was older than the "
        "first sample. Click an instance to see only that one, a verdict to search its traces.",
        [query(nothing), query(first_seen(selector, labels)), query(last_seen(selector, labels))],
        steps((None, "transparent"), (1, "orange"), (10, "red")),
        columns={"namespace": "namespace", "service": "service", "pod": "pod", "instance": "instance", "api": "API",
                 "verdict": "verdict", "Value #A": "count", "Value #B": "first", "Value #C": "last"},
        sort="Value #A",
        overrides=[column("instance", links=[to_pod]), column("verdict", links=[to_traces]), colored_count("count"),
                   column("first", **times), column("last", **times)])


def meaning(board, cause):
    board.row(f"{cause}: {', '.join(CAUSES[cause])}")
    return text(f"{cause}: meaning", f"What it is and what to do. Alerts: {ALERTS[cause]}.",
                f"{MEANINGS[cause]}\n\nAlerts: {ALERTS[cause]}\n\n[Search traces]({traces_of(CAUSES[cause])})")


def rates(cause):
    return graph(
        f"{cause}: rate",
        f"Findings per minute by verdict. {first_sentence(cause)} Dots are events with their trace.",
        [query(rate(findings(cause), by="verdict", scale=" * 60"), "{{verdict}}", exemplar=True)], ANY_IS_ODD, unit="cpm",
        stacked=True, colors={verdict: VERDICT_COLORS[verdict] for verdict in CAUSES[cause]},
        links=[panel_link(f"Traces: {cause.lower()}", traces_of(CAUSES[cause]))])


def first_sentence(cause):
    return MEANINGS[cause].split(". ")[0].replace("*", "") + "."


def pods(cause):
    labels = f"{POD}, verdict"
    expr = rows_or_none(total(findings(cause), by=labels), "verdict", "no findings")
    to_pod = data_link("Show only this pod", dashboard_url(UID, service="service", instance="instance"))
    to_traces = data_link("Find traces", traces_of(["${__data.fields.verdict}"]))
    return table(
        f"{cause}: pods",
        "Counts in the shown time range. One pod: a stuck worker or an old version. All pods of a service: its code or its "
        "configuration. Click to narrow down or to search traces.",
        [query(expr)], steps((None, "transparent"), (1, "orange"), (10, "red")),
        columns={"service": "service", "pod": "pod", "instance": "instance", "verdict": "verdict", "Value": "count"},
        sort="Value",
        overrides=[column("instance", links=[to_pod]), column("verdict", links=[to_traces], custom_width=200),
                   colored_count("count")])


def cause_row(board, cause):
    board.add(meaning(board, cause), 5, 9)
    board.add(rates(cause), 8, 9)
    board.add(pods(cause), 11, 9)


def early(board):
    cause = "Retried too early"
    cause_row(board, cause)
    bucket = series("oncewatch_retry_delay_seconds_bucket")
    traces = panel_link(f"Traces: {cause.lower()}", traces_of(CAUSES[cause]))
    board.add(heatmap(
        "Retry delay: where retries start",
        "From the first attempt to a later one while the outcome was open. 5 s is a bucket bound: only retries above it make "
        "DynamoDB complete a stuck transaction. If nothing is above 5 s, raise timeout or attempts.",
        f"sum by (le) (increase({bucket}[$__rate_interval]))", links=[traces]), 14, 9)
    board.add(graph(
        "Retry delay against 5 s",
        "Quantiles of the retry delay; the line is at 5 s. The 99th percentile should be above it: a call's last attempt is "
        "the one that counts. If it is not, raise timeout or attempts.",
        [query(quantile(q, bucket), name, exemplar=q == 0.99) for q, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))],
        steps((None, "orange"), (RECOVERY_SECONDS, "green")), unit="s", line=True, log=True,
        colors=QUANTILE_COLORS, links=[traces]), 10, 9)


def late(board):
    cause = "Reused too late"
    cause_row(board, cause)
    bucket = series("oncewatch_reuse_age_seconds_bucket")
    traces = panel_link(f"Traces: {cause.lower()}", traces_of(CAUSES[cause]))
    board.add(heatmap(
        "Reuse age: how old tokens come back",
        "From completion to the next use of the token. 600 s, the window of DynamoDB, is a bucket bound: what is above it is "
        "executed again. Find what holds requests back for so long: queues, dead letters, retries by hand.",
        f"sum by (le) (increase({bucket}[$__rate_interval]))", links=[traces]), 14, 9)
    window = f"max by (api) ({series('oncewatch_window_seconds')})"
    board.add(graph(
        "Reuse age against 600 s",
        "Quantiles of the reuse age, and the window of each API; the line is at 600 s, the window of DynamoDB. Reuse above "
        "the window is executed again: cap the age of retries below it.",
        [*(query(quantile(q, bucket), name, exemplar=q == 0.99) for q, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))),
         query(window, "window of {{api}}")],
        steps((None, "green"), (WINDOW_SECONDS, "red")), unit="s", line=True, log=True, colors=QUANTILE_COLORS, links=[traces]), 10, 9)


def lost(board):
    cause = "Lost idempotency"
    cause_row(board, cause)
    oldest = series("oncewatch_oldest_open_token_timestamp_seconds", api=False)
    board.add(graph(
        "Oldest open token",
        "Age of the oldest attempt without an end; 0 if none is open. Above 120 s its client died or its end was lost: the "
        "outcome is unknown, retry with the same token inside the window. Alert: OncewatchTokenStuck.",
        [query(f"max by ({POD}) ((time() - {oldest}) * ({oldest} > bool 0))", "{{instance}}")],
        steps((None, "green"), (120, "orange")), unit="s", line=True), 12, 8)
    board.add(graph(
        "Unresolved answers",
        "Attempts per second that leave the outcome open: no answer, a server error, or still in progress. Every fresh token "
        "after one of these is a possible double execution.",
        [query(rate(series("oncewatch_attempts_total", one_of("result", ("no_response", "server_error", "in_progress"))),
                    by="result"), "{{result}}")],
        NEUTRAL, unit="reqps", stacked=True), 12, 8)
