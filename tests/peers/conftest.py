"""Fixtures: every peer that a test asks for is started for it on loopback and ended after it."""

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from botocore.client import BaseClient

from support.dynamo import Counter, Dynoxide, boto3_client
from support.fault_proxy import FaultProxy
from support.language_table import LanguageTable
from support.otlp import OtlpReceiver
from support.prometheus import Prometheus
from support.scripted import ScriptedDynamo
from support.sidecar import Sidecar

HOST = "peers-host"


def _required(variable: str) -> str:
    value = os.environ.get(variable)
    if not value or not Path(value).is_file():
        pytest.exit(f"{variable} must name a file (is {value!r}); start these tests with tests/peers/run", returncode=4)
    return value


_language_table = LanguageTable(Path(__file__).resolve().parents[2] / "target" / "peers" / "languages.md")


@pytest.fixture(scope="session")
def language_table() -> LanguageTable:
    return _language_table


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    if {"scenario", "language"} <= parameters.keys():
        _language_table.record(parameters["scenario"], parameters["language"], report)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in _language_table.write():
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def oncewatch_binary() -> str:
    return _required("ONCEWATCH_BIN")


@pytest.fixture(scope="session")
def promtool() -> str:
    return _required("PEERS_PROMTOOL")


@pytest.fixture(scope="session")
def dynoxide(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dynoxide]:
    emulator = Dynoxide(_required("PEERS_DYNOXIDE"), tmp_path_factory.mktemp("dynoxide"))
    yield emulator
    emulator.stop()


@pytest.fixture
def counter(dynoxide: Dynoxide) -> Counter:
    return Counter(dynoxide)


@pytest.fixture
def proxy(dynoxide: Dynoxide) -> Iterator[FaultProxy]:
    proxy = FaultProxy(dynoxide.port)
    yield proxy
    proxy.stop()


@pytest.fixture
def stub() -> Iterator[ScriptedDynamo]:
    stub = ScriptedDynamo()
    yield stub
    stub.stop()
    stub.assert_used_up()


@pytest.fixture
def start_sidecar(
    oncewatch_binary: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Sidecar]]:
    """Starts a sidecar and points ONCEWATCH_SOCKET, which the client reads, at it."""
    started: list[Sidecar] = []

    def start(*flags: str, env: dict[str, str] | None = None) -> Sidecar:
        directory = tmp_path / f"sidecar-{len(started)}"
        directory.mkdir()
        sidecar = Sidecar(oncewatch_binary, directory, *flags, env=env)
        started.append(sidecar)
        monkeypatch.setenv("ONCEWATCH_SOCKET", str(sidecar.socket))
        return sidecar

    yield start
    for sidecar in started:
        sidecar.service.stop()


@pytest.fixture
def sidecar(start_sidecar: Callable[..., Sidecar]) -> Sidecar:
    """A sidecar that shows tokens in full, so that tests can say which token a finding is about."""
    return start_sidecar("--token-display", "full")


@pytest.fixture
def oncewatch_library(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The client library as a process that has just started would import it.

    It keeps one connection, one buffer and one client name per process: a test must not inherit another's.
    """
    monkeypatch.setenv("HOSTNAME", HOST)
    for name in [name for name in sys.modules if name.partition(".")[0] == "oncewatch"]:
        del sys.modules[name]
    library = importlib.import_module("oncewatch")
    yield library
    # A process that ended connects no more: what it kept for a sidecar to come must not reach the next test's.
    library._attempt.transport._connect = lambda: False


@pytest.fixture
def instrumented(oncewatch_library: ModuleType) -> Callable[..., BaseClient]:
    """Makes boto3 clients the way an application would: one line of instrumentation."""

    def make(endpoint: str, **settings: float) -> BaseClient:
        client = boto3_client(endpoint, **settings)
        oncewatch_library.instrument(client)
        return client

    return make


@pytest.fixture
def otlp() -> Iterator[OtlpReceiver]:
    receiver = OtlpReceiver()
    yield receiver
    receiver.stop()


@pytest.fixture
def start_prometheus(tmp_path: Path) -> Iterator[Callable[[str], Prometheus]]:
    started: list[Prometheus] = []

    def start(target: str) -> Prometheus:
        directory = tmp_path / "prometheus"
        directory.mkdir()
        prometheus = Prometheus(_required("PEERS_PROMETHEUS"), directory, target)
        started.append(prometheus)
        return prometheus

    yield start
    for prometheus in started:
        prometheus.service.stop()
