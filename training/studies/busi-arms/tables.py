"""Tables of the arms on BUSI: generated images against placebos, and leakage."""

from __future__ import annotations

import statistics

from kept import (
    ANSWERS,
    CLASSES,
    SEEDS,
    accuracies,
    answers,
    change,
    changes,
    interval,
    points,
    printed,
    read,
    sonoforge,
    table,
)


def arms() -> str:
    parts = ["95 % intervals; groups of images are resampled whole. [What each arm is](../../docs/did-it-help.md).\n"]
    for title, file, seeds in (
        ("A small DCGAN on BUSI", "arms-dcgan-64.csv.gz", SEEDS),
        ("A quick generator on BUSI", "arms-projected-64.csv.gz", SEEDS[:1]),
    ):
        found = accuracies(ANSWERS[file])
        names = [arm for arm in dict.fromkeys(arm for arm, _, _ in found) if "@" not in arm]
        heading = ["arm", f"accuracy, seed {', '.join(seeds)}", "mean", "minus `real`, points"]
        heading += ["minus `duplicates`, points", "macro-AUC", "minus `real`"]
        parts.append(f"## {title}\n\n{answers(file)}")
        for share, shown in (("", "All real images"), ("@0.25", "A quarter of the real images")):
            real = changes(file, names, share)
            placebo = changes(file, ["duplicates", *(arm for arm in names if arm not in ("real", "duplicates"))], share)
            rows = []
            for arm in names:
                own = [found[arm + share, "sealed", seed] for seed in seeds]
                accuracy, area = real[arm][:2]
                row = [f"`{arm}`", ", ".join(f"{value:.3f}" for value in own), f"{statistics.fmean(own):.3f}"]
                row.append("-" if arm == "real" else points(accuracy["change"]))
                row.append("-" if arm in ("real", "duplicates") else points(placebo[arm][0]["change"]))
                row += [f"{area['value']['value']:.3f}", "-" if arm == "real" else change(area["change"])]
                rows.append(row)
            parts.append(f"**{shown}**\n\n{table(heading, rows)}")
    parts.append(one_against_rest())
    file = "leakage-dcgan-64.csv.gz"
    parts.append(
        f"## How much is leakage\n\n{answers(file)}\n```text\n{printed('crossval', '--from', ANSWERS[file])}```\n"
    )
    return "\n".join(parts)


def one_against_rest() -> str:
    """Malignant against the rest, real images and generated ones, and what no seed of the first answers rightly."""
    file = ANSWERS["arms-dcgan-64.csv.gz"]
    found = sonoforge("crossval", "--from", file)
    rows = []
    for arm in ("real", "gan"):
        own = found["arms"][arm]["one_against_rest"]["malignant"]
        at = [f"{interval(one['sensitivity'])} at {one['specificity']['value']:.3f}" for one in own["sensitivity_at"]]
        gains = zip(own["decision_curve"]["thresholds"], own["decision_curve"]["gain_low"], strict=True)
        rows.append([f"`{arm}`", interval(own["auc"]), *at, f"{next(where for where, gain in gains if gain > 0):.0%}"])
    heading = ["arm", "AUC", "sensitivity at a specificity of 0.9, reached", "of 0.95, reached"]
    heading.append("net benefit above acting on all (lower limit) from")
    right: dict[tuple[str, str], bool] = {}
    for row in read(file):
        if row["arm"] == "real":
            key = row["file"], row["group"]
            said = max(CLASSES, key=lambda name: float(row[f"p_{name}"]))
            right[key] = right.get(key, False) or said == row["label"]
    never = [key for key, ever in right.items() if not ever]
    groups = len({group for _, group in never}), len({group for _, group in right})
    return (
        f"## Malignant against the rest, seed 0\n\n{answers(file.name)}\n{table(heading, rows)}\n"
        f"Never answered rightly by `real`, seeds {', '.join(SEEDS)}: {len(never)} of {len(right)} images, in "
        f"{groups[0]} of {groups[1]} groups.\n"
    )


TABLES = {"arms": arms}
