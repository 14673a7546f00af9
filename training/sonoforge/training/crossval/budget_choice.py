"""On which images the classifier's budgets were chosen, so that figures on the same images can say so."""

from collections.abc import Mapping, Sequence
from typing import Any

from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.training.classifier.settings import BUDGETS
from sonoforge.training.classifier.trained_on import find_seen
from sonoforge.training.crossval.choice_grid import Choosing, name_grid
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.statistics.wording import listed

CHOSEN = {
    # See `settings.BUDGETS`.
    "quick": "The settings of budget quick (epochs, frozen blocks, number of networks, mirror image) were chosen on "
    "BUSI's sealed folds with seed 0",
    # "20 epochs (more over-fits)" is said there of BUSI.
    "full": "The number of epochs of budget full is that of the MSc thesis it follows, which chose it on BUSI; how "
    "its other settings were chosen is not recorded",
    "thesis": "The number of epochs of budget thesis is that of the MSc thesis, which chose it on BUSI; its optimiser, "
    "learning rate and batch, on which the thesis is silent, are its method's defaults and were chosen on no image",
    "collections": "The settings of budget collections were chosen on BUSI, BUS-BRA and BrEaST, each left out of "
    "training in turn",
}
CHOSEN_ON = {"quick": ("BUSI",), "full": ("BUSI",), "thesis": ("BUSI",), "collections": ("BUSI", "BUS-BRA", "BrEaST")}
"""Collections that a budget was chosen on."""
SEEDS = {"quick": (0,)}
"""Seeds whose folds of BUSI a budget was chosen on; other seeds deal the same images afresh."""
# The arm `weighted` sets the first; what is only looked at changes no figure.
_NO_CHOICE = ("class_weights", "test_curves", "least_steps")


def count_chosen_on(budget: str, cache: ImageCache) -> int:
    """Count the images of the collections that a budget was chosen on, changed copies included.

    The shipped bundle was trained on these collections and knows their images, see `find_seen`.
    """
    return sum(seen.collection in CHOSEN_ON[budget] for seen in find_seen(open_bundle(None), cache))


def chosen_seeds(budget: str, known: int) -> tuple[int, ...]:
    """Return the seeds with which the budget was chosen, where some of the run's images are those it was chosen on."""
    return SEEDS.get(budget, ()) if known else ()


def describe_seeds(budget: str, known: int, seeds: Sequence[int]) -> str:
    """Tell the seeds that a budget was chosen with from fresh ones; empty where that makes no difference."""
    chosen = chosen_seeds(budget, known)
    if not chosen:
        return ""
    old, fresh = [str(seed) for seed in seeds if seed in chosen], [str(seed) for seed in seeds if seed not in chosen]
    parts = [f"seed {' and '.join(old)} is the one that the budget was chosen with"] * bool(old)
    are = "s {} are fresh" if len(fresh) > 1 else " {} is fresh"
    parts += [f"seed{are.format(' and '.join(fresh))}, but deal{'s' * (len(fresh) == 1)} the same images"] * bool(fresh)
    return "; ".join(parts)


def describe_choice(
    budget: str,
    settings: Mapping[str, Any],
    known: int,
    images: int,
    seeds: Sequence[int],
    choosing: Choosing | None = None,
) -> str:
    """Say where a run's settings were chosen, and what that means for figures on its images.

    The budget was chosen on ``known`` of the run's images, see `count_chosen_on`; ``choosing`` is what the run chose
    itself, inside its folds, ``settings`` the `ClassifierSettings` that it had.
    """
    names = CHOSEN_ON[budget]
    whose = f"{names[0]}'s" if len(names) == 1 else f"of {listed(names)}"
    if known:
        shared = f"These images are {whose}" if known == images else f"{known} of these {images} images are {whose}"
        told = describe_seeds(budget, known, seeds)
        effect = f"{shared}, so the figures are optimistic, by an amount that was not measured."
        effect += f" {told[0].upper()}{told[1:]}." if told else ""
    else:
        effect = "None of these images is among them, so that choice does not flatter these figures."
    said = f"{CHOSEN[budget]}. {effect}"
    own, nested = vars(BUDGETS[budget]), dict(choosing.grid) if choosing else {}
    if choosing:
        said += (
            f" This run chose {name_grid(nested)} itself, inside each training fold, on {choosing.inner_folds} inner "
            "folds (nested cross-validation), so that no test image had a part in it."
        )
    changed = [
        f"{name.replace('_', ' ')} {settings[name]} instead of {own[name]}"
        for name in own
        if name not in (*_NO_CHOICE, *nested) and settings.get(name, own[name]) != own[name]
    ]
    if changed:
        said += f" This run departs from the budget ({', '.join(changed)}); how that was chosen is not recorded."
    return said
