"""What the figures were measured on."""

import os
import platform
import subprocess
from datetime import datetime, timezone
from pathlib import Path


def describe(command: list[str]) -> dict:
    """Machine, commit, command and date, as they go into the JSON file."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": " ".join(command),
        "commit": _git("rev-parse", "--short=12", "HEAD") or "unknown",
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "load_average": os.getloadavg()[0],
    }


def one_line(machine: dict) -> str:
    """The description for people."""
    dirty = " with changes" if machine["dirty"] else ""
    governor = machine["governor"] or "unknown"
    return (
        f"commit {machine['commit']}{dirty}, {machine['cores']} cores {machine['cpu']}, Linux {machine['kernel']}, "
        f"governor {governor}, load {machine['load_average']:.1f}, {machine['date']}"
    )


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


def _git(*arguments: str) -> str:
    result = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    return result.stdout.strip()
