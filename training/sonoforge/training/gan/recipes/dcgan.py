"""The recipes on DCGAN's networks, which differ in their losses; the thesis's DCGAN; BEGAN."""

from __future__ import annotations

import dataclasses
from typing import Any

from sonoforge.training.gan.recipes.row import (
    AS_LONG,
    AVERAGED,
    EPOCHS,
    FEW_CORES,
    Budget,
    OptimiserSettings,
    Preset,
    Recipe,
    Strength,
    adam,
    both,
)

DGAN_EPOCHS = 500  # Ryspayeva and Salykova 2025 (StyleGAN2 against StyleGAN3) say so of DGAN-WP-TL

CLASSIC_FEW_CORES: dict[str, Any] = {"budget": Budget(1000, batch=32), **both(width=32)}
CLASSIC_PRESETS = {"few-cores": Preset(CLASSIC_FEW_CORES, FEW_CORES)}

DCGAN_THESIS = Recipe(
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
    **adam(0.001, 0.001, (0.5, 0.999)),
    budget=Budget(2500, batch=100),
    class_budgets={"malignant": Budget(4200, batch=150), "normal": Budget(2500, batch=100)},
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
    **adam(0.0002, 0.0002, (0.5, 0.999)),
    budget=Budget(EPOCHS, batch=128),
    presets=CLASSIC_PRESETS,
)

LSGAN = dataclasses.replace(
    DCGAN,
    title="Least squares in place of cross-entropy",
    source=(
        "Mao et al., ICCV 2017: loss (equation 9), Adam with beta1 0.5, batch 64. Its networks are replaced by "
        "those of DCGAN, as its section on DCGAN-like models allows, and with them the rate 0.0002 and latent "
        f"100. 200 epochs: Thakur and Thakur. {AVERAGED}"
    ),
    loss="least-squares",
    budget=Budget(EPOCHS, batch=64),
)

WGAN = dataclasses.replace(
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
    **adam(0.0001, 0.0001, (0.0, 0.9)),
    discriminator={"norm": "none"},
    budget=Budget(EPOCHS, batch=64),
    presets={"few-cores": Preset({**CLASSIC_FEW_CORES, "discriminator": {"norm": "none", "width": 32}}, FEW_CORES)},
)

BGAN = dataclasses.replace(
    DCGAN,
    title="Boundary-seeking generator",
    source=(
        "Hjelm et al., ICLR 2018, section 3 (continuous variables): loss. Networks, optimiser, batch and latent "
        f"are those of DCGAN. {AS_LONG} {AVERAGED}"
    ),
    loss="boundary-seeking",
)

BEGAN = Recipe(
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
    **adam(0.0001, 0.0001, (0.9, 0.999)),
    budget=Budget(EPOCHS, batch=16),
    presets={"few-cores": Preset(both(width=32), FEW_CORES)},
)

DGAN_WP_TL_WGANGP = dataclasses.replace(
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
)

DGAN_WP_TL_BCE = dataclasses.replace(
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
)
