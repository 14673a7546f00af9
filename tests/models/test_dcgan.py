"""DCGAN and the thesis's DCGAN: layers and weights counted by hand from the papers, and initial weights."""

from __future__ import annotations

import math
from types import ModuleType

import pytest
import torch
from torch import nn

from gan_pairs import THESIS, count_weights, draw_images, layer_shapes, on_meta, small_pair
from sonoforge.models import dcgan
from sonoforge.models.layers import BatchRenorm2d


def test_dcgan_at_64_is_figure_1_of_the_paper() -> None:
    generator = on_meta(lambda: dcgan.Generator(64, 3, 100))
    shapes = layer_shapes(generator, torch.zeros(2, 100, device="meta"), nn.ConvTranspose2d)
    assert generator.dense.out_features == 4 * 4 * 1024
    assert shapes == [(8, 8, 512), (16, 16, 256), (32, 32, 128), (64, 64, 3)]
    # Projection, scale and shift of its batch norm; 5x5 kernels with theirs; last kernel and bias.
    by_hand = (
        100 * 4 * 4 * 1024 + 2 * 1024
        + 25 * 1024 * 512 + 2 * 512
        + 25 * 512 * 256 + 2 * 256
        + 25 * 256 * 128 + 2 * 128
        + 25 * 128 * 3 + 3
    )  # fmt: skip
    assert by_hand == 18_855_043
    assert count_weights(generator) == by_hand


def test_dcgan_discriminator_mirrors_the_generator() -> None:
    discriminator = on_meta(lambda: dcgan.Discriminator(64, 3))
    shapes = layer_shapes(discriminator, torch.zeros(2, 3, 64, 64, device="meta"), nn.Conv2d)
    assert shapes == [(32, 32, 128), (16, 16, 256), (8, 8, 512), (4, 4, 1024)]
    by_hand = (
        25 * 3 * 128 + 128
        + 25 * 128 * 256 + 2 * 256
        + 25 * 256 * 512 + 2 * 512
        + 25 * 512 * 1024 + 2 * 1024
        + 4 * 4 * 1024 + 1
    )  # fmt: skip
    assert by_hand == 17_232_897
    assert count_weights(discriminator) == by_hand


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (32, [(4, 512), (8, 256), (16, 128), (32, 1)]),
        (224, [(7, 1024), (14, 1024), (28, 512), (56, 256), (112, 128), (224, 1)]),
        (256, [(4, 1024), (8, 1024), (16, 1024), (32, 512), (64, 256), (128, 128), (256, 1)]),
    ],
)
def test_dcgan_widths_halve_from_1024_at_most_to_128(size: int, expected: list[tuple[int, int]]) -> None:
    generator = on_meta(lambda: dcgan.Generator(size, 1, 100))
    shapes = layer_shapes(generator, torch.zeros(2, 100, device="meta"), (nn.BatchNorm2d, nn.Tanh))
    assert [(height, maps) for height, _, maps in shapes] == expected


def test_dcgan_normalises_all_but_output_and_input() -> None:
    kinds = [type(module) for module in dcgan.Generator(64, 1, 8, width=2).layers]
    block = [nn.ConvTranspose2d, nn.BatchNorm2d, nn.ReLU]
    assert kinds == [nn.BatchNorm2d, nn.ReLU, *block, *block, *block, nn.ConvTranspose2d, nn.Tanh]
    kinds = [type(module) for module in dcgan.Discriminator(64, 1, width=2).layers]
    block = [nn.Conv2d, nn.BatchNorm2d, nn.LeakyReLU]
    assert kinds == [nn.Conv2d, nn.LeakyReLU, *block, *block, *block, nn.Flatten]


@pytest.mark.parametrize("module", [dcgan, THESIS])
def test_leaky_relus_have_the_papers_slope(module: ModuleType) -> None:
    slopes = [
        layer.negative_slope for layer in module.Discriminator(64, 1).modules() if isinstance(layer, nn.LeakyReLU)
    ]
    assert slopes == [0.2] * len(slopes)
    assert len(slopes) == sum(isinstance(layer, nn.Conv2d) for layer in module.Discriminator(64, 1).modules())


def test_a_critic_judges_each_image_alone() -> None:
    _, discriminator = small_pair("dcgan critic")
    assert not any(isinstance(module, nn.BatchNorm2d) for module in discriminator.modules())
    assert all(module.bias is not None for module in discriminator.modules() if isinstance(module, nn.Conv2d))
    discriminator.train()
    torch.testing.assert_close(
        discriminator(draw_images(4)[:1])[0], discriminator(draw_images(4))[0][:1], rtol=1e-4, atol=1e-6
    )
    with pytest.raises(ValueError, match="norm: found 'layer'"):
        dcgan.Discriminator(32, 1, hidden=dcgan.Hidden(norm="layer"))


@pytest.mark.parametrize("module", [dcgan, THESIS])
def test_another_activation_takes_the_place_of_each_hidden_one(module: ModuleType) -> None:
    """The generator of dcgan and of the thesis ends in a tanh of its own."""
    changed = {"hidden": dcgan.Hidden(activation="tanh")} if module is dcgan else {"activation": "tanh"}
    with torch.device("meta"):
        generators = module.Generator(32, 1, 4), module.Generator(32, 1, 4, **changed)
        discriminators = module.Discriminator(32, 1), module.Discriminator(32, 1, **changed)
    for pair, last in ((generators, 1), (discriminators, 0)):
        usual, other = map(_activations, pair)
        assert len(usual) == len(other) >= 3
        assert all(layer == "Tanh" for layer in other)
        assert usual.count("Tanh") == last
    with pytest.raises(ValueError, match="activation: found 'swish'"):
        swish = {"hidden": dcgan.Hidden(activation="swish")} if module is dcgan else {"activation": "swish"}
        module.Generator(32, 1, 4, **swish)


