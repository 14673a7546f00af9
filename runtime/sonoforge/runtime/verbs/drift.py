"""``sonoforge validate --answers``: say whether scans, trust and answers changed, from answers alone."""

from typing import Any

from sonoforge.runtime.cli.answer import say, tell
from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.quality_metrics import METRICS
from sonoforge.runtime.jobs.drifting import ERROR, WORTH, Row, drift
from sonoforge.runtime.notice import NOTICE

_NEXT = {
    "scans": "Check the scanner's settings and how its scans are exported, then whether trust changed with them.",
    "trust": "Label 40 of these scans, and adapt the bundle to them.",
    "answers": "Label 40 of these scans and adapt the bundle; if only the mix of patients changed, give --prevalence.",
}


def main(config: Any) -> Outcome:
    """Compare a month with an earlier one or with the bundle."""
    if config.data:
        raise SonoforgeError("--answers needs no images, and --data no answers; choose one")
    found = drift(config.answers, config.bundle)
    rows: list[Row] = found["figures"]
    changed = [row for row in rows if row.changed]
    before = found["before"]
    tell(
        f"{found['file']}: {found['answered']} answers of {found['groups']} {found['grouped_by']}, against "
        + (f"{before['answered']} of {before['groups']} in " if before else "the left-out collections of ")
        + found["against"]
    )
    shows = f"changes of {100 * found['shows']:.0f} points or more of a share would most likely show"
    if changed:
        tell(f"{'Changed' if before else 'Unlike the left-out collections'}: {', '.join(row.name for row in changed)}.")
    elif found["verdict"].startswith("too"):
        tell(
            f"Too few to tell: only {shows}; for {100 * WORTH:.0f} points, about {found['needed']} answers are needed."
        )
    else:
        tell(f"Not shown to have changed: {shows}.")
    part = ""
    for row in sorted(rows, key=lambda row: [*_NEXT].index(row.part)):
        if row.part != part:
            part = row.part
            say("%-32s %11s %8s  change [95 %%]", part, "before", "now")
        metric = METRICS.get(row.name)
        form, times = (metric.form, 1) if metric else (".1f", 100)
        ends = " to ".join(f"{times * end:{form}}" for end in dict.fromkeys(row.before))
        moved = "{:+X} [{:+X}, {:+X}]".replace("X", form).format(*(times * value for value in row.change))
        inside = row.before[0] < row.before[1] and row.before[0] <= row.now <= row.before[1]
        mark = "!" if row.changed else " "
        say("%s %-30s %11s %8s  %s", mark, row.name, ends, f"{times * row.now:{form}}", "within" if inside else moved)
    tell(
        f"Shares are in percent, their changes in points. Chance alone marks any of these {len(rows)} figures (!) in "
        f"{ERROR:.0%} of months."
    )
    if found["without_reference"]:
        tell(f"The bundle has no figures of: {', '.join(found['without_reference'])}.")
    if changed:
        tell(_NEXT[changed[0].part])
    say("%s", NOTICE)
    result = {**found, "figures": [row._asdict() for row in rows]}
    return Outcome(result, "sonoforge adapt --data LABELLED --out site-bundle" if changed else "", int(bool(changed)))
