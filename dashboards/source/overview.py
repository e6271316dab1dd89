"""Overview: is token misuse harming us now?"""

from grafana import (
    ANY_IS_BAD, ANY_IS_ODD, NEUTRAL, ZERO_IS_GOOD, alert_list, colored_count, column, dashboard_url, data_link, graph, panel_link,
    query, stat, steps, table, text,
)
from promql import FINDING, POD, one_of, or_zero, quantile, rate, rows_or_none, series, total
from verdicts import CAUSES, FIRST_ACTIONS, VERDICT_COLORS, traces_of

UID = "oncewatch-overview"
FILE = "overview"
TITLE = "oncewatch / Overview"
DESCRIPTION = "Is token misuse harming us now? If yes: who, and what to do first. Causes and times are in Investigate."

UNKNOWN = 'outcome=~"unknown|in_progress_exhausted"'
# Findings after which one operation may have been applied twice.
POSSIBLE = ("fresh_token_after_unknown", "reuse_after_window")
# A client that reports nothing for so long has gone, or cannot reach the socket.
SILENT_SECONDS = 900

VERDICTS = "oncewatch_verdicts_total"
CALLS = "oncewatch_calls_total"

# Of a call that ended; 99.9 % of calls shall end with a known outcome.
ERROR_BUDGET = 0.001

QUANTILE_COLORS = {"p50": "blue", "p95": "orange", "p99": "red"}


def fill(board):
    now(board)
    who(board)
    calls(board)
    healthy(board)
    what_to_do(board)


def share(part, whole):
    """0 where nothing happened."""
    return f"({or_zero(part)}) / clamp_min({or_zero(whole)}, 1)"


def blind():
    """Pods whose sidecar is down, or that reach none."""
    age = f"time() - {series('oncewatch_last_event_timestamp_seconds', api=False)} > {SILENT_SECONDS}"
    up_long = f"time() - {series('oncewatch_observation_start_timestamp_seconds', api=False)} > {SILENT_SECONDS}"
    alone = f"{series('oncewatch_clients_connected', api=False)} == 0"
    return or_zero(f"count((({alone}) and ({age}) and ({up_long})) or ({down()}))")


def down():
    """Targets that do not answer, and that were a sidecar within the last hour."""
    build = series("oncewatch_build_info", api=False)
    return f"({series('up', api=False)} == 0) and on (job, instance) last_over_time({build}[1h])"


def now(board):
    investigate = panel_link("Investigate", dashboard_url("oncewatch-investigate"))
    confirmed = series(VERDICTS, 'verdict="double_execution"')
    board.add(stat(
        "Double executions",
        "Operations that the service applied twice, in the shown time range. Data is wrong now: stop the job that retries, "
        "compare the data with the token in the trace, repair. Alert: OncewatchDoubleExecution.",
        or_zero(total(confirmed)), ZERO_IS_GOOD,
        links=[panel_link("Traces of double executions", traces_of(["double_execution"])), investigate]), 4, 4)
    board.add(stat(
        "Possible double executions",
        "The same request was sent under a new token while the outcome of the first was unknown, or a token came back after "
        "its window. Compare the data of both requests, then fix the retry. Alerts: OncewatchLostIdempotency, "
        "OncewatchReuseAfterWindow.",
        or_zero(total(series(VERDICTS, one_of("verdict", POSSIBLE)))), ZERO_IS_GOOD,
        links=[panel_link("Traces of possible double executions", traces_of(POSSIBLE)), investigate]), 4, 4)
    board.add(stat(
        "Calls with unknown outcome",
        "Share of calls in the shown time range that ended without an answer, or while the service was still working. Users "
        "see failures: check latency and client timeouts. Do not rotate tokens. Alert: OncewatchUnresolvedCallsBurn.",
        share(total(series(CALLS, UNKNOWN)), total(series(CALLS))),
        steps((None, "green"), (0.001, "orange"), (0.01, "red")), unit="percentunit", decimals=2, links=[investigate]), 4, 4)
    board.add(stat(
        "Findings per minute",
        "All verdicts of severity warning or worse, over the last 5 minutes. Zero is normal: it may be over, or it has not "
        "begun. The graph below says which ones they are.",
        or_zero(f"sum(increase({series(VERDICTS, FINDING)}[5m])) / 5"), ANY_IS_ODD, unit="cpm", decimals=1,
        links=[investigate]), 4, 4)
    board.add(stat(
        "Blind pods",
        "Sidecars that do not answer, and sidecars older than 15 minutes with no client and no event for 15 minutes. The "
        "application is not affected, but its misuse stays unseen: check library, volume mount, uid and mode of the socket. "
        "Alerts: OncewatchDown, OncewatchBlind.",
        blind(), steps((None, "green"), (1, "orange")),
        links=[panel_link("Sidecar health", dashboard_url("oncewatch-sidecar-health"))]), 4, 4)
    board.add(alert_list(
        "Firing alerts",
        "Alerts of oncewatch that fire now, from Prometheus or Grafana. Empty is good. Each alert names its runbook: open it "
        "first."), 4, 4)


