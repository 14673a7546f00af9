"""Tables of recipes after the same minutes of training."""

from __future__ import annotations

from kept import (
    ANSWERS,
    Row,
    figures,
    read,
    table,
)


def race() -> str:
    parts = []
    for minutes, cores in ((30, 2), (4, 1), (2, 2)):
        rows = read(ANSWERS[f"minutes-{minutes}.csv"])
        by_recipe: dict[str, list[Row]] = {}
        for row in rows:
            by_recipe.setdefault(row["recipe"], []).append(row)
        shares = sorted({float(row["milestone"]) for row in rows})
        lines = []
        for recipe, own in sorted(by_recipe.items(), key=lambda pair: float(pair[1][-1]["kid"])):
            kid = {float(row["milestone"]): f"{float(row['kid']):.3f}" for row in own}
            end = own[-1]
            ends = [f"{float(end['kid_ratio']):.1f}", f"{float(end['fid_ratio']):.2f}", f"{float(end['kimg']):.1f}"]
            lines.append([f"`{recipe}`", *(kid.get(share, "-") for share in shares), *ends])
        heading = ["recipe", *(f"KID after {minutes * share:g} min" for share in shares)]
        heading += ["KID ratio", "FID ratio", "thousand images shown"]
        of = "one core" if cores == 1 else "two cores"
        parts.append(f"## {minutes} minutes of {of}\n\n{figures(f'minutes-{minutes}.csv')}\n{table(heading, lines)}")
    return "\n".join(parts)


TABLES = {"race": race}
