"""Load a trained generator from a checkpoint, and sample by seed, label and truncation."""

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from sonoforge.models.layers import fix_weights
from sonoforge.models.stylegan.generator import has_styles
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.inference.generator import Generator
from sonoforge.runtime.inference.latents import check_limit, draw_latent
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.data.pixels import Pixels, to_pixels, to_unit
from sonoforge.training.devices import find_device
from sonoforge.training.gan.checkpoint import describe, find_checkpoint, load_state
from sonoforge.training.gan.networks import channels_last, find_architecture

# Images computed together on a CPU, whatever number was requested: batches of another size may round differently.
CPU_BATCH = 8


@dataclass(frozen=True)
class Truncation:
    """A trade of variety for quality: in styles (Karras 2019) or, without styles, in latents (Brock 2019)."""

    # Share of each style's distance from the mean style to keep: 1 all, 0 none; None: styles are not truncated.
    psi: float | None = None
    # Largest absolute value in a normal latent, for a generator without styles; None for no limit.
    limit: float | None = None


NO_TRUNCATION = Truncation()


def check_truncation(generator: nn.Module, truncation: Truncation) -> None:
    """Refuse a truncation if this generator lacks the styles or normal latents for it.

    Raises:
        SonoforgeError: There is a psi without styles, or a limit for latents that become styles or are not normal.
    """
    if truncation.psi is not None and not has_styles(generator):
        raise SonoforgeError("psi: this generator has no styles to truncate; use truncation, a limit on latents")
    if truncation.limit is not None:
        check_limit(latent_distribution(generator), styled=has_styles(generator))


@torch.no_grad()
def generate(
    generator: nn.Module, latents: Tensor, labels: Tensor | None = None, truncation: Truncation = NO_TRUNCATION
) -> Tensor:
    """Run a generator in evaluation mode on latents (N, Z), already limited; return (N, C, S, S) in [-1, 1]."""
    given = {} if truncation.psi is None else {"truncation_psi": truncation.psi}
    images: Tensor = generator(latents, labels, **given)
    return images


def generate_parts(generator: nn.Module, latents: Tensor, labels: Tensor | None) -> Iterator[Tensor]:
    """Generate images as `generate` does, a few at a time, because many large ones would not fit in memory."""
    parts = latents.split(CPU_BATCH)
    own = [None] * len(parts) if labels is None else labels.split(CPU_BATCH)
    for part, classes in zip(parts, own, strict=True):
        yield generate(generator, part, classes)


def load_generator(checkpoint: Path, device: str = "cpu") -> nn.Module:
    """Load the averaged generator of a checkpoint, or of a run folder's newest one, ready to sample from.

    Raises:
        SonoforgeError: It is not a checkpoint, is damaged, has an unknown architecture, or one that is own code and not
            allowed on this machine.
    """
    path = find_checkpoint(checkpoint)
    about = describe(path)
    architecture = find_architecture(about.architecture, path)
    try:
        with torch.random.fork_rng(devices=[]):
            generator = architecture.generator(**about.generator_options)
        generator.load_state_dict(load_state(path, "average"))
    except (TypeError, ValueError, RuntimeError) as error:
        problem = str(error).splitlines()[0]
        raise SonoforgeError(f"{path}: its weights do not fit its own description ({problem})") from error
    fix_weights(generator)
    channels_last(generator).to(find_device(device))
    return generator.eval().requires_grad_(False)


def sample(generator: nn.Module, count: int, seed: int, label: int | None = None) -> Pixels:
    """Generate images (count, S, S, C) uint8 from a seed, see `sample_batches`."""
    return np.concatenate([*sample_batches(generator, count, seed, label)])


