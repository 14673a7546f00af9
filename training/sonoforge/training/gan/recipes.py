"""The table of GAN recipes: each row is data, and a new recipe is a new row.

A recipe names one part of each kind: architecture x loss x regularisers x perceptual term x augmentation x EMA x
conditioning x optimisers x schedule.  The training loop knows none of them by name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from sonoforge.models.ga_gan.codes import PUBLISHED
from sonoforge.runtime.errors import SonoforgeError, did_you_mean

# The optimisers, each with the betas that it has where a recipe names another one: Adam's of Radford et al. 2016, and
# RMSprop's smoothing of the authors' code of WGAN.
OPTIMISERS: dict[str, tuple[float, float]] = {"adam": (0.5, 0.999), "rmsprop": (0.0, 0.99)}


# Label maps that a generator which draws into them keeps: of its training images, or of a shape model of these.
KEPT_MAPS = ("training", "shapes")


class OptimiserSettings(NamedTuple):
    """What a recipe says of one network's optimiser."""

    name: str  # of `OPTIMISERS`
    learning_rate: float  # before any schedule
    # Of Adam; the first is unused by RMSprop, whose smoothing constant is the second.
    betas: tuple[float, float] = (0.5, 0.999)


class Budget(NamedTuple):
    """How long to train, and images a step."""

    length: float
    batch: int
    # Of the length: passes over the images of the class (epochs), or generator updates (iterations).
    unit: Literal["epochs", "iterations"] = "epochs"

    def __str__(self) -> str:
        """Return the length in words, such as ``200 epochs`` or ``100 000 iterations``."""
        return f"{self.length:,g} {self.unit}".replace(",", " " if self.length >= 10_000 else "")


class Strength(NamedTuple):
    """How a regulariser is applied: its weight, and every how many steps (more than 1: lazily, Karras 2020)."""

    weight: float
    interval: int = 1


def r1_gamma(side: int, batch: int) -> float:
    """Return R1's gamma for images of this side: the rule of the authors' code of StyleGAN2-ADA and StyleGAN3."""
    return 0.0002 * side**2 / batch


class Preset(NamedTuple):
    """A row's numbers for another purpose than the published one."""

    changes: Mapping[str, Any]  # of the row, by field
    why: str  # the reason for each


@dataclass(frozen=True)
class Recipe:
    """One published GAN: names of parts and their numbers."""

    title: str  # one line for the table
    source: str  # paper, section; and where each number that it leaves open is from
    architecture: str  # name in `networks.ARCHITECTURES`, of both networks
    image_size: int  # side in pixels that it is published at, or the usual one
    latent_size: int  # length of the latent vector
    loss: str  # name in `losses.LOSSES`
    generator_optimiser: OptimiserSettings  # of the generator
    discriminator_optimiser: OptimiserSettings  # of the discriminator; other rates make it a two time-scale update rule
    budget: Budget  # length of training for a class without its own
    class_budgets: Mapping[str, Budget] = field(default_factory=dict)  # length of training by class, in lower case
    discriminator_architecture: str = ""  # of the discriminator, where it is another's
    n_critic: int = 1  # discriminator updates for each generator update
    # Strengths by name in `regularisers.REGULARISERS`.
    regularisers: Mapping[str, Strength] = field(default_factory=dict)
    perceptual_weight: float = 0.0  # of the perceptual term (`perceptual`); 0 for none
    feature_matching: float = 0.0  # weight of `feature_matching`; 0 for none
    mirror: bool = False  # whether the images are doubled by left-right flips
    augmentation: str = "none"  # name in `augmentations.AUGMENTATIONS`; seen by the discriminator only
    conditioning: str = "none"  # name in `conditioning.CONDITIONINGS`
    schedule: str = "constant"  # name in `schedules.SCHEDULES`, of both learning rates
    draws_into_maps: bool = False  # whether the generator draws images into label maps, so that it needs masks
    kept_maps: str = "training"  # of `KEPT_MAPS`: what such a generator keeps, to draw into where it is given none
    growing: bool = False  # whether the networks grow while they train (`schedules.growing_stage`)
    ema_half_life: float = 10_000  # images after which a weight's share in the averaged generator has halved
    # Options of the generator beyond the defaults of its class.
    generator: Mapping[str, Any] = field(default_factory=dict)
    # Options of the discriminator beyond the defaults of its class.
    discriminator: Mapping[str, Any] = field(default_factory=dict)
    # Other numbers by name; without one the row is as published.
    presets: Mapping[str, Preset] = field(default_factory=dict)
    # Images over which a blur of all that the discriminator sees fades, from `blurring.START` pixels; 0: none.
    blur: int = 0
    r1_by_size: bool = False  # whether R1's gamma follows the size and the batch that are asked for, see `r1_gamma`

    def budget_for(self, class_name: str) -> Budget:
        """Return the published length of training for this class."""
        return self.class_budgets.get(class_name.lower(), self.budget)


