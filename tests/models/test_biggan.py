"""BigGAN: layers and weights of the paper's tables, latent chunks, self-attention."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import _SpectralNorm

from gan_pairs import count_weights, layer_shapes, on_meta
from sonoforge.models import biggan
from sonoforge.models.layers import SelfAttention
from sonoforge.models.spectral import draw_weights, stored_weight


def test_at_128_it_has_the_weights_that_its_authors_count() -> None:
    """Table 1 gives 158.3 million for both; the authors' PyTorch code prints these numbers for 1000 classes."""
    generator = on_meta(lambda: biggan.Generator(128, 3, 120, 1000))
    discriminator = on_meta(lambda: biggan.Discriminator(128, 3, 1000, "projection"))
    assert count_weights(generator) == 70_433_988
    assert count_weights(discriminator) == 87_982_370
    assert (count_weights(generator) + count_weights(discriminator)) / 1e6 == pytest.approx(158.3, rel=1e-3)


def test_at_64_the_weights_are_those_of_the_layers_counted_by_hand() -> None:
    width, chunk, classes = 8, 20, 3
    condition = chunk + 128
    by_hand = classes * 128 + (chunk + 1) * 16 * width * 16  # embedding, first layer to 16 ch of 4x4
    for inputs, outputs in ((16, 16), (16, 8), (8, 4), (4, 2)):
        before, after = inputs * width, outputs * width
        by_hand += 2 * condition * (before + after)  # scales and shifts
        by_hand += (9 * before + 1) * after + (9 * after + 1) * after + (before + 1) * after
    attended = 4 * width  # at 32x32
    by_hand += attended * (2 * (attended // 8) + 2 * (attended // 2)) + 1
    by_hand += 2 * 2 * width + 9 * 2 * width * 1 + 1  # last norm, convolution to one channel
    assert count_weights(on_meta(lambda: biggan.Generator(64, 1, 5 * chunk, classes, width))) == by_hand


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


def test_each_chunk_of_the_latent_steers_its_own_layers() -> None:
    """What comes before a chunk's block does not change with it."""
    torch.manual_seed(0)
    generator = biggan.Generator(64, 1, 100, width=2).eval()
    draw_weights(generator, torch.Generator().manual_seed(1))
    latents, seen = torch.randn(1, 100), []

    def outputs(value: torch.Tensor) -> list[torch.Tensor]:
        seen.clear()
        hooks = [block.register_forward_hook(lambda _, __, out: seen.append(out)) for block in generator.blocks]
        with torch.no_grad():
            generator(value)
        for hook in hooks:
            hook.remove()
        return list(seen)

    before = outputs(latents)
    for chunk in range(5):
        moved = latents.clone()
        moved[:, 20 * chunk : 20 * chunk + 20] += 1
        same = [bool(torch.equal(a, b)) for a, b in zip(before, outputs(moved), strict=True)]
        assert same == [number < chunk - 1 for number in range(4)]


def test_self_attention_is_the_weighted_mean_of_pooled_values() -> None:
    """Against a loop over pixels with numpy's arithmetic; at first it changes nothing."""
    torch.manual_seed(2)
    layer = SelfAttention(8).double().eval()
    maps = torch.randn(1, 8, 4, 4, dtype=torch.float64)
    with torch.no_grad():
        assert torch.equal(layer(maps), maps)
        layer.strength.fill_(0.7)
        found = layer(maps)
        queries, keys, values = (own(maps) for own in (layer.queries, layer.keys, layer.values))
        pooled = [
            torch.stack([
                own[0, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].amax((1, 2)) for i in range(2) for j in range(2)
            ])
            for own in (keys, values)
        ]  # fmt: skip
        for row in range(4):
            for column in range(4):
                weights = (pooled[0] @ queries[0, :, row, column]).softmax(0)
                mixed = (weights[:, None] * pooled[1]).sum(0)
                added = layer.output(mixed[None, :, None, None])[0, :, 0, 0]
                expected = maps[0, :, row, column] + 0.7 * added
                torch.testing.assert_close(found[0, :, row, column], expected)


def test_initial_weights_are_orthogonal_and_stay_of_norm_one() -> None:
    discriminator = biggan.Discriminator(32, 1, width=2)
    draw_weights(discriminator, torch.Generator().manual_seed(0))
    for module in discriminator.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            singular = torch.linalg.svdvals(stored_weight(module).detach().flatten(1))
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
    with pytest.raises(ValueError, match="latent_size: found 5"):
        biggan.Generator(128, 1, 5)
