"""Pictures of a trained generator as a data set for any PyTorch loop."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.inference.generator import Generator
from sonoforge.training.data.pixels import Pixels, to_unit
from sonoforge.training.gan.checkpoint import describe, find_checkpoint
from sonoforge.training.gan.generator import load_generator, sample_batches


class GeneratedImages(Dataset[tuple[Tensor, int]]):
    """N pictures of one generator, drawn once, the same ones as by ``sonoforge gan sample``.

    Item i is a float32 tensor (C, S, S) in [-1, 1], or what ``transform`` makes of it, and its label.  It depends only
    on seed, i and label, and workers of a ``DataLoader`` share the pictures.  Masks are left out.

    Args:
        source: A run folder of ``gan train``, whose newest checkpoint is taken, a checkpoint, or a generator's bundle.
        count: N, at least 1; they take N x S x S x C bytes.
        seed: At least 0.
        label: The class to draw; None for all in turn.  Of a generator without classes, the label of its items, 0 for
            None.
        device: That draws: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; a bundle is drawn on the CPU.
        transform: Called with each tensor, such as ``lambda image: image.expand(3, -1, -1)``.

    Attributes:
        pixels: (N, S, S, C) uint8.
        labels: (N,) int64.
        classes: Names by label; empty without classes.

    Raises:
        SonoforgeError: There is no such generator, class or device, or the generator's code is not allowed here.
    """

    def __init__(
        self,
        source: str | os.PathLike[str],
        count: int,
        seed: int = 0,
        label: int | None = None,
        *,
        device: str = "cpu",
        transform: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        path = Path(source)
        about: Any  # a manifest or a checkpoint's description, which both have classes and image_channels
        if path.suffix == ".zip" or (path / "manifest.json").is_file():
            bundle = Generator(path)
            about, batches = bundle.manifest, bundle.batches
        else:
            checkpoint = find_checkpoint(path)
            about, batches = describe(checkpoint), functools.partial(sample_batches, load_generator(checkpoint, device))
        self.classes = tuple(about.classes)
        if count < 1:
            raise SonoforgeError(f"count: {count} is not at least 1")
        if self.classes and label is not None and not 0 <= label < len(self.classes):
            raise SonoforgeError(f"label: {label} is not from 0 to {len(self.classes) - 1}, the classes of {path}")
        turns = range(len(self.classes)) if self.classes and label is None else (label or 0,)
        self.labels: NDArray[np.int64] = np.resize(np.array(turns, np.int64), count)
        drawn = {of: chain.from_iterable(batches(count, seed, of if self.classes else None)) for of in turns}
        self.pixels: Pixels = np.stack([next(drawn[of])[..., : about.image_channels] for of in self.labels.tolist()])
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = to_unit(torch.from_numpy(self.pixels[index].copy()).permute(2, 0, 1))
        return image if self.transform is None else self.transform(image), int(self.labels[index])
