"""Runs the fleet for a while and writes what every panel would get, as JSON for the page that draws it."""

import json
import math
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import boards  # noqa: E402
from field import fleet  # noqa: E402

STEP_SECONDS = 2
TAIL_SECONDS = 5


def values(field, namespace=".*"):
    return {
        "prometheus_datasource": "", "tempo_datasource": "", "cluster": ".*", "namespace": namespace, "service": ".*",
        "job": ".+", "instance": ".+", "api": ".+", "__rate_interval": "10s",
        "__range": f"{math.ceil(field.ended - field.began)}s",
    }


def answer(field, target):
    expr = boards.substitute(target["expr"], values(field))
    if target["instant"]:
        return [{"labels": labels, "value": value} for labels, value in field.prometheus.instant(expr, field.ended)]
    answers = field.prometheus.ranged(expr, field.began, field.ended, STEP_SECONDS)
    return [{"labels": labels, "points": points} for labels, points in answers]


def alerts(field):
    firing = field.prometheus.instant('ALERTS{alertstate="firing"}', field.ended)
    return [labels for labels, _ in firing]


def main(binary, seconds, output):
    with tempfile.TemporaryDirectory() as folder:
        with fleet(binary, Path(folder), seconds, rest=11.0, pause=0.4) as field:
            time.sleep(TAIL_SECONDS)
            field.ended = time.time()
            drawn = {name: {**board, "panels": [
                {**panel, "answers": [answer(field, target) for target in panel.get("targets", [])]}
                for panel in board["panels"]]} for name, board in boards.load().items()}
            data = {"began": field.began, "ended": field.ended, "step": STEP_SECONDS, "alerts": alerts(field), "boards": drawn}
    text = json.dumps(data, allow_nan=True).replace("NaN", "null").replace("-Infinity", "null").replace("Infinity", "null")
    Path(output).write_text(text)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), sys.argv[3])
