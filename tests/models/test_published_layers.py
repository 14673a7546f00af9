"""DCGAN, the thesis's DCGAN, BEGAN and BigGAN: layers, weights and initial values of the papers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import _SpectralNorm

from gan_pairs import count_weights, draw_images, layer_shapes, on_meta, small_pair
from golden import printed
from sonoforge.models import began, biggan, dcgan
from sonoforge.models.layers import BatchRenorm2d, SelfAttention, draw_weights
from sonoforge.training.gan.networks import ARCHITECTURES

DCGANS = ["dcgan", "dcgan-thesis"]


@pytest.mark.parametrize(
    ("build", "kinds", "shapes", "weights"),
    [
        (  # figure 1: projection, scale and shift of its batch norm; 5x5 kernels with theirs; last kernel and bias
            lambda: dcgan.Generator(64, 3, 100), nn.ConvTranspose2d,
            [(8, 512), (16, 256), (32, 128), (64, 3)],
            100 * 16 * 1024 + 2 * 1024 + 25 * 1024 * 512 + 2 * 512 + 25 * 512 * 256 + 2 * 256
            + 25 * 256 * 128 + 2 * 128 + 25 * 128 * 3 + 3,
        ),
        (
            lambda: dcgan.Discriminator(64, 3), nn.Conv2d, [(32, 128), (16, 256), (8, 512), (4, 1024)],
            25 * 3 * 128 + 128 + 25 * 128 * 256 + 2 * 256 + 25 * 256 * 512 + 2 * 512 + 25 * 512 * 1024 + 2 * 1024
            + 16 * 1024 + 1,
        ),
        (
            lambda: dcgan.ThesisGenerator(224, 3, 100), nn.ConvTranspose2d,
            [(28, 128), (56, 64), (112, 32), (224, 3)],
            100 * 28 * 28 * 256 + 2 * 256 + 25 * 256 * 128 + 2 * 128 + 25 * 128 * 64 + 2 * 64 + 25 * 64 * 32 + 2 * 32
            + 25 * 32 * 3 + 3,
        ),
        (
            lambda: dcgan.ThesisDiscriminator(224, 3), nn.Conv2d, [(112, 32), (56, 64), (28, 128)],
            25 * 3 * 32 + 2 * 32 + 25 * 32 * 64 + 2 * 64 + 25 * 64 * 128 + 2 * 128 + 28 * 28 * 128 + 1,
        ),
    ],
)  # fmt: skip
def test_layers_and_weights_of_both_dcgans(
    build: Any, kinds: type[nn.Module], shapes: list[tuple[int, int]], weights: int
) -> None:
    network = on_meta(build)
    inputs = (2, 100) if "Generator" in type(network).__name__ else (2, 3, 2 * shapes[0][0], 2 * shapes[0][0])
    found = layer_shapes(network, torch.zeros(inputs, device="meta"), kinds)
    assert [(height, maps) for height, _, maps in found] == shapes
    assert count_weights(network) == weights


def test_layers_of_the_thesiss_dcgan_are_those_that_it_prints() -> None:
    """Of its discriminator the middle layer is not drawn."""

    def sides(columns: dict[str, str]) -> list[tuple[int, ...]]:
        return [tuple(map(int, shape.split("x"))) for shape in columns.values()]

    thesis = printed("thesis")
    first, *others = sides(thesis["section 3.4"]["generator's layers"])
    generator = on_meta(lambda: dcgan.ThesisGenerator(224, 3, 100))
    found = layer_shapes(generator, torch.zeros(2, 100, device="meta"), (nn.Linear, nn.Unflatten, nn.ConvTranspose2d))
    assert generator.dense.out_features == math.prod(first)
    assert [shape[: len(other)] for shape, other in zip(found[-4:], others, strict=True)] == others
    discriminator = on_meta(lambda: dcgan.ThesisDiscriminator(224, 3))
    shapes = layer_shapes(discriminator, torch.zeros(2, 3, 224, 224, device="meta"), nn.Conv2d)
    assert [shapes[0], shapes[-1]] == sides(thesis["figure 10"]["discriminator's layers"]) and len(shapes) == 3


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


@pytest.mark.parametrize("name", DCGANS)
def test_leaky_relus_have_the_papers_slope(name: str) -> None:
    layers = list(small_pair(name)[1].modules())
    slopes = [layer.negative_slope for layer in layers if isinstance(layer, nn.LeakyReLU)]
    assert slopes == [0.2] * sum(isinstance(layer, nn.Conv2d) for layer in layers)


def test_a_critic_judges_each_image_alone() -> None:
    _, discriminator = small_pair("dcgan critic")
    assert not any(isinstance(module, nn.BatchNorm2d) for module in discriminator.modules())
    assert all(module.bias is not None for module in discriminator.modules() if isinstance(module, nn.Conv2d))
    discriminator.train()
    torch.testing.assert_close(
        discriminator(draw_images(4)[:1])[0], discriminator(draw_images(4))[0][:1], rtol=1e-4, atol=1e-6
    )
    with pytest.raises(ValueError, match="norm: 'layer'"):
        dcgan.Discriminator(32, 1, hidden=dcgan.Hidden(norm="layer"))


def _build(name: str, **options: str) -> list[nn.Module]:
    own = {"image_size": 32, "channels": 1, **options}
    return on_meta(
        lambda: [ARCHITECTURES[name].generator(**own, latent_size=4), ARCHITECTURES[name].discriminator(**own)]
    )


@pytest.mark.parametrize("name", [*DCGANS, "ga-gan"])
def test_another_activation_takes_the_place_of_each_hidden_one(name: str) -> None:
    kinds = (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.Tanh)
    for published, changed, own in zip(_build(name), _build(name, activation="tanh"), (True, False), strict=True):
        before, after = (
            [type(layer) for layer in network.modules() if isinstance(layer, kinds)] for network in (published, changed)
        )
        assert len(before) == len(after) >= 3 and set(after) == {nn.Tanh}
        assert before.count(nn.Tanh) == (own and name in DCGANS), "a DCGAN's generator ends in a tanh of its own"
    with pytest.raises(ValueError, match="activation: 'swish'"):
        _build(name, activation="swish")


@pytest.mark.parametrize("name", DCGANS)
@pytest.mark.parametrize(("norm", "kind"), [("batch-renorm", BatchRenorm2d), ("none", type(None))])
def test_another_normalisation_takes_the_place_of_each(name: str, norm: str, kind: type) -> None:
    for published, changed in zip(_build(name), _build(name, norm=norm), strict=True):
        found = [type(layer) for layer in changed.modules() if isinstance(layer, nn.BatchNorm2d)]
        count = sum(isinstance(layer, nn.BatchNorm2d) for layer in published.modules())
        assert found == ([] if norm == "none" else [kind] * count)
        layers = [layer for layer in changed.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)]
        assert norm != "none" or all(layer.bias is not None for layer in layers)


@pytest.mark.parametrize(
    "network", [dcgan.Generator(64, 3, 100, width=16), dcgan.Discriminator(64, 3, width=16), dcgan.ThesisGenerator(64)]
)
def test_initial_weights_of_dcgans_are_those_of_the_paper(network: nn.Module) -> None:
    dcgan.initialise(network, torch.Generator().manual_seed(0))
    weights = torch.cat([values.flatten() for values in network.parameters() if values.ndim > 1]).detach()
    # Standard errors over n weights: 0.02 / sqrt(n) and 0.02 / sqrt(2 n).
    assert abs(float(weights.mean())) < 5 * 0.02 / math.sqrt(weights.numel())
    assert float(weights.std()) == pytest.approx(0.02, abs=5 * 0.02 / math.sqrt(2 * weights.numel()))
    scales = torch.cat([layer.weight for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]).detach()
    assert float(scales.mean()) == pytest.approx(1.0, abs=0.01) and 0.01 < float(scales.std()) < 0.03
    assert not any(values.any() for name, values in network.named_parameters() if name.endswith("bias"))


# BEGAN.


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


# BigGAN.


def test_at_128_it_has_the_weights_that_its_authors_count() -> None:
    """Table 1 gives 158.3 million for both; the authors' PyTorch code prints these numbers for 1000 classes."""
    generator = on_meta(lambda: biggan.Generator(128, 3, 120, 1000))
    discriminator = on_meta(lambda: biggan.Discriminator(128, 3, 1000, "projection"))
    assert count_weights(generator) == 70_433_988
    assert count_weights(discriminator) == 87_982_370
    assert (count_weights(generator) + count_weights(discriminator)) / 1e6 == pytest.approx(158.3, rel=1e-3)


