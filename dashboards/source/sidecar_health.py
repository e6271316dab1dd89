"""Sidecar health: can I trust what I see?"""

from grafana import (
    ANY_IS_ODD, NEUTRAL, ZERO_IS_GOOD_WARN, column, dashboard_url, data_link, graph, query, stat, steps, table,
)
from overview import SILENT_SECONDS, blind, down
from promql import POD, or_zero, rate, series, total

UID = "oncewatch-sidecar-health"
FILE = "sidecar-health"
TITLE = "oncewatch / Sidecar health"
DESCRIPTION = "Can I trust what I see? If anything here is not green, the verdicts of those pods are lower bounds."

START = "oncewatch_observation_start_timestamp_seconds"
LAST_EVENT = "oncewatch_last_event_timestamp_seconds"


def fill(board):
    trust(board)
    per_pod(board)
    intake(board)
    memory(board)
    process(board)
    spans(board)


def pod(name):
    """A metric that each sidecar has once."""
    return series(name, api=False)


def trust(board):
    board.add(stat(
        "Sidecars up", "Sidecars that answer Prometheus. Compare with the number of pods that should have one; if some are "
        "missing, check the injection label and the scrape configuration.",
        or_zero(f"count({pod('oncewatch_build_info')})"), NEUTRAL), 3, 4)
    board.add(stat(
        "Sidecars down", "Targets that were a sidecar within the last hour and do not answer. The application is not "
        "affected; its misuse stays unseen. Look at the container's last state. Alert: OncewatchDown.",
        or_zero(f"count({down()})"), ZERO_IS_GOOD_WARN), 3, 4)
    board.add(stat(
        "Blind pods", "Sidecars that do not answer, and sidecars older than 15 minutes with no client and no event for 15 "
        "minutes. Check library, volume mount, uid and mode of the socket. Alert: OncewatchBlind.",
        blind(), ZERO_IS_GOOD_WARN), 3, 4)
    board.add(stat(
        "Young sidecars", "Sidecars that observe for less than the longest window of their APIs: reuse of older "
        "tokens is not seen yet. Normal after a deployment; for DynamoDB alone it lasts 10 minutes.",
        or_zero(young()), NEUTRAL), 3, 4)
    board.add(stat(
        "Events lost", "Lines that could not be used, and events or effects dropped, in the shown time range. Verdicts are "
        "lower bounds: see Intake below. Alert: OncewatchEventsDropped.",
        f"({or_zero(total(pod('oncewatch_events_dropped_total')))}) + ({or_zero(total(unusable()))})",
        ZERO_IS_GOOD_WARN), 3, 4)
    board.add(stat(
        "Tracking gaps", "Occasions in the shown time range on which knowledge was given up because a table was full or the "
        "process restarted. Verdicts are lower bounds: raise capacity. Alert: OncewatchTrackingGaps.",
        or_zero(total(pod("oncewatch_tracking_gaps_total"))), ZERO_IS_GOOD_WARN), 3, 4)
    board.add(stat(
        "Fullest table", "Share of the token table in use, of the fullest pod and API. At 100 % old tokens make room: raise "
        "capacity before that.",
        or_zero(f"max({fill_ratio()})"), steps((None, "green"), (0.8, "orange"), (0.95, "red")), unit="percentunit",
        decimals=1), 3, 4)
    board.add(stat(
        "Span export failures", "Share of spans in the shown time range that the collector refused or that were dropped. "
        "Metrics and findings are complete, traces are not: check the collector. Alert: OncewatchSpanExportFailing.",
        failed_share(), steps((None, "green"), (0.01, "orange"), (0.1, "red")), unit="percentunit", decimals=1), 3, 4)


def young():
    """The label `other` is left out: its window of a day would hold every pod back."""
    own_label = 'api!="other"'
    window = f"max by ({POD}) ({series('oncewatch_window_seconds', own_label)})"
    age = f"max by ({POD}) (time() - {pod(START)})"
    return f"count({age} < {window})"


def unusable():
    """A duplicate is no loss: the event was already counted."""
    return series("oncewatch_events_rejected_total", 'reason!="duplicate"', api=False)


def fill_ratio():
    tokens = f"sum by ({POD}, api) ({series('oncewatch_tokens')})"
    capacity = f"sum by ({POD}, api) ({series('oncewatch_tokens_capacity')})"
    return f"{tokens} / {capacity}"


def failed_share():
    failed = total(series("oncewatch_spans_total", 'outcome=~"failed|dropped"', api=False))
    every = total(pod("oncewatch_spans_total"))
    return f"({or_zero(failed)}) / clamp_min({or_zero(every)}, 1)"


