"""The networks, without training.

Arguments that many of them take, and that their own docstrings do not repeat:

* ``image_size``: side S of the square image in pixels: one of `image_sizes.IMAGE_SIZES`, or a ValueError;
* ``channels``: channels C of the image;
* ``latent_size``: length Z of the latent vector;
* ``classes``: number K of classes, 0 for an unconditional network;
* ``conditioning``: how a discriminator uses them, see `labels`; another one, or one without classes, is a ValueError.
"""
