"""The README's tables, from the JSON of a run."""

import json
import re
import shutil
import sys
from pathlib import Path

from .machine import one_line
from .report import number, said

BEGIN, END = "<!-- figures: tests/bench/publish -->", "<!-- end of figures -->"
# What the README shows: words, section, name (a pattern where it has a size in it).
ROWS = [
    ("CPU per event, saturated, stream, 64 events a write", "sockets", "oncewatch, stream, 64 a write: CPU"),
    ("… against a floor that only decodes and updates one LRU entry", "sockets", "oncewatch, stream, 64 a write: against the floor"),
    ("… 16 events a write", "sockets", "oncewatch, stream, 16 a write: CPU"),
    ("… one event a write", "sockets", "oncewatch, stream, 1 a write: CPU"),
    ("… one event a datagram", "sockets", "oncewatch, datagram, 1 a write: CPU"),
    ("saturation, one core", "sockets", "oncewatch, stream, 64 a write: rate"),
    ("CPU per event at 1,000 events/s", "paced", "oncewatch, 1000/s: CPU"),
    ("CPU per event at 10,000 events/s", "paced", "oncewatch, 10000/s: CPU"),
    ("what a send costs the application at 10,000/s, p50", "paced", "oncewatch, 10000/s: send p50"),
    ("… p99", "paced", "oncewatch, 10000/s: send p99"),
    ("wake-ups with nothing connected", "idle", r"nothing connected, \d+ s: wake-ups"),
    ("RSS, idle", "idle", "RSS"),
    ("memory of a remembered token", "memory", r"healthy, closed, \d+ tokens"),
    ("memory of a token with an open attempt", "memory", r"open attempt, \d+ tokens"),
    ("write to visible finding at 10,000/s, p99", "latency", "10000/s, 1 a write: p99"),
    ("scrape, CPU", "scrape", "CPU"),
    ("start to ready", "lifecycle", "start to ready"),
    ("SIGTERM to exit", "lifecycle", "SIGTERM to exit, live collector"),
    ("binary", "lifecycle", "size of the binary"),
    ("`analyze`", "analyze", r"\d+ events: speed"),
]
PEERS = re.compile(r"^(.*): CPU$")


def main() -> int:
    source, root = Path(sys.argv[1]), Path(sys.argv[2])
    run = json.loads(source.read_text())
    readme = root / "README.md"
    before, begin, rest = readme.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        print(f"error: README.md lacks the marks {BEGIN} and {END}", file=sys.stderr)
        return 1
    parts = [own(run["figures"]), peers(run["figures"])]
    where = f"Measured by `{run['machine']['command']}` on {one_line(run['machine'])}:"
    text = "\n\n".join([where, *filter(None, parts)])
    readme.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")
    pictures = sorted(source.parent.glob("pictures/*.svg"))
    for picture in pictures:
        shutil.copy(picture, root / "tests/bench/pictures")
    print(f"README.md and {len(pictures)} plots are up to date with {source.name}")
    return 0


def own(figures: list[dict]) -> str:
    """Our own figures with their goals; what was not measured has no row."""
    rows = ["| | measured | goal | |", "|---|---|---|---|"]
    for words, section, name in ROWS:
        # The last one: where sizes grow, the largest.
        found = [f for f in figures if f["section"] == section and (f["name"] == name or re.fullmatch(name, f["name"]))]
        if found:
            rows.append(row(words, found[-1]))
    return "\n".join(rows) if len(rows) > 2 else ""


def row(words: str, figure: dict) -> str:
    goal = figure.get("goal") or {}
    bound = ""
    if goal:
        sign, limit = ("≤", goal["at_most"]) if goal["at_most"] is not None else ("≥", goal["at_least"])
        bound = f"{sign} {number(limit)}"
    state = said(figure.get("state"), figure.get("floor"))
    return f"| {words} | {number(figure['value'])} {figure['unit']} | {bound} | {state} |"


def peers(figures: list[dict]) -> str:
    """All programs in one table."""
    known = {f["name"]: f["value"] for f in figures if f["section"] == "peers"}
    rows = ["| the same events, the same client | CPU µs/event | events/s | RSS MB | × oncewatch |", "|---|---|---|---|---|"]
    for case in [match[1] for match in map(PEERS.match, known) if match]:
        ratio = known.get(f"{case}: CPU, times oncewatch's", 1.0)
        values = [known[f"{case}: CPU"], known[f"{case}: rate"], known[f"{case}: RSS"], ratio]
        rows.append(f"| {case} | {' | '.join(map(number, values))} |")
    return "\n".join(rows) if len(rows) > 2 else ""


if __name__ == "__main__":
    sys.exit(main())
