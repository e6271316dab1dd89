"""One service for each way an alert arises: what its clients do, and which alerts must arrive."""

from dataclasses import dataclass, field
from typing import Callable

import traffic as t

CRITICAL, WARNING, INFO = ("pager", "critical"), ("chat", "warning"), ("null", "info")


def fires(alert, route, window=None):
    """Receiver, alert, severity, label `window`."""
    return route[0], f"Oncewatch{alert}", route[1], window


def inhibits(alert, severity="warning", window=None):
    return f"Oncewatch{alert}", severity, window


@dataclass
class Scenario:
    """`act(run)` is played in a thread of its own once Prometheus has scraped everything; `before`
    is sent earlier. `run.client` is connected to the service's first sidecar."""

    service: str
    act: Callable | None
    expected: set
    inhibited: set = field(default_factory=set)
    api: str | None = t.API
    pods: int = 1
    arguments: tuple = ()
    environment: dict = field(default_factory=dict)
    before: Callable | None = None
    stays: bool = True


def once(make):
    return lambda run: run.client.send(make())


def repeated(make, every, seconds):
    return lambda run: run.client.keep_sending(make, every, seconds, run.stop)


def reuse(api):
    """Succeeds, and comes again when the window of one second is over."""

    def act(run):
        token, fp = t.name("t"), t.name("f")
        run.client.send(t.request(t.WROTE, token, fp, api))
        run.sleep(2.5)
        run.client.send(t.request(t.READ, token, fp, api))

    return act


def double_then_the_rest(run):
    run.client.send(t.healthy(50, t.BRIEF) + t.twice(t.BRIEF))
    run.until_delivered("OncewatchDoubleExecution")
    run.client.send(t.fresh_token(t.BRIEF))
    reuse(t.BRIEF)(run)


