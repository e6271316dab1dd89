"""The image: what is in it, and that it works when nothing else is there."""

import json
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import dockerfile
import pytest

HERE = Path(__file__).resolve().parent
BINARY_BYTES_MAX = 8 * 1024 * 1024


@pytest.fixture(scope="session")
def binary() -> Path:
    return dockerfile.build_binary() / "oncewatch"


@pytest.fixture(scope="session")
def layout(binary) -> Path:
    return dockerfile.build_image(binary.parent)


@pytest.fixture(scope="session")
def config(layout) -> dict:
    command = ["skopeo", "inspect", "--config", f"oci:{layout}:test"]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout)


@pytest.fixture(scope="session")
def layers(layout) -> list[Path]:
    command = ["skopeo", "inspect", "--raw", f"oci:{layout}:test"]
    raw = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    return [layout / "blobs" / layer["digest"].replace(":", "/") for layer in json.loads(raw)["layers"]]


@pytest.fixture(scope="session")
def report(config, layers, tmp_path_factory) -> dict:
    """What inside.py saw while the image ran."""
    work = tmp_path_factory.mktemp("image")
    root = work / "root"
    root.mkdir()
    for layer in layers:
        with tarfile.open(layer) as archive:
            archive.extractall(root)
    # The folders that pytest makes are for their owner only; the image's user must get through.
    for folder in [root, *root.parents][:4]:
        folder.chmod(0o755)
    (work / "config.json").write_text(json.dumps(config))
    command = ["unshare", "--net", sys.executable, str(HERE / "inside.py"), str(root), str(work / "config.json")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_only_the_binary_is_in_the_image(layers):
    members = []
    for layer in layers:
        with tarfile.open(layer) as archive:
            members += archive.getmembers()
    assert [(member.name, oct(member.mode & 0o777), member.uid) for member in members] == [("oncewatch", "0o555", 0)]
    assert members[0].size < BINARY_BYTES_MAX


def test_user_is_numeric_and_that_of_the_manifests(config):
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", config["config"]["User"])
    pod = (dockerfile.ROOT / "deploy" / "examples" / "pod.yaml").read_text()
    uid, gid = (re.search(rf"{field}: (65\d+)", pod)[1] for field in ("runAsUser", "runAsGroup"))
    assert config["config"]["User"] == f"{uid}:{gid}"


def test_entrypoint_and_settings(config):
    settings = config["config"]
    assert settings["Entrypoint"] == ["/oncewatch"]
    assert settings["Cmd"] == ["run"]
    assert "ONCEWATCH_METRICS_ADDR=0.0.0.0:9464" in settings["Env"]
    assert list(settings["ExposedPorts"]) == ["9464/tcp"]


def test_labels(config):
    labels = config["config"]["Labels"]
    manifest = (dockerfile.ROOT / "Cargo.toml").read_text()
    for label, field in (("title", "name"), ("version", "version"), ("licenses", "license"), ("description", "description")):
        assert labels[f"org.opencontainers.image.{label}"] == re.search(rf'(?m)^{field} = "(.*)"$', manifest)[1]
    assert labels["org.opencontainers.image.revision"] == dockerfile.revision()


def test_binary_is_static(binary):
    listing = subprocess.run(["ldd", str(binary)], capture_output=True, text=True, timeout=20)
    assert "statically linked" in listing.stdout or "not a dynamic executable" in listing.stderr
    headers = subprocess.run(["readelf", "-lW", str(binary)], capture_output=True, text=True, check=True, timeout=20)
    assert "INTERP" not in headers.stdout


def test_a_dynamic_binary_would_be_seen():
    listing = subprocess.run(["ldd", "/bin/sh"], capture_output=True, text=True, timeout=20)
    headers = subprocess.run(["readelf", "-lW", "/bin/sh"], capture_output=True, text=True, check=True, timeout=20)
    assert "statically linked" not in listing.stdout and "INTERP" in headers.stdout


def test_binary_knows_its_revision(report):
    assert f'revision="{dockerfile.revision()}"' in report["metrics"]


def test_it_is_alive_in_an_empty_root_as_its_own_user(report):
    assert report["live"], report["log"]
    assert report["ids"] == [["65532"] * 4, ["65532"] * 4]


def test_an_application_of_another_user_reports_and_prometheus_scrapes(report):
    assert report["socket"] and report["client"] == 0, report["log"]
    assert report["metrics"], "the event of uid 10001 is not in /metrics"
    expected = 'oncewatch_attempts_total{api="dynamodb.TransactWriteItems",result="success"} 1\n'
    assert expected in report["metrics"]


def test_names_resolve_in_the_static_binary(report):
    """The collector's name is known to the name server only, so a span that arrives was resolved by DNS."""
    assert report["spans"] and report["spans"][0] == "collector.observability.test:4318/v1/traces", report["log"]


def test_it_ends_within_two_seconds(report):
    assert report["exit"] == 0, report["log"]
    assert report["exit_seconds"] < 2
