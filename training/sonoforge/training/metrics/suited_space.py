"""Which feature space to measure in where the user names none: never one that does not know this kind of image.

The shipped bundle needs neither torch's networks nor a download, but it has seen breast ultrasound alone.  Whether it
knows some images, its own trust tells, see `trust.LEAST_KNOWN`.
"""

import logging
from collections.abc import Sequence

import numpy as np

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.synthetic import as_picture
from sonoforge.runtime.inference import trust
from sonoforge.training.data.pixels import Pixels
from sonoforge.training.data.selection import evenly_spaced
from sonoforge.training.metrics.features import NETWORKS
from sonoforge.training.metrics.spaces import IMAGENET_NETWORKS
from sonoforge.training.pretrained import is_downloaded

log = logging.getLogger(__name__)

BUNDLE, NEUTRAL = "bundle", "mobilenetv2-imagenet"
SAMPLED = 60  # images that are judged: a second on one core


def choose_space(images: Sequence[Pixels], source: str, option: str) -> str:
    """Return the name of a feature space that suits the real images.

    That is the shipped bundle's where it knows them, else the ImageNet MobileNetV2's where torch has downloaded its
    weights before; the choice is logged.

    Args:
        images: (H, W, C) uint8 each, not smaller than the network sees them if they can be had so: it takes what is
            blurred for another kind of image.
        source: What they are, for messages.
        option: The option that names a space, for messages.

    Raises:
        SonoforgeError: The bundle does not know them, and the ImageNet weights are not there.
    """
    known = known_share([images[index] for index in evenly_spaced(len(images), SAMPLED)])
    if known >= trust.LEAST_KNOWN:
        log.info(
            "feature space: bundle, the shipped network, which knows %.0f%% of %s; %s names another",
            100 * known, source, option,
        )  # fmt: skip
        return BUNDLE
    why = f"the shipped network learned from breast ultrasound and knows {known:.0%} of these images"
    if is_downloaded(NETWORKS[IMAGENET_NETWORKS[NEUTRAL]].weights):
        log.info("feature space: %s, since %s; %s names another", NEUTRAL, why, option)
        return NEUTRAL
    raise SonoforgeError(
        f"{source}: found no feature space that suits them: {why}; give {option} {NEUTRAL} (a download of 14 MB, or a "
        "weights file), inception (the published one), bundle:PATH (a bundle of your own), pixels (no network), or "
        "bundle all the same"
    )


def known_share(images: Sequence[Pixels]) -> float:
    """Return the share of images that the shipped bundle takes for images of the kind that it was trained on."""
    from sonoforge.runtime.inference.classifier import Classifier  # noqa: PLC0415 - onnxruntime for this alone

    classifier = Classifier()
    return float(np.mean([classifier.classify(as_picture(image)).trust.in_distribution for image in images]))
