"""The published GAN networks: layers and weights as counted by hand from the papers, and what all have in common."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, interpolate

from sonoforge.models import began, dcgan, dcgan_thesis, progan
from sonoforge.models.image_sizes import IMAGE_SIZES
from sonoforge.models.labels import ScoreHead

CLASSES = 3


class Tiny(NamedTuple):
    """A pair of networks with few maps, for tests of what does not depend on their number."""

    module: ModuleType
    generator: dict[str, Any]
    discriminator: dict[str, Any]
    conditionings: tuple[str, ...] = ("none", "projection", "auxiliary")


NETWORKS = {
    "dcgan_thesis": Tiny(dcgan_thesis, {}, {}),
    "dcgan": Tiny(dcgan, {"width": 2}, {"width": 2}),
    "dcgan critic": Tiny(dcgan, {"width": 2}, {"width": 2, "norm": "none"}),
    "began": Tiny(began, {"width": 2}, {"width": 2, "embedding": 5}, ("none", "concatenation")),
    # One group: groups of neighbours would make a score depend on the order of the batch.
    "progan": Tiny(progan, {"width": 4}, {"width": 4, "group": 64}),
}
CASES = [(name, conditioning) for name, tiny in NETWORKS.items() for conditioning in tiny.conditionings]


def _pair(name: str, conditioning: str = "none", size: int = 32, channels: int = 2) -> tuple[nn.Module, nn.Module]:
    """Both networks with weights from a fixed seed; latents of length 6."""
    tiny = NETWORKS[name]
    classes = 0 if conditioning == "none" else CLASSES
    networks = (
        tiny.module.Generator(size, channels, 6, classes, **tiny.generator),
        tiny.module.Discriminator(size, channels, classes, conditioning, **tiny.discriminator),
    )
    for seed, network in enumerate(networks):
        tiny.module.initialise(network, torch.Generator().manual_seed(seed))
        # Away from the initial values, at which DCGAN's images differ from grey by less than rounding shows.
        _scale_up(network)
    return networks


@torch.no_grad()
def _scale_up(network: nn.Module) -> None:
    for values in network.parameters():
        if values.ndim > 1 and float(values.std()) < 0.1:
            values.mul_(10)


def _latents(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(seed))


def _images(count: int, size: int = 32, seed: int = 1) -> Tensor:
    return torch.rand(count, 2, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def _labels(conditioning: str, count: int, first: int = 0) -> Tensor | None:
    return None if conditioning == "none" else (torch.arange(count) + first) % CLASSES


def _shapes(
    network: nn.Module, value: Tensor, kinds: type[nn.Module] | tuple[type[nn.Module], ...]
) -> list[tuple[int, ...]]:
    """(height, width, maps) after each layer of these kinds, in the order in which they run."""
    shapes: list[tuple[int, ...]] = []

    def note(module: nn.Module, inputs: object, output: Tensor) -> None:
        shapes.append((*output.shape[2:], output.shape[1]))

    hooks = [module.register_forward_hook(note) for module in network.modules() if isinstance(module, kinds)]
    with torch.no_grad():
        network(value)
    for hook in hooks:
        hook.remove()
    return shapes


def _on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    """Full-size networks without memory or arithmetic: shapes only."""
    with torch.device("meta"):
        return build()


def _count(network: nn.Module) -> int:
    return sum(values.numel() for values in network.parameters())


# What all networks have in common.


@pytest.mark.parametrize("size", IMAGE_SIZES)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_size_gives_images_and_scores_of_its_shape(name: str, size: int) -> None:
    generator, discriminator = _pair(name, size=size)
    with torch.no_grad():
        images = generator(_latents(2))
        score, class_logits = discriminator(images)
    assert images.shape == (2, 2, size, size)
    assert bool(images.isfinite().all())
    assert score.shape == (2,)
    assert class_logits is None


@pytest.mark.parametrize("size", [16, 48, 100, 1024])
@pytest.mark.parametrize("module", [dcgan, began, progan])
def test_other_sizes_are_refused(module: ModuleType, size: int) -> None:
    for build in (lambda: module.Generator(size, 1, 4), lambda: module.Discriminator(size, 1)):
        with pytest.raises(ValueError, match=f"found {size}, expected one of 32, 64, 128, 224, 256, 512"):
            build()


@pytest.mark.parametrize("name", ["dcgan_thesis", "dcgan"])
def test_tanh_keeps_images_in_range(name: str) -> None:
    generator, _ = _pair(name)
    images = generator(100 * _latents(4))
    assert 0.9 < float(images.detach().abs().max()) <= 1


@pytest.mark.parametrize(("name", "conditioning"), CASES)
def test_a_permuted_batch_gives_permuted_results(name: str, conditioning: str) -> None:
    generator, discriminator = (network.eval() for network in _pair(name, conditioning))
    order = torch.tensor([2, 0, 3, 1])
    labels = _labels(conditioning, 4)
    permuted = None if labels is None else labels[order]
    with torch.no_grad():
        images, again = generator(_latents(4), labels), generator(_latents(4)[order], permuted)
        (score, logits), (score_again, logits_again) = discriminator(images, labels), discriminator(again, permuted)
    assert float(images.std(0).mean()) > 1e-3  # images that differ
    torch.testing.assert_close(again, images[order], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(score_again, score[order], rtol=1e-4, atol=1e-5)
    if conditioning == "auxiliary":
        assert logits.shape == (4, CLASSES)
        torch.testing.assert_close(logits_again, logits[order], rtol=1e-4, atol=1e-5)
    else:
        assert logits is None


@pytest.mark.parametrize("name", NETWORKS)
def test_initial_weights_depend_on_the_generator_alone(name: str) -> None:
    networks = []
    for global_seed, seed in ((1, 7), (2, 7), (3, 8)):
        torch.manual_seed(global_seed)
        built = NETWORKS[name].module.Discriminator(32, 1, **NETWORKS[name].discriminator)
        NETWORKS[name].module.initialise(built, torch.Generator().manual_seed(seed))
        networks.append(built.state_dict())
    assert [key for key in networks[0] if not torch.equal(networks[0][key], networks[1][key])] == []
    assert any(not torch.equal(networks[0][key], networks[2][key]) for key in networks[0])


@pytest.mark.parametrize(("name", "conditioning"), CASES)
def test_every_parameter_of_both_networks_learns(name: str, conditioning: str) -> None:
    generator, discriminator = _pair(name, conditioning)
    labels = _labels(conditioning, 4)
    # The outer layers of smaller stages take part in those alone.
    stages = [(4, 1.0), (8, 0.5), (16, 0.5), (32, 0.5)] if name == "progan" else [None]
    for stage in stages:
        if stage is not None:
            generator.set_stage(*stage)
            discriminator.set_stage(*stage)
        score, logits = discriminator(generator(_latents(4), labels), labels)
        (score.square().sum() + (0 if logits is None else logits.square().sum())).backward()
    for network in (generator, discriminator):
        for parameter_name, values in network.named_parameters():
            assert values.grad is not None, parameter_name
            assert bool(values.grad.isfinite().all()), parameter_name
            assert bool(values.grad.any()), parameter_name


@pytest.mark.parametrize(("name", "conditioning"), CASES)
def test_a_gradient_penalty_has_the_gradient_that_differences_show(name: str, conditioning: str) -> None:
    """Double backward through the discriminator, against a central difference along a random direction."""
    discriminator = _pair(name, conditioning)[1].double().eval()
    images = _images(3).double().requires_grad_()
    labels = _labels(conditioning, 3)
    parameters = list(discriminator.parameters())

    def penalty() -> Tensor:
        (gradient,) = torch.autograd.grad(discriminator(images, labels)[0].sum(), images, create_graph=True)
        return gradient.square().sum()

    gradients = torch.autograd.grad(penalty(), parameters, allow_unused=True)
    chance = torch.Generator().manual_seed(3)
    directions = [torch.randn(values.shape, generator=chance, dtype=torch.float64) for values in parameters]
    expected = sum(
        float((gradient * direction).sum())
        for gradient, direction in zip(gradients, directions, strict=True)
        if gradient is not None
    )
    values_at = []
    step = 1e-7  # small, for no ReLU to switch between the two points
    for sign in (1, -2):
        with torch.no_grad():
            for values, direction in zip(parameters, directions, strict=True):
                values.add_(sign * step * direction)
        values_at.append(float(penalty().detach()))
    assert expected != 0
    assert (values_at[0] - values_at[1]) / (2 * step) == pytest.approx(expected, rel=1e-3)


# Class labels.


@pytest.mark.parametrize(("name", "conditioning"), [case for case in CASES if case[1] != "none"])
def test_a_conditional_generator_listens_to_its_labels(name: str, conditioning: str) -> None:
    generator = _pair(name, conditioning)[0].eval()
    same = _latents(1).expand(CLASSES, -1)
    with torch.no_grad():
        images = generator(same, torch.arange(CLASSES))
    for first, second in itertools.combinations(images, 2):
        assert float((first - second).abs().max()) > 1e-3
    with pytest.raises(ValueError, match="labels: found None"):
        generator(same)


@pytest.mark.parametrize("name", ["dcgan_thesis", "dcgan", "progan"])
def test_projection_adds_the_inner_product_of_embedding_and_features(name: str) -> None:
    discriminator = _pair(name, "projection")[1].eval()
    features: list[Tensor] = []
    discriminator.head.register_forward_pre_hook(lambda module, arguments: features.append(arguments[0]))
    images = _images(4)
    first, second = torch.tensor([0, 1, 2, 0]), torch.tensor([1, 2, 0, 0])
    with torch.no_grad():
        difference = discriminator(images, second)[0] - discriminator(images, first)[0]
        embedding = discriminator.head.class_rows.weight
        if name == "progan":
            embedding = embedding / math.sqrt(embedding.shape[1])  # equalised learning rate
        expected = ((embedding[second] - embedding[first]) * features[0]).sum(1)
    assert float(expected[:3].abs().min()) > 1e-4
    assert float(expected[3]) == 0
    torch.testing.assert_close(difference, expected, rtol=1e-3, atol=1e-5)
    with pytest.raises(ValueError, match="labels: found None"):
        discriminator(images)


@pytest.mark.parametrize("name", ["dcgan_thesis", "dcgan", "progan"])
def test_auxiliary_logits_do_not_see_the_labels(name: str) -> None:
    discriminator = _pair(name, "auxiliary")[1].eval()
    images = _images(4)
    score, logits = discriminator(images, torch.zeros(4, dtype=torch.int64))
    for labels in (torch.full((4,), 2), None):
        other_score, other_logits = discriminator(images, labels)
        assert torch.equal(score, other_score)
        assert torch.equal(logits, other_logits)


def test_conditioning_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="conditioning: found 'project', expected one of none, projection, auxiliary"):
        ScoreHead(4, 3, "project")
    with pytest.raises(ValueError, match="classes: found 0, expected at least 1 with conditioning 'auxiliary'"):
        ScoreHead(4, 0, "auxiliary")
    with pytest.raises(ValueError, match="conditioning: found 'projection', expected one of none, concatenation"):
        began.Discriminator(32, 1, 3, "projection")
    with pytest.raises(ValueError, match="classes: found 0"):
        began.Discriminator(32, 1, 0, "concatenation")


# DCGAN.


def test_dcgan_at_64_is_figure_1_of_the_paper() -> None:
    generator = _on_meta(lambda: dcgan.Generator(64, 3, 100))
    shapes = _shapes(generator, torch.zeros(2, 100, device="meta"), nn.ConvTranspose2d)
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
    assert _count(generator) == by_hand


def test_dcgan_discriminator_mirrors_the_generator() -> None:
    discriminator = _on_meta(lambda: dcgan.Discriminator(64, 3))
    shapes = _shapes(discriminator, torch.zeros(2, 3, 64, 64, device="meta"), nn.Conv2d)
    assert shapes == [(32, 32, 128), (16, 16, 256), (8, 8, 512), (4, 4, 1024)]
    by_hand = (
        25 * 3 * 128 + 128
        + 25 * 128 * 256 + 2 * 256
        + 25 * 256 * 512 + 2 * 512
        + 25 * 512 * 1024 + 2 * 1024
        + 4 * 4 * 1024 + 1
    )  # fmt: skip
    assert by_hand == 17_232_897
    assert _count(discriminator) == by_hand


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (32, [(4, 512), (8, 256), (16, 128), (32, 1)]),
        (224, [(7, 1024), (14, 1024), (28, 512), (56, 256), (112, 128), (224, 1)]),
        (256, [(4, 1024), (8, 1024), (16, 1024), (32, 512), (64, 256), (128, 128), (256, 1)]),
    ],
)
def test_dcgan_widths_halve_from_1024_at_most_to_128(size: int, expected: list[tuple[int, int]]) -> None:
    generator = _on_meta(lambda: dcgan.Generator(size, 1, 100))
    shapes = _shapes(generator, torch.zeros(2, 100, device="meta"), (nn.BatchNorm2d, nn.Tanh))
    assert [(height, maps) for height, _, maps in shapes] == expected


def test_dcgan_normalises_all_but_output_and_input() -> None:
    kinds = [type(module) for module in dcgan.Generator(64, 1, 8, width=2).layers]
    block = [nn.ConvTranspose2d, nn.BatchNorm2d, nn.ReLU]
    assert kinds == [nn.BatchNorm2d, nn.ReLU, *block, *block, *block, nn.ConvTranspose2d, nn.Tanh]
    kinds = [type(module) for module in dcgan.Discriminator(64, 1, width=2).layers]
    block = [nn.Conv2d, nn.BatchNorm2d, nn.LeakyReLU]
    assert kinds == [nn.Conv2d, nn.LeakyReLU, *block, *block, *block, nn.Flatten]


@pytest.mark.parametrize("module", [dcgan, dcgan_thesis])
def test_leaky_relus_have_the_papers_slope(module: ModuleType) -> None:
    slopes = [
        layer.negative_slope for layer in module.Discriminator(64, 1).modules() if isinstance(layer, nn.LeakyReLU)
    ]
    assert slopes == [0.2] * len(slopes)
    assert len(slopes) == sum(isinstance(layer, nn.Conv2d) for layer in module.Discriminator(64, 1).modules())


def test_a_critic_judges_each_image_alone() -> None:
    _, discriminator = _pair("dcgan critic")
    assert not any(isinstance(module, nn.BatchNorm2d) for module in discriminator.modules())
    assert all(module.bias is not None for module in discriminator.modules() if isinstance(module, nn.Conv2d))
    discriminator.train()
    torch.testing.assert_close(discriminator(_images(4)[:1])[0], discriminator(_images(4))[0][:1], rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="norm: found 'layer', expected one of batch, none"):
        dcgan.Discriminator(32, 1, norm="layer")


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


# BEGAN.


def test_began_has_as_many_weights_as_the_paper_counts() -> None:
    """17.3 million in all for 128x128 images with n = 128 and 64 numbers in embedding and latent vector."""
    generator = _on_meta(lambda: began.Generator(128, 3, 64))
    discriminator = _on_meta(lambda: began.Discriminator(128, 3))
    assert round((_count(generator) + _count(discriminator)) / 1e6, 1) == 17.3


def test_began_layers_follow_the_paper() -> None:
    discriminator = _on_meta(lambda: began.Discriminator(64, 3, width=10))
    shapes = _shapes(discriminator, torch.zeros(1, 3, 64, 64, device="meta"), nn.Conv2d)
    encoder = [(64, 10), (64, 10), (64, 10), (32, 10), (32, 20), (16, 20), (16, 30), (8, 30), (8, 40)]
    decoder = [(8, 10), (8, 10), (16, 10), (16, 10), (32, 10), (32, 10), (64, 10), (64, 10), (64, 3)]
    assert [(height, maps) for height, _, maps in shapes] == encoder + decoder
    generator = _on_meta(lambda: began.Generator(64, 3, 64, width=10))
    assert {key: value.shape for key, value in generator.state_dict().items()} == {
        key: value.shape for key, value in discriminator.decoder.state_dict().items()
    }
    kinds = {type(module) for module in discriminator.modules()}
    assert not kinds & {nn.BatchNorm2d, nn.Dropout, nn.Tanh, nn.ReLU, nn.LeakyReLU}
    convolutions = [module for module in discriminator.modules() if isinstance(module, nn.Conv2d)]
    activations = [module for module in discriminator.modules() if isinstance(module, nn.ELU)]
    assert len(activations) == len(convolutions) - 1  # all but the output's


def test_began_scores_an_image_by_the_error_of_its_reconstruction() -> None:
    _, discriminator = _pair("began")
    images = _images(3)
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
    _, discriminator = _pair("began", "concatenation")
    images, labels = _images(1), torch.tensor([1])
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
    for module in (dcgan_thesis, dcgan, progan):
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


# ProGAN.


def _conv_shapes(network: nn.Module, value: Tensor) -> list[tuple[int, int]]:
    """(side, maps) after each convolution."""
    return [(height, maps) for height, _, maps in _shapes(network, value, progan.EqualisedConv2d)]


def test_progan_layers_and_weights_are_those_of_table_2() -> None:
    generator = _on_meta(lambda: progan.Generator(512, 3, 512))
    shapes = _conv_shapes(generator, torch.zeros(4, 512, device="meta"))
    expected = [(4, 512), (8, 512), (16, 512), (32, 512), (64, 256), (128, 128), (256, 64), (512, 32)]
    assert shapes == [row for row in expected for _ in range(2)] + [(512, 3)]
    discriminator = _on_meta(lambda: progan.Discriminator(512, 3))
    shapes = _conv_shapes(discriminator, torch.zeros(4, 3, 512, 512, device="meta"))
    expected_down = [
        (512, 32),
        (512, 32),
        (512, 64),
        (256, 64),
        (256, 128),
        (128, 128),
        (128, 256),
        (64, 256),
        (64, 512),
    ]
    expected_down += [(side, 512) for side in (32, 32, 16, 16, 8, 8, 4, 1)]
    assert shapes == expected_down
    # Table 2 counts the weights of each layer, in the order of the generator's rows, and 23.1 million in all (for
    # 1024x1024, whose two outer blocks and outputs have 0.007 million).
    convolutions = [module for name, module in generator.named_modules() if _is_convolution(name, module)]
    counts = [_count(module) for module in convolutions]
    published = [4.2e6, *[2.4e6] * 7, 1.2e6, 590e3, 295e3, 148e3, 74e3, 37e3, 18e3, 9.2e3]
    assert counts == [pytest.approx(value, rel=0.03) for value in published]
    assert round((sum(counts) + 7e3) / 1e6, 1) == 23.1
    inner = sum(_count(module) for name, module in discriminator.named_modules() if _is_convolution(name, module))
    assert round((inner + _count(discriminator.head) + 7e3) / 1e6, 1) == 23.1


def _is_convolution(name: str, module: nn.Module) -> bool:
    return isinstance(module, progan.EqualisedConv2d) and not name.startswith(("to_image", "from_image"))


def test_equalised_layers_scale_normal_weights_by_hes_constant() -> None:
    chance = torch.Generator().manual_seed(0)
    layer, dense = progan.EqualisedConv2d(50, 40, 3, padding=1), progan.EqualisedLinear(300, 200)
    progan.initialise(nn.ModuleList([layer, dense]), chance)
    for weights in (layer.weight.detach(), dense.weight.detach()):
        assert float(weights.mean()) == pytest.approx(0, abs=5 / math.sqrt(weights.numel()))
        assert float(weights.std()) == pytest.approx(1, abs=5 / math.sqrt(2 * weights.numel()))
    maps = torch.randn(8, 50, 16, 16, generator=chance)
    expected = conv2d(maps, layer.weight * math.sqrt(2 / (50 * 9)), padding=1)
    torch.testing.assert_close(layer(maps), expected, rtol=1e-4, atol=1e-5)
    # Away from the border, normal input gives output of variance 2, which a ReLU halves in mean square.
    assert float(layer(maps)[:, :, 1:-1, 1:-1].detach().var()) == pytest.approx(2, rel=0.1)
    assert float(dense(torch.randn(500, 300, generator=chance)).detach().var()) == pytest.approx(1, rel=0.1)


def test_pixel_norm_gives_every_pixel_a_mean_square_of_1() -> None:
    maps = 7 * torch.randn(2, 16, 3, 3)
    normalised = progan.pixel_norm(maps)
    torch.testing.assert_close(normalised.square().mean(1), torch.ones(2, 3, 3))
    torch.testing.assert_close(normalised / normalised[:, :1], maps / maps[:, :1], rtol=1e-3, atol=1e-3)
    assert not progan.pixel_norm(torch.zeros(1, 4, 1, 1, dtype=torch.float16)).isnan().any()
    assert bool(progan.pixel_norm(torch.full((1, 4, 1, 1), 1000.0, dtype=torch.float16)).eq(1).all())


def test_progan_activates_every_convolution_and_normalises_those_of_the_generator() -> None:
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []

    def note(module: nn.Module, arguments: tuple[Tensor], output: Tensor) -> None:
        inputs.append(arguments[0])
        outputs.append(output)

    networks = _pair("progan")
    for network in networks:
        for name, module in network.named_modules():
            if type(module).__name__ == "_Activation":
                module.register_forward_hook(note)
            assert not isinstance(module, nn.BatchNorm2d), name
    with torch.no_grad():
        networks[1](networks[0](_latents(2)))
    in_generator = 2 * 4  # two convolutions at each of 4, 8, 16 and 32 pixels
    assert len(outputs) == in_generator + 1 + 2 * 3 + 2  # from the image, three blocks, the last two
    for index, (before, after) in enumerate(zip(inputs, outputs, strict=True)):
        leaky = torch.where(before > 0, before, 0.2 * before)
        if index < in_generator:
            leaky = leaky / leaky.square().mean(1, keepdim=True).sqrt()
        torch.testing.assert_close(after, leaky, rtol=1e-3, atol=1e-3)


def test_progan_latents_lie_on_a_sphere() -> None:
    generator, _ = _pair("progan")
    nn.init.ones_(generator.first[0].bias)  # without a bias, the layers' own normalisation would take out any scale
    with torch.no_grad():
        torch.testing.assert_close(generator(4 * _latents(3)), generator(_latents(3)), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        (2, [1.0, 1.0, 3.0, 3.0]),  # standard deviations of (0, 2) and (10, 16)
        (4, [6.403124] * 4),  # of (0, 2, 10, 16): mean 7, variance (49 + 25 + 9 + 81) / 4 = 41
        (64, [6.403124] * 4),
        (3, [1.0, 1.0, 3.0, 3.0]),  # four images in groups of at most three: two and two
        (1, [1e-4] * 4),  # the root of epsilon
    ],
)
def test_minibatch_std_of_a_toy_batch(group: int, expected: list[float]) -> None:
    maps = torch.tensor([0.0, 2.0, 10.0, 16.0])[:, None, None, None].expand(4, 3, 2, 2)
    appended = progan.append_minibatch_std(maps, group)
    assert torch.equal(appended[:, :3], maps)
    assert appended.shape == (4, 4, 2, 2)
    torch.testing.assert_close(appended[:, 3], torch.tensor(expected)[:, None, None].expand(4, 2, 2))


def test_minibatch_std_averages_over_features_and_places() -> None:
    maps = torch.zeros(2, 2, 1, 2)
    maps[1, 0, 0] = torch.tensor([2.0, 6.0])  # standard deviations 1 and 3; 0 in the other feature
    assert float(progan.append_minibatch_std(maps, 4)[0, 2, 0, 0]) == pytest.approx((1 + 3) / 4, abs=1e-3)


def test_minibatch_std_of_equal_images_has_a_finite_gradient() -> None:
    maps = torch.ones(4, 2, 3, 3, requires_grad=True)
    progan.append_minibatch_std(maps, 4).sum().backward()
    assert bool(maps.grad.isfinite().all())


@pytest.mark.parametrize("size", [32, 224])
def test_growth_starts_from_the_smaller_stage_and_ends_without_it(size: int) -> None:
    generator, discriminator = _pair("progan", size=size)
    base = 7 if size == 224 else 4
    latents = _latents(3)
    with torch.no_grad():
        for resolution in (2 * base, size):
            results = {}
            for stage in ((resolution // 2, 1.0), (resolution, 0.0), (resolution, 0.5), (resolution, 1.0)):
                for network in (generator, discriminator):
                    network.set_stage(*stage)
                images = generator(latents)
                assert images.shape == (3, 2, size, size)
                # Blocks of pixels: nothing finer than the stage's resolution.
                coarse = avg_pool2d(images, size // stage[0])
                torch.testing.assert_close(images, interpolate(coarse, size), rtol=1e-4, atol=1e-5)
                results[stage] = images, discriminator(_images(3, size))[0]
            for index in (0, 1):
                before, start, middle, end = (result[index] for result in results.values())
                torch.testing.assert_close(start, before, rtol=1e-4, atol=1e-5)
                assert float((end - before).abs().max()) > 1e-3
                if index == 0:  # linear in alpha, as images are what is blended
                    torch.testing.assert_close(middle, (start + end) / 2, rtol=1e-4, atol=1e-5)
    assert (generator.resolution, discriminator.resolution) == (size, size)


def test_a_block_that_is_faded_in_no_longer_uses_the_old_path() -> None:
    generator, discriminator = _pair("progan")
    results = []
    for _ in range(2):
        for alpha in (1.0, 0.9):
            generator.set_stage(16, alpha)
            discriminator.set_stage(16, alpha)
            with torch.no_grad():
                results.append((generator(_latents(3)), discriminator(_images(3))[0]))
        nn.init.ones_(generator.to_image[1].weight)
        nn.init.ones_(discriminator.from_image[1][0].weight)
    for index in (0, 1):
        assert torch.equal(results[0][index], results[2][index])
        assert not torch.allclose(results[1][index], results[3][index], rtol=1e-3)


def test_layers_of_later_stages_get_no_gradient() -> None:
    generator, discriminator = _pair("progan")
    for network in (generator, discriminator):
        network.set_stage(8, 0.5)
    discriminator(generator(_latents(3)))[0].sum().backward()
    with_gradient = {name for name, values in generator.named_parameters() if values.grad is not None}
    assert {name.split(".")[0] for name in with_gradient} == {"first", "blocks", "to_image"}
    assert {name[:8] for name in with_gradient if name.startswith("blocks")} == {"blocks.0"}
    assert {name[:10] for name in with_gradient if name.startswith("to_image")} == {"to_image.0", "to_image.1"}


def test_real_images_fade_as_generated_ones_do() -> None:
    _, discriminator = _pair("progan")
    images = _images(2)
    half, quarter = avg_pool2d(images, 2), avg_pool2d(images, 4)
    discriminator.set_stage(16, 0.25)
    expected = 0.25 * half + 0.75 * interpolate(quarter, 16)
    torch.testing.assert_close(avg_pool2d(discriminator.fade(images), 2), expected)
    for stage in ((16, 1.0), (4, 0.5)):
        discriminator.set_stage(*stage)
        assert torch.equal(discriminator.fade(images), images)


def test_the_stage_travels_with_the_state_dict() -> None:
    generator, _ = _pair("progan")
    alpha = 0.1 + 0.2  # not a round number in any base
    generator.set_stage(16, alpha)
    state = generator.state_dict()
    assert not any(value.is_floating_point() for name, value in state.items() if name.endswith("extra_state"))
    other = progan.Generator(32, 2, 6, width=4)
    assert (other.resolution, other.alpha) == (32, 1.0)
    other.load_state_dict({name: value.clone() for name, value in state.items()})
    assert (other.resolution, other.alpha) == (16, alpha)
    with torch.no_grad():
        assert torch.equal(other(_latents(2)), generator(_latents(2)))


@pytest.mark.parametrize(
    ("stage", "message"),
    [((64, 1.0), "found 64, expected one of 4, 8, 16, 32"), ((2, 1.0), "found 2"), ((8, 1.5), "alpha: found 1.5")],
)
def test_impossible_stages_are_refused(stage: tuple[int, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        progan.Discriminator(32, 1, width=2).set_stage(*stage)
