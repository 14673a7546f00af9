"""BEGAN: layers and weights counted by hand from the paper, reconstruction, labels."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from gan_pairs import THESIS, count_weights, draw_images, layer_shapes, on_meta, small_pair
from sonoforge.models import began, dcgan
from sonoforge.models.stylegan import progan


def test_began_has_as_many_weights_as_the_paper_counts() -> None:
    """17.3 million in all for 128x128 images with n = 128 and 64 numbers in embedding and latent vector."""
    generator = on_meta(lambda: began.Generator(128, 3, 64))
    discriminator = on_meta(lambda: began.Discriminator(128, 3))
    assert round((count_weights(generator) + count_weights(discriminator)) / 1e6, 1) == 17.3


def test_began_layers_follow_the_paper() -> None:
    discriminator = on_meta(lambda: began.Discriminator(64, 3, width=10))
    shapes = layer_shapes(discriminator, torch.zeros(1, 3, 64, 64, device="meta"), nn.Conv2d)
    encoder = [(64, 10), (64, 10), (64, 10), (32, 10), (32, 20), (16, 20), (16, 30), (8, 30), (8, 40)]
    decoder = [(8, 10), (8, 10), (16, 10), (16, 10), (32, 10), (32, 10), (64, 10), (64, 10), (64, 3)]
    assert [(height, maps) for height, _, maps in shapes] == encoder + decoder
    generator = on_meta(lambda: began.Generator(64, 3, 64, width=10))
    assert {key: value.shape for key, value in generator.state_dict().items()} == {
        key: value.shape for key, value in discriminator.decoder.state_dict().items()
    }
    kinds = {type(module) for module in discriminator.modules()}
    assert not kinds & {nn.BatchNorm2d, nn.Dropout, nn.Tanh, nn.ReLU, nn.LeakyReLU}
    convolutions = [module for module in discriminator.modules() if isinstance(module, nn.Conv2d)]
    activations = [module for module in discriminator.modules() if isinstance(module, nn.ELU)]
    assert len(activations) == len(convolutions) - 1  # all but the output's


def test_began_scores_an_image_by_the_error_of_its_reconstruction() -> None:
    _, discriminator = small_pair("began")
    images = draw_images(3)
    with torch.no_grad():
        reconstructed = discriminator.reconstruct(images)
        score, _ = discriminator(images)
    by_hand = [
        float((image - other).abs().sum()) / image.numel() for image, other in zip(images, reconstructed, strict=True)
    ]
    assert score.tolist() == pytest.approx(by_hand, rel=1e-5)
    assert len(set(by_hand)) == 3
    for module in discriminator.decoder.modules():  # an autoencoder that always answers 0
        if isinstance(module, nn.Conv2d):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
    with torch.no_grad():
        assert discriminator(images)[0].tolist() == pytest.approx(images.abs().mean((1, 2, 3)).tolist(), rel=1e-5)


def test_began_labels_reach_encoder_and_decoder() -> None:
    _, discriminator = small_pair("began", "concatenation")
    images, labels = draw_images(1), torch.tensor([1])
    inputs: list[Tensor] = []
    hooks = [
        layer.register_forward_pre_hook(lambda module, arguments: inputs.append(arguments[0]))
        for layer in (discriminator.encoder, discriminator.decoder.dense)
    ]
    discriminator(images, labels)
    assert len(hooks) == 2
    assert torch.equal(inputs[0][:, :2], images)
    assert inputs[0][0, 2:].mean((1, 2)).tolist() == [0, 1, 0]
    assert inputs[1][0, -3:].tolist() == [0, 1, 0]


def test_latents_of_began_alone_are_uniform() -> None:
    assert began.Generator.latent_distribution == "uniform"
    for module in (THESIS, dcgan, progan):
        assert module.Generator.latent_distribution == "normal"


def test_initial_weights_of_began_are_glorots() -> None:
    discriminator = began.Discriminator(32, 1, width=32)
    began.initialise(discriminator, torch.Generator().manual_seed(0))
    layer = discriminator.encoder[2]  # 32 to 32 maps
    limit = math.sqrt(6 / (2 * 9 * 32))
    weights = layer.weight.detach()
    assert 0.99 * limit < float(weights.abs().max()) <= limit
    assert float(weights.std()) == pytest.approx(limit / math.sqrt(3), rel=0.02)
    assert not layer.bias.any()