def burn(bad_in_a_thousand):
    """2000 calls at once for the least traffic of three days, then on and on."""

    def act(run):
        run.client.send(t.unresolved(2000, 2 * bad_in_a_thousand))
        run.client.keep_sending(lambda: t.unresolved(500, bad_in_a_thousand // 2), 2, 600, run.stop)

    return act


def left_open(run):
    run.client.send([t.start(t.name("t"), t.name("c"), fp=t.name("f"))])


def brief_lease(run):
    run.client.send([t.start(t.name("t"), t.name("c"), fp=t.name("f"), api=t.BRIEF)])


def died(run):
    dying = t.Client(run.sidecars[0])
    dying.send([t.start(t.name("t"), t.name("c"), fp=t.name("f"))])
    run.sleep(0.5)
    dying.close()


def killed(run):
    run.sleep(3)
    run.sidecars[0].stop()


def gone_silent(run):
    """Busy for half an hour of this clock, so that an hour later it is missed for long enough."""
    run.client.keep_sending(lambda: t.healthy(5), 1, 35, run.stop)
    run.client.close()


def gone_silent_and_one_killed(run):
    run.client.keep_sending(lambda: t.healthy(5), 1, 35, run.stop)
    run.client.close()
    run.sidecars[1].stop()


def healthy(run):
    """Everything that is right, with single replays and in its shares: no alert."""

    def events():
        token, fp, call = t.name("t"), t.name("f"), t.name("c")
        retried = [
            t.start(token, call, 1, fp=fp),
            t.end(token, call, t.LOST),
            t.start(token, call, 2, fp=fp),
            t.end(token, call, t.WROTE, 2),
        ]
        cancelled = t.request(t.CANCELLED)
        return t.healthy(100) + retried + cancelled + t.replayed()

    run.client.keep_sending(events, 3, 600, run.stop)


SCENARIOS = [
    Scenario("double", once(lambda: t.healthy(300) + t.twice()), {fires("DoubleExecution", CRITICAL)}),
    Scenario(
        "double-then-the-rest",
        double_then_the_rest,
        {fires("DoubleExecution", CRITICAL)},
        {inhibits("LostIdempotency"), inhibits("LostIdempotency", "critical"), inhibits("ReuseAfterWindow", "critical")},
        api=t.BRIEF,
    ),
    Scenario("reuse", reuse(t.BRIEF), {fires("ReuseAfterWindow", CRITICAL)}, api=t.BRIEF),
    Scenario(
        "lost-one",
        once(lambda: t.healthy(300) + t.fresh_token() + t.healthy(300)),
        {fires("LostIdempotency", WARNING)},
    ),
    Scenario(
        "lost-many",
        once(lambda: [event for _ in range(7) for event in t.fresh_token()]),
        {fires("LostIdempotency", CRITICAL)},
        {inhibits("LostIdempotency")},
    ),
    Scenario(
        "burn-1h",
        burn(20),
        {fires("UnresolvedCallsBurn", CRITICAL, "1h"), fires("UnresolvedCallsBurn", CRITICAL, "6h")},
        {inhibits("UnresolvedCallsBurn", window="1d"), inhibits("UnresolvedCallsBurn", window="3d")},
    ),
    Scenario(
        "burn-6h",
        burn(10),
        {fires("UnresolvedCallsBurn", CRITICAL, "6h")},
        {inhibits("UnresolvedCallsBurn", window="1d"), inhibits("UnresolvedCallsBurn", window="3d")},
    ),
    Scenario(
        "burn-1d",
        burn(4),
        {fires("UnresolvedCallsBurn", WARNING, "1d"), fires("UnresolvedCallsBurn", WARNING, "3d")},
    ),
    Scenario("burn-3d", burn(2), {fires("UnresolvedCallsBurn", WARNING, "3d")}),
    Scenario("budget", repeated(t.short_budget, 2, 20), {fires("RetryBudgetTooShort", WARNING)}),
    Scenario("collision", repeated(t.second_call_while_open, 2, 20), {fires("Collisions", WARNING)}),
    Scenario(
        "collision-of-clients",
        repeated(lambda: t.second_call_while_open("other/2"), 2, 20),
        {fires("Collisions", WARNING)},
    ),
    Scenario("held-elsewhere", repeated(t.held_elsewhere, 2, 20), {fires("Collisions", WARNING)}),
    Scenario("mismatch", once(t.other_parameters), {fires("ParameterMismatch", WARNING)}),
    Scenario("remote-mismatch", once(t.refused_for_no_known_reason), {fires("ParameterMismatch", WARNING)}),
    Scenario("encoding", once(t.other_bytes), {fires("UnstableEncoding", WARNING)}),
    # Counted before the first scrape, so the series is born at 1; `for` tells whether it stays above 0.
    Scenario("hard-coded", None, {fires("HardCodedToken", WARNING)}, before=once(t.constant_token)),
    Scenario("invalid", once(lambda: [t.start("", "c", fp="f"), t.start("x" * 37, "d")]), {fires("InvalidToken", WARNING)}),
    Scenario("stuck", brief_lease, {fires("TokenStuck", WARNING)}, api=t.BRIEF),
    Scenario("open", left_open, {fires("TokenStuck", WARNING)}, api=None),
    Scenario("orphaned", died, {fires("TokenStuck", WARNING)}),
    Scenario("replay", repeated(t.replayed, 1, 70), {fires("ReplayHigh", INFO)}),
    Scenario("down", killed, {fires("Down", WARNING)}, api=None),
    Scenario("blind", gone_silent, {fires("Blind", WARNING)}, api=None, stays=False),
    Scenario(
        "blind-and-down",
        gone_silent_and_one_killed,
        {fires("Down", WARNING)},
        {inhibits("Blind")},
        api=None,
        pods=2,
        stays=False,
    ),
    Scenario(
        "dropped",
        once(lambda: [{"type": "client_report", "dropped": 5}]),
        {fires("EventsDropped", WARNING)},
        api=None,
    ),
    Scenario("gaps", once(lambda: t.healthy(10)), {fires("TrackingGaps", WARNING)}, api=None, arguments=("--capacity", "4")),
    Scenario(
        "spans",
        repeated(lambda: t.request(t.CANCELLED), 1, 80),
        {fires("SpanExportFailing", INFO)},
        api=None,
        arguments=("--spans", "all"),
        # The discard port: nothing listens there.
        environment={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_BSP_SCHEDULE_DELAY": "500"},
    ),
    Scenario("healthy", healthy, set()),
]
