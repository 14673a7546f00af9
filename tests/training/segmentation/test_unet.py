"""The U-Net: its loss against MONAI's, what it learns in seconds, and that it repeats itself."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import nn

from disc_volumes import draw_pair
from sonoforge.training.segmentation.options import UNETS
from sonoforge.training.segmentation.pairs import Pairs
from sonoforge.training.segmentation.unet import UnetSettings, build_unet, predict, segmentation_loss, train_unet

pytestmark = pytest.mark.skipif(find_spec("monai") is None, reason="monai is not installed")

CPU = torch.device("cpu")


def draw_pairs(count: int, seed: int) -> Pairs:
    chance = np.random.default_rng(seed)
    images, maps = zip(*(draw_pair(chance) for _ in range(count)), strict=True)
    return Pairs(np.stack(images)[..., None], np.stack(maps))


def train(pairs: Pairs, steps: int, *, augmented: bool = False, seed: int = 0) -> nn.Module:
    settings = UnetSettings(steps, batch=8, width=8, widest=8, learning_rate=0.003)
    return train_unet(pairs, settings, 2, seed, CPU, augmented=augmented)


def test_the_loss_is_monais_dice_plus_cross_entropy() -> None:
    losses = pytest.importorskip("monai.losses")  # slow to import
    logits = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    maps = torch.randint(0, 3, (3, 16, 16), generator=torch.Generator().manual_seed(1))
    dice = losses.DiceLoss(
        include_background=False, to_onehot_y=True, softmax=True, batch=True, smooth_nr=1, smooth_dr=1
    )(logits, maps[:, None])
    entropy = -logits.log_softmax(1).gather(1, maps[:, None]).mean()
    torch.testing.assert_close(segmentation_loss(logits, maps), dice + entropy)


@pytest.mark.parametrize(("budget", "levels"), [("quick", [16, 16, 32, 64, 128]), ("full", [64, 128, 256, 512, 1024])])
def test_at_budget_full_it_has_the_published_channels_at_each_level(budget: str, levels: list[int]) -> None:
    """Ronneberger 2015, figure 1: two convolutions at each level on the way down, and two on the way up."""
    with torch.device("meta"):
        network = build_unet(1, 1, UNETS[budget], 0)
    made = [module.out_channels for module in network.modules() if isinstance(module, nn.Conv2d)]
    upwards = [*levels[-2:0:-1], levels[0]]
    assert made == [width for level in (*levels, *upwards) for width in (level, level)] + [2]


@pytest.mark.parametrize("augmented", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_it_learns_discs_and_rings(augmented: bool) -> None:
    network = train(draw_pairs(40, 0), 75, augmented=augmented)
    tested = draw_pairs(16, 1)
    found = predict(network, tested.images, CPU)
    for label in (1, 2):
        both = ((found == label) & (tested.maps == label)).sum()
        dice = 2 * both / ((found == label).sum() + (tested.maps == label).sum())
        print(f"augmented {augmented}, label {label}: Dice {dice:.3f}")
        assert dice > 0.85


def test_the_same_seed_gives_the_same_network_and_another_one_another() -> None:
    pairs = draw_pairs(12, 0)
    one, same, other = (train(pairs, 3, augmented=True, seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(tensor, same[name]) for name, tensor in one.items())
    assert any(not torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_fewer_pairs_than_a_batch_are_enough() -> None:
    few = draw_pairs(3, 0)
    assert predict(train(few, 1), few.images, CPU).shape == (3, 32, 32)
