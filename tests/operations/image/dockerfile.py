"""Builds deploy/Dockerfile without a daemon.

The build stage's base image cannot be had without a registry, so its COPY and RUN are done here, with this
machine's toolchain, in a folder of their own. The last stage is built by buildah, from the same file.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
WORK = ROOT / "target" / "operations" / "image"
# The first build compiles every dependency.
BUILD_SECONDS = 540


def instructions(stage_from: str) -> list[tuple[str, str]]:
    """Keyword and argument of each instruction of a stage, lines joined."""
    joined = re.sub(r"\\\n", " ", re.sub(r"(?m)^#.*\n", "", DOCKERFILE.read_text()))
    found, inside = [], False
    for line in joined.splitlines():
        keyword, _, argument = line.strip().partition(" ")
        if keyword == "FROM":
            inside = argument == stage_from
        elif inside and keyword:
            found.append((keyword, argument.strip()))
    if not found:
        raise ValueError(f"{DOCKERFILE} has no stage FROM {stage_from}")
    return found


def revision() -> str:
    """The last commit that changed what the build reads, so that other commits do not repeat the build."""
    command = ["git", "-C", str(ROOT), "log", "-1", "--abbrev=12", "--format=%h", "--", "src", "Cargo.toml", "Cargo.lock"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def build_binary() -> Path:
    """Does what the build stage does; returns the folder that stands for its /out."""
    source, output = WORK / "src", WORK / "out"
    source.mkdir(parents=True, exist_ok=True)
    for keyword, argument in instructions("rust:1.95-bookworm AS build"):
        if keyword == "COPY":
            *names, target = argument.split()
            for name in names:
                copy(ROOT / name, source / target if (ROOT / name).is_dir() else source / target / name)
        elif keyword == "RUN":
            shell = argument.replace("/out/", f"{output}/")
            environment = {**os.environ, "REVISION": revision()}
            environment.pop("CARGO_TARGET_DIR", None)
            # As in a container, where the sources come without their repository.
            environment["GIT_CEILING_DIRECTORIES"] = str(source.parent)
            subprocess.run(["sh", "-c", shell], cwd=source, env=environment, check=True, timeout=BUILD_SECONDS)
    return output


def copy(origin: Path, target: Path) -> None:
    """Copies what differs, with its time, so that the build is repeated only for what changed."""
    if origin.is_dir():
        for stale in target.rglob("*") if target.exists() else []:
            if stale.is_file() and not (origin / stale.relative_to(target)).exists():
                stale.unlink()
        shutil.copytree(origin, target, dirs_exist_ok=True)
    else:
        shutil.copy2(origin, target)


def build_image(output: Path) -> Path:
    """Builds the last stage; returns the OCI layout."""
    layout = WORK / "oci"
    shutil.rmtree(layout, ignore_errors=True)
    stage = DOCKERFILE.read_text()
    stage = stage[stage.index("FROM scratch") :]
    final = WORK / "Dockerfile"
    final.write_text(re.sub(r"COPY --from=build /out/(\S+)", r"COPY \1", stage))
    buildah = ["buildah", "--storage-driver", "vfs", "--root", str(WORK / "storage"), "--runroot", str(WORK / "run")]
    build = ["build", "--isolation", "chroot", "--format", "oci", "--build-arg", f"REVISION={revision()}"]
    result = subprocess.run(
        [*buildah, *build, "-f", str(final), "-t", f"oci:{layout}:test", str(output)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    if result.returncode:
        raise RuntimeError(result.stderr)
    return layout
