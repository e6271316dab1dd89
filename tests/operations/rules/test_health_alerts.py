"""A firing and a quiet case for every alert on the sidecar itself."""

import pytest
from promtool import firing, observing, run, series


def health(alert, severity="warning"):
    return firing(alert, severity, api=None)


def up(values, pod="a", **labels):
    return series("up", values, pod=pod, **labels)


def test_down_after_five_minutes(tmp_path):
    inputs = [up("1x30 0x30"), up("1x60", pod="b")]
    run(tmp_path, inputs, [("30m", []), ("34m", []), ("37m", [health("OncewatchDown")])])


def test_several_pods_down_are_one_alert(tmp_path):
    inputs = [up("1x30 0x30", pod=pod) for pod in "abc"]
    run(tmp_path, inputs, [("37m", [health("OncewatchDown")])])


def test_down_is_known_by_the_job_where_the_container_is_not_a_label(tmp_path):
    run(tmp_path, [up("1x30 0x30", container=None)], [("37m", [health("OncewatchDown")])])
    run(tmp_path, [up("1x30 0x30", job="monitoring/sidecars")], [("37m", [health("OncewatchDown")])])


def test_down_does_not_speak_of_others_or_of_a_pod_that_is_gone(tmp_path):
    others = up("0x60", container="app", job="shop/app")
    run(tmp_path, [others, up("1x30 stale", pod="b"), up("1x60", pod="c")], [("37m", []), ("59m", [])])


def test_a_short_outage_is_quiet(tmp_path):
    run(tmp_path, [up("1x30 0x3 1x30")], [(f"{at}m", []) for at in (31, 33, 36, 40)])


def activity(events, clients, pod="a"):
    return [
        series("oncewatch_events_total", events, pod=pod, type="attempt_start"),
        series("oncewatch_clients_connected", clients, pod=pod),
    ]


def test_blind_when_clients_and_events_are_gone(tmp_path):
    inputs = activity("0+9x60 540x120", "2x60 0x120")
    run(tmp_path, inputs, [("60m", []), ("75m", []), ("85m", [health("OncewatchBlind")])])


@pytest.mark.parametrize(
    "events, clients",
    [
        ("0+9x60 540x120", "2x180"),  # idle, but connected
        ("0+9x180", "0x180"),  # datagrams need no connection
        ("0x180", "0x180"),  # never had any
        ("0+9x60 540x10 540+9x110", "2x60 0x10 2x110"),  # a pause
    ],
)
def test_not_blind(tmp_path, events, clients):
    run(tmp_path, activity(events, clients), [(f"{at}m", []) for at in (30, 70, 85, 100, 130, 170)])


def test_blind_when_one_pod_of_several_went_silent(tmp_path):
    inputs = activity("0+9x60 540x120", "1x60 0x120") + activity("0+9x180", "1x180", pod="b")
    run(tmp_path, inputs, [("85m", [health("OncewatchBlind")])])


def test_blind_when_the_pods_of_a_rollout_see_nothing(tmp_path):
    inputs = activity("0+9x60 stale", "1x60 stale") + activity("_x60 0x120", "_x60 0x120", pod="b")
    run(tmp_path, inputs, [("85m", [health("OncewatchBlind")])])


def test_a_standby_pod_is_not_blind(tmp_path):
    inputs = activity("0+9x180", "1x180") + activity("0x180", "0x180", pod="b")
    run(tmp_path, inputs, [("85m", []), ("170m", [])])


LOSSES = [
    ("OncewatchEventsDropped", "oncewatch_events_dropped_total", {"where": "client"}),
    ("OncewatchEventsDropped", "oncewatch_events_dropped_total", {"where": "findings_queue"}),
    ("OncewatchTrackingGaps", "oncewatch_tracking_gaps_total", {"reason": "evicted"}),
    ("OncewatchTrackingGaps", "oncewatch_tracking_gaps_total", {"reason": "open_attempts_overflow"}),
    ("OncewatchTrackingGaps", "oncewatch_tracking_gaps_total", {"reason": "sessions_overflow"}),
    ("OncewatchTrackingGaps", "oncewatch_tracking_gaps_total", {"reason": "restart"}),
]


