"""The architectures: pairs of networks that recipes name, built with their initial weights."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sonoforge.models import began, biggan, dcgan, ga_gan, light, projected, spade
from sonoforge.models.spectral import draw_weights
from sonoforge.models.stylegan import layers, progan, stylegan1, stylegan2, stylegan3
from sonoforge.models.stylegan.discriminator import Discriminator, ResidualSettings
from sonoforge.models.stylegan.generator import StyledSettings
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.evaluation.features import Features
from sonoforge.training.gan.recipes import Recipe
from sonoforge.training.gan.regularisers import REGULARISERS

if TYPE_CHECKING:
    from typing import Self  # since Python 3.11


class Architecture(NamedTuple):
    """A pair of networks, and how their weights are initialised."""

    generator: Callable[..., nn.Module]
    discriminator: Callable[..., nn.Module]
    initialise: Callable[[Any, torch.Generator], None]  # draws the initial weights of either
    # Number of channels of the widest or base layer, to the options of either network.
    width_options: Callable[[int], dict[str, int]] = lambda width: {"width": width}
    # Images in one forward pass, to the options of the generator that depend on it.
    batch_options: Callable[[int], dict[str, float]] = lambda images: {}
    free_hidden: tuple[str, ...] = ()  # of `activation` and `norm`: of which both networks take another than published
    reconstruction: bool = False  # whether the discriminator's scores are reconstruction errors
    cells: bool = False  # whether either network has a `cell`, which is a code
    projected: bool = False  # whether the discriminator sees images through a frozen feature network
    needs: tuple[str, ...] = ()  # of its discriminator: names in `needs.NEEDS`


def _channel_widths(width: int) -> dict[str, int]:
    """Scale all layers, in the published proportion of at most 512 channels to a base of 512 x 64."""
    return {"channel_max": width, "channel_base": 64 * width}


MAGNITUDE_HALF_LIFE = 20_000  # images (the StyleGAN3 authors' code)


def _magnitude_decay(images: int) -> dict[str, float]:
    return {"magnitude_decay": 0.5 ** (images / MAGNITUDE_HALF_LIFE)}


def _dcgan_generator(norm: str = "batch", activation: str = "relu", **options: Any) -> nn.Module:
    return dcgan.Generator(**options, hidden=dcgan.Hidden(norm, activation))


def _dcgan_discriminator(norm: str = "batch", activation: str = "leaky-relu", **options: Any) -> nn.Module:
    return dcgan.Discriminator(**options, hidden=dcgan.Hidden(norm, activation))


def _from(network: Callable[..., nn.Module], settings: Callable[..., object]) -> Callable[..., nn.Module]:
    """A network that is built from an object of settings."""
    return lambda **options: network(settings(**options))


def _with_cells(network: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """A network of GA-GAN."""

    def build(cell: str = "found", activation: str = ga_gan.ACTIVATION, **options: Any) -> nn.Module:
        return network(**options, cells=ga_gan.Cells(cell, activation))

    return build


def _projected_discriminator(frozen: nn.Module, **options: Any) -> nn.Module:
    return projected.Discriminator(projected.DiscriminatorSettings(**options), frozen)


def _initialise_light_or_projected(network: nn.Module, generator: torch.Generator) -> None:
    if isinstance(network, projected.Discriminator):
        projected.initialise(network, generator)
    else:
        draw_weights(network, generator)


_RESIDUAL = _from(Discriminator, ResidualSettings)

ARCHITECTURES: dict[str, Architecture] = {
    "dcgan-thesis": Architecture(
        dcgan.ThesisGenerator, dcgan.ThesisDiscriminator, dcgan.initialise, free_hidden=("activation", "norm")
    ),
    "dcgan": Architecture(_dcgan_generator, _dcgan_discriminator, dcgan.initialise, free_hidden=("activation", "norm")),
    "began": Architecture(
        began.Generator, began.Discriminator, began.initialise, reconstruction=True, needs=("reconstruction loss",)
    ),
    "ga-gan": Architecture(
        _with_cells(ga_gan.Generator), _with_cells(ga_gan.Discriminator), draw_weights, cells=True,
        free_hidden=("activation",),
    ),
    "biggan": Architecture(biggan.Generator, biggan.Discriminator, draw_weights),
    "spade": Architecture(_from(spade.Generator, spade.GeneratorSettings), spade.Discriminator, spade.initialise),
    "projected": Architecture(
        _from(light.Generator, spade.MapSettings), _projected_discriminator, _initialise_light_or_projected,
        projected=True, needs=("feature network",),
    ),
    "progan": Architecture(progan.Generator, progan.Discriminator, layers.initialise),
    "stylegan1": Architecture(
        _from(stylegan1.Generator, stylegan1.GeneratorSettings),
        _from(stylegan1.Discriminator, stylegan1.GrowingSettings),
        layers.initialise, _channel_widths,
    ),
    "stylegan2": Architecture(
        _from(stylegan2.Generator, StyledSettings), _RESIDUAL, layers.initialise, _channel_widths
    ),
    "stylegan3": Architecture(
        _from(stylegan3.Generator, stylegan3.GeneratorSettings), _RESIDUAL, layers.initialise, _channel_widths,
        _magnitude_decay,
    ),
}  # fmt: skip


def channels_last(network: nn.Module) -> nn.Module:
    """Store the weights as (out, height, width, in): 10 to 15 % faster steps on a CPU, more on a GPU."""
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


class Samples(NamedTuple):
    """What a generator makes."""

    image_size: int  # side in pixels
    image_channels: int  # 1 or 3
    structures: int  # masks beside each image, 0 for none
    classes: int  # of a conditional training, 0 for an unconditional one
    kept_maps: int = 0  # label maps that a generator which draws into them keeps


class Seen(NamedTuple):
    """What a projected discriminator sees of a sample, and through which network."""

    features: Features
    image_channels: int  # those after them are masks, which no feature network knows


def generator_options(recipe: Recipe, samples: Samples, batch: int) -> Mapping[str, Any]:
    """Return the arguments that build the recipe's generator, as they are recorded in its checkpoints.

    Those of a batch follow its images in one forward pass of all processes: all, or a part with ``accumulate``.
    """
    architecture = ARCHITECTURES[recipe.architecture]
    return {
        "image_size": samples.image_size,
        "channels": samples.image_channels + samples.structures,
        "latent_size": recipe.latent_size,
        "classes": samples.classes,
        **({"structures": samples.structures, "maps": samples.kept_maps} if recipe.draws_into_maps else {}),
        **architecture.batch_options(batch),
        **recipe.generator,
    }


def discriminator_of(recipe: Recipe) -> Architecture:
    """Return the architecture that the recipe's discriminator is of."""
    return ARCHITECTURES[recipe.discriminator_architecture or recipe.architecture]