def who(board):
    by_verdict = rate(series(VERDICTS, FINDING), by="verdict", scale=" * 60")
    board.add(graph(
        "Findings by verdict",
        "Findings per minute. Dots are single events with their trace: click one. A step means a deployment or a dependency "
        "that became slow; compare with the annotations.",
        [query(by_verdict, "{{verdict}}", exemplar=True)], ANY_IS_ODD, unit="cpm", stacked=True, colors=VERDICT_COLORS,
        links=[panel_link("Traces of all findings", traces_of(FIRST_ACTIONS))]), 12, 9)
    labels = "cluster, namespace, service, api, severity, verdict"
    to_cause = data_link("Investigate this service", dashboard_url(
        "oncewatch-investigate", namespace="namespace", service="service", api="API"))
    board.add(table(
        "Who: findings by service, API and verdict",
        "Counts in the shown time range, worst first. Click a verdict to see its cause, its pods and its start; the first "
        "action for each is at the bottom of this page.",
        [query(rows_or_none(total(series(VERDICTS, FINDING), by=labels), "verdict", "no findings"))],
        steps((None, "transparent"), (1, "orange"), (10, "red")),
        columns={"namespace": "namespace", "service": "service", "api": "API", "severity": "severity",
                 "verdict": "verdict", "Value": "count"},
        # The alphabet happens to put the worst severity first.
        first=["severity"], sort="Value",
        overrides=[column("verdict", links=[to_cause], custom_width=200), colored_count("count"), severity_colors()]), 12, 9)


def severity_colors():
    options = {name: {"text": name, "color": color, "index": index} for index, (name, color) in enumerate(
        (("critical", "red"), ("error", "orange"), ("warning", "yellow")))}
    return column("severity", mappings=[{"type": "value", "options": options}],
                  custom_cellOptions={"type": "color-text"}, custom_width=90)


def calls(board):
    board.row("Calls: do users feel it?")
    board.add(graph(
        "Calls by outcome",
        "Calls per second by what is known of their effect. unknown and in_progress_exhausted are calls that may have been "
        "applied: the retry with the same token is right, a new token is not.",
        [query(rate(series(CALLS), by="outcome"), "{{outcome}}")], NEUTRAL, unit="reqps", stacked=True,
        colors={"applied": "green", "not_applied": "blue", "unknown": "red", "in_progress_exhausted": "dark-red"}), 8, 8)
    windows = [query(f"({share(increase(UNKNOWN, w), increase('', w))}) / {ERROR_BUDGET}", w) for w in ("5m", "1h", "6h")]
    board.add(graph(
        "Error budget burn",
        "How many times faster than sustainable calls end with an unknown outcome, against 99.9 % known outcomes. Above 14.4 "
        "(1 h and 5 m) or 6 (6 h) users see failures now: check latency and client timeouts. Alert: "
        "OncewatchUnresolvedCallsBurn.",
        windows, steps((None, "green"), (6, "orange"), (14.4, "red")), unit="none", line=True, decimals=1,
        colors={"5m": "blue", "1h": "orange", "6h": "red"}), 8, 8)
    bucket = series("oncewatch_attempt_duration_seconds_bucket")
    board.add(graph(
        "Attempt duration",
        "How long attempts take, by quantile; dots are attempts with their trace. A client timeout below the 99th percentile "
        "makes unknown outcomes: raise it, or find what became slow.",
        [query(quantile(q, bucket), name, exemplar=q == 0.99) for q, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))],
        steps((None, "green"), (1, "orange"), (5, "red")), unit="s", line=True, colors=QUANTILE_COLORS), 8, 8)


