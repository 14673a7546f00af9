"""The pairs of networks that recipes name: built with initial weights, loaded, and sampled from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sonoforge.models import began, dcgan, dcgan_thesis, progan
from sonoforge.models.stylegan import discriminator as stylegan_discriminator
from sonoforge.models.stylegan import layers, stylegan1, stylegan2, stylegan3
from sonoforge.models.stylegan.mapping import has_styles
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.inference.latents import check_limit, draw_latent
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.data.pixels import Pixels, to_pixels
from sonoforge.training.devices import open_fabric
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan.objectives.regularisers import REGULARISERS
from sonoforge.training.gan.recipes import Recipe


class Architecture(NamedTuple):
    """A pair of networks, and how their weights are drawn.

    Attributes:
        generator: Class of the one.
        discriminator: Class of the other.
        initialise: Draws the weights of either.
        widths: The options of either that make its base layer so many maps wide.
        paced: The options of the generator that depend on how many images it is given at once.
    """

    generator: type[nn.Module]
    discriminator: type[nn.Module]
    initialise: Callable[[nn.Module, torch.Generator], None]
    widths: Callable[[int], dict[str, int]] = lambda width: {"width": width}
    paced: Callable[[int], dict[str, float]] = lambda images: {}


def _channel_widths(width: int) -> dict[str, int]:
    """As narrow throughout, in the published proportion of 512 maps to 512 x 64."""
    return {"channel_max": width, "channel_base": 64 * width}


MAGNITUDE_HALF_LIFE = 20_000  # images (the StyleGAN3 authors' code)


def _magnitude_decay(images: int) -> dict[str, float]:
    return {"magnitude_decay": 0.5 ** (images / MAGNITUDE_HALF_LIFE)}


ARCHITECTURES: dict[str, Architecture] = {
    "dcgan-thesis": Architecture(dcgan_thesis.Generator, dcgan_thesis.Discriminator, dcgan_thesis.initialise),
    "dcgan": Architecture(dcgan.Generator, dcgan.Discriminator, dcgan.initialise),
    "began": Architecture(began.Generator, began.Discriminator, began.initialise),
    "progan": Architecture(progan.Generator, progan.Discriminator, progan.initialise),
    "stylegan1": Architecture(stylegan1.Generator, stylegan1.Discriminator, stylegan1.initialise, _channel_widths),
    "stylegan2": Architecture(
        stylegan2.Generator, stylegan_discriminator.Discriminator, layers.initialise, _channel_widths
    ),
    "stylegan3": Architecture(
        stylegan3.Generator,
        stylegan_discriminator.Discriminator,
        layers.initialise,
        _channel_widths,
        _magnitude_decay,
    ),
}


def channels_last(network: nn.Module) -> nn.Module:
    """Lay the weights out as (out, height, width, in): 10 to 15 % faster steps on a CPU, more on a GPU."""
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def generator_options(recipe: Recipe, image_size: int, channels: int, classes: int, portion: int) -> dict[str, Any]:
    """Return the arguments that build the recipe's generator, as they are recorded in its checkpoints.

    Args:
        recipe: With all settings applied.
        image_size: Side in pixels.
        channels: Of the images, masks included.
        classes: Number of classes to be told apart by label, 0 for none.
        portion: Images of one pass, of all processes together: a batch, or the part of it that is computed at once.
    """
    return {
        "image_size": image_size,
        "channels": channels,
        "latent_size": recipe.latent_size,
        "classes": classes,
        **ARCHITECTURES[recipe.architecture].paced(portion),
        **recipe.generator,
    }


def build_networks(recipe: Recipe, options: dict[str, Any], seed: int) -> tuple[nn.Module, nn.Module]:
    """Make both networks with their initial weights, leaving torch's global random state alone.

    Args:
        recipe: With all settings applied.
        options: From `generator_options`.
        seed: Of the weights.

    Raises:
        SonoforgeError: The architecture cannot be built so, for example at this size.
    """
    seeds = [derive_seed(seed, purpose) for purpose in ("generator weights", "discriminator weights")]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeds[1])
        networks = _make(recipe, options)
        for network, own_seed in zip(networks, seeds, strict=True):
            ARCHITECTURES[recipe.architecture].initialise(network, torch.Generator().manual_seed(own_seed))
        for name in recipe.regularisers:
            build = REGULARISERS[name].build
            if build is not None:
                build(networks[REGULARISERS[name].of == "discriminator"])
    for network in networks:
        channels_last(network)
    return networks


def outline_networks(recipe: Recipe, options: dict[str, Any]) -> tuple[nn.Module, nn.Module]:
    """Make both networks without any numbers in them, at no cost; refuse what `build_networks` would refuse.

    Raises:
        SonoforgeError: See `build_networks`.
    """
    with torch.device("meta"):
        return _make(recipe, options)


def _make(recipe: Recipe, options: dict[str, Any]) -> tuple[nn.Module, nn.Module]:
    architecture = ARCHITECTURES[recipe.architecture]
    try:
        return (
            architecture.generator(**options),
            architecture.discriminator(
                image_size=options["image_size"],
                channels=options["channels"],
                classes=options["classes"],
                conditioning=recipe.conditioning,
                **recipe.discriminator,
            ),
        )
    except (ValueError, TypeError) as error:
        raise SonoforgeError(f"GAN training: the {recipe.architecture} networks: {error}") from error


class Truncation(NamedTuple):
    """How far styles are drawn to their mean.

    Attributes:
        psi: Distance from the mean that is kept: 1 all, 0 none.
        cutoff: How many styles, the coarse ones first, are drawn; None for all.
    """

    psi: float = 1.0
    cutoff: int | None = None


@torch.no_grad()
def generate(
    generator: nn.Module, latents: Tensor, labels: Tensor | None = None, truncation: Truncation | None = None
) -> Tensor:
    """Run a generator that is in evaluation mode: (N, Z) to (N, C, S, S) in [-1, 1].

    Args:
        generator: Any of them; with styles, where these are to be drawn to their mean.
        latents: (N, Z).
        labels: (N,) int64, or None.
        truncation: Of the styles.
    """
    options = {} if truncation is None else {"truncation_psi": truncation.psi, "truncation_cutoff": truncation.cutoff}
    images: Tensor = generator(latents, labels, **options)
    return images


def check_truncation(generator: nn.Module, truncation: Truncation) -> None:
    """Refuse to draw styles to their mean where there are none, or fewer than asked for.

    Raises:
        SonoforgeError: See there.
    """
    if not has_styles(generator):
        raise SonoforgeError(
            "--psi: this generator has no styles to draw to their mean, expected one of StyleGAN; use --truncation"
        )
    number = int(generator.mapping.num_styles)  # type: ignore[union-attr, arg-type]
    if truncation.cutoff is not None and truncation.cutoff > number:
        raise SonoforgeError(f"--psi-cutoff: found {truncation.cutoff}, expected at most {number}, the styles it has")


def load_generator(checkpoint: Path, device: str = "cpu") -> nn.Module:
    """Load the averaged generator of a checkpoint, ready to sample from.

    Args:
        checkpoint: A checkpoint folder, or a run folder (then its newest checkpoint).
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        SonoforgeError: Not a checkpoint, damaged, or of an architecture that is not known here.
    """
    path = gan_checkpoint.find_checkpoint(checkpoint)
    about = gan_checkpoint.describe(path)
    if about.architecture not in ARCHITECTURES:
        raise SonoforgeError(
            f"{path}: found architecture {about.architecture!r}, expected one of {', '.join(ARCHITECTURES)}"
        )
    try:
        with torch.random.fork_rng(devices=[]):
            generator = ARCHITECTURES[about.architecture].generator(**about.generator_options)
        generator.load_state_dict(gan_checkpoint.load_state(path, "average"))
    except (TypeError, ValueError, RuntimeError) as error:
        problem = str(error).splitlines()[0]
        raise SonoforgeError(f"{path}: its weights do not fit its own description ({problem})") from error
    channels_last(generator).to(open_fabric(device).device)
    return generator.eval().requires_grad_(False)


# Images computed together on a CPU.  The same image in a batch of another size may round otherwise, so these are
# always as many, whatever was asked for.
PORTION = 8


def sample(generator: nn.Module, count: int, seed: int, label: int | None = None) -> Pixels:
    """Generate images from a seed, see `sample_portions`: (count, S, S, C) uint8."""
    return np.concatenate([*sample_portions(generator, count, seed, label)])


def sample_portions(
    generator: nn.Module,
    count: int,
    seed: int,
    label: int | None = None,
    *,
    clip: float | None = None,
    truncation: Truncation | None = None,
    batch: int = 64,
) -> Iterator[Pixels]:
    """Generate images a few at a time, so that any number of them fits in memory.

    Args:
        generator: From `load_generator`.
        count: How many.
        seed: Image number i depends on (seed, i, label) alone, not on ``count``; on a CPU to the last bit, whatever
            the batch.
        label: Class to generate, for a conditional generator.
        clip: Largest number in a latent, for normal latents of a generator without styles; None for no limit.
        truncation: Of the styles, for a generator that has them.
        batch: Images at a time on a GPU.

    Yields:
        (n, S, S, C) uint8.

    Raises:
        SonoforgeError: A label for a generator without classes, or none for one with them; or a limit for
            latents that are not normal or become styles; or a truncation of styles without any.
    """
    portion = PORTION if next(generator.parameters()).device.type == "cpu" else batch
    labels = label_batch(generator, label, portion)
    if truncation is not None:
        check_truncation(generator, truncation)
    for first in range(0, max(count, 1), portion):
        latents = torch.cat([sample_latent(generator, seed, first + index, clip) for index in range(portion)])
        yield generate_pixels(generator, latents, labels, truncation)[: count - first]


def sample_latent(generator: nn.Module, seed: int, index: int, clip: float | None = None) -> Tensor:
    """Draw the latent (1, Z) of image number ``index`` by the recipe of `runtime.latents`; see `sample_portions`."""
    distribution = latent_distribution(generator)
    if clip is not None:
        check_limit(distribution, styled=has_styles(generator))
    return torch.from_numpy(draw_latent(seed, index, latent_size(generator), distribution, clip))[None]


def generate_pixels(
    generator: nn.Module, latents: Tensor, labels: Tensor | None, truncation: Truncation | None = None
) -> Pixels:
    """Generate from latents (N, Z) on any device: (N, S, S, C) uint8; see `generate`."""
    device = next(generator.parameters()).device
    own = None if labels is None else labels.to(device)
    return to_pixels(generate(generator, latents.to(device), own, truncation))


def label_batch(generator: nn.Module, label: int | None, count: int) -> Tensor | None:
    """Return a label (count,) for each image, or None for a generator without classes.

    Raises:
        SonoforgeError: A label for a generator without classes, or none for one with them.
    """
    classes = int(generator.classes)  # type: ignore[arg-type]
    if (label is not None) != (classes > 0) or (label is not None and not 0 <= label < classes):
        expected = f"a label from 0 to {classes - 1}" if classes else "no label: it was trained without classes"
        raise SonoforgeError(f"generator: found label {label}, expected {expected}")
    return None if label is None else torch.full((count,), label)


def latent_size(generator: nn.Module) -> int:
    """Length of the generator's latent vector."""
    return int(generator.latent_size)  # type: ignore[arg-type]


def latent_distribution(generator: nn.Module) -> str:
    """``normal`` or ``uniform``: what the generator's latents are drawn from."""
    return str(getattr(generator, "latent_distribution", "normal"))
