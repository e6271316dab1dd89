"""Figures: printed as tables, compared with their goals, written as JSON."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

Values = float | Sequence[float]


@dataclass
class Goal:
    """A bound of PERFORMANCE.md; one of the two is set."""

    at_most: float | None = None
    at_least: float | None = None

    def met(self, value: float) -> bool:
        """Whether it holds for a value."""
        if self.at_most is not None:
            return value <= self.at_most
        return value >= self.at_least

    def __str__(self) -> str:
        return f"≤ {self.at_most:g}" if self.at_most is not None else f"≥ {self.at_least:g}"


@dataclass
class Figure:
    """One measured number: the median of its repetitions, with their range."""

    section: str
    name: str
    unit: str
    value: float
    least: float
    most: float
    repetitions: int
    goal: Goal | None = None
    # "met", "not met", or "forbidden": the floor of the same run does not meet it either.
    state: str | None = None
    floor: float | None = None


@dataclass
class Report:
    """Everything that one run found out."""

    machine: dict
    figures: list[Figure] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def add(self, section: str, name: str, values: Values, unit: str, goal: Goal | None = None, floor: Values | None = None) -> float:
        """Adds a figure and returns its median. `floor` is the same figure of the floor harness."""
        values, floors = listed(values), listed(floor)
        value = statistics.median(values)
        floor = statistics.median(floors) if floors else None
        state = None
        if goal:
            forbidden = floor is not None and not goal.met(floor)
            state = "met" if goal.met(value) else "forbidden" if forbidden else "not met"
        figure = Figure(section, name, unit, value, min(values), max(values), len(values), goal, state, floor)
        self.figures.append(figure)
        return value

    def fail(self, text: str) -> None:
        """Something that must hold does not; the run goes on and ends with an error."""
        print(f"FAILED: {text}", flush=True)
        self.failures.append(text)

    def show(self, section: str) -> None:
        """Prints the table of a section."""
        rows = [("figure", "median", "range", "unit", "goal", "")]
        for figure in self.figures:
            if figure.section == section:
                span = f"{number(figure.least)} – {number(figure.most)}" if figure.repetitions > 1 else ""
                goal = str(figure.goal) if figure.goal else ""
                rows.append((figure.name, number(figure.value), span, figure.unit, goal, said(figure.state, figure.floor)))
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        print(f"\n== {section}")
        for row in rows:
            cells = [row[0].ljust(widths[0]), row[1].rjust(widths[1]), row[2].rjust(widths[2])]
            cells += [cell.ljust(width) for cell, width in zip(row[3:], widths[3:])]
            print("  ".join(cells).rstrip())
        print(flush=True)

    def write(self, path: Path) -> None:
        """Writes everything as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        figures = [{key: value for key, value in asdict(figure).items() if value is not None} for figure in self.figures]
        text = json.dumps({"machine": self.machine, "failures": self.failures, "figures": figures}, indent=1)
        path.write_text(text + "\n")

    def summary(self) -> str:
        """How many goals are met, and which are not."""
        with_goal = [figure for figure in self.figures if figure.goal]
        missed = [figure for figure in with_goal if figure.state != "met"]
        lines = [f"{len(with_goal) - len(missed)} of {len(with_goal)} goals met, {len(self.failures)} failures"]
        for f in missed:
            lines.append(f"{said(f.state, f.floor)}: {f.section}: {f.name}: {number(f.value)} {f.unit}, goal {f.goal}")
        return "\n".join(lines + [f"failed: {text}" for text in self.failures])


def listed(values: Values | None) -> list[float]:
    """One number, several or none."""
    if values is None:
        return []
    return list(values) if isinstance(values, Sequence) else [values]


def said(state: str | None, floor: float | None) -> str:
    """A goal's state in words."""
    return f"forbidden: the floor is {number(floor)}" if state == "forbidden" else state or ""


def number(value: float) -> str:
    """Three significant digits, without an exponent."""
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    digits = max(0, 2 - len(str(int(abs(value)))) + 1) if abs(value) >= 1 else 3
    return f"{value:.{digits}f}"
