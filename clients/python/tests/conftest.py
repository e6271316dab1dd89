from __future__ import annotations

import os
import sys
from typing import Iterator

import pytest

sys.path.insert(0, os.path.dirname(__file__))

from peers import Collector, DynamoStub  # noqa: E402

import oncewatch  # noqa: E402
from oncewatch import _attempt, _boto  # noqa: E402
from oncewatch._transport import Transport  # noqa: E402


@pytest.fixture
def socket_path(tmp_path, monkeypatch) -> str:
    path = str(tmp_path / "events.sock")
    monkeypatch.setenv("ONCEWATCH_SOCKET", path)
    return path


@pytest.fixture
def transport(socket_path, monkeypatch) -> Iterator[Transport]:
    """One of its own for each test, in place of the process's."""
    fresh = Transport()
    for module in (oncewatch, _attempt, _boto):
        monkeypatch.setattr(module, "transport", fresh)
    yield fresh
    # Its thread lives on, and must not look for a sidecar in the next test.
    fresh._connect = lambda: False
    assert fresh.failures == 0, fresh.last_failure


@pytest.fixture
def collector(socket_path) -> Iterator[Collector]:
    server = Collector(socket_path)
    yield server
    server.close()


@pytest.fixture
def dynamo() -> Iterator[DynamoStub]:
    server = DynamoStub()
    yield server
    server.close()
