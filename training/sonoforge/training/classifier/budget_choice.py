"""On which images the classifier's budgets were chosen, so that figures on the same images can say so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.training.classifier.settings import BUDGETS
from sonoforge.training.classifier.trained_on import find_seen
from sonoforge.training.data.cache import ImageCache

CHOSEN = {
    # See `settings.BUDGETS`.
    "quick": "The settings of budget quick (epochs, frozen blocks, number of networks, mirror image) were chosen on "
    "BUSI's sealed folds with seed 0",
    # "20 epochs (more over-fits)" is said there of BUSI.
    "full": "The number of epochs of budget full is that of the MSc thesis it follows, which chose it on BUSI; how "
    "its other settings were chosen is not recorded",
    "thesis": "The number of epochs of budget thesis is that of the MSc thesis, which chose it on BUSI; its optimiser, "
    "learning rate and batch, on which the thesis is silent, are its method's defaults and were chosen on no image",
}
# What an arm changes of its budget is no choice of the run; what is only looked at changes no figure.
_NO_CHOICE = ("class_weights", "augmentation", "test_curves")


def count_busi_images(cache: ImageCache) -> int:
    """Count the images that BUSI holds, changed copies included: the shipped bundle knows them, see `find_seen`."""
    return len(find_seen(open_bundle(None), cache))


def describe_choice(budget: str, settings: Mapping[str, Any], busi: int, images: int) -> str:
    """Say where a run's settings were chosen, and what that means for figures on its images.

    Args:
        budget: Row of `settings.BUDGETS`.
        settings: Fields of `ClassifierSettings`, as the run had them.
        busi: Number of the run's images that are BUSI's, see `count_busi_images`.
        images: Number of the run's images.
    """
    if busi:
        shared = "These images are BUSI's" if busi == images else f"{busi} of these {images} images are BUSI's"
        effect = f"{shared}, so the figures are optimistic, by an amount that was not measured."
    else:
        effect = "None of these images is BUSI's: the choice was made elsewhere."
    said = f"{CHOSEN[budget]}. {effect}"
    own = vars(BUDGETS[budget])
    changed = [
        f"{name.replace('_', ' ')} {settings[name]} instead of {own[name]}"
        for name in own
        if name not in _NO_CHOICE and settings.get(name, own[name]) != own[name]
    ]
    if changed:
        said += f" This run departs from the budget ({', '.join(changed)}); how that was chosen is not recorded."
    return said
