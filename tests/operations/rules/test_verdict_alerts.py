"""A firing and a quiet case for every alert on what happened to requests."""

import pytest
from promtool import API, attempts, calls, fire, firing, matching, observing, run, series, verdict

# Verdict, alert, severity, minutes of `for`, minutes of `keep_firing_for`.
ON_ONE_EVENT = [
    ("double_execution", "OncewatchDoubleExecution", "critical", 0, 30),
    ("fresh_token_after_unknown", "OncewatchLostIdempotency", "warning", 0, 15),
    ("reuse_after_window", "OncewatchReuseAfterWindow", "critical", 0, 15),
    ("parameter_mismatch", "OncewatchParameterMismatch", "warning", 0, 15),
    ("remote_mismatch", "OncewatchParameterMismatch", "warning", 0, 15),
    ("encoding_mismatch", "OncewatchUnstableEncoding", "warning", 5, 15),
    ("hard_coded_token", "OncewatchHardCodedToken", "warning", 5, 15),
    ("token_invalid", "OncewatchInvalidToken", "warning", 5, 15),
    ("stuck_in_flight", "OncewatchTokenStuck", "warning", 2, 15),
    ("orphaned", "OncewatchTokenStuck", "warning", 2, 15),
]


def m(n):
    return f"{n}m"


def traffic(minutes=200, **labels):
    """Enough calls that one event is below every share."""
    return [calls("applied", f"0+100x{minutes}", **labels), attempts("success", f"0+100x{minutes}", **labels)]


def check_each(tmp_path, inputs, expected):
    """One service for each verdict: `inputs(verdict, service)` and `expected(alert, for, keep)`, the
    latter as pairs of a time and whether the alert fires then. No other alert may fire."""
    given, checks = [], []
    for name, alert, severity, wait, keep in ON_ONE_EVENT:
        service = name.replace("_", "-")
        given += inputs(name, service) + traffic(service=service)
        for at, fires in expected(wait, keep):
            checks.append((m(at), fire(service, [firing(alert, severity, service=service)] if fires else [])))
    run(tmp_path, given, checks)


def test_an_event_of_a_known_series_fires_and_ends(tmp_path):
    """At 0 up to minute 30, then one event: it stays for the window and what the alert is kept."""

    def expected(wait, keep):
        early = [(30 + wait, False)] if wait else []
        return [(30, False), *early, (32 + wait, True), (44 + keep, True), (48 + keep, False)]

    check_each(tmp_path, lambda name, service: [verdict(name, "0x30 1x120", service=service)], expected)


def test_a_counter_that_is_born_at_one_fires_once(tmp_path):
    def expected(wait, keep):
        return [(29, False), (31 + wait, True), (43 + keep, True), (48 + keep, False)]

    check_each(tmp_path, lambda name, service: [verdict(name, "_x30 1x120", service=service)], expected)


def test_the_event_of_a_pod_that_is_gone_again_fires(tmp_path):
    """A Job whose sidecar was scraped twice, with the event in both."""
    check_each(
        tmp_path,
        lambda name, service: [verdict(name, "_x30 1 1 stale", service=service)],
        lambda wait, keep: [(29, False), (32 + wait, True), (48 + keep, False)],
    )


def test_a_restart_without_a_new_event_is_quiet(tmp_path):
    """A container's counters begin again at 0, a pod's in a new series."""

    def inputs(name, service):
        pods = {"a": "7x60 0x90", "b": "7x60 stale", "c": "_x61 0x90"}
        counters = [verdict(name, values, pod=pod, service=service) for pod, values in pods.items()]
        return counters + [observing(-9000, pod, service=service) for pod in "ab"]

    check_each(tmp_path, inputs, lambda wait, keep: [(at, False) for at in (20, 60, 61, 62, 67, 75, 76, 77, 90)])


def test_an_event_after_a_counter_reset_fires(tmp_path):
    def inputs(name, service):
        return [verdict(name, "7x60 1x90", service=service), observing(-9000, service=service)]

    check_each(tmp_path, inputs, lambda wait, keep: [(60, False), (63 + wait, True)])


def test_a_young_sidecar_that_restarts_keeps_its_event(tmp_path):
    """The counter is less than 15 minutes old, counts an event, and begins again at 0."""
    check_each(
        tmp_path,
        lambda name, service: [verdict(name, "_x30 0 1 0x60", service=service)],
        lambda wait, keep: [(30, False), (34 + wait, True)],
    )


def test_an_old_count_that_prometheus_sees_for_the_first_time_is_quiet(tmp_path):
    """Prometheus is new or was away, the sidecar was not."""

    def inputs(name, service):
        began = series("oncewatch_observation_start_timestamp_seconds", "_x60 0x90", service=service)
        return [verdict(name, "_x60 7x90", service=service), began]

    check_each(tmp_path, inputs, lambda wait, keep: [(at, False) for at in (60, 61, 67, 74, 75, 76, 80)])


def test_a_young_sidecar_with_an_event_fires(tmp_path):
    def inputs(name, service):
        began = series("oncewatch_observation_start_timestamp_seconds", "_x60 3590x90", service=service)
        return [verdict(name, "_x60 1x90", service=service), began]

    check_each(tmp_path, inputs, lambda wait, keep: [(61 + wait, True)])


