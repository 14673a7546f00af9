"""What class labels add to the losses.

``projection`` adds nothing here: the label enters the discriminator's score (Miyato and Koyama, "cGANs with
Projection Discriminator", ICLR 2018).  ``auxiliary`` makes the discriminator predict the class as well (Odena, Olah,
Shlens, "Conditional Image Synthesis with Auxiliary Classifier GANs", ICML 2017).  ``concatenation`` appends the
label to its input (Mirza and Osindero, "Conditional Generative Adversarial Nets", 2014): BEGAN's autoencoder.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cross_entropy

from sonoforge.models import began
from sonoforge.models import labels as class_labels

CONDITIONINGS = tuple(dict.fromkeys((*class_labels.CONDITIONINGS, *began.CONDITIONINGS)))  # each once, in order


def class_loss(class_logits: Tensor | None, labels: Tensor | None) -> Tensor | float:
    """Cross-entropy of the class logits (Odena 2017, equation 3: L_C); 0 where there are none.

    Both networks minimise it: the discriminator on real and on generated images, the generator on its own.

    Args:
        class_logits: (N, K), or None.
        labels: (N,) int64 classes that the images have or were made for, or None.
    """
    if class_logits is None or labels is None:
        return 0.0
    return cross_entropy(class_logits.float(), labels)
