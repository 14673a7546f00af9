"""What an image costs in the training of a classifier, over a bare hand-written loop, and what each setting saves.

``python training/studies/speed/classifier_training.py [--images 256] [--rounds 3]``

prints processor milliseconds an image and step, medians over the rounds, which take turns, and the ratio to the bare
loop of the same network: normalised tensors that are already there, forward, cross-entropy, backward, AdamW.  Ours
includes lesion crops, augmentation, both steps of the hierarchy, outlines and the average of the weights.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parents[3] / "tests" / "support"))

from labelled_phantoms import labelled_phantoms
from sonoforge.models.mobilenetv2 import mobilenet_v2
from sonoforge.training.classifier.fine_tuning import fit
from sonoforge.training.classifier.network import to_tensor
from sonoforge.training.classifier.scan_views import scan_inputs
from sonoforge.training.classifier.settings import ClassifierSettings
from sonoforge.training.data.labelled_images import LabelledImages

CPU = torch.device("cpu")
BASE = ClassifierSettings(
    frozen_blocks=0,
    epochs=1,
    ema_decay=0.99,
    augmentation="trivial",
    heads="hierarchical",
    lesion_crops=0.7,
    outlines=0.5,
)
VARIANTS: dict[str, ClassifierSettings] = {
    "float32": BASE,
    "bfloat16": dataclasses.replace(BASE, precision="bf16"),
    "bfloat16, 2 blocks frozen": dataclasses.replace(BASE, precision="bf16", frozen_blocks=2),
    "bfloat16, 4 blocks frozen": dataclasses.replace(BASE, precision="bf16", frozen_blocks=4),
    "bfloat16, 4 blocks frozen, 160 pixels": dataclasses.replace(
        BASE, precision="bf16", frozen_blocks=4, image_size=160
    ),
}


def ours(images: LabelledImages, settings: ClassifierSettings) -> Callable[[], None]:
    """One epoch of our training."""

    def run() -> None:
        net = mobilenet_v2(3).to(memory_format=torch.channels_last)
        frozen = net.features[: settings.frozen_blocks].eval()
        fit(net, scan_inputs(images, settings, frozen, CPU), settings, 0)

    return run


def bare(images: LabelledImages, *, autocast: bool) -> Callable[[], None]:
    """One epoch of the plainest loop."""

    def run() -> None:
        net = mobilenet_v2(3).to(memory_format=torch.channels_last).train()
        inputs, labels = to_tensor(images.pixels, CPU), torch.from_numpy(images.labels)
        optimizer = torch.optim.AdamW(net.parameters(), 1e-3)
        for first in range(0, len(labels) - BASE.batch + 1, BASE.batch):
            batch = slice(first, first + BASE.batch)
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                logits = net(inputs[batch])
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(logits.float(), labels[batch]).backward()
            optimizer.step()

    return run


def main() -> None:
    """Time all in turns, and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sets = {side: labelled_phantoms(arguments.images, side) for side in (160, 224)}
    runs = {
        "bare loop, float32": bare(sets[224], autocast=False),
        "bare loop, bfloat16": bare(sets[224], autocast=True),
    }
    runs |= {f"ours, {name}": ours(sets[own.image_size], own) for name, own in VARIANTS.items()}
    spent: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(arguments.rounds):
        for name, run in runs.items():
            started = time.process_time()
            run()
            spent[name].append(1e3 * (time.process_time() - started) / arguments.images)
    medians = {name: statistics.median(values) for name, values in spent.items()}
    first = medians["bare loop, float32"]
    for name, value in medians.items():
        print(f"{name:<45} {value:6.1f} ms   {value / first:.2f}")


if __name__ == "__main__":
    main()
