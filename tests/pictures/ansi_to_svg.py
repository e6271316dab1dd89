#!/usr/bin/env python3
"""Draws a terminal's screen, captured with its colours, as an SVG for the README.

    tmux capture-pane -e -p -t PANE | tests/pictures/ansi_to_svg.py > tests/pictures/demo.svg

Reads text with SGR sequences (bold, dim, underline, the eight colours) from standard input; every
other control sequence is an error, so that nothing is lost without notice.
"""

import re
import sys
import unicodedata
from xml.sax.saxutils import escape

CELL_WIDTH, CELL_HEIGHT, MARGIN, FONT_SIZE = 7.8, 17, 14, 13
BACKGROUND, FOREGROUND, DIM = "#11151c", "#d8dee9", "#7b8794"
COLOURS = ["#3b4252", "#ff6b6b", "#7bd88f", "#f5c451", "#6cb6ff", "#d2a8ff", "#56d4dd", "#e5e9f0"]
ESCAPE = re.compile(r"\x1b\[([0-9;]*)m")


class Pen:
    """What the SGR sequences so far say about the text that follows."""

    def __init__(self):
        self.reset()

    def reset(self):
        self.bold = self.dim = self.underline = False
        self.colour = None

    def apply(self, parameters):
        for code in (int(part or 0) for part in parameters.split(";")):
            if code == 0:
                self.reset()
            elif code == 1:
                self.bold = True
            elif code == 2:
                self.dim = True
            elif code == 22:
                self.bold = self.dim = False
            elif code in (4, 24):
                self.underline = code == 4
            elif 30 <= code <= 37:
                self.colour = COLOURS[code - 30]
            elif code == 39:
                self.colour = None
            elif code == 49:
                pass  # The background is never changed.
            else:
                raise SystemExit(f"ansi_to_svg: SGR {code} is not known")

    def attributes(self):
        fill = self.colour or (DIM if self.dim else FOREGROUND)
        weight = ' font-weight="bold"' if self.bold else ""
        line = ' text-decoration="underline"' if self.underline else ""
        return f'fill="{fill}"{weight}{line}'


def runs(line, pen):
    """The line's texts, each with its first column and the attributes of its characters."""
    column = 0
    for i, part in enumerate(ESCAPE.split(line)):
        if i % 2:
            pen.apply(part)
            continue
        if any(unicodedata.category(c) == "Cc" or unicodedata.east_asian_width(c) in "WF" for c in part):
            raise SystemExit(f"ansi_to_svg: cannot draw {part!r}")
        if part.strip() or (part and pen.underline):
            yield column, part, pen.attributes()
        column += len(part)


def main():
    lines = sys.stdin.read().rstrip("\n").split("\n")
    columns = max(len(ESCAPE.sub("", line)) for line in lines)
    width, height = columns * CELL_WIDTH + 2 * MARGIN, len(lines) * CELL_HEIGHT + 2 * MARGIN
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img"')
    print(f'  font-family="ui-monospace, Menlo, Consolas, monospace" font-size="{FONT_SIZE}">')
    print("<title>oncewatch demo in a terminal</title>")
    print(f'<rect width="100%" height="100%" rx="8" fill="{BACKGROUND}"/>')
    pen = Pen()
    for row, line in enumerate(lines):
        y = MARGIN + row * CELL_HEIGHT + FONT_SIZE
        for column, text, attributes in runs(line, pen):
            x, length = MARGIN + column * CELL_WIDTH, len(text) * CELL_WIDTH
            # Whatever font the reader has, columns stay where they are; ordinary spaces would be
            # run together.
            shown = escape(text).replace(" ", "\u00a0")
            print(
                f'<text x="{x:g}" y="{y:g}" textLength="{length:g}" lengthAdjust="spacingAndGlyphs" '
                f"{attributes}>{shown}</text>"
            )
    print("</svg>")


if __name__ == "__main__":
    main()
