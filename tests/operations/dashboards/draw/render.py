"""Turns a snapshot into one PNG for each dashboard, with headless Chromium."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

WIDTH = 1600
ROW_HEIGHT = 38
# Grid rows that are drawn: what is seen first, and a little more.
ROWS = {"overview": 39, "investigate": 40, "sidecar-health": 39}
# Few colours keep the files small.
COLORS = 160
BYTES_MAX = 200_000


def draw(name, board, data, bundle, output):
    shared = {key: data[key] for key in ("began", "ended", "step", "alerts")}
    snapshot = json.dumps({**shared, "board": board, "width": WIDTH, "rows": ROWS[name]}).replace("</", "<\\/")
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        styles = bundle.with_suffix(".css")
        page.write_text(f"""<!doctype html><meta charset="utf-8"><style>{styles.read_text() if styles.exists() else ""}
            html {{ font-size: 14px }} body {{ margin: 0; overflow: hidden; font-family: Inter, sans-serif }}</style>
            <div id="root"></div><script>window.snapshot = {snapshot}</script><script src="{bundle.as_uri()}"></script>""")
        shot = Path(folder) / "shot.png"
        command = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                   "--allow-file-access-from-files", f"--user-data-dir={folder}/profile", f"--screenshot={shot}",
                   f"--window-size={WIDTH},{ROWS[name] * ROW_HEIGHT}", "--virtual-time-budget=8000",
                   "--enable-logging=stderr", page.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        if not shot.exists():
            sys.exit(f"Chromium drew nothing:\n{done.stderr[-2000:]}")
        uncaught = [line for line in done.stderr.splitlines() if "CONSOLE" in line and "Uncaught" in line]
        if uncaught:
            sys.exit(f"{name}: {uncaught[0]}")
        Image.open(shot).convert("RGB").quantize(COLORS, dither=Image.Dither.NONE).save(output, optimize=True)
    size = output.stat().st_size
    if size > BYTES_MAX:
        sys.exit(f"{output} has {size} bytes, more than {BYTES_MAX}")
    print(f"wrote {output.name}, {size} bytes")


def main(snapshot, bundle, folder):
    data = json.loads(Path(snapshot).read_text())
    for file, board in data["boards"].items():
        name = file.removesuffix(".json")
        draw(name, board, data, Path(bundle).resolve(), Path(folder) / f"{name}.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
