"""Define the networks, without training, and the image sizes of the convolutional GANs.

Common arguments: ``image_size``, side S of the square image in pixels, one of `IMAGE_SIZES`; ``channels`` C of the
image; ``latent_size``, length Z of the latent vector; ``classes``, their number K, 0 for an unconditional network;
``conditioning``, how a discriminator uses them, see `layers`.  A wrong value raises ValueError.
"""

IMAGE_SIZES = (32, 64, 128, 224, 256, 512)
DEFAULT, DEFAULT_BLOCKS = "mobilenet_v2", 19  # a classifier's network, unless another is named, and its blocks
OUTLINE_BLOCK = 14  # MobileNetV2's first block after the map from which a lesion's outline is read, see `mobilenetv2`


def smallest_side(image_size: int) -> int:
    """Return the side of a network's smallest feature maps, which is doubled up to the image's.

    It is 4, the published side, for a power of two, and 7 for 224 = 7 * 2^5; other sizes raise ValueError.
    """
    if image_size not in IMAGE_SIZES:
        raise ValueError(f"image_size: {image_size} is not one of {', '.join(map(str, IMAGE_SIZES))}")
    return 7 if image_size == 224 else 4


def doublings(image_size: int, side: int) -> int:
    """Return how many times ``side`` is doubled to reach ``image_size``, a power of two times it."""
    return (image_size // side).bit_length() - 1
