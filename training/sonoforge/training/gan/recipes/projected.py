"""The recipe that judges images through a frozen network, and its discriminator for other generators."""

from __future__ import annotations

from typing import Any

from sonoforge.training.gan.recipes.row import EPOCHS, Budget, Preset, Recipe, adam

# The projected discriminator of other generators' presets.
PROJECTED_DISCRIMINATOR: dict[str, Any] = {
    "discriminator_architecture": "projected",
    "discriminator": {"view": 128},
    "loss": "hinge",
    "augmentation": "diffaugment",
    "mirror": True,
}

PROJECTED_SMALL: dict[str, Any] = {
    "image_size": 64,
    "latent_size": 128,
    "budget": Budget(5000, batch=16),
    **adam(0.002, 0.002, (0.0, 0.99)),
    "generator": {"width": 12},
    "schedule": "linear-decay",
    "ema_half_life": 2000,
}
PROJECTED_WHY = (
    "64 pixels and a fifth of the generator's width: 25 seconds for a thousand images on two cores. Batch 16 and ten "
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
    **adam(0.0002, 0.0002, (0.0, 0.99)),
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