# None of the classic papers says how long to train on a few hundred medical images.  Thakur and Thakur train DCGAN,
# LSGAN, WGAN, StyleGAN and two more for 200 epochs each; the other rows take the same number for want of one.
EPOCHS = 200
AS_LONG = "200 epochs: as Thakur and Thakur give the six that they compare; none of its own is known for small sets."
DGAN_EPOCHS = 500  # Ryspayeva and Salykova 2025 (StyleGAN2 against StyleGAN3) say so of DGAN-WP-TL
AVERAGED = "The averaged generator (EMA) is an addition, half-life 10 000 images as in Karras 2020 (StyleGAN2)."
DCGAN_ADAM = OptimiserSettings("adam", 0.0002, (0.5, 0.999))

# As published, but narrow, so that a few hundred images are seen often enough in the minutes of a few cores.
FEW_CORES = (
    "A narrow network and small batches, for minutes of a few cores at 64 pixels; nothing else differs. At the "
    "published width a step takes a core 10 seconds and more."
)
CLASSIC_FEW_CORES: dict[str, Any] = {
    "budget": Budget(1000, batch=32),
    "generator": {"width": 32},
    "discriminator": {"width": 32},
}
CLASSIC_PRESETS = {"few-cores": Preset(CLASSIC_FEW_CORES, FEW_CORES)}
STYLE_FEW_CORES = {"channel_max": 32, "channel_base": 64 * 32}
STYLE_WHY = f"As small-data, at 64 pixels with 32 maps in each layer. {FEW_CORES}"

# Ryspayeva and Salykova 2025, StyleGAN2 against StyleGAN3: 210 images of 512x512.  What it leaves open is as in the
# code of StyleGAN's authors: R1's gamma by their rule 0.0002 S^2 / batch, half-life of the average 10/32 kimg times
# the batch.
STYLE_ADAM = OptimiserSettings("adam", 0.002, (0.0, 0.99))
FEW_IMAGES = (
    "Ryspayeva and Salykova, 2025 (StyleGAN2 against StyleGAN3): 512x512 (malignant BUSI; CBIS-DDSM at 256x256), batch "
    "2, Adam 0.002 with betas 0 and 0.99, non-saturating loss with R1, ADA, 1000 epochs"
)
LEFT_OPEN = (
    "Left open there and as in the code of StyleGAN's authors: R1's gamma by the rule 0.0002 S^2 / batch, every 16 "
    "steps; latents and styles of 512; half-life of the averaged generator 0.3125 kimg times the batch."
)
SMALL_DATA = (
    "Size 256: half the side is seen four times as often in the same time, and 200 images hold little more. Batch 16: "
    "minibatch standard deviation and ADA's estimate of over-fitting need more than 2 images; rate 0.0025 with it and "
    "half the maps of each layer, as Karras et al. 2020 (ADA) have at 256x256 and below. R1's gamma by the rule, 0.8. "
    "Half-life of the average 5 kimg: the rule at batch 16."
)
SMALL_ADAM = OptimiserSettings("adam", 0.0025, (0.0, 0.99))
SMALL_CHANGES: dict[str, Any] = {
    "image_size": 256,
    "budget": Budget(1000, batch=16),
    "generator_optimiser": SMALL_ADAM,
    "discriminator_optimiser": SMALL_ADAM,
    "ema_half_life": 5000,
    "discriminator": {"channel_base": 16384},
}

