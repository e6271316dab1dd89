"""The burn rates of unresolved calls: four windows, and the least traffic of each."""

import pytest
from promtool import calls, firing, run

BURN = "OncewatchUnresolvedCallsBurn"
FAST, SLOW = ("1h", "6h"), ("1d", "3d")


def burn(*windows):
    return [firing(BURN, "critical" if window in FAST else "warning", window=window) for window in windows]


def traffic(good, bad, minutes, unknown="unknown"):
    return [calls("applied", f"0+{good}x{minutes}"), calls(unknown, f"0+{bad}x{minutes}")]


@pytest.mark.parametrize("outcome", ["unknown", "in_progress_exhausted"])
def test_one_hour_of_a_fast_burn_pages(tmp_path, outcome):
    """1.6 % is above 14.4 x 0.1 %; it is also above 6 x, and warnings need more time."""
    run(tmp_path, traffic(984, 16, 90, outcome), [("1m", []), ("50m", burn("1h", "6h"))])


def test_below_fourteen_times_only_the_longer_window_pages(tmp_path):
    run(tmp_path, traffic(987, 13, 90), [("50m", burn("6h"))])


def test_below_six_times_nothing_pages(tmp_path):
    run(tmp_path, traffic(9943, 57, 60), [("59m", [])])
    run(tmp_path, traffic(9943, 57, 120), [("100m", burn("1d"))])


@pytest.mark.parametrize("bad, windows", [(32, ["1d", "3d"]), (28, ["3d"]), (11, ["3d"]), (9, [])])
def test_slow_burns_become_tickets(tmp_path, bad, windows):
    """0.32, 0.28, 0.11 and 0.09 % for four hours."""
    run(tmp_path, traffic(10000 - bad, bad, 240), [("235m", burn(*windows))])


def test_a_burn_that_has_ended_is_quiet_though_the_long_window_remembers(tmp_path):
    inputs = [calls("applied", "0+100x160"), calls("unknown", "0+50x10 500x150")]
    run(tmp_path, inputs, [("8m", burn("1h")), ("30m", burn("6h")), ("155m", burn("1d"))])


def test_not_applied_calls_are_resolved(tmp_path):
    run(tmp_path, traffic(50, 50, 240, "not_applied"), [("60m", []), ("235m", [])])


def test_too_little_traffic_never_fires(tmp_path):
    """One call in ten minutes, all of them unresolved: other alerts speak of these."""
    inputs = [calls("applied", "0x400"), calls("unknown", "0+1x9 10x300")]
    run(tmp_path, inputs, [(at, []) for at in ("5m", "60m", "300m")])


@pytest.mark.parametrize("per_minute, windows", [(1.5, []), (2.0, ["1h"])])
def test_the_least_traffic_of_an_hour_is_a_hundred_calls(tmp_path, per_minute, windows):
    """90 and 120 calls in the hour, a tenth of them unresolved, after it had been silent."""
    inputs = [calls("applied", f"0x5 0+{per_minute * 0.9}x60"), calls("unknown", f"0x5 0+{per_minute * 0.1}x60")]
    run(tmp_path, inputs, [("64m", burn(*windows))])


def test_pods_that_restart_do_not_hide_a_burn(tmp_path):
    inputs = []
    for pod, start in (("a", 0), ("b", 20), ("c", 40), ("d", 60)):
        gone = "stale" if pod != "d" else ""
        wait = f"_x{start} " if start else ""
        inputs.append(calls("applied", f"{wait}0+90x20 {gone}", pod=pod))
        inputs.append(calls("unknown", f"{wait}0+10x20 {gone}", pod=pod))
    run(tmp_path, inputs, [("58m", burn("1h", "6h"))])


def test_a_counter_reset_is_no_burn(tmp_path):
    inputs = [calls("applied", "0+100x60 0+100x60"), calls("unknown", "900x60 0x60")]
    run(tmp_path, inputs, [(at, []) for at in ("30m", "61m", "62m", "65m", "100m")])