def increase(matcher, window):
    return f"sum(increase({series(CALLS, *([matcher] if matcher else []))}[{window}]))"


def healthy(board):
    attempts = series("oncewatch_attempts_total")
    board.add(graph(
        "Attempts by result",
        "Attempts per second by their answer. in_progress, no_response and server_error leave the outcome open; throttled "
        "and rejected did nothing.",
        [query(rate(attempts, by="result"), "{{result}}")], NEUTRAL, unit="reqps", stacked=True,
        colors={"success": "green", "cancelled": "blue", "throttled": "yellow", "rejected": "purple",
                "in_progress": "orange", "mismatch": "dark-purple", "no_response": "red", "server_error": "dark-red"}), 8, 8)
    repeats = ("sdk_retry", "safe_retry", "replay", "retry_after_cancel", "in_progress_local")
    board.add(graph(
        "Healthy repeats",
        "Repeats with the same token that are right, per second. first_use is the new work to compare them with. A rise is "
        "no misuse, but says that something is slow or fails.",
        [query(rate(series(VERDICTS, one_of("verdict", ("first_use", *repeats))), by="verdict"), "{{verdict}}")], NEUTRAL,
        unit="ops", colors={"first_use": "text"}), 8, 8)
    replays = rate(series(VERDICTS, 'verdict="replay"'))
    board.add(graph(
        "Replays",
        "Share of attempts that repeat a success. The service does nothing, but charges read capacity: above 20 % for half an "
        "hour, stop whoever repeats finished work. Alert: OncewatchReplayHigh.",
        [query(f"({or_zero(replays)}) / clamp_min({or_zero(rate(attempts))}, 1e-9)", "replays")],
        steps((None, "green"), (0.2, "orange")), unit="percentunit", line=True), 8, 8)
    labels = f"{POD}, api"
    to_pod = data_link("Investigate this pod", dashboard_url(
        "oncewatch-investigate", namespace="namespace", instance="instance"))
    board.row("Who: services and pods")
    board.add(graph(
        "Findings by service",
        "Findings per minute and service. One service: its own code or configuration. Many at once: the dependency or the "
        "network.",
        [query(rate(series(VERDICTS, FINDING), by="namespace, service", scale=" * 60"), "{{namespace}}/{{service}}")],
        ANY_IS_ODD, unit="cpm", stacked=True), 12, 8)
    board.add(table(
        "Top pods",
        "The ten pods and APIs with most findings in the shown time range. One pod alone is often a stuck worker or a bad "
        "host; click it to investigate.",
        [query(rows_or_none(f"topk(10, {total(series(VERDICTS, FINDING), by=labels)})", "pod", "no findings"))],
        steps((None, "transparent"), (1, "orange"), (10, "red")),
        columns={"namespace": "namespace", "service": "service", "pod": "pod", "instance": "instance", "api": "API",
                 "Value": "findings"}, sort="Value",
        overrides=[column("pod", links=[to_pod]), colored_count("findings")]), 12, 8)


def what_to_do(board):
    board.row("What to do first")
    cause_of = {verdict: cause for cause, verdicts in CAUSES.items() for verdict in verdicts}
    lines = ["| verdict | cause | first action |", "|---|---|---|"]
    lines += [f"| `{verdict}` | {cause_of[verdict]} | {action} |" for verdict, action in FIRST_ACTIONS.items()]
    never = ("**After an unknown outcome, never retry with a new token.** The same token, 5 s or more after the first "
             "attempt and inside the window, completes what is stuck or reports its result. After the window read the data "
             "first.\n\n")
    board.add(text(
        "First action for each verdict",
        "Worst first. The same texts, longer: oncewatch explain VERDICT, and the runbook of the alert.",
        never + "\n".join(lines)), 24, 17)