def sample_batches(
    generator: nn.Module,
    count: int,
    seed: int,
    label: int | Sequence[int] | None = None,
    truncation: Truncation = NO_TRUNCATION,
    batch: int = 64,
) -> Iterator[Pixels]:
    """Generate images in batches, so that any number of them fits in memory.

    Image i depends only on (seed, i, label), not on ``count``, bit for bit on a CPU. ``label`` is that of all images,
    or one for each; ``batch`` is for a GPU.

    Yields:
        (n, S, S, C) uint8.
    """
    device = next(generator.parameters()).device
    size = CPU_BATCH if device.type == "cpu" else batch
    check_truncation(generator, truncation)
    for first in range(0, max(count, 1), size):
        labels = label_batch(generator, label, size, first)
        latents = torch.cat([sample_latent(generator, seed, first + i, truncation.limit) for i in range(size)])
        yield to_pixels(generate(generator, latents.to(device), labels, truncation))[: count - first]


@torch.no_grad()
def sample_into(
    generator: nn.Module,
    maps: Pixels,
    count: int,
    seed: int,
    label: int | Sequence[int] | None = None,
    limit: float | None = None,
) -> Iterator[Pixels]:
    """Generate images as `sample_batches` does, into masks in turn: image i into mask i modulo M.

    ``maps`` are (M, S, S, K) uint8 of 0 or 255, for the K of `maps_drawn_into`; ``limit`` is a `Truncation`'s.

    Yields:
        (n, S, S, C) uint8; the last K channels are the masks.
    """
    device = next(generator.parameters()).device
    for first in range(0, count, CPU_BATCH):
        chosen = torch.from_numpy(maps[np.arange(first, first + CPU_BATCH) % len(maps)]).to(device)
        latents = torch.cat([sample_latent(generator, seed, first + i, limit) for i in range(CPU_BATCH)])
        own = (latents.to(device), label_batch(generator, label, CPU_BATCH, first), to_unit(chosen.permute(0, 3, 1, 2)))
        yield to_pixels(generator(*own))[: count - first]


def draw_latents(generator: nn.Module, count: int, seed: int, purpose: str, step: int = 0) -> Tensor:
    """Draw latents (count, Z) for a training run on the CPU, so that they are the same for every device."""
    chance = torch.Generator().manual_seed(derive_seed(seed, purpose, step))
    if latent_distribution(generator) == "uniform":
        return torch.rand(count, latent_size(generator), generator=chance) * 2 - 1
    return torch.randn(count, latent_size(generator), generator=chance)


def sample_latent(generator: nn.Module, seed: int, index: int, limit: float | None = None) -> Tensor:
    """Draw the latent (1, Z) of image ``index`` by the recipe in `runtime.inference.latents`."""
    latent = draw_latent(seed, index, latent_size(generator), latent_distribution(generator), limit)
    return torch.from_numpy(latent)[None]


def label_batch(generator: nn.Module, label: int | Sequence[int] | None, count: int, first: int = 0) -> Tensor | None:
    """Return the labels (count,) from image ``first`` on, on the device of the generator; None if it has no classes.

    One label for each image is repeated until there are enough.

    Raises:
        SonoforgeError: An unconditional generator gets a label, or a conditional one none.
    """
    classes = int(generator.classes)  # type: ignore[arg-type]
    given = [] if label is None else np.atleast_1d(label).tolist()
    if bool(given) != (classes > 0) or not all(0 <= own < classes for own in given):
        takes = f"takes a label from 0 to {classes - 1}" if classes else "was trained without classes"
        raise SonoforgeError(f"label {label}: this generator {takes}")
    own = np.resize(given, first + count)[first:] if given else None
    return None if own is None else torch.tensor(own, device=next(generator.parameters()).device)


def latent_size(generator: nn.Module) -> int:
    """Return the length of the generator's latent vector."""
    return int(generator.latent_size)  # type: ignore[arg-type]


def structures_drawn_into(generator: nn.Module) -> int:
    """Return how many channels the generator's label map has; 0 without one."""
    return int(getattr(generator, "structures", 0))


def maps_drawn_into(generator: nn.Module) -> int:
    """Return how many channels a mask has that the generator can be given to draw into; 0 if it takes none."""
    return structures_drawn_into(generator) or int(getattr(generator, "masks", 0))


def latent_distribution(generator: nn.Module) -> str:
    """Return ``normal`` or ``uniform``, the distribution of the generator's latents."""
    return str(getattr(generator, "latent_distribution", "normal"))


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
