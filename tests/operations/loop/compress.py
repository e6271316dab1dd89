"""Makes an hour a minute: the only change between the shipped files and those the loop runs.

Every duration of the rules is divided by 60: ranges, offsets and subquery steps of expressions,
`for` and `keep_firing_for`. So are the three numbers that are seconds, which PromQL cannot write as
durations. The intervals of Alertmanager are divided by 15, as the evaluation interval is (15 s to
1 s), because its waiting is for evaluations. Nothing else is touched; `unchanged` proves it.
"""

import re

RULES, ALERTMANAGER = 60, 15
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
PLACES = ["\\[", "[smhd]:", "offset ", "for: ", "wait: ", "interval: "]
DURATION = re.compile(rf"(?:{'|'.join(f'(?<={place})' for place in PLACES)})\d+[smhd]\b")
SECONDS = {"> 900)": "> 15)", "* 300 >": "* 5 >", "> 120": "> 2"}


def shorter(duration, factor):
    seconds = int(duration[:-1]) * UNITS[duration[-1]]
    return f"{round(seconds * 1000 / factor)}ms" if seconds else "0s"


def compress(text, factor=RULES):
    text = DURATION.sub(lambda match: shorter(match[0], factor), text)
    for seconds, compressed in SECONDS.items():
        text = text.replace(seconds, compressed)
    return text


def unchanged(text):
    """The text without its durations, to compare with the shipped one."""
    for seconds, compressed in SECONDS.items():
        text = text.replace(seconds, "T").replace(compressed, "T")
    return re.sub(r"(?<![\w.])\d+(ms|[smhd])\b", "D", text)
