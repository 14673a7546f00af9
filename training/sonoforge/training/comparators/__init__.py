"""Recreate other papers' systems as arms: features of ImageNet networks, and a classifier fitted to them."""

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Comparator:
    """One system: frozen ImageNet networks, and a classifier fitted to their features inside each training fold."""

    title: str  # in the tables
    networks: tuple[str, ...]  # torchvision's names; features are the inputs of each network's last layer
    classifier: str  # `svm`, `knn`, or `mlp` (tuned by a cat swarm)
    selected: int | None = None  # features that mRMR keeps; None: all
    segmented: bool = False  # whether they see the lesion alone, see `segmenting`


# Eroglu et al., Computers in Biology and Medicine 133, 2021: features of AlexNet, ResNet-50 and MobileNetV2
# concatenated, mRMR, SVM and kNN.  Ragab et al., Biology 11 (3), 2022: filter, contrast and segmentation (see
# `segmenting`), VGG-16, VGG-19 and SqueezeNet, a multilayer perceptron tuned by a cat swarm.  What mRMR keeps, 100
# features, is not in Eroglu et al.'s abstract; no image was used to choose it.  ``NAME-only`` are parts of the two, for
# where only these networks' weights can be had.
COMPARATORS = {
    name: Comparator(**{**row, "networks": tuple(row["networks"])})
    for name, row in json.loads(Path(__file__).with_name("comparators.json").read_text("utf-8")).items()
}
