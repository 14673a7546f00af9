"""The recipes that are told what to draw: a class (BigGAN, GA-GAN) or a label map (SPADE)."""

from __future__ import annotations

from typing import Any

from sonoforge.models.ga_gan.codes import PUBLISHED
from sonoforge.training.gan.recipes.row import (
    AS_LONG,
    AVERAGED,
    EPOCHS,
    Budget,
    Preset,
    Recipe,
    Strength,
    adam,
    both,
)

BIGGAN_SMALL: dict[str, Any] = {
    "image_size": 64,
    "augmentation": "diffaugment",
    **adam(0.0001, 0.0004, (0.0, 0.999)),
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
    **adam(0.00005, 0.0002, (0.0, 0.999)),
    budget=Budget(EPOCHS, batch=2048),
    ema_half_life=6931 * 2048,
    presets={
        "small-data": Preset(
            {**BIGGAN_SMALL, "latent_size": 100, "budget": Budget(1000, batch=32), **both(width=32)},
            "64 pixels: the size at which Thakur and Thakur train it. Batch 32 and a third of the width: a few hundred "
            "images fill no batch of 2048. Rates 0.0001 and 0.0004, as SAGAN (Zhang et al. 2019), whose batches are "
            "small, too. DiffAugment (Zhao et al. 2020), because a discriminator learns few images by heart. Half-life "
            "of the average 5 kimg, as stylegan2 has it for small sets.",
        ),
        "few-cores": Preset(
            {**BIGGAN_SMALL, "budget": Budget(1000, batch=16), **both(width=16)},
            "As small-data, with a sixth of the published width and batches of 16, for minutes of a few cores.",
        ),
    },
)

# What keeps both presets of SPADE apart from the published row: no network of features to be found first.
SPADE_SMALL: dict[str, Any] = {
    "image_size": 128,
    "perceptual_weight": 0.0,
    "budget": Budget(EPOCHS, batch=8),
    **both(width=16),
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
    **adam(0.0001, 0.0004, (0.0, 0.999)),
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
GA_GAN_SMALL: dict[str, Any] = {"budget": Budget(1000, batch=32), **both(width=16), "ema_half_life": 5000}
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
    **adam(0.0001, 0.0004, (0.5, 0.999)),
    budget=Budget(100_000, batch=128, unit="iterations"),
    presets={
        "small-data": Preset(
            GA_GAN_SMALL,
            "A quarter of the width and batch 32: a few hundred images fill few batches of 128, and hold little for "
            "1024 channels. 1000 epochs, as stylegan2 has for small sets. Half-life of the average 5 kimg.",
        ),
        "few-cores": Preset(
            {**GA_GAN_SMALL, "budget": Budget(1000, batch=16), **both(width=8)},
            "As small-data, with an eighth of the published width and batches of 16, for minutes of a few cores.",
        ),
    },
)