def per_pod(board):
    per = f"max by ({POD})"
    heard = f"({pod(LAST_EVENT)} > 0)"
    queries = [
        query(f"{per} (time() - {pod(START)})"),
        query(f"{per} (time() - {heard})"),
        query(f"{per} ({pod('oncewatch_clients_connected')})"),
        query(f"sum by ({POD}) ({unusable_or_dropped()})"),
        query(f"count by ({POD}, version, revision) ({pod('oncewatch_build_info')})"),
    ]
    narrow = data_link("Show only this sidecar", dashboard_url(UID, namespace="namespace", instance="instance"))
    silent = steps((None, "transparent"), (SILENT_SECONDS, "orange"))
    young_first = steps((None, "orange"), (600, "transparent"))
    lossy = steps((None, "transparent"), (1, "orange"))
    filled = {"type": "color-background", "mode": "basic"}
    board.add(table(
        "Sidecars, one by one",
        "Observing: verdicts are lower bounds until one window (10 min for DynamoDB) has passed. Lost: unusable or dropped events in the shown time range. Click an instance to see only that one.",
        queries, NEUTRAL,
        columns={"namespace": "namespace", "service": "service", "pod": "pod", "instance": "instance",
                 "version": "version", "revision": "revision", "Value #A": "observing", "Value #B": "last event",
                 "Value #C": "clients", "Value #D": "lost"}, sort="Value #D",
        overrides=[
            column("instance", links=[narrow]),
            column("version", noValue="down"), column("revision", noValue="down"),
            column("observing", unit="dtdurations", noValue="down", thresholds=young_first, custom_cellOptions=filled),
            column("last event", unit="dtdurations", noValue="never or down", thresholds=silent, custom_cellOptions=filled),
            column("clients", noValue="down"),
            column("lost", thresholds=lossy, custom_cellOptions=filled),
        ]), 24, 9)


def unusable_or_dropped():
    dropped = pod("oncewatch_events_dropped_total")
    return f"increase({unusable()}[$__range]) or increase({dropped}[$__range])"


def intake(board):
    board.row("Intake: does every event arrive?")
    board.add(graph(
        "Events by type", "Usable events per second. Starts without ends: the client library is cut off, or does not report "
        "ends. Nothing at all: see Blind pods.",
        [query(rate(pod("oncewatch_events_total"), by="type"), "{{type}}")], NEUTRAL, unit="cps"), 8, 8)
    board.add(graph(
        "Unusable events by reason", "Lines and events per second that could not be used. malformed or too_long: an old or "
        "foreign client; unsupported_version: update the sidecar; duplicate: a client reports twice, nothing is lost.",
        [query(rate(pod("oncewatch_events_rejected_total"), by="reason"), "{{reason}}")], ANY_IS_ODD, unit="cps",
        stacked=True), 8, 8)
    board.add(graph(
        "Dropped events by place", "Events or effects per second that were lost: in the client (its buffer was full), or in a "
        "queue of the sidecar. Give the sidecar more CPU. Alert: OncewatchEventsDropped.",
        [query(rate(pod("oncewatch_events_dropped_total"), by="where"), "{{where}}")], ANY_IS_ODD, unit="cps",
        stacked=True), 8, 8)
    board.add(graph(
        "Clients connected", "Open stream connections of each pod. A pod at 0 whose application runs is blind: library not "
        "loaded, or the socket cannot be reached.",
        [query(f"max by ({POD}) ({pod('oncewatch_clients_connected')})", "{{instance}}")], NEUTRAL, unit="short",
        decimals=0), 6, 8)
    age = f"max by ({POD}) (time() - ({pod(LAST_EVENT)} > 0))"
    board.add(graph(
        "Age of the last event", "Time since the last usable event of each pod that ever had one. The line is at 15 min: an "
        "idle application, or a broken client. Alert: OncewatchBlind.",
        [query(age, "{{instance}}")], steps((None, "green"), (SILENT_SECONDS, "orange")), unit="s", line=True), 6, 8)
    board.add(graph(
        "Doubtful input", "Events per second whose own clock is more than 2 s off, and events whose trace context could not "
        "be read. Both are used; set the clock of the node, or fix the propagator.",
        [query(rate(pod("oncewatch_clock_suspect_total")), "clock"),
         query(rate(pod("oncewatch_traceparent_malformed_total")), "traceparent")], ANY_IS_ODD, unit="cps"), 6, 8)
    board.add(graph(
        "Refused connections", "Connections per second that were closed or could not be had. limit: too many are open, look for "
        "a client that does not close, or raise max-connections; uid: its user is not in allow-uid, and its pod is blind; "
        "accept_failed: no file descriptor is left; http_limit: too many scrapes, probes or pages at once. socket: its file "
        "was deleted and bound anew, or is taken by something else (failed), and new clients do not find the sidecar.",
        [query(rate(pod("oncewatch_connections_refused_total"), by="reason"), "{{reason}}"),
         query(rate(pod("oncewatch_socket_rebinds_total"), by="outcome"), "socket {{outcome}}")], ANY_IS_ODD, unit="cps",
        stacked=True), 6, 8)