# The projected discriminator of other generators' presets.
PROJECTED_DISCRIMINATOR: dict[str, Any] = {
    "discriminator_architecture": "projected",
    "discriminator": {"view": 128},
    "loss": "hinge",
    "augmentation": "diffaugment",
    "mirror": True,
}


STYLEGAN2 = Recipe(
    title="Styles by modulated convolutions",
    source=f"{FEW_IMAGES}, path length. {LEFT_OPEN} Path length: weight 2, every 4 steps; style mixing 0.9.",
    architecture="stylegan2",
    image_size=512,
    latent_size=512,
    loss="bce",
    regularisers={"r1": Strength(r1_gamma(512, 2), 16), "path-length": Strength(2.0, 4)},
    r1_by_size=True,
    augmentation="ada",
    generator_optimiser=STYLE_ADAM,
    discriminator_optimiser=STYLE_ADAM,
    budget=Budget(1000, batch=2),
    ema_half_life=625,
    presets={
        "small-data": Preset(
            {
                **SMALL_CHANGES,
                "regularisers": {"r1": Strength(r1_gamma(256, 16), 16), "path-length": Strength(2.0, 4)},
                "generator": {"channel_base": 16384, "mapping_layers": 2},
            },
            f"{SMALL_DATA} A mapping of 2 layers: deep ones are hard to train on few images (ADA, appendix).",
        ),
        "few-cores": Preset(
            {
                **SMALL_CHANGES,
                "image_size": 64,
                "regularisers": {"r1": Strength(r1_gamma(64, 16), 16), "path-length": Strength(2.0, 4)},
                "generator": {**STYLE_FEW_CORES, "mapping_layers": 2},
                "discriminator": STYLE_FEW_CORES,
            },
            STYLE_WHY,
        ),
        "projected": Preset(
            {
                **SMALL_CHANGES,
                **PROJECTED_DISCRIMINATOR,
                "regularisers": {},
                "r1_by_size": False,
                "generator": {"channel_base": 16384, "mapping_layers": 2},
            },
            "Judged through the features of a frozen network (Sauer et al. 2021), which needs no R1 and no path length "
            f"there; --features names it. Otherwise as small-data: {SMALL_DATA}",
        ),
    },
)


def stylegan3(config: str, title: str, source: str, blur_batches: int = 0) -> Recipe:
    """Return the row of one of StyleGAN3's configurations, which blur images over so many images times the batch."""
    small = {
        **SMALL_CHANGES,
        **({"blur": 16 * blur_batches} if blur_batches else {}),
        "regularisers": {"r1": Strength(r1_gamma(256, 16), 16)},
        "generator": {"config": config, "channel_base": 16384},
    }
    narrow = {
        **small,
        "image_size": 64,
        "regularisers": {"r1": Strength(r1_gamma(64, 16), 16)},
        "generator": {"config": config, **STYLE_FEW_CORES},
        "discriminator": STYLE_FEW_CORES,
    }
    return dataclasses.replace(
        STYLEGAN2,
        title=title,
        source=f"{FEW_IMAGES}. {LEFT_OPEN} Karras et al., NeurIPS 2021: {source}",
        architecture="stylegan3",
        regularisers={"r1": Strength(r1_gamma(512, 2), 16)},
        generator={"config": config},
        blur=2 * blur_batches,
        presets={"small-data": Preset(small, SMALL_DATA), "few-cores": Preset(narrow, STYLE_WHY)},
    )


DCGAN = Recipe(
    title="The deep convolutional GAN",
    source=(
        "Radford, Metz, Chintala, ICLR 2016, section 4: Adam 0.0002, beta1 0.5, batch 128, latent 100, "
        "LeakyReLU 0.2, weights N(0, 0.02); figure 1: layers at 64x64, here for other sizes too; latents there "
        "uniform, here normal as in all that followed. "
        f"200 epochs: Thakur and Thakur. {AVERAGED}"
    ),
    architecture="dcgan",
    image_size=64,
    latent_size=100,
    loss="bce",
    generator_optimiser=DCGAN_ADAM,
    discriminator_optimiser=DCGAN_ADAM,
    budget=Budget(EPOCHS, batch=128),
    presets=CLASSIC_PRESETS,
)