@pytest.mark.parametrize("module", [dcgan, THESIS])
@pytest.mark.parametrize(("norm", "kind"), [("batch-renorm", BatchRenorm2d), ("none", type(None))])
def test_another_normalisation_takes_the_place_of_each(module: ModuleType, norm: str, kind: type) -> None:
    changed = {"hidden": dcgan.Hidden(norm=norm)} if module is dcgan else {"norm": norm}
    with torch.device("meta"):
        usual = module.Generator(32, 1, 4), module.Discriminator(32, 1)
        others = module.Generator(32, 1, 4, **changed), module.Discriminator(32, 1, **changed)
    for own, other in zip(usual, others, strict=True):
        found = [type(layer) for layer in other.modules() if isinstance(layer, nn.BatchNorm2d)]
        expected = sum(isinstance(layer, nn.BatchNorm2d) for layer in own.modules())
        assert found == ([] if norm == "none" else [kind] * expected)
        layers = [layer for layer in other.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)]
        assert norm != "none" or all(layer.bias is not None for layer in layers)


def _activations(network: nn.Module) -> list[str]:
    kinds = (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.Tanh)
    return [type(layer).__name__ for layer in network.modules() if isinstance(layer, kinds)]


def test_initial_weights_of_dcgan_are_those_of_the_paper() -> None:
    discriminator = dcgan.Discriminator(64, 3, width=16)
    generator = dcgan.Generator(64, 3, 100, width=16)
    for network in (discriminator, generator):
        dcgan.initialise(network, torch.Generator().manual_seed(0))
        weights = torch.cat([values.flatten() for values in network.parameters() if values.ndim > 1]).detach()
        # Standard errors over n weights: 0.02 / sqrt(n) and 0.02 / sqrt(2 n).
        assert abs(float(weights.mean())) < 5 * 0.02 / math.sqrt(weights.numel())
        assert float(weights.std()) == pytest.approx(0.02, abs=5 * 0.02 / math.sqrt(2 * weights.numel()))
        assert not any(values.any() for name, values in network.named_parameters() if name.endswith("bias"))


def test_thesis_generator_has_the_layers_of_the_thesis() -> None:
    generator = dcgan.ThesisGenerator(224, 3, 100)
    assert generator.dense.out_features == 28 * 28 * 256
    shapes = layer_shapes(generator, torch.zeros(2, 100), (nn.ConvTranspose2d,))
    assert shapes == [(28, 28, 128), (56, 56, 64), (112, 112, 32), (224, 224, 3)]


def test_thesis_discriminator_has_the_layers_of_the_thesis() -> None:
    discriminator = dcgan.ThesisDiscriminator(224, 3)
    shapes = layer_shapes(discriminator, torch.zeros(2, 3, 224, 224), (nn.Conv2d,))
    assert shapes == [(112, 112, 32), (56, 56, 64), (28, 28, 128)]
    dense = [module for module in discriminator.modules() if isinstance(module, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in dense] == [(28 * 28 * 128, 1)]


@pytest.mark.parametrize(("size", "channels"), [(16, 4), (32, 1), (40, 3)])
def test_thesis_any_multiple_of_eight_and_any_number_of_channels(size: int, channels: int) -> None:
    images = dcgan.ThesisGenerator(size, channels, 7)(torch.randn(3, 7))
    assert images.shape == (3, channels, size, size)
    assert images.abs().max() <= 1
    score, class_logits = dcgan.ThesisDiscriminator(size, channels)(images)
    assert score.shape == (3,)
    assert class_logits is None


def test_thesis_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="found 100, expected a multiple of 8"):
        dcgan.ThesisGenerator(100)


def test_thesis_batch_norm_everywhere_but_at_the_last_layer_of_each_network() -> None:
    """Figure 10 of the thesis."""
    generator = [type(module) for module in dcgan.ThesisGenerator(32).layers]
    assert generator[-2:] == [nn.ConvTranspose2d, nn.Tanh]
    assert generator.count(nn.BatchNorm2d) == 4
    discriminator = [type(module) for module in dcgan.ThesisDiscriminator(32).layers]
    assert discriminator == [*[nn.Conv2d, nn.BatchNorm2d, nn.LeakyReLU] * 3, nn.Flatten]
    # 5x5 kernels, each with scale and shift of its batch norm; the dense layer.
    by_hand = 25 * 3 * 32 + 2 * 32 + 25 * 32 * 64 + 2 * 64 + 25 * 64 * 128 + 2 * 128 + 28 * 28 * 128 + 1
    assert count_weights(on_meta(lambda: dcgan.ThesisDiscriminator(224, 3))) == by_hand


def test_thesis_initial_weights_follow_radford_and_the_seed() -> None:
    first, second, other = dcgan.ThesisGenerator(64), dcgan.ThesisGenerator(64), dcgan.ThesisGenerator(64)
    for network, seed in ((first, 1), (second, 1), (other, 2)):
        dcgan.initialise(network, torch.Generator().manual_seed(seed))
    weights = first.dense.weight.detach()
    # Standard errors over 1.6 million weights: 0.02 / sqrt(n) and 0.02 / sqrt(2 n).
    assert abs(float(weights.mean())) < 5 * 0.02 / math.sqrt(weights.numel())
    assert float(weights.std()) == pytest.approx(0.02, abs=5 * 0.02 / math.sqrt(2 * weights.numel()))
    scales = first.layers[0].weight.detach()
    assert float(scales.mean()) == pytest.approx(1.0, abs=0.01)
    assert not any(values.any() for name, values in first.named_parameters() if name.endswith("bias"))
    assert torch.equal(weights, second.dense.weight)
    assert not torch.equal(weights, other.dense.weight)