def test_without_the_label_service_alerts_are_per_namespace(tmp_path):
    inputs = [verdict("double_execution", "0x30 1x60", service=None), *traffic(service=None)]
    inputs += [series("up", "0x60", service=None)]
    expected = [firing("OncewatchDoubleExecution", "critical", service=None)]
    expected += [firing("OncewatchDown", "warning", service=None, api=None)]
    run(tmp_path, inputs, [("32m", expected)])


def test_other_verdicts_fire_nothing(tmp_path):
    names = ["first_use", "sdk_retry", "safe_retry", "retry_after_cancel", "in_progress_local", "in_progress_exhausted"]
    names += ["changed_after_cancel", "window_edge", "token_recycled"]
    inputs = [verdict(name, "0+9x120") for name in names] + traffic()
    run(tmp_path, inputs, [(m(at), []) for at in (20, 60, 119)])


def test_events_of_pods_add_up_in_whole_numbers(tmp_path):
    """increase() alone gives 1.07 for each event of a series that is scraped every minute."""
    inputs = [verdict("double_execution", "0x30 1x30", pod=pod) for pod in "abc"]
    inputs += [verdict("double_execution", "_x28 2x30", pod="d")]
    name = "namespace_service_api_verdict:oncewatch_verdicts:increase15m"
    labels = {"__name__": name, "namespace": "shop", "service": "orders", "api": API, "verdict": "double_execution"}
    run(tmp_path, inputs, [("35m", matching(name, [(labels, 5)])), ("35m", [firing("OncewatchDoubleExecution", "critical")])])


def test_services_and_apis_are_apart(tmp_path):
    inputs = [
        verdict("double_execution", "0x30 1x30"),
        verdict("double_execution", "0x60", api="other"),
        verdict("double_execution", "0x60", pod="b", service="billing"),
        verdict("parameter_mismatch", "0x30 1x30", pod="b", service="billing", api="other"),
    ]
    expected = [
        firing("OncewatchDoubleExecution", "critical"),
        firing("OncewatchParameterMismatch", "warning", service="billing", api="other"),
    ]
    run(tmp_path, inputs, [("32m", expected)])


LOST = ("OncewatchLostIdempotency", "warning"), ("OncewatchLostIdempotency", "critical")


@pytest.mark.parametrize(
    "events, calls_per_minute, paged",
    [(5, 100, False), (6, 100, True), (1, 10, False), (1, 6, True), (1, 0, False)],
)
def test_lost_idempotency_pages_above_five_or_one_percent_of_calls(tmp_path, events, calls_per_minute, paged):
    """15 minutes of 10 calls are 150, of 6 are 90. Without call ids there is no share."""
    inputs = [
        verdict("fresh_token_after_unknown", f"0x30 {events}x30"),
        calls("applied", f"0+{calls_per_minute}x60"),
    ]
    run(tmp_path, inputs, [("32m", [firing(*lost) for lost in LOST[: 1 + paged]])])


# Verdict, alert, severity, minutes of `for`, share, metric that it is a share of.
SHARES = [
    ("retry_budget_too_short", "OncewatchRetryBudgetTooShort", "warning", 10, 0.01, calls),
    ("in_flight_collision", "OncewatchCollisions", "warning", 10, 0.01, attempts),
    ("cross_client_collision", "OncewatchCollisions", "warning", 10, 0.01, attempts),
    ("in_progress_remote", "OncewatchCollisions", "warning", 10, 0.01, attempts),
    ("replay", "OncewatchReplayHigh", "info", 30, 0.2, attempts),
]


@pytest.mark.parametrize("name, alert, severity, wait, share, of", SHARES)
def test_a_share_fires_above_its_threshold_after_its_time(tmp_path, name, alert, severity, wait, share, of):
    value = {calls: "applied", attempts: "success"}[of]
    total = of(value, "0+1000x120")
    above, below = round(1000 * share * 1.1), round(1000 * share * 0.9)
    late = [(m(38 + wait), [firing(alert, severity)])]
    run(tmp_path, [total, verdict(name, f"0x20 0+{above}x100")], [(m(20 + wait), []), *late])
    run(tmp_path, [total, verdict(name, f"0x20 0+{below}x100")], [(m(at), []) for at in (40, 60, 110)])


def test_collisions_are_added_up(tmp_path):
    names = ["in_flight_collision", "cross_client_collision", "in_progress_remote"]
    inputs = [attempts("success", "0+1000x120")] + [verdict(name, "0+4x120") for name in names]
    run(tmp_path, inputs, [("60m", [firing("OncewatchCollisions", "warning")])])


def test_shares_need_neither_calls_nor_attempts(tmp_path):
    """Clients without call ids end no calls; an attempt may not have ended yet."""
    inputs = [verdict("in_flight_collision", "0+1x60"), attempts("success", "0x60"), verdict("replay", "0x60")]
    run(tmp_path, inputs, [("40m", [firing("OncewatchCollisions", "warning")])])


def test_an_open_attempt_older_than_two_minutes_fires(tmp_path):
    """The clock of the test is the one of the gauge: open since 1800 s, which is minute 30."""
    gauge = "oncewatch_oldest_open_token_timestamp_seconds"
    stuck = firing("OncewatchTokenStuck", "warning", api=None)
    run(tmp_path, [series(gauge, "0x30 1800x60")], [("32m", []), ("34m", []), ("36m", [stuck])])
    run(tmp_path, [series(gauge, "0x30 1800+60x60")], [(m(at), []) for at in (36, 60, 90)])
    run(tmp_path, [series(gauge, "0x90"), series(gauge, "0x90", pod="b")], [("60m", [])])