BIGGAN_SMALL: dict[str, Any] = {
    "image_size": 64,
    "augmentation": "diffaugment",
    "generator_optimiser": OptimiserSettings("adam", 0.0001, (0.0, 0.999)),
    "discriminator_optimiser": OptimiserSettings("adam", 0.0004, (0.0, 0.999)),
    "ema_half_life": 5000,
}
BIGGAN = Recipe(
    title="Wide residual networks, class-conditional normalisation, self-attention",
    source=(
        "Brock, Donahue, Simonyan, ICLR 2019: appendices B and C: width 96, latents of 20 for the first layer and for "
        "each block, Adam with betas 0 and 0.999, rates 0.00005 and 0.0002, two discriminator updates, hinge loss, "
        "projection; table 1: batch 2048, orthogonal regularisation 0.0001, average 0.9999 a step. A training of one "
        f"class is unconditional. {AS_LONG}"
    ),
    architecture="biggan",
    image_size=128,
    latent_size=120,
    loss="hinge",
    n_critic=2,
    conditioning="projection",
    regularisers={"orthogonal": Strength(1e-4)},
    generator_optimiser=OptimiserSettings("adam", 0.00005, (0.0, 0.999)),
    discriminator_optimiser=OptimiserSettings("adam", 0.0002, (0.0, 0.999)),
    budget=Budget(EPOCHS, batch=2048),
    ema_half_life=6931 * 2048,
    presets={
        "small-data": Preset(
            {
                **BIGGAN_SMALL,
                "latent_size": 100,
                "budget": Budget(1000, batch=32),
                "generator": {"width": 32},
                "discriminator": {"width": 32},
            },
            "64 pixels: the size at which Thakur and Thakur train it. Batch 32 and a third of the width: a few hundred "
            "images fill no batch of 2048. Rates 0.0001 and 0.0004, as SAGAN (Zhang et al. 2019), whose batches are "
            "small, too. DiffAugment (Zhao et al. 2020), because a discriminator learns few images by heart. Half-life "
            "of the average 5 kimg, as stylegan2 has it for small sets.",
        ),
        "few-cores": Preset(
            {
                **BIGGAN_SMALL,
                "budget": Budget(1000, batch=16),
                "generator": {"width": 16},
                "discriminator": {"width": 16},
            },
            "As small-data, with a sixth of the published width and batches of 16, for minutes of a few cores.",
        ),
    },
)

# What keeps both presets of SPADE apart from the published row: no network of features to be found first.
SPADE_SMALL: dict[str, Any] = {
    "image_size": 128,
    "perceptual_weight": 0.0,
    "budget": Budget(EPOCHS, batch=8),
    "generator": {"width": 16},
    "discriminator": {"width": 16},
    "ema_half_life": 5000,
}
SPADE_WHY = (
    "128 pixels and a quarter of the width: the paper's sets have thousands of scenes of 256 pixels and more. Batch 8 "
    "for some updates in an epoch. No perceptual term: its network is of photographs, and has to be found first; "
    "feature matching stays. Half-life of the average 5 kimg."
)
SPADE = Recipe(
    title="Label maps to images, with normalisation that follows the map",
    source=(
        "Park, Liu, Wang, Zhu, CVPR 2019, section 3 and appendix A: hinge loss, feature matching and perceptual term "
        "of weight 10 each, Adam with betas 0 and 0.999, rates 0.0001 and 0.0004, batch 32, 200 epochs with a linear "
        "decay over the second half, as there for ADE20K and Cityscapes; 256x256, latents of 256. Needs masks. "
        f"{AVERAGED}"
    ),
    architecture="spade",
    draws_into_maps=True,
    image_size=256,
    latent_size=256,
    loss="hinge",
    perceptual_weight=10.0,
    feature_matching=10.0,
    schedule="linear-decay",
    generator_optimiser=OptimiserSettings("adam", 0.0001, (0.0, 0.999)),
    discriminator_optimiser=OptimiserSettings("adam", 0.0004, (0.0, 0.999)),
    budget=Budget(EPOCHS, batch=32),
    presets={
        "small-data": Preset(SPADE_SMALL, SPADE_WHY),
        "encoder": Preset(
            {
                **SPADE_SMALL,
                "generator": {"width": 16, "encoder": True},
                "regularisers": {"kl-divergence": Strength(0.05)},
            },
            "An encoder says, of each real image, what the map leaves open, so that one map gives many images (section "
            f"3, multi-modal synthesis); weight 0.05 of its divergence: appendix A. {SPADE_WHY}",
        ),
    },
)