@pytest.mark.parametrize(
    ("size", "latent", "maps", "attention"),
    [
        (32, 80, [(8, 4), (16, 4), (32, 4)], 16),
        (128, 120, [(8, 16), (16, 8), (32, 4), (64, 2), (128, 1)], 64),
        (224, 120, [(14, 16), (28, 8), (56, 4), (112, 2), (224, 1)], 56),
        (256, 140, [(8, 16), (16, 8), (32, 8), (64, 4), (128, 2), (256, 1)], 64),
        (512, 160, [(8, 16), (16, 8), (32, 8), (64, 4), (128, 2), (256, 1), (512, 1)], 64),
    ],
)
def test_layers_are_those_of_the_papers_tables(
    size: int, latent: int, maps: list[tuple[int, int]], attention: int
) -> None:
    generator = on_meta(lambda: biggan.Generator(size, 3, latent, width=8))
    latents = torch.zeros(2, latent, device="meta")
    assert layer_shapes(generator, latents, biggan._UpBlock) == [(side, side, 8 * many) for side, many in maps]
    assert generator.chunks == (20,) * (len(maps) + 1)
    for network, value in (
        (generator, latents),
        (on_meta(lambda: biggan.Discriminator(size, 3, width=8)), torch.zeros(2, 3, size, size, device="meta")),
    ):
        ((height, _, _),) = layer_shapes(network, value, SelfAttention)
        assert height == attention


