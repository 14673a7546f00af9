"""The comparators, one row each: what their papers state, and what they leave open."""

from __future__ import annotations

from dataclasses import dataclass

HYBRID = ("alexnet", "resnet50", "mobilenet_v2")
ENSEMBLE = ("vgg16", "vgg19", "squeezenet1_1")


@dataclass(frozen=True)
class Comparator:
    """One system: frozen ImageNet networks, and what is fitted to their features inside each training fold."""

    title: str  # what the tables call it
    networks: tuple[str, ...]  # torchvision's names; features are those that each network's last layer reads
    classifier: str  # `svm`, `knn`, or `mlp` (tuned by a cat swarm)
    selected: int | None = None  # features that mRMR keeps; None: all
    masked: bool = False  # whether the networks see the lesion alone, everything outside its mask black


SELECTED = 100
"""Features that mRMR keeps: Eroglu et al.'s abstract does not state how many; chosen on no image."""

# Eroglu et al., Computers in Biology and Medicine 133, 2021: features of AlexNet, ResNet-50 and MobileNetV2
# concatenated, mRMR, SVM and kNN.  Ragab et al., Biology 11 (3), 2022: Wiener filter, contrast, segmentation
# (thresholds of Kapur's entropy by a krill herd), VGG-16, VGG-19 and SqueezeNet, a multilayer perceptron tuned by a cat
# swarm; its filter, contrast and own segmentation are not made here: whole images, or the masks given with the data.
COMPARATORS: dict[str, Comparator] = {
    "mrmr-svm": Comparator("hybrid mRMR + SVM (Eroglu 2021)", HYBRID, "svm", SELECTED),
    "mrmr-knn": Comparator("hybrid mRMR + kNN (Eroglu 2021)", HYBRID, "knn", SELECTED),
    "edlcds": Comparator("EDLCDS-BCDC without segmentation (Ragab 2022)", ENSEMBLE, "mlp"),
    "edlcds-masks": Comparator("EDLCDS-BCDC on the given masks (Ragab 2022)", ENSEMBLE, "mlp", masked=True),
    # Parts of the two, for where only these networks' weights can be had.
    "mrmr-svm-mobilenet-only": Comparator("part of hybrid mRMR: MobileNetV2 + SVM", ("mobilenet_v2",), "svm", SELECTED),
    "mrmr-knn-mobilenet-only": Comparator("part of hybrid mRMR: MobileNetV2 + kNN", ("mobilenet_v2",), "knn", SELECTED),
    "edlcds-squeezenet-only": Comparator("part of EDLCDS-BCDC: SqueezeNet", ("squeezenet1_1",), "mlp"),
}