GA_GAN_CODES = " ".join(
    f"--{network}-cell {name} is {own.code}: {own.uncertain}"
    for network, names in PUBLISHED.items()
    for name, own in names.items()
)
GA_GAN_SMALL: dict[str, Any] = {
    "budget": Budget(1000, batch=32),
    "generator": {"width": 16},
    "discriminator": {"width": 16},
    "ema_half_life": 5000,
}
GA_GAN = Recipe(
    title="Cells found by a genetic algorithm, class-conditional",
    source=(
        "Berezsky and Liashchynskyi, Radio Electronics, Computer Science, Control 2024: 64x64, latents of 128, hinge "
        "loss, projection, spectral normalisation, Adam with betas 0.5 and 0.999, rates 0.0001 and 0.0004, batch 128, "
        "DiffAugment of colour and translation, 100 000 iterations; four classes of 100 images, each expanded to 700 "
        "by affine distortion (--expand 7). A training of one class is unconditional. Cells: the pair that it found, "
        f"as far as the paper tells. {GA_GAN_CODES} {AVERAGED}"
    ),
    architecture="ga-gan",
    image_size=64,
    latent_size=128,
    loss="hinge",
    conditioning="projection",
    augmentation="diffaugment-colour-translation",
    generator_optimiser=OptimiserSettings("adam", 0.0001, (0.5, 0.999)),
    discriminator_optimiser=OptimiserSettings("adam", 0.0004, (0.5, 0.999)),
    budget=Budget(100_000, batch=128, unit="iterations"),
    presets={
        "small-data": Preset(
            GA_GAN_SMALL,
            "A quarter of the width and batch 32: a few hundred images fill few batches of 128, and hold little for "
            "1024 channels. 1000 epochs, as stylegan2 has for small sets. Half-life of the average 5 kimg.",
        ),
        "few-cores": Preset(
            {
                **GA_GAN_SMALL,
                "budget": Budget(1000, batch=16),
                "generator": {"width": 8},
                "discriminator": {"width": 8},
            },
            "As small-data, with an eighth of the published width and batches of 16, for minutes of a few cores.",
        ),
    },
)

WGAN_GP = dataclasses.replace(
    DCGAN,
    title="Wasserstein critic kept Lipschitz by a gradient penalty",
    source=(
        "Gulrajani et al., NeurIPS 2017, algorithm 1: lambda 10, n_critic 5, Adam 0.0001 with betas 0 and 0.9; "
        "section 4: no batch normalisation in the critic; batch 64: appendix. Networks and latent 100 of DCGAN. "
        f"An epoch counts the critic's images. {AS_LONG} {AVERAGED}"
    ),
    loss="wasserstein",
    n_critic=5,
    regularisers={"gradient-penalty": Strength(10.0)},
    generator_optimiser=OptimiserSettings("adam", 0.0001, (0.0, 0.9)),
    discriminator_optimiser=OptimiserSettings("adam", 0.0001, (0.0, 0.9)),
    discriminator={"norm": "none"},
    budget=Budget(EPOCHS, batch=64),
    presets={
        "few-cores": Preset({**CLASSIC_FEW_CORES, "discriminator": {"norm": "none", "width": 32}}, FEW_CORES),
    },
)

