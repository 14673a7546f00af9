"""What the figures of a set say, in sentences: does any generator help here, and does FID tell which?"""

from collections.abc import Sequence

from sonoforge.training.segmentation.results import AUGMENTED_ARM, GENERATED_ARM, REAL_ARM, ArmResult, RankCorrelation
from sonoforge.training.statistics.results import Interval

SURE = 0.05  # level of a test


def conclude(rows: Sequence[ArmResult], correlations: Sequence[RankCorrelation]) -> list[str]:
    """Return the verdict on a set as sentences."""
    sentences = [_alone(rows), _added(rows), *map(_ordered, correlations)]
    return [sentence for sentence in sentences if sentence]


def _find(rows: Sequence[ArmResult], arm: str) -> list[ArmResult]:
    return [row for row in rows if row["arm"] == arm]


def _best(rows: Sequence[ArmResult]) -> ArmResult:
    return max(rows, key=lambda row: row["dice"]["value"])


def _alone(rows: Sequence[ArmResult]) -> str:
    real, generated = _find(rows, REAL_ARM), _find(rows, GENERATED_ARM)
    if not generated:
        return ""
    best = _best(generated)
    said = f"A U-Net that saw only pairs of {best['recipe']} reaches a Dice of {_number(best['dice'])}"
    if real and real[0]["dice"]["value"] > 0:  # a U-Net of few steps may find nothing
        share = best["dice"]["value"] / real[0]["dice"]["value"]
        said += f", {100 * share:.0f} % of the {_number(real[0]['dice'])} that as many real pairs give"
    return (
        said + _of_several(len(generated), "; it is the best of {} generators, on the patients it is shown for") + "."
    )


def _added(rows: Sequence[ArmResult]) -> str:
    """Judge the best arm of real and generated pairs against what costs no generator."""
    both = [row for row in rows if row["recipe"] and row["arm"] != GENERATED_ARM]
    key, placebo = "against_augmented", "augmentation alone"
    if not _find(rows, AUGMENTED_ARM):
        key, placebo = "against_real", "the real pairs alone"
    judged = [row for row in both if row[key] is not None]  # type: ignore[literal-required]
    if not judged:
        return ""
    best = _best(judged)
    change: Interval = best[key]  # type: ignore[literal-required]
    figures = f"{change['value']:+.3f} [{change['low']:+.3f}, {change['high']:+.3f}]"
    what = f"{best['recipe']} ({best['arm']}, Dice {_number(best['dice'])})"
    several = _of_several(len(judged), ", the best of {} such rows and so chosen with luck,")
    if change["low"] > 0:
        return f"Worth its hours here: {what}{several} adds {figures} to {placebo}."
    if change["high"] < 0:
        return f"No generator is shown to help here: even {what} is below {placebo}, by {figures}."
    return f"Not shown to help here: {what}{several} differs from {placebo} by {figures}."


def _ordered(found: RankCorrelation) -> str:
    name, rho = found["metric"].upper(), f"{found['rho']:+.2f}"
    figures = f"rank correlation {rho}, p = {found['p_value']:.2f}, {found['generators']} generators"
    if found["p_value"] > SURE:
        return f"{name} is not shown to predict usefulness here ({figures})."
    if found["rho"] < 0:
        return f"{name} predicts usefulness here: the lower it is, the higher the Dice ({figures})."
    return f"{name} misleads here: the lower it is, the lower the Dice ({figures})."


def _of_several(count: int, text: str) -> str:
    return text.format(count) if count > 1 else ""


def _number(estimate: Interval) -> str:
    return f"{estimate['value']:.3f}"
