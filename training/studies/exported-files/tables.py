"""Table: what the ARM64 builds of three engines answer, emulated; see `arm64.py`."""

from __future__ import annotations

import numpy as np
from kept import ANSWERS, CLASSES, Row, answers, read, table

from sonoforge.runtime.inference.golden import PROBABILITY_TOLERANCES

KEPT = "arm64.csv.gz"
ENGINES = {"onnx": "ONNX Runtime", "ort": "ONNX Runtime", "pte": "ExecuTorch", "tflite": "LiteRT"}


def largest(rows: list[Row]) -> float:
    """The largest difference of a probability between the machines."""
    values = [[[float(row[f"{machine}_{name}"]) for name in CLASSES] for row in rows] for machine in ("x86", "arm64")]
    return float(np.abs(np.subtract(*values)).max())


def emulated() -> str:
    kept = read(ANSWERS[KEPT])
    rows = []
    for file in dict.fromkeys(row["file"] for row in kept):
        own = [row for row in kept if row["file"] == file]
        golden = [row for row in own if row["scan"].startswith("golden-")]
        scans = [row for row in own if row not in golden]
        precision = next((name for name in ("fp16", "int8") if name in file.split(".")), "fp32")
        limit = PROBABILITY_TOLERANCES[precision]
        found = largest(golden)
        assert found <= limit
        equal = [sum(row[f"x86_{key}"] == row[f"arm64_{key}"] for row in scans) for key in ("label", "verdict", "set")]
        seconds = np.median([float(row["arm64_seconds"]) for row in scans])
        engine = ENGINES[file.rsplit(".", 1)[-1]]
        rows.append(
            (f"`{file}`", engine, f"{found:.1e} ({limit:g})", f"{largest(scans):.1e}", *equal, f"{seconds:.1f}")
        )
    count = len({row["scan"] for row in kept if not row["scan"].startswith("golden-")})
    heading = ["file", "engine", "golden (allowed)", f"{count} scans", "labels", "verdicts", "sets and questions"]
    return f"{answers(KEPT)}\n{table([*heading, 's a scan, emulated'], rows)}"


TABLES = {"arm64": emulated}
