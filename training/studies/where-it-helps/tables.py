"""Tables: where generated images help, row by row of the study."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from kept import ANSWERS, Found, Row, answers, change, interval, links, read, sonoforge, table
from scipy import stats

from sonoforge.training.statistics.classification import weighted_auc
from sonoforge.training.statistics.intervals import group_weights, percentile_interval


def page() -> str:
    rows = [
        left_out("1", ("drawn", "drawn-few"), ("none", "windows", "pasted")),
        joined(
            few_pairs("pairs-", "## Row 2: few pairs with outlines, and SPADE's"),
            outlines(),
            left_out("2", ("pairs",), ("none", "copies"), "What these classifiers answer:"),
        ),
        few_scans(),
        left_out("4", ("style",), ("none", "copies", "amplitude")),
        stages(),
        joined(
            left_out("6", ("flow",), ("none", "copies", "copies-64")),
            few_pairs("flow-pairs-", "25 pairs with outlines, and those drawn by a flow:"),
        ),
    ]
    parts = [in_short([tries for _, tries in rows]), *(text for text, _ in rows)]
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def matching(prefix: str) -> list[Path]:
    """Kept answers whose names begin so."""
    return [path for name, path in ANSWERS.items() if name.startswith(prefix) and name.endswith(".csv.gz")]


Try = tuple[str, Found]
"""What was tried, and what it changes against the best placebo."""
Part = tuple[str, list[Try]]


def joined(*parts: Part) -> Part:
    return "\n".join(text for text, _ in parts), [own for _, tries in parts for own in tries]


def in_short(tries: Sequence[Sequence[Try]]) -> str:
    """How many comparisons of each row help and harm, and the three whose intervals reach least below 0."""
    counts, best = [], []
    for number, (name, own) in enumerate(zip(ROWS, tries, strict=True), start=1):
        helps, harms = (sum(test(found) for _, found in own) for test in (helped, harmed))
        counts.append([f"{number} {name}", len(own), helps, harms])
        for what, found in sorted(own, key=lambda one: -one[1]["low"])[:3]:
            best.append([number, what, change(found), f"{found['high']:+.3f}"])
    return (
        "## In short\n\nGenerated images against the best placebo, and how often an interval lies above or below 0:\n\n"
        + table(["row", "comparisons", "help", "harm"], counts)
        + "\nThe three of each row whose intervals reach least below 0, and what they leave possible:\n\n"
        + table(["row", "compared", "change", "at most"], best)
    )


ROWS = (
    *("balance by class and scanner", "dense labels", "shortage", "style, not content", "quality as cause"),
    "a flow that starts from ultrasound",
)


def helped(found: Found) -> bool:
    return found["low"] > 0


def harmed(found: Found) -> bool:
    return found["high"] < 0


# Rows 1, 2, 4 and 6: networks that answer a collection they have not seen


def scores_of(row: Row, kind: str) -> float:
    """How much a scan looks like a lesion, or, of a lesion, malignant."""
    normal, benign, malignant = (float(row[f"p_{name}"]) for name in ("normal", "benign", "malignant"))
    return 1 - normal if kind == LESION else malignant / (benign + malignant)


LESION, MALIGNANT = "normal / lesion", "benign / malignant"


def left_out(row: str, arms: Sequence[str], placebos: Sequence[str], title: str = "") -> Part:
    """What an arm changes of AUC on each collection left out, against the best of its placebos."""
    file = f"left-out-{row}.csv.gz"
    kept = read(ANSWERS[file])
    rows = []
    tries: list[Try] = []
    for name in dict.fromkeys(answer["collection"] for answer in kept):
        own = [answer for answer in kept if answer["collection"] == name]
        for kind in (LESION, MALIGNANT):
            seen = own if kind == LESION else [answer for answer in own if answer["label"] != "normal"]
            if kind == LESION and len({answer["file"] for answer in seen if answer["label"] == "normal"}) < FEWEST:
                continue
            areas = {arm: areas_by_seed([a for a in seen if a["arm"] == arm], kind) for arm in (*placebos, *arms)}
            for arm in arms:
                found, cells = against_best(areas, arm, placebos)
                *means, own_mean = (f"{areas[one][:, 0].mean():.3f}" for one in (*placebos, arm))
                tries.append((f"`{arm}`, {kind}, {name} left out", found))
                rows.append([name, kind, *means, f"`{arm}`", own_mean, *cells])
    heading = [
        "left out",
        "AUC",
        *(f"`{arm}`" for arm in placebos),
        "arm",
        "its AUC",
        "minus the best of the others",
        "by seed",
    ]
    title = title or f"## Row {row}: {ROWS[int(row) - 1]}"
    return f"{title}\n\n{answers(file)}\n{table(heading, rows)}", tries


def against_best(figures: dict[str, Any], arm: str, placebos: Sequence[str]) -> tuple[Found, list[str]]:
    """What an arm changes of figures by seed (S, 1 + R) against the best of its placebos, and its cells of a table."""
    best = max(placebos, key=lambda name: figures[name][:, 0].mean())
    difference = figures[arm] - figures[best]
    found = with_seeds(dict(percentile_interval(difference.mean(axis=0))), difference[:, 0])
    return found, [f"{change(found)} (`{best}`)", ", ".join(f"{value:+.3f}" for value in difference[:, 0])]


FEWEST = 10
"""Scans of a class without which its AUC is not told."""


def areas_by_seed(rows: Sequence[Row], kind: str) -> Any:
    """AUC by seed (S, 1 + R): of the scans as they are, then with patients drawn again."""
    seeds = sorted({row["seed"] for row in rows})
    found = []
    for seed in seeds:
        own = sorted((row for row in rows if row["seed"] == seed), key=lambda row: row["file"])
        positive = np.array(
            [row["label"] != "normal" if kind == LESION else row["label"] == "malignant" for row in own]
        )
        scores = np.array([scores_of(row, kind) for row in own])
        found.append(weighted_auc(positive, scores, group_weights(np.array([int(row["group"]) for row in own]))))
    return np.stack(found)


# Row 2: pairs with outlines


def few_pairs(prefix: str, title: str) -> Part:
    """What generated pairs change beside few real ones, at home and elsewhere, against the better placebo."""
    files = sorted(matching(prefix), key=lambda path: (path.name.split("-")[1:-1], of_pairs(path)))
    rows, again = [], []
    tries: list[Try] = []
    for path in files:
        for own in sonoforge("segment", "--from", path)["sets"]:
            home, _, elsewhere = own["name"].partition(", tested on ")
            by_arm = {row["arm"]: row for row in own["rows"]}
            best = max(("real", "augmented"), key=lambda arm: by_arm[arm]["dice"]["value"])
            means = dice_by_seed([row for row in read(path) if row["data"] == own["name"]])
            for arm, row in by_arm.items():
                if not row["recipe"]:
                    continue
                by_seed = [mine - theirs for mine, theirs in zip(means[arm], means[best], strict=True)]
                found = with_seeds(row[f"against_{best}"], by_seed)
                pairs = "half of all" if of_pairs(path) == float("inf") else f"{of_pairs(path):g}"
                placebos = [f"{by_arm[name]['dice']['value']:.3f}" for name in ("real", "augmented")]
                seeds = ", ".join(f"{value:+.3f}" for value in by_seed)
                tries.append((f"`{arm}`, {pairs} pairs of {home}, tested on {elsewhere or home}", found))
                if (home, pairs, elsewhere) in SECOND_LOOK:
                    later = with_seeds(row[f"against_{best}"], by_seed, SECOND_LEVEL)
                    again.append([home, pairs, elsewhere, len(by_seed), change(later)])
                rows.append([home, pairs, elsewhere or home, *placebos, f"`{arm}`", change(found), seeds])
    heading = [
        "trained on",
        "pairs",
        "tested on",
        "`real`",
        "`augmented`",
        "arm",
        "minus the better of these",
        "by seed",
    ]
    of = ["trained on", "pairs", "tested on", "seeds", f"change, {100 * SECOND_LEVEL:.0f} % interval"]
    second = f" The second look:\n\n{table(of, again)}" if again else "\n"
    text = f"{title}\n\n{answers(*(path.name for path in files))}\n{table(heading, rows)}\nFigures are Dice.{second}"
    return text, tries


def outlines() -> Part:
    """What SPADE's pairs change of the outlines that a classifier finds in a collection it has not seen."""
    file, placebos = "outlines.csv.gz", ("none", "copies")
    kept = read(ANSWERS[file])
    rows, tries = [], list[Try]()
    for name in dict.fromkeys(row["collection"] for row in kept):
        own = [row for row in kept if row["collection"] == name]
        dice = {arm: mean_dice([row for row in own if row["arm"] == arm]) for arm in (*placebos, "pairs")}
        found, cells = against_best(dice, "pairs", placebos)
        tries.append((f"`pairs`, a classifier's outlines, {name} left out", found))
        rows.append([name, *(f"{own[:, 0].mean():.3f}" for own in dice.values()), *cells])
    heading = ["left out", *(f"`{arm}`" for arm in dice), "minus the better of the others", "by seed"]
    title = "SPADE's pairs in a classifier's training, Dice of its outlines:"
    return f"{title}\n\n{answers(file)}\n{table(heading, rows)}", tries


