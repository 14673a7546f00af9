"""How a classifier is fine-tuned, and the budgets to choose from."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from sonoforge.runtime.images.preprocessing import IMAGENET, Preprocessing

LARGE = 256
"""Side in pixels of the images that crops are cut from: a crop of a small image would be blurred."""


@dataclass(frozen=True)
class ClassifierSettings:
    """How a classifier is fine-tuned."""

    frozen_blocks: int = 11  # leading blocks (of 19) kept at their initial weights; 0 trains the whole network
    epochs: int = 8  # passes over the training images
    optimiser: str = "adamw"  # row of `fine_tuning.OPTIMISERS`
    schedule: str = "one-cycle"  # of the learning rate: `one-cycle` (Smith & Topin 2019) or `constant`
    learning_rate: float = 1e-3  # peak of `one-cycle`
    weight_decay: float = 1e-2  # decoupled (Loshchilov & Hutter 2019); `adam` has none
    batch: int = 32  # images per step
    label_smoothing: float = 0.1  # share of the target spread over all classes (Szegedy et al. 2016), 0..1
    # Decay of the exponential moving average of the weights a step, 0 for none; the averaged weights are the result.
    ema_decay: float = 0.98
    class_weights: bool = False  # weight each class by the inverse of its frequency
    # Row of `augmentation.VARIANTS`, see `augmentation.augment`.  An arm may have its own.
    augmentation: str = "flip"
    # `classes`: cross-entropy of all classes; `hierarchical`: is there a lesion, and which, see `losses`.
    heads: str = "classes"
    # Share of the images that are shown as a crop with their lesion, or beside it as an image without one, see
    # `scan_views`; needs masks, and `hierarchical` heads.
    lesion_crops: float = 0.0
    # Weight of a second task, the outline of the lesion, see `losses`; needs masks, and `hierarchical` heads.
    outlines: float = 0.0
    balance: bool = False  # show all collections equally often, see `scan_views.balanced_frequencies`
    # Networks trained with different seeds on the same frozen blocks; their logits are averaged
    # (Lakshminarayanan et al., Deep ensembles, NeurIPS 2017).
    ensemble_size: int = 1
    teachers: int = 0  # networks that are distilled into each of the members, see `fine_tuning`; 0: none
    mirror: bool = False  # answer on the mean embedding of the image and its mirror image; twice the work of one answer
    # Answer on the mean embedding of the whole image and of the part where the network sees a lesion, see
    # `models.zoomed_pass`: twice the work of one answer; needs outlines.
    zoomed_second_pass: bool = False
    crop: str = "none"  # row of `preprocessing.CROPS`: whole images, or the scan found in each
    image_size: int = IMAGENET.size  # side of what the network is shown, in pixels
    precision: str = "fp32"  # `fp32`, or `bf16`: forward and backward passes in bfloat16 autocast, weights in float32
    # Accuracy and loss on the held-out fold after each epoch, for a picture; nothing is chosen by them.
    test_curves: bool = False

    @property
    def preprocessing(self) -> Preprocessing:
        """How an image becomes the network's input."""
        return dataclasses.replace(IMAGENET, size=LARGE if self.zoomed_second_pass else self.image_size, crop=self.crop)

    @property
    def look(self) -> int | None:
        """Side of each of two passes in pixels; None where there is but one."""
        return self.image_size if self.zoomed_second_pass else None

    @property
    def cached_blocks(self) -> int:
        """Leading blocks whose maps are computed once an image and variant: the frozen ones, unless views differ."""
        return self.frozen_blocks if self.heads == "classes" else 0


BUDGETS: dict[str, ClassifierSettings] = {
    # Chosen on BUSI's sealed folds of seed 0, which reports say (`budget_choice`).  One network: accuracy .845 to .851
    # (three seeds), macro-AUC .943 to .949; three together: .867 and .954.  Averaging their weights instead (.851),
    # batch norm in eval mode (.742), 8 or 12 epochs, mixing of images, stronger augmentation, half or double the rate
    # did not help; the mirror image did.
    "quick": ClassifierSettings(epochs=5, ensemble_size=3, mirror=True),
    # Every block and the thesis's 20 epochs (more over-fitted there), with smoothing, averaging, flips and one-cycle,
    # which it does not name.
    "full": ClassifierSettings(frozen_blocks=0, epochs=20, learning_rate=5e-4, ema_decay=0.99),
    # As the MSc thesis trains MobileNetV2 (S. H., Middlesex University, 2024): ImageNet weights, every block, 20
    # epochs, whole images resized to 224 x 224, and nothing else.  It is silent on optimiser, learning
    # rate and batch: Adam with its authors' default rate (Kingma & Ba, ICLR 2015, algorithm 1), which is also
    # PyTorch's, and the default batch of Bengio, "Practical recommendations for gradient-based training of deep
    # architectures", 2012, section 3.1.  Neither was chosen by results.
    "thesis": ClassifierSettings(
        frozen_blocks=0,
        epochs=20,
        optimiser="adam",
        schedule="constant",
        learning_rate=1e-3,
        weight_decay=0.0,
        batch=32,
        label_smoothing=0.0,
        ema_decay=0.0,
        augmentation="none",
        test_curves=True,  # its figure 13 shows training and test by epoch
    ),
    # For scanners that no training image comes from: their gains: `docs/notebook/other-scanners.md`.
    "collections": ClassifierSettings(
        frozen_blocks=4,
        epochs=12,
        label_smoothing=0.0,
        ema_decay=0.99,
        augmentation="trivial",
        heads="hierarchical",
        lesion_crops=0.7,
        outlines=0.5,
        balance=True,
        teachers=2,
        zoomed_second_pass=True,
        image_size=160,
        precision="bf16",
    ),
}
