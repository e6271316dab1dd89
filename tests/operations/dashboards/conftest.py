import os
from pathlib import Path

import pytest

import boards


@pytest.fixture(scope="session")
def dashboards():
    return boards.load()


@pytest.fixture(scope="session")
def binary():
    path = Path(os.environ["ONCEWATCH_BIN"])
    assert path.is_file(), f"{path} is not there: cargo build --release"
    return path