def mean_dice(rows: Sequence[Row]) -> Any:
    """Mean Dice by seed (S, 1 + R): of the lesions as they are, then with patients drawn again."""
    found = []
    for seed in sorted({row["seed"] for row in rows}):
        own = sorted((row for row in rows if row["seed"] == seed), key=lambda row: row["file"])
        weights = group_weights(np.array([int(row["group"]) for row in own]))
        found.append(weights @ np.array([float(row["dice"]) for row in own]) / weights.sum(axis=1))
    return np.stack(found)


SECOND_LOOK = (("BUSI", "25", "BUS-BRA"), ("BUS-BRA", "25", "BrEaST"))
"""The two tests that were looked at again with more seeds, as was fixed beforehand."""
SECOND_LEVEL = 0.97


def dice_by_seed(rows: Sequence[Row]) -> dict[str, list[float]]:
    """The mean Dice of each arm's U-Nets, by seed."""
    found: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        if row["dice"]:
            found.setdefault(row["arm"], {}).setdefault(row["seed"], []).append(float(row["dice"]))
    return {arm: [statistics.fmean(own[seed]) for seed in sorted(own)] for arm, own in found.items()}


def with_seeds(found: Found, by_seed: Sequence[float], level: float = 0.95) -> Found:
    """A 95 % interval by patient, brought to another level as a normal one, widened by that of the mean over seeds
    (Student's t)."""
    error = statistics.stdev(by_seed) / len(by_seed) ** 0.5
    tail = (1 + level) / 2
    scale = float(stats.norm.ppf(tail) / stats.norm.ppf(0.975))
    value = found["value"]
    by_patient = {"value": value, **{end: value + scale * (found[end] - value) for end in ("low", "high")}}
    return widened(by_patient, float(stats.t.ppf(tail, len(by_seed) - 1)) * error)