def build_networks(
    recipe: Recipe, options: Mapping[str, Any], seed: int, seen: Seen | None = None
) -> tuple[nn.Module, nn.Module]:
    """Make both networks with their initial weights, leaving torch's global random state alone.

    For the generator's options see `generator_options`; only a projected discriminator needs ``seen``.

    Raises:
        SonoforgeError: The architecture cannot be built with these options, for example at this size.
    """
    seeds = [derive_seed(seed, purpose) for purpose in ("generator weights", "discriminator weights")]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeds[1])
        networks = _make(recipe, options, seen)
        architectures = (ARCHITECTURES[recipe.architecture], discriminator_of(recipe))
        for network, architecture, own_seed in zip(networks, architectures, seeds, strict=True):
            architecture.initialise(network, torch.Generator().manual_seed(own_seed))
        for name in recipe.regularisers:
            build = REGULARISERS[name].build
            if build is not None:
                build(networks[REGULARISERS[name].of == "discriminator"])
    for network in networks:
        channels_last(network)
    return networks


def outline_networks(
    recipe: Recipe, options: Mapping[str, Any], seen: Seen | None = None
) -> tuple[nn.Module, nn.Module]:
    """Make both networks on the meta device, without weights and at no cost; a frozen network is as it is.

    Raises:
        SonoforgeError: `build_networks` would refuse the same options.
    """
    with torch.device("meta"):
        return _make(recipe, options, seen)


def _make(recipe: Recipe, options: Mapping[str, Any], seen: Seen | None) -> tuple[nn.Module, nn.Module]:
    architecture = ARCHITECTURES[recipe.architecture]
    own = dict(recipe.discriminator)
    if discriminator_of(recipe).projected:
        if seen is None:
            raise SonoforgeError(
                "features: found none, expected the network that the discriminator sees images through"
            )
        own |= {"frozen": FrozenMaps(seen.features), "image_channels": seen.image_channels}
    try:
        return (
            architecture.generator(**options),
            discriminator_of(recipe).discriminator(
                image_size=options["image_size"],
                channels=options["channels"],
                classes=options["classes"],
                conditioning=recipe.conditioning,
                **own,
            ),
        )
    except (ValueError, TypeError) as error:
        raise SonoforgeError(f"GAN training: the {recipe.architecture} networks: {error}") from error


SCALES = 4  # Sauer et al. 2021, section 3.1
FROZEN_BATCH = 16  # images whose maps a CPU computes together


class FrozenMaps(nn.Module):
    """A feature network's maps at its four coarsest scales, of each the deepest; always in evaluation mode.

    The network is shared, not copied: nothing here trains or changes it.
    """

    def __init__(self, features: Features) -> None:
        super().__init__()
        self.network = features.module
        self._features = features

    def train(self, mode: bool = True) -> "Self":
        """Stay in evaluation mode: batch norm keeps the statistics that its weights were trained with."""
        del mode
        return super().train(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images (N, 1 or 3, S, S) in [-1, 1] to maps, the finest first.

        On a CPU those of a large batch are computed a few images at a time, and again for their gradient: what all
        layers keep would take gigabytes.
        """
        if len(images) <= FROZEN_BATCH or not layers.eager_on_cpu(images):
            return self._maps(images)
        parts = [checkpoint(self._maps, part, use_reentrant=False) for part in images.split(FROZEN_BATCH)]
        return [torch.cat(maps) for maps in zip(*parts, strict=True)]

    def _maps(self, images: Tensor) -> list[Tensor]:
        deepest = {maps.shape[2]: maps for maps in self._features.maps(images)}
        return [deepest[side] for side in sorted(deepest, reverse=True)[-SCALES:]]