def memory(board):
    board.row("Memory of tokens: is anything forgotten too early?")
    board.add(graph(
        "Tokens by status", "Tokens remembered now. A growing unknown: outcomes that nobody resolves. A growing in_flight: "
        "calls that do not end.",
        [query(f"sum by (status) ({series('oncewatch_tokens')})", "{{status}}")], NEUTRAL, unit="short", stacked=True,
        colors={"succeeded": "green", "cancelled": "blue", "rejected": "purple", "in_flight": "yellow", "unknown": "red"}),
        8, 8)
    board.add(graph(
        "Table fill", "Share of the token table in use. At 100 % the tokens that were not seen for longest make room: raise "
        "capacity before that.",
        [query(f"max by (api) ({fill_ratio()})", "{{api}}")], steps((None, "green"), (0.8, "orange"), (0.95, "red")),
        unit="percentunit", line=True, maximum=1), 8, 8)
    board.add(graph(
        "Removed tokens by reason", "Tokens per second that are no longer remembered. expired is normal; "
        "evicted_in_retention loses history; evicted_in_window loses verdicts: raise capacity. Alert: OncewatchTrackingGaps.",
        [query(rate(series("oncewatch_tokens_removed_total"), by="reason"), "{{reason}}"),
         query(rate(pod("oncewatch_tracking_gaps_total"), by="reason"), "gap: {{reason}}")], NEUTRAL, unit="ops",
        colors={"evicted_in_window": "red", "expired": "green"}), 8, 8)
    board.add(graph(
        "State on disk", "Bytes in the state directory of each sidecar; 0 without state-dir. It rises and falls between one and "
        "three times what is known, below state-max-bytes.",
        [query(f"max by ({POD}) ({pod('oncewatch_state_bytes')})", "{{instance}}")], NEUTRAL, unit="bytes"), 12, 8)
    board.add(graph(
        "State over restarts", "Tokens that were known again at the last start, and occasions per second on which the state could "
        "not be written: a full or read-only disk, or state-max-bytes is too small. What happens meanwhile is forgotten by a "
        "restart. Alert: OncewatchStateWriteFailing.",
        [query(f"max by ({POD}) ({pod('oncewatch_state_replayed_total')})", "known again: {{instance}}"),
         query(rate(pod("oncewatch_state_write_failures_total")), "not written")], NEUTRAL, unit="short",
        colors={"not written": "red"}), 12, 8)


def process(board):
    board.row("Process: what does it cost?")
    each = "{{instance}}"
    board.add(graph(
        "Resident memory", "Memory of each sidecar. It grows with the tokens remembered, up to a bound. Close to the memory "
        "limit: raise the limit or lower capacity.",
        [query(f"max by ({POD}) ({pod('process_resident_memory_bytes')})", each)],
        steps((None, "green"), (256 * 2**20, "orange")), unit="bytes"), 8, 8)
    board.add(graph(
        "CPU", "Cores used by each sidecar. It follows the rate of events. Much above its share: look for a client that "
        "floods.",
        [query(f"max by ({POD}) (rate({pod('process_cpu_seconds_total')}[$__rate_interval]))", each)],
        steps((None, "green"), (0.5, "orange")), unit="none", decimals=3), 8, 8)
    board.add(graph(
        "Open files", "Share of the file descriptors in use. Each connection takes one; at 100 % no client can connect. Look "
        "for a client that reconnects without closing.",
        [query(f"max by ({POD}) ({pod('process_open_fds')} / {pod('process_max_fds')})", each)],
        steps((None, "green"), (0.8, "orange")), unit="percentunit", line=True), 8, 8)


def spans(board):
    board.row("Spans and versions")
    board.add(graph(
        "Spans by outcome", "Spans per second. failed: the collector refuses or does not answer; dropped: the queue was full. "
        "All at 0: no endpoint is set, or no misuse. Alert: OncewatchSpanExportFailing.",
        [query(rate(pod("oncewatch_spans_total"), by="outcome"), "{{outcome}}")], ANY_IS_ODD, unit="ops",
        colors={"exported": "green", "failed": "red", "dropped": "orange"}), 12, 8)
    board.add(graph(
        "Sidecars by version", "Sidecars that run each version. More than one for long: a rollout is stuck. Verdicts may "
        "differ between versions.",
        [query(f"count by (version, revision) ({pod('oncewatch_build_info')})", "{{version}} ({{revision}})")], NEUTRAL,
        unit="short", stacked=True, decimals=0), 12, 8)
