"""Plots as SVG files that are the same for the same figures."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
matplotlib.rcParams["svg.hashsalt"] = "oncewatch"

from matplotlib import pyplot  # noqa: E402: the backend comes first


def draw(path: Path, title: str, x_label: str, y_label: str, lines: dict[str, tuple[list[float], list[float]]]) -> None:
    """One line for each name, over a logarithmic axis that begins at the bottom at zero."""
    figure, axes = pyplot.subplots(figsize=(7, 3.5), layout="constrained")
    for name, (x, y) in lines.items():
        axes.plot(x, y, marker="o", markersize=4, linewidth=1.6, label=name)
    axes.set(title=title, xlabel=x_label, ylabel=y_label, xscale="log")
    axes.set_ylim(bottom=0)
    axes.grid(True, which="major", color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if len(lines) > 1:
        axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="svg", metadata={"Date": None})
    pyplot.close(figure)
