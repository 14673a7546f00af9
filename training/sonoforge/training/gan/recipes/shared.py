"""Numbers and reasons that recipes of several families share."""

from __future__ import annotations

# None of the classic papers says how long to train on a few hundred medical images.  Thakur and Thakur train DCGAN,
# LSGAN, WGAN, StyleGAN and two more for 200 epochs each; the other rows take the same number for want of one.
EPOCHS = 200
AS_LONG = "200 epochs: as Thakur and Thakur give the six that they compare; none of its own is known for small sets."
AVERAGED = "The averaged generator (EMA) is an addition, half-life 10 000 images as in Karras 2020 (StyleGAN2)."

# As published, but narrow, so that a few hundred images are seen often enough in the minutes of a few cores.
FEW_CORES = (
    "A narrow network and small batches, for minutes of a few cores at 64 pixels; nothing else differs. At the "
    "published width a step takes a core 10 seconds and more."
)