PROJECTED_ADAM = OptimiserSettings("adam", 0.002, (0.0, 0.99))
PROJECTED_SMALL: dict[str, Any] = {
    "image_size": 64,
    "latent_size": 128,
    "budget": Budget(5000, batch=16),
    "generator_optimiser": PROJECTED_ADAM,
    "discriminator_optimiser": PROJECTED_ADAM,
    "generator": {"width": 12},
    "schedule": "linear-decay",
    "ema_half_life": 2000,
}
PROJECTED_WHY = (
    "64 pixels and a fifth of the generator's width: 15 seconds for a thousand images on two cores. Batch 16 and ten "
    "times the rate: the paper's are for millions of images. Of widths 8, 12 and 16, batches 8 to 64 and rates 0.0002 "
    "to 0.004 these had the lowest KID after five minutes of one core, on the malignant images of BUSI. Enlarging "
    "images to 128 pixels for the feature network makes more of a difference than any of these. Half-life of the "
    "average 2 kimg. Rates that fall to 0 over the second half: KID 0.063 in place of 0.083 after ten minutes of one "
    "core, on the same images."
)
PROJECTED = Recipe(
    title="A light generator, judged through the features of a frozen network: for few images and little time",
    source=(
        "Sauer, Chitta, Müller, Geiger, NeurIPS 2021 (Projected GAN), section 4 and appendix: FastGAN's light "
        "generator (Liu et al., ICLR 2021), latents of 256, four scales, hinge loss, DiffAugment, mirrored images, "
        "Adam 0.0002 with betas 0 and 0.99, batch 64. Its feature network is EfficientNet-lite1 at "
        "224x224; here --features names one, which sees images at 128x128 or at their own size, if that is larger. "
        "Measure in the features of another network: those that the discriminator sees flatter it. 200 "
        "epochs: as most recipes here."
    ),
    architecture="projected",
    image_size=256,
    latent_size=256,
    loss="hinge",
    conditioning="projection",
    mirror=True,
    augmentation="diffaugment",
    generator_optimiser=OptimiserSettings("adam", 0.0002, (0.0, 0.99)),
    discriminator_optimiser=OptimiserSettings("adam", 0.0002, (0.0, 0.99)),
    discriminator={"view": 128},
    budget=Budget(EPOCHS, batch=64),
    ema_half_life=5000,
    presets={
        "small-data": Preset(PROJECTED_SMALL, PROJECTED_WHY),
        "label-maps": Preset(
            {**PROJECTED_SMALL, "draws_into_maps": True, "conditioning": "none", "kept_maps": "shapes"},
            "Draws scans into lesion masks, with SPADE's normalisation in the generator (Park et al. 2019): mask in, "
            f"scan out. Needs masks. {PROJECTED_WHY}",
        ),
    },
)