@pytest.mark.parametrize("alert, metric, label", LOSSES)
def test_a_loss_fires_after_five_minutes(tmp_path, alert, metric, label):
    fires = [health(alert)]
    run(tmp_path, [series(metric, "0x30 1x60", **label)], [("30m", []), ("34m", []), ("37m", fires), ("70m", [])])
    run(tmp_path, [series(metric, "_x30 1x60", **label)], [("29m", []), ("36m", fires), ("70m", [])])
    run(tmp_path, [series(metric, "7x30 1x60", **label), observing(-9000)], [("30m", []), ("37m", fires)])


@pytest.mark.parametrize("alert, metric, label", LOSSES)
def test_no_new_loss_is_quiet(tmp_path, alert, metric, label):
    run(tmp_path, [series(metric, "7x30 0x60", **label), observing(-9000)], [(f"{at}m", []) for at in (20, 31, 37, 50, 80)])
    run(tmp_path, [series(metric, "_x59 7x60", **label), observing(-9000)], [(f"{at}m", []) for at in (61, 67, 80)])


def started(values, pod="a"):
    return series("oncewatch_observation_start_timestamp_seconds", values, pod=pod)


def test_restarts_of_a_sidecar_are_gaps(tmp_path):
    fires = [health("OncewatchTrackingGaps")]
    run(tmp_path, [started("0x30 1860x5 2220x60")], [("30m", []), ("38m", fires), ("80m", [])])
    run(tmp_path, [started("0x90"), started("_x30 1860x60", pod="b")], [("38m", []), ("60m", [])])


def restarting(gaps, processes):
    return [
        series("oncewatch_tracking_gaps_total", gaps, reason="restart"),
        series("process_start_time_seconds", processes),
        started("-9000x90"),
    ]


def test_each_restart_that_loses_state_is_a_gap(tmp_path):
    """The counter of the new process is the same as that of the former one."""
    fires = [health("OncewatchTrackingGaps")]
    run(tmp_path, restarting("1x90", "-9000x30 1860x60"), [("30m", []), ("34m", []), ("38m", fires), ("70m", [])])


def test_a_restart_that_keeps_its_state_is_quiet(tmp_path):
    run(tmp_path, restarting("0x90", "-9000x30 1860x60"), [(f"{at}m", []) for at in (30, 38, 50, 80)])
    run(tmp_path, restarting("1x90", "-9000x90"), [(f"{at}m", []) for at in (30, 38, 50, 80)])


def test_state_that_cannot_be_written(tmp_path):
    def failures(values):
        return [series("oncewatch_state_write_failures_total", values)]

    fires = [health("OncewatchStateWriteFailing")]
    run(tmp_path, failures("0x30 0+1x60"), [("30m", []), ("34m", []), ("42m", fires), ("85m", fires)])
    run(tmp_path, failures("0x30 0+1x9 9x60"), [("42m", fires), ("80m", [])])
    run(tmp_path, failures("0x30 2x60"), [(f"{at}m", []) for at in (31, 38, 45, 60)])


def test_forgotten_calls_alone_are_quiet(tmp_path):
    inputs = [series("oncewatch_tracking_gaps_total", "0x30 1x60", reason="calls_overflow")]
    run(tmp_path, inputs, [("37m", []), ("50m", [])])


def spans(failed, exported, dropped=0):
    counts = {"failed": failed, "exported": exported, "dropped": dropped}
    return [series("oncewatch_spans_total", f"0+{n}x60", outcome=outcome) for outcome, n in counts.items()]


def test_span_export_fails_above_a_tenth(tmp_path):
    run(tmp_path, spans(11, 89), [("14m", []), ("20m", [health("OncewatchSpanExportFailing", "info")])])
    run(tmp_path, spans(9, 91, dropped=500), [("20m", []), ("50m", [])])
    run(tmp_path, spans(0, 0), [("20m", []), ("50m", [])])
