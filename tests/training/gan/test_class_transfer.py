"""Weights of some classes in networks of others: by name, with their normalisation; and a training that starts so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gan_trainings import write_pictures
from program import succeed
from sonoforge.models.light import Generator
from sonoforge.models.projected import Discriminator, DiscriminatorSettings
from sonoforge.models.projected import initialise as initialise_discriminator
from sonoforge.models.spade import MapSettings as GeneratorSettings
from sonoforge.models.spectral import draw_weights as initialise
from sonoforge.training.gan.transfer import for_classes

CLASSES = ("normal", "benign", "malignant")
LATENT = 8


class _Frozen(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv2d(1, 4, 3, 4, 1), nn.Conv2d(4, 4, 3, 2, 1)])
        self.requires_grad_(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        fine = self.layers[0](images)
        return [fine, self.layers[1](fine)]


def _generator(classes: int, seed: int = 0) -> Generator:
    network = Generator(GeneratorSettings(32, 1, LATENT, classes, width=4))
    chance = torch.Generator().manual_seed(seed)
    initialise(network, chance)
    for name, value in network.named_buffers():
        if "running_mean" in name:
            value.normal_(generator=chance)
    return network.eval()


def _discriminator(classes: int, seed: int = 0) -> Discriminator:
    torch.manual_seed(7)
    network = Discriminator(DiscriminatorSettings(32, 1, 1, classes, "projection", width=4), _Frozen())
    initialise_discriminator(network, torch.Generator().manual_seed(seed))
    return network.eval()


@torch.no_grad()
def test_classes_in_another_order_draw_and_score_as_before() -> None:
    order = [2, 0, 1]
    ours = [CLASSES[index] for index in order]
    latents = torch.randn(3, LATENT, generator=torch.Generator().manual_seed(1))
    theirs, own = _generator(3), _generator(3, seed=1)
    before = theirs(latents, torch.tensor(order))
    assert (own(latents, torch.arange(3)) - before).abs().max() > 0.1
    own.load_state_dict(for_classes(theirs.state_dict(), CLASSES, ours))
    torch.testing.assert_close(own(latents, torch.arange(3)), before, atol=5e-3, rtol=0)  # power iteration
    judge, again = _discriminator(3), _discriminator(3, seed=1)
    scores = judge(before, torch.tensor(order))[0]
    again.load_state_dict(for_classes(judge.state_dict(), CLASSES, ours))
    torch.testing.assert_close(again(before, torch.arange(3))[0], scores, atol=1e-2, rtol=1e-2)


def test_other_classes_take_their_own_by_name_and_new_ones_the_mean() -> None:
    theirs = _generator(3).state_dict()
    found = for_classes(theirs, CLASSES, ["malignant", "cyst"])
    _generator(2).load_state_dict(found)  # every shape fits
    name = "blocks.0.norm.scale.parametrizations.weight.original"
    torch.testing.assert_close(found[name], torch.stack([theirs[name][:, 2], theirs[name].mean(1)], 1))
    first = "first.0.parametrizations.weight.original"
    torch.testing.assert_close(found[first][:LATENT], theirs[first][:LATENT], rtol=0, atol=0)
    torch.testing.assert_close(found[first][LATENT], theirs[first][LATENT + 2], rtol=0, atol=0)
    for stem, dim in (("blocks.0.norm.scale", 0), ("first.0", 1)):
        own = f"{stem}.parametrizations.weight"
        matrix = found[f"{own}.original"].movedim(dim, 0).flatten(1)
        estimate = found[f"{own}.0._u"] @ matrix @ found[f"{own}.0._v"]
        assert float(estimate) == pytest.approx(float(torch.linalg.svdvals(matrix)[0]), rel=0.05)
    judged = for_classes(_discriminator(3).state_dict(), CLASSES, ["benign"])
    assert judged["scales.0.class_rows.parametrizations.weight.original"].shape[0] == 1


def test_a_training_starts_from_one_of_other_classes(tmp_path: Path, squeezenet_file: Path) -> None:
    options: list[Any] = ["--recipe", "projected", "--preset", "small-data", "--features", squeezenet_file]
    options += ["--conditioning", "projection", "--image-size", "32", "--batch", "4", "--steps", "2", "--width", "4"]
    options += ["--latent-size", LATENT, "--metrics", "none", "--device", "cpu", "--out", tmp_path / "runs"]
    (tmp_path / "pictures").mkdir()
    pictures = write_pictures(tmp_path / "pictures", 12)
    first = succeed("gan", "train", "--data", pictures, *options).json["run"]
    (pictures / "benign").rename(pictures / "cyst")
    said = succeed("gan", "train", "--data", pictures, *options, "--start-from", first).err
    assert "classes that go on with their weights: malignant; that start with the mean of all: cyst" in said
    assert said.count("parameters taken from") == 2 and said.count(", 0 new") == 2