def widened(found: Found, half: float) -> Found:
    """An interval widened by half of another, the halves added in squares."""
    low, value, high = (found[key] for key in ("low", "value", "high"))
    return {"value": value, "low": value - np.hypot(value - low, half), "high": value + np.hypot(high - value, half)}


def of_pairs(path: Path) -> float:
    """The number of pairs in the name of kept answers, ``pairs-BUSI-25.csv.gz``; infinite where all were taken."""
    count = path.name.removesuffix(".csv.gz").rpartition("-")[2]
    return float("inf") if count == "all" else float(count)


# Row 3: few scans


def few_scans() -> Part:
    """What generated feature vectors change beside few real ones, against the better of `real` and `copies`."""
    kept = read(ANSWERS["generated-features.csv"])
    arms = ("noise", "mixtures", "gaussian", "gan")
    keys = dict.fromkeys(cell_of(row) for row in kept)
    rows, said = [], dict.fromkeys(arms, (0, 0))
    again = few_scans_again()
    tries: list[Try] = [
        (f"`gaussian`, {key[1]} scans a class of {key[0]}, tested on {key[2]}, other draws", own["real"])
        for key, own in again.items()
    ]
    for key in keys:
        own = {row["arm"]: row for row in kept if cell_of(row) == key}
        real = {name: float(own["real"][of]) for name, of in (("value", "auc"), ("low", "low"), ("high", "high"))}
        cells = []
        for arm in arms:
            ends = ("change", "change_low", "change_high")
            found = dict(zip(("value", "low", "high"), (float(own[arm][end]) for end in ends), strict=True))
            cells.append(change(found))
            if arm in GENERATED and not (arm == "gaussian" and key in again):
                tries.append((f"`{arm}`, {key[1]} scans a class of {key[0]}, tested on {key[2]}", found))
            helps, harms = said[arm]
            said[arm] = helps + helped(found), harms + harmed(found)
        rows.append([*key, interval(real), *cells])
    heading = ["trained on", "scans a class", "tested on", "AUC, `real`", *(f"`{arm}`" for arm in arms)]
    counts = "; ".join(f"`{arm}` helps in {helps}, harms in {harms}" for arm, (helps, harms) in said.items())
    text = (
        "## Row 3: few scans, in a network's features\n\n"
        f"All figures: {links(['generated-features.csv'])}\n\n{table(heading, rows)}\n"
        f"Of {len(rows)} rows: {counts}. Changes are against the better of `real` and `copies`.\n\n"
        "The second look, at `gaussian` with 40 other draws, 97 % intervals "
        f"({links(['generated-features-again.csv'])}):\n\n"
        + table(
            ["trained on", "scans a class", "tested on", *(f"minus `{name}`" for name in PLACEBOS)],
            [[*key, *(change(own[name]) for name in PLACEBOS)] for key, own in again.items()],
        )
    )
    return text, tries