def test_self_attention_is_the_weighted_mean_of_pooled_values() -> None:
    """At first it changes nothing."""
    torch.manual_seed(2)
    layer = SelfAttention(8).double().eval()
    maps = torch.randn(1, 8, 4, 4, dtype=torch.float64)
    with torch.no_grad():
        assert torch.equal(layer(maps), maps)
        layer.strength.fill_(0.7)
        found = layer(maps)
        queries, keys, values = (own(maps) for own in (layer.queries, layer.keys, layer.values))
        pooled = [own.unfold(2, 2, 2).unfold(3, 2, 2).amax((4, 5)).flatten(2) for own in (keys, values)]
        weights = torch.einsum("bcq,bcp->bqp", queries.flatten(2), pooled[0]).softmax(2)
        mixed = torch.einsum("bqp,bcp->bcq", weights, pooled[1]).unflatten(2, (4, 4))
        torch.testing.assert_close(found, maps + 0.7 * layer.output(mixed))


def test_initial_weights_are_orthogonal_and_stay_of_norm_one() -> None:
    discriminator = biggan.Discriminator(32, 1, width=2)
    draw_weights(discriminator, torch.Generator().manual_seed(0))
    for module in discriminator.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            singular = torch.linalg.svdvals(module.parametrizations.weight.original.detach().flatten(1))  # type: ignore[union-attr, operator]
            torch.testing.assert_close(singular, torch.ones_like(singular), atol=1e-5, rtol=0)


def test_an_outline_has_all_tensors_and_none_is_iterated_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the meta device the iteration that starts spectral normalisation took seconds, and had no values."""
    made = {name: value.shape for name, value in biggan.Discriminator(32, 1, width=2).state_dict().items()}
    assert any(name.endswith("parametrizations.weight.0._u") for name in made)

    def iterated(*arguments: object) -> None:
        raise AssertionError("a step of power iteration")

    monkeypatch.setattr(_SpectralNorm, "_power_method", iterated)
    outline = on_meta(lambda: biggan.Discriminator(32, 1, width=2)).state_dict()
    assert {name: value.shape for name, value in outline.items()} == made
    with pytest.raises(AssertionError, match="a step of power iteration"):
        biggan.Discriminator(32, 1, width=2)


def test_fewer_numbers_than_blocks_are_refused() -> None:
    with pytest.raises(ValueError, match="latent_size: 5 is below 6"):
        biggan.Generator(128, 1, 5)
