"""What the terminal prints at the end of a comparison, beside figure 12 and table 1 of the MSc thesis."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from golden import printed
from report_factory import make_run
from sonoforge.training.data import datasets
from sonoforge.training.reports.run.terminal import log_table

CLASSES = ("normal", "benign", "malignant")
SYSTEMS = {"thesis": ("System 1", "System 2"), "single": ("Existing app", "Hybrid mRMR + SVM"), "sealed": ()}


@pytest.mark.parametrize("protocol", SYSTEMS)
def test_the_last_table_stands_beside_the_thesiss_line_by_line(
    protocol: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = make_run(tmp_path, protocol=protocol, folds=1 if protocol == "single" else 4)
    monkeypatch.setattr(datasets, "BUSI_FINGERPRINT", run.cache.fingerprint)
    with caplog.at_level("INFO"):
        log_table(run.results)
    said = [record.getMessage() for record in caplog.records]
    text, columns = "\n".join(said), [*SYSTEMS[protocol], *run.results["arms"]]
    assert max(len(line) for line in text.splitlines()) <= 80
    figures = defaultdict[str, dict[str, str]](dict)
    for first, printed_table in zip(range(0, len(columns), 3), [m for m in said if "accuracy: test" in m], strict=True):
        for name, *cells in (re.split(r"\s{2,}", x.strip()) for x in printed_table.splitlines() if ": " in x):
            figures[name] |= zip(columns[first : first + 3], cells, strict=True)
    table = printed("thesis")["1"]
    for system in SYSTEMS[protocol]:
        for column, value in table.get(system, {}).items():
            ours = figures[column.replace(", ", ": ").replace("train", "training")][system]
            assert float(ours.rstrip(" %")) == pytest.approx(float(value) * (1 if "accuracy" in column else 100))
    for arm, own in run.results["arms"].items():
        matrix = np.array(own["confusion"])
        blocks = [part for part in text.split("Confusion matrix of ") if part.startswith(own["title"])]
        rows = [[int(cell) for cell in re.findall(r"\d+", line)] for line in blocks[0].splitlines()[4:7]]
        assert rows == matrix.tolist()
        for place, name in enumerate(CLASSES):
            right, row, column = matrix[place, place], matrix[place].sum(), matrix[:, place].sum()
            said = figures[f"sensitivity: {name}"][arm], figures[f"specificity: {name}"][arm]
            rest = matrix.sum() - row
            assert said == (f"{100 * right / row:.1f}\N{NO-BREAK SPACE}%",
                            f"{100 * (rest - column + right) / rest:.1f}\N{NO-BREAK SPACE}%")  # fmt: skip
        assert figures["accuracy: training"][arm] == "98.0\N{NO-BREAK SPACE}%"
        assert figures["accuracy: test"][arm] == f"{100 * np.trace(matrix) / matrix.sum():.1f}\N{NO-BREAK SPACE}%"