RECIPES: dict[str, Recipe] = {
    "dcgan-thesis": Recipe(
        title="DCGAN that balances BUSI, one generator for each class",
        source=(
            "S. H., MSc thesis, Middlesex University, 2024: layers, with batch normalisation in all but the last of "
            "each network (section 2.3, figure 10), BCE, Adam 0.001, epochs and batch of malignant and normal. Left "
            "open there: kernel, slope, initial weights and Adam's betas are those of Radford, Metz, Chintala, ICLR "
            "2016; a class other than these two gets the shorter of its two budgets. The thesis draws in RGB; here "
            "grey images stay grey, as three equal channels hold nothing that one does not: --channels 3 for the "
            f"thesis's. {AVERAGED}"
        ),
        architecture="dcgan-thesis",
        image_size=224,
        latent_size=100,
        loss="bce",
        generator_optimiser=OptimiserSettings("adam", 0.001, (0.5, 0.999)),
        discriminator_optimiser=OptimiserSettings("adam", 0.001, (0.5, 0.999)),
        budget=Budget(2500, batch=100),
        class_budgets={"malignant": Budget(4200, batch=150), "normal": Budget(2500, batch=100)},
    ),
    "dcgan": DCGAN,
    "lsgan": dataclasses.replace(
        DCGAN,
        title="Least squares in place of cross-entropy",
        source=(
            "Mao et al., ICCV 2017: loss (equation 9), Adam with beta1 0.5, batch 64. Its networks are replaced by "
            "those of DCGAN, as its section on DCGAN-like models allows, and with them the rate 0.0002 and latent "
            f"100. 200 epochs: Thakur and Thakur. {AVERAGED}"
        ),
        loss="least-squares",
        budget=Budget(EPOCHS, batch=64),
    ),
    "wgan": dataclasses.replace(
        DCGAN,
        title="Wasserstein critic kept Lipschitz by weight clipping",
        source=(
            "Arjovsky, Chintala, Bottou, ICML 2017, algorithm 1: RMSprop 0.00005, clip 0.01, n_critic 5, batch 64; "
            "section 4: DCGAN networks, latent 100. RMSprop's smoothing 0.99 is that of its authors' code. An epoch "
            f"counts the critic's images. 200 epochs: Thakur and Thakur. {AVERAGED}"
        ),
        loss="wasserstein",
        n_critic=5,
        regularisers={"weight-clipping": Strength(0.01)},
        generator_optimiser=OptimiserSettings("rmsprop", 0.00005, (0.0, 0.99)),
        discriminator_optimiser=OptimiserSettings("rmsprop", 0.00005, (0.0, 0.99)),
        budget=Budget(EPOCHS, batch=64),
    ),
    "wgan-gp": WGAN_GP,
    "bgan": dataclasses.replace(
        DCGAN,
        title="Boundary-seeking generator",
        source=(
            "Hjelm et al., ICLR 2018, section 3 (continuous variables): loss. Networks, optimiser, batch and latent "
            f"are those of DCGAN. {AS_LONG} {AVERAGED}"
        ),
        loss="boundary-seeking",
    ),
    "began": Recipe(
        title="Boundary equilibrium with an autoencoder as discriminator",
        source=(
            "Berthelot, Schumm, Metz, 2017, section 3.4: k_0 = 0, lambda_k 0.001; section 3.5: networks, latents "
            "uniform in [-1, 1], 64 of them; section 4: Adam 0.0001 (its own default betas), batch 16, gamma 0.5. "
            "The paper halves the rate when the convergence measure stalls; here it is constant and the measure is "
            f"logged. {AS_LONG} {AVERAGED}"
        ),
        architecture="began",
        image_size=64,
        latent_size=64,
        loss="began",
        generator_optimiser=OptimiserSettings("adam", 0.0001, (0.9, 0.999)),
        discriminator_optimiser=OptimiserSettings("adam", 0.0001, (0.9, 0.999)),
        budget=Budget(EPOCHS, batch=16),
        presets={"few-cores": Preset({"generator": {"width": 32}, "discriminator": {"width": 32}}, FEW_CORES)},
    ),
    "dgan-wp-tl-wgangp": dataclasses.replace(
        WGAN_GP,
        title="DCGAN networks, WGAN-GP loss, perceptual term on ImageNet features",
        source=(
            "Ryspayeva and Salykova, 2025 (loss functions for DGAN-WP-TL; the abstract alone is known to us): WGAN-GP, "
            "perceptual loss on features of an ImageNet VGG, of weight 5 (the best of 0.5, 3, 5, 7 and 10). Not stated "
            "there: networks and size, here DCGAN's, our choice; gradient penalty, n_critic, optimiser and batch, here "
            "those of Gulrajani et al. 2017; layers and distance, here Johnson et al. 2016, equation 2, relative to "
            "the real images' maps, so that a weight means the same with any network. 500 epochs: the same authors' "
            f"comparison of StyleGAN2 and StyleGAN3, of DGAN-WP-TL. {AVERAGED}"
        ),
        perceptual_weight=5.0,
        budget=Budget(DGAN_EPOCHS, batch=64),
    ),
    "dgan-wp-tl-bce": dataclasses.replace(
        DCGAN,
        title="DCGAN with a perceptual term on ImageNet features",
        source=(
            "Ryspayeva and Salykova, 2025 (loss functions for DGAN-WP-TL; the abstract alone is known to us): BCE, "
            "perceptual weight 5. Not stated there: networks and size, here DCGAN's, our choice; optimiser, here that "
            "of Radford et al. 2016; batch, perceptual distance and 500 epochs are as in dgan-wp-tl-wgangp. "
            f"{AVERAGED}"
        ),
        perceptual_weight=5.0,
        budget=Budget(DGAN_EPOCHS, batch=64),
    ),
    "progan": Recipe(
        title="Progressive growing from 4x4 to the full size",
        source=(
            "Karras, Aila, Laine, Lehtinen, ICLR 2018: appendix A: WGAN-GP with lambda 10, one critic update, Adam "
            "0.001 with betas 0 and 0.99, latent 512, batch 16; the penalty on the critic's mean score (0.001) is "
            "left out. Each resolution gets an equal share of the training in place of 1.6 million images. "
            f"{AS_LONG} {AVERAGED}"
        ),
        architecture="progan",
        image_size=128,
        latent_size=512,
        loss="wasserstein",
        regularisers={"gradient-penalty": Strength(10.0)},
        growing=True,
        generator_optimiser=OptimiserSettings("adam", 0.001, (0.0, 0.99)),
        discriminator_optimiser=OptimiserSettings("adam", 0.001, (0.0, 0.99)),
        budget=Budget(EPOCHS, batch=16),
        presets={
            "few-cores": Preset(
                {"image_size": 64, "generator": {"width": 32}, "discriminator": {"width": 32}}, FEW_CORES
            )
        },
    ),
    "stylegan1": Recipe(
        title="Styles by adaptive instance normalisation, growing",
        source=(
            "Karras, Laine, Aila, CVPR 2019 (StyleGAN): networks, mapping of 8 layers at a hundredth of the rate, "
            "style mixing 0.9, non-saturating loss with R1 of gamma 10, Adam with betas 0 and 0.99, rate 0.001 as in "
            "ProGAN; one rate and one batch for all resolutions, each with an equal share of the training. Thakur and "
            "Thakur give StyleGAN 200 epochs, and list path length with it, which Karras et al. have as a measure here "
            f"and as a regulariser in StyleGAN2 alone: --preset path-length adds it. {AVERAGED}"
        ),
        architecture="stylegan1",
        image_size=128,
        latent_size=512,
        loss="bce",
        regularisers={"r1": Strength(10.0)},
        growing=True,
        generator_optimiser=OptimiserSettings("adam", 0.001, (0.0, 0.99)),
        discriminator_optimiser=OptimiserSettings("adam", 0.001, (0.0, 0.99)),
        budget=Budget(EPOCHS, batch=16),
        presets={
            "path-length": Preset(
                {"regularisers": {"r1": Strength(10.0), "path-length": Strength(2.0, 4)}},
                "Path length as Thakur and Thakur list it for StyleGAN; weight 2, every 4 steps, as in stylegan2.",
            ),
            "small-data": Preset(
                {
                    "augmentation": "ada",
                    "generator": {"channel_base": 8192, "mapping_layers": 2},
                    "discriminator": {"channel_base": 8192},
                },
                "ADA, because a discriminator learns a few hundred images by heart (Karras et al. 2020). Half the maps "
                "of each layer and a mapping of 2 layers, as there for small sets.",
            ),
            "few-cores": Preset(
                {
                    "image_size": 64,
                    "augmentation": "ada",
                    "generator": {**STYLE_FEW_CORES, "mapping_layers": 2},
                    "discriminator": STYLE_FEW_CORES,
                },
                STYLE_WHY,
            ),
        },
    ),
    "biggan": BIGGAN,
    "ga-gan": GA_GAN,
    "spade": SPADE,
    "projected": PROJECTED,
    "stylegan2": STYLEGAN2,
    "stylegan3-t": stylegan3(
        "t",
        "Details that move with what they are part of: translation",
        "configuration T, 14 layers, no style mixing.",
    ),
    "stylegan3-r": stylegan3(
        "r",
        "Details that move with what they are part of: rotation, too",
        "configuration R, 14 layers, no style mixing; all images blurred at first, so that the discriminator does not "
        "dwell on details that cannot be there yet: over 6.25 kimg times the batch, as the authors' code has it.",
        blur_batches=6250,
    ),
}


def find_recipe(name: str) -> Recipe:
    """Return the row of this name.

    Raises:
        SonoforgeError: There is none; the message names the closest.
    """
    if name not in RECIPES:
        hint = did_you_mean(name, list(RECIPES))
        raise SonoforgeError(f"recipe: found {name!r}, expected one of {', '.join(RECIPES)}{hint}")
    return RECIPES[name]
