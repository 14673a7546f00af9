"""Tables of U-Nets trained with generated pairs."""

from __future__ import annotations

from kept import (
    ANSWERS,
    answers,
    change,
    figures,
    interval,
    read,
    sonoforge,
    table,
    with_ratio,
)

from sonoforge.training.segmentation.figures import correlate
from sonoforge.training.statistics.published import published_for


def segmentation() -> str:
    parts = ["Dice on real test patients, with 95 % intervals by patient.\n"]
    real = {
        one["name"]: one["rows"] for one in sonoforge("segment", "--from", ANSWERS["segmentation-real.csv.gz"])["sets"]
    }
    rows = []
    for name, (own,) in real.items():
        structures = own["structures"].items()
        single = [f"{structure} {part['dice']['value']:.3f}" for structure, part in structures if len(structures) > 1]
        rows.append([name, interval(own["dice"]), ", ".join(single) or "-"])
    kept = answers("segmentation-real.csv.gz")
    parts.append(f"## The U-Net on real images\n\n{kept}\n{table(['set', 'Dice', 'by structure'], rows)}")
    parts += six_gans("Six GANs on three sets", "segmentation-six")
    parts += six_gans("Six GANs on the liver", "segmentation-liver")
    parts.append("**The paper's table 4 of its liver, SLiver07**\n")
    rows = [[row.recipe or "real images", row.fid or "-", row.dice] for row in published_for("SLiver07")]
    parts.append(table(["trained on images of", "FID", "Dice"], rows))
    rows = []
    for name in ("ACDC", "SLiver07", "IDRiD"):
        claimed = [row for row in published_for(name) if row.fid is not None]
        found = correlate("fid", [row.fid or 0 for row in claimed], [row.dice for row in claimed])
        assert found is not None
        rows.append([name, f"{found['rho']:.2f}", f"{found['p_value']:.2f}"])
    parts.append("**The paper's own figures: rank correlation of FID with Dice**\n")
    parts.append(table(["set", "rho", "p"], rows))
    return "\n".join(parts)


def six_gans(title: str, file: str) -> list[str]:
    """What U-Nets reach on the sets of one run, and what the generators took."""
    found = {one["name"]: one["rows"] for one in sonoforge("segment", "--from", ANSWERS[f"{file}.csv.gz"])["sets"]}
    kinds = [(row["arm"], row["recipe"].partition(":")[0]) for row in next(iter(found.values()))]
    by_set = {
        name: {(row["arm"], row["recipe"].partition(":")[0]): row for row in rows} for name, rows in found.items()
    }
    rows = [
        [arm, recipe or "none", *(interval(by_set[name][arm, recipe]["dice"]) for name in found)]
        for arm, recipe in kinds
    ]
    kept = answers(f"{file}.csv.gz")
    parts = [f"## {title}\n\n{kept}\n{table(['trained on', 'generator', *found], rows)}"]
    both = [recipe for arm, recipe in kinds if arm == "both"]
    rows = [[recipe, *(change(by_set[name]["both", recipe]["against_augmented"]) for name in found)] for recipe in both]
    parts.append(f"**`both` minus `augmented`**\n\n{table(['generator', *found], rows)}")
    paid = f"{file.replace('segmentation', 'costs')}.csv"
    costs = {(row["set"], row["recipe"].partition(":")[0]): row for row in read(ANSWERS[paid]) if row["fid_ratio"]}
    rows = []
    for recipe in both:
        row = [recipe]
        for name in found:
            own = costs[name, recipe]
            row += [with_ratio(own, "fid", ".0f", ".1f"), with_ratio(own, "kid", ".2f", ".0f")]
            row.append(f"{float(own['seconds_per_epoch']):.1f}")
        memory = max(float(costs[name, recipe]["memory_gib"]) for name in found)
        rows.append([*row, f"{memory:.2f} GiB", f"{float(own['weights']) / 1e6:.1f} million"])
    heading = [f"{name}: {what}" for name in found for what in ("FID", "KID", "s an epoch")]
    heading = ["generator", *heading, "memory", "weights"]
    return [*parts, f"**Distances and costs**\n\n{figures(paid)}\n{table(heading, rows)}"]


TABLES = {"segmentation": segmentation}
