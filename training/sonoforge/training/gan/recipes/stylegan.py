"""The recipes of Karras et al.: ProGAN and the StyleGANs."""

from __future__ import annotations

import dataclasses
from typing import Any

from sonoforge.training.gan.recipes.projected import PROJECTED_DISCRIMINATOR
from sonoforge.training.gan.recipes.row import (
    AS_LONG,
    AVERAGED,
    EPOCHS,
    FEW_CORES,
    Budget,
    Preset,
    Recipe,
    Strength,
    adam,
    both,
    r1_gamma,
)

STYLE_FEW_CORES = {"channel_max": 32, "channel_base": 64 * 32}
NARROW: dict[str, Any] = {"image_size": 64, "discriminator": STYLE_FEW_CORES}
STYLE_WHY = f"As small-data, at 64 pixels with 32 maps in each layer. {FEW_CORES}"

# Ryspayeva and Salykova 2025, StyleGAN2 against StyleGAN3: 210 images of 512x512.  What it leaves open is as in the
# code of StyleGAN's authors: R1's gamma by their rule 0.0002 S^2 / batch, half-life of the average 10/32 kimg times
# the batch.
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
SMALL_CHANGES: dict[str, Any] = {
    "image_size": 256,
    "budget": Budget(1000, batch=16),
    **adam(0.0025, 0.0025, (0.0, 0.99)),
    "ema_half_life": 5000,
    "discriminator": {"channel_base": 16384},
}

PROGAN = Recipe(
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
    **adam(0.001, 0.001, (0.0, 0.99)),
    budget=Budget(EPOCHS, batch=16),
    presets={"few-cores": Preset({"image_size": 64, **both(width=32)}, FEW_CORES)},
)

STYLEGAN1 = Recipe(
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
    **adam(0.001, 0.001, (0.0, 0.99)),
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
            {**NARROW, "augmentation": "ada", "generator": {**STYLE_FEW_CORES, "mapping_layers": 2}},
            STYLE_WHY,
        ),
    },
)

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
    **adam(0.002, 0.002, (0.0, 0.99)),
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
                **NARROW,
                "regularisers": {"r1": Strength(r1_gamma(64, 16), 16), "path-length": Strength(2.0, 4)},
                "generator": {**STYLE_FEW_CORES, "mapping_layers": 2},
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
        **NARROW,
        "regularisers": {"r1": Strength(r1_gamma(64, 16), 16)},
        "generator": {"config": config, **STYLE_FEW_CORES},
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


STYLEGAN3_T = stylegan3(
    "t", "Details that move with what they are part of: translation", "configuration T, 14 layers, no style mixing."
)

STYLEGAN3_R = stylegan3(
    "r",
    "Details that move with what they are part of: rotation, too",
    "configuration R, 14 layers, no style mixing; all images blurred at first, so that the discriminator does not "
    "dwell on details that cannot be there yet: over 6.25 kimg times the batch, as the authors' code has it.",
    blur_batches=6250,
)