def few_scans_again() -> dict[tuple[str, str, str], dict[str, Found]]:
    """What the normal distributions change over other draws: by training and test set, then by placebo."""
    found: dict[tuple[str, str, str], dict[str, Found]] = {}
    for row in read(ANSWERS["generated-features-again.csv"]):
        ends = {"value": float(row["change"]), "low": float(row["low"]), "high": float(row["high"])}
        found.setdefault(cell_of(row), {})[row["placebo"]] = ends
    return found


def cell_of(row: Row) -> tuple[str, str, str]:
    return row["trained on"], row["scans of each class"], row["tested on"]


PLACEBOS = ("real", "copies", "noise", "mixtures")
GENERATED = ("gaussian", "gan")


# Row 5: stages of a training


def stages() -> Part:
    """Quality of a generator at five stages, what its scans are worth, and whether the one follows the other."""
    quality = read(ANSWERS["stages.csv"])
    files = matching("stages-")
    rows, ranks = [], []
    tries: list[Try] = []
    for path in files:
        home = path.name.removeprefix("stages-").removesuffix(".csv.gz")
        kept = read(path)
        of_home = [row for row in quality if row["trained on"] == home]
        steps = sorted({int(row["step"]) for row in of_home})
        seeds = sorted({row["seed"] for row in of_home})
        for name in dict.fromkeys(row["data"] for row in kept):
            own = [row for row in kept if row["data"] == name]
            areas = areas_of_columns(own)
            for step in steps:
                marks = [
                    ", ".join(f"{measured(of_home, step, seed, of, key):.{digits}f}" for seed in seeds)
                    for of, key, digits in SHOWN
                ]
                cells = [
                    ", ".join(f"{areas[f'{arm} {step} {seed}'][0] - areas['real'][0]:+.3f}" for seed in seeds)
                    for arm in ("alone", "beside")
                ]
                rows.append([home, f"{step * BATCH / 1000:g}", *marks, name, f"{areas['real'][0]:.3f}", *cells])
            for arm in ("alone", "beside"):
                points = [
                    (np.log(measured(of_home, step, seed, "kid", "ratio")), areas[f"{arm} {step} {seed}"])
                    for step in steps
                    for seed in seeds
                ]
                rho, at_floor = follows(points, areas["real"])
                tries.append((f"`{arm}` {home}, tested on {name}, were KID at its floor", at_floor))
                ranks.append([home, name, f"`{arm}`", f"{rho:+.2f}", change(at_floor)])
    heading = ["trained on", "thousand images", "KID ratio", "recall", "coverage", "tested on", "AUC, `real`"]
    heading += ["`alone` minus `real`", "`beside` minus `real`"]
    of = ["trained on", "tested on", "arm", "Spearman's rho of KID and AUC", "AUC minus `real`, were KID at its floor"]
    text = (
        f"## Row 5: quality as cause\n\n{answers(*(path.name for path in files))}\n"
        f"All measures of quality: {links(['stages.csv'])}\n\n"
        f"Figures of generators by seed.\n\n{table(heading, rows)}\n{table(of, ranks)}"
    )
    return text, tries


BATCH = 16
SHOWN = (("kid", "ratio", 0), ("recall", "value", 2), ("coverage", "value", 2))


def measured(rows: Sequence[Row], step: int, seed: str, name: str, key: str) -> float:
    (found,) = (row for row in rows if (int(row["step"]), row["seed"], row["name"]) == (step, seed, name))
    return float(found[key])


def areas_of_columns(rows: Sequence[Row]) -> dict[str, Any]:
    """AUC (1 + R,) of each column of scores, of the scans as they are, then with patients drawn again."""
    positive = np.array([row["malignant"] == "1" for row in rows])
    weights = group_weights(np.array([int(row["patient"]) for row in rows]))
    columns = [name for name in rows[0] if name not in ("data", "file", "patient", "malignant")]
    return {name: weighted_auc(positive, np.array([float(row[name]) for row in rows]), weights) for name in columns}


def follows(points: Sequence[tuple[float, Any]], real: Any) -> tuple[float, Found]:
    """Rank correlation, and the line through AUC by log KID where KID is that of real images, with its interval."""
    ratios, gains = np.array([ratio for ratio, _ in points]), np.stack([areas - real for _, areas in points])
    rho = float(stats.spearmanr(ratios, gains[:, 0]).statistic)
    design = np.stack([np.ones_like(ratios), ratios], axis=1)
    inverse = np.linalg.inv(design.T @ design)
    ends = (inverse @ design.T @ gains)[0]  # at a ratio of 1, for each draw of patients
    rest = gains[:, 0] - design @ (inverse @ design.T @ gains[:, 0])
    error = float(np.sqrt(rest @ rest / (len(rest) - 2) * inverse[0, 0]))
    half = float(stats.t.ppf(0.975, len(rest) - 2)) * error
    return rho, widened(dict(percentile_interval(ends)), half)


TABLES = {"where-it-helps": page}
