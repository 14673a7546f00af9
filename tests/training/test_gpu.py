"""On a GPU: what a CPU computes is computed there, in every precision, and a stopped training goes on.

Run by hand with ``pytest -m gpu -n 0``; without a GPU they are skipped.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from gan_trainings import train
from labelled_phantoms import labelled_phantoms
from sonoforge.models.mobilenetv2 import mobilenet_v2
from sonoforge.models.stylegan.generator import StyledSettings
from sonoforge.models.stylegan.layers import initialise
from sonoforge.models.stylegan.stylegan2 import Generator
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.classifier.initial_weights import Backbone
from sonoforge.training.classifier.network import answer, pixel_views
from sonoforge.training.classifier.settings import ClassifierSettings
from sonoforge.training.classifier.training import ClassifierJob, train_classifier
from sonoforge.training.data.labelled_images import LabelledImages
from sonoforge.training.devices import find_device
from tiny_recipes import tiny_recipes

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here: run on a machine with one"),
]
SCANS = ClassifierSettings(
    frozen_blocks=2,
    epochs=2,
    least_steps=0,
    batch=8,
    augmentation="trivial",
    heads="hierarchical",
    lesion_crops=0.5,
    outlines=0.5,
    zoomed_second_pass=True,
    image_size=96,
)


@pytest.fixture(autouse=True)
def full_float32() -> Iterator[None]:
    """Convolutions in float32 alone: TF32, cuDNN's default, keeps ten bits of a mantissa."""
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = True


@pytest.fixture(scope="module")
def phantoms() -> LabelledImages:
    return labelled_phantoms(24, 128)


def backbone() -> Backbone:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = mobilenet_v2(3).state_dict()
    return Backbone({key: value for key, value in state.items() if key.startswith("features")}, "random", "")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_classifier_learns_as_on_a_cpu(phantoms: LabelledImages, precision: str) -> None:
    settings = dataclasses.replace(SCANS, precision=precision)
    losses = {}
    for device in ("cpu", "cuda"):
        job = ClassifierJob(backbone(), settings, 3, find_device(device))
        losses[device] = [row["loss"] for row in train_classifier(phantoms, None, job).history]
    # Dropout is drawn on each device by its own generator, so that steps are alike and not the same.
    assert losses["cuda"][0] == pytest.approx(losses["cpu"][0], rel=0.1)
    assert losses["cuda"][-1] < losses["cuda"][0]


def test_the_same_network_answers_alike_on_both(phantoms: LabelledImages) -> None:
    job = ClassifierJob(backbone(), SCANS, 3, find_device("cuda"))
    (net,) = train_classifier(phantoms, None, job).members
    views = pixel_views(phantoms.pixels, mirror=False)
    there = answer([net], views, 0, torch.device("cuda"), look=96).probabilities
    here = answer([net.cpu()], views, 0, torch.device("cpu"), look=96).probabilities
    np.testing.assert_allclose(there, here, atol=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("recipe", ["dcgan", "stylegan2", "stylegan3-t"])
def test_a_generator_trains_in_every_precision(tmp_path: Path, recipe: str, precision: str) -> None:
    with tiny_recipes():
        train(tmp_path, device="cuda", recipe=recipe, precision=precision)
    rows = [json.loads(line) for line in (tmp_path / "stats.jsonl").read_text().splitlines()]
    assert all(np.isfinite(row[name]) for row in rows for name in row if name.startswith("loss"))
    assert rows[-1]["memory_gib"] > 0


def test_a_stopped_training_goes_on_where_it_was(tmp_path: Path) -> None:
    calls = iter(range(100))
    train(tmp_path, device="cuda", stop=lambda: next(calls) >= 5)
    assert not (tmp_path / "results.json").exists()
    train(tmp_path, device="cuda", resume=True)
    assert (tmp_path / "results.json").exists()
    steps = [json.loads(line)["step"] for line in (tmp_path / "stats.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps))
    assert steps[-1] == 12


def test_stylegan2_draws_the_same_image_on_both() -> None:
    generator = Generator(StyledSettings(64, 1, 512, mixing=0)).eval()
    initialise(generator, torch.Generator().manual_seed(0))
    latents = torch.randn(2, 512, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        here, there = generator(latents), generator.cuda()(latents.cuda()).cpu()
    assert float((here - there).norm() / here.norm()) < 1e-3


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(SonoforgeError, match="does not exist"):
        find_device("cuda:99")
