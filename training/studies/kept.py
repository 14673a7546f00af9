"""Kept answers of the studies, and how their tables are written from them and from the program's own commands."""

from __future__ import annotations

import contextlib
import csv
import functools
import gzip
import io
import json
import statistics
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from sonoforge.runtime.cli import main

STUDIES = Path(__file__).resolve().parent
ANSWERS = {path.name: path for path in sorted(STUDIES.glob("*/answers/*"))}
"""Every kept file by its name, which no two studies share."""

Row = dict[str, str]
Found = dict[str, float]


def table(heading: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def interval(found: Found) -> str:
    return "{value:.3f} [{low:.3f}, {high:.3f}]".format(**found)


def change(found: Found) -> str:
    return "{value:+.3f} [{low:+.3f}, {high:+.3f}]".format(**found)


def points(found: Found) -> str:
    return "{:+.1f} [{:+.1f}, {:+.1f}]".format(*(100 * found[key] for key in ("value", "low", "high")))


def with_ratio(row: Row, name: str, form: str, ratio_form: str) -> str:
    return f"{float(row[name]):{form}} ({float(row[f'{name}_ratio']):{ratio_form}})"


def sonoforge(*arguments: object) -> Any:
    """The answer of a command, as JSON."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main.run([*map(str, arguments), "--json", "--quiet"])
    if code:
        raise SystemExit(f"sonoforge {' '.join(map(str, arguments))}: {err.getvalue()}")
    return json.loads(out.getvalue())


def printed(*arguments: object) -> str:
    """What a command prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        main.run([*map(str, arguments), "--quiet"])
    return out.getvalue()


@functools.cache
def read(path: Path) -> list[Row]:
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def links(files: Iterable[str]) -> str:
    """Link kept files from the page of any study."""
    return ", ".join(f"[`{file}`](../{ANSWERS[file].relative_to(STUDIES).as_posix()})" for file in files)


def answers(*files: str) -> str:
    """Link the answers that a table is made from, with their seeds where they are known."""
    return f"Answers: {', '.join(links([file]) + seeds_of(file) for file in files)}\n"


def seeds_of(file: str) -> str:
    """Return `` (seed 0)`` or `` (seeds 0, 1, 2)``; empty if the answers do not say."""
    found = sorted({row["seed"] for row in read(ANSWERS[file]) if "seed" in row})
    return f" (seed{'s' * (len(found) > 1)} {', '.join(found)})" if found else ""


CLASSES = ("normal", "benign", "malignant")


COLLECTIONS = ("BUSI", "BUS-BRA", "BrEaST", "BUS-UC")
FIRST = COLLECTIONS[:3]  # the collections of answers that were kept before BUS-UC joined


SEEDS = ("0", "1", "2")


def accuracies(path: Path) -> dict[tuple[str, str, str], float]:
    """The share of right answers by arm, protocol and seed."""
    right: dict[tuple[str, str, str], list[bool]] = {}
    for row in read(path):
        answer = max(CLASSES, key=lambda name: float(row[f"p_{name}"]))
        right.setdefault((row["arm"], row["protocol"], row["seed"]), []).append(answer == row["label"])
    return {key: statistics.fmean(own) for key, own in right.items()}


def malignant_auc(rows: Sequence[Row]) -> float:
    """AUC of malignant against benign, by scikit-learn; healthy scans do not count."""
    own = [row for row in rows if row["label"] != "normal"]
    scores = [float(row["p_malignant"]) / (float(row["p_benign"]) + float(row["p_malignant"])) for row in own]
    return float(roc_auc_score([row["label"] == "malignant" for row in own], scores))


def of_collection(rows: Iterable[Row], name: str) -> list[Row]:
    return [row for row in rows if row.get("collection", "BUSI") == name]


def sealed(file: str, seed: str, collection: str = "BUSI", arm: str = "real") -> list[Row]:
    """Answers of sealed folds to a collection's images."""
    rows = (row for row in read(ANSWERS[file]) if (row["arm"], row["protocol"], row["seed"]) == (arm, "sealed", seed))
    return of_collection(rows, collection)


def arrays(rows: Sequence[Row]) -> tuple[Any, Any]:
    """Labels (N,) and probabilities (N, 3)."""
    labels = np.array([CLASSES.index(row["label"]) for row in rows])
    return labels, np.array([[float(row[f"p_{name}"]) for name in CLASSES] for row in rows])


def accuracy_and_auc(labels: Any, values: Any) -> tuple[float, float]:
    """Accuracy and macro-AUC, by scikit-learn; no macro-AUC without healthy scans."""
    areas = [roc_auc_score(labels == i, values[:, i]) for i in range(3)] if (labels == 0).any() else [float("nan")]
    return float((values.argmax(axis=1) == labels).mean()), float(np.mean(areas))


def three_figures(rows: Sequence[Row]) -> tuple[float, float, float]:
    """Accuracy, macro-AUC, AUC of malignant against benign."""
    return (*accuracy_and_auc(*arrays(rows)), malignant_auc(rows))


def over_seeds(file: str, collection: str) -> list[str]:
    """Mean and range of `three_figures`."""
    by_seed = [three_figures(sealed(file, seed, collection)) for seed in SEEDS]
    return [f"{np.mean(of):.3f} ({min(of):.3f} to {max(of):.3f})" for of in zip(*by_seed, strict=True)]


def changes(file: str, arms: Iterable[str], share: str = "") -> dict[str, list[Any]]:
    """What `compare` finds of each arm against the first."""
    runs = sonoforge("compare", ANSWERS[file], "--arms", ",".join(arm + share for arm in arms))["runs"]
    return {run["name"].removesuffix(share): run["figures"] for run in runs}


def one_arm(file: str, arm: str, protocol: str) -> Any:
    """Figures of one arm's answers with seed 0."""
    rows = [row for row in read(ANSWERS[file]) if (row["arm"], row["protocol"], row["seed"]) == (arm, protocol, "0")]
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder) / "own.csv"
        with own.open("w", newline="", encoding="utf-8") as target:
            kept = csv.DictWriter(target, rows[0])
            kept.writeheader()
            kept.writerows(rows)
        return sonoforge("crossval", "--from", own)["arms"][arm]


def with_placebo(title: str, file: str, judged: str = "") -> str:
    """Real, generated and copied images in training, on the same test images; of one class where two are told apart."""
    arms = sonoforge("crossval", "--from", ANSWERS[file])["arms"]
    real, placebo = (changes(file, names) for names in (list(arms), ["duplicates-all", "gan-all"]))
    per_class, area = (("sensitivity", "specificity"), "AUC") if judged else ((), "macro-AUC")
    rows = []
    for arm, own in arms.items():
        row = [f"`{arm}`", interval(own["accuracy"]), interval(own["macro_auc"])]
        row += [f"{own[figure][judged]['value']:.3f}" for figure in per_class]
        row += ["-", "-"] if arm == "real" else [points(real[arm][0]["change"]), change(real[arm][1]["change"])]
        row.append(change(placebo[arm][1]["change"]) if arm == "gan-all" else "-")
        rows.append(row)
    heading = ["arm", "accuracy", area, *(f"{figure}, {judged}" for figure in per_class)]
    heading += ["accuracy minus `real`, points", f"{area} minus `real`", f"{area} minus `duplicates-all`"]
    tested = f"{arms['real']['images']} images of {arms['real']['groups']} groups are tested."
    return f"**{title}.** {tested}\n\n{answers(file)}\n{table(heading, rows)}"


def figures(*files: str) -> str:
    return f"All figures: {links(files)}; in parentheses the ratio to the floor\n"
