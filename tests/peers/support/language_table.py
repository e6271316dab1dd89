"""The table scenario × language that a run of test_languages ends with."""

from pathlib import Path

import pytest

from .scenarios import SCENARIOS, Scenario


class LanguageTable:
    """Collects what the tests found; `same` means exactly the stated verdicts, attempts and calls."""

    def __init__(self, path: Path):
        self.sdks: dict[str, str] = {}
        self.replays: list[tuple[str, str, str]] = []
        self._path = path
        self._cells: dict[tuple[str, str], str] = {}

    def record(self, scenario: Scenario, language: str, report: pytest.TestReport) -> None:
        cell = (scenario.name, language)
        if report.failed:
            self._cells[cell] = "DIFFERS"
        elif report.when == "call":
            self._cells.setdefault(cell, "same")

    def write(self) -> list[str]:
        """The lines of the table, also written to the file; none if no scenario ran."""
        if not self._cells:
            return []
        languages = list(dict.fromkeys(language for _, language in self._cells))
        lines = ["", "| scenario | verdicts | " + " | ".join(languages) + " |", "|---" * (len(languages) + 2) + "|"]
        for scenario in SCENARIOS:
            cells = [self._cells.get((scenario.name, language), "-") for language in languages]
            verdicts = ", ".join(f"{count} {verdict}" for verdict, count in scenario.verdicts.items())
            lines.append(f"| {scenario.name} | {verdicts} | {' | '.join(cells)} |")
        lines += ["", *(f"{language}: {self.sdks[language]}" for language in languages if language in self.sdks)]
        if self.replays:
            pairs = len({(first, second) for _, first, second in self.replays})
            lines += [f"repeated in another language: {len(self.replays)} calls over {pairs} ordered pairs"]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text("\n".join(lines[1:]) + "\n")
        return lines
