"""Pictures of a generator as a PyTorch data set: of a run, a checkpoint or a bundle, in any loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.utils.data import ConcatDataset, DataLoader

from generator_checkpoints import small_checkpoint
from sonoforge.models import dcgan
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.synthetic import as_picture
from sonoforge.training.gan.generator import GeneratedImages, load_generator, sample


@pytest.fixture(scope="module")
def conditional(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of three classes."""
    return small_checkpoint(tmp_path_factory.mktemp("conditional"), "dcgan", 3)


def test_each_picture_is_that_of_gan_sample_and_depends_on_seed_and_index_alone(conditional: Path) -> None:
    few, many = (GeneratedImages(conditional.parent.parent, count, seed=4) for count in (5, 20))
    network = load_generator(conditional)
    for index in range(5):
        image, label = few[index]
        assert label == index % 3 and few.classes == ("a", "b", "c")
        # The index counts in turn through the classes.
        expected = sample(network, index // 3 + 1, 4, label)[-1, :, :, 0] / 127.5 - 1
        assert image.dtype == torch.float32 and image.shape == (1, 32, 32)
        np.testing.assert_allclose(image[0].numpy(), expected, atol=1e-6)
        assert torch.equal(image, many[index][0])
    alone = GeneratedImages(conditional, 4, seed=4, label=2)
    assert [label for _, label in alone] == [2] * 4 and torch.equal(alone[1][0], many[5][0])
    assert not np.array_equal(GeneratedImages(conditional, 5, seed=5).pixels, few.pixels)


def test_beside_real_images_with_two_workers(tmp_path: Path) -> None:
    drawn = GeneratedImages(small_checkpoint(tmp_path, "dcgan", 0, masks=1), 6, seed=1, label=2)
    real: Any = [(torch.zeros(1, 32, 32), 1)] * 5
    both: Any = ConcatDataset([real, drawn])
    here, there = (list(DataLoader(both, batch_size=4, num_workers=workers)) for workers in (0, 2))
    for (images, labels), (others, other_labels) in zip(here, there, strict=True):
        assert torch.equal(images, others) and torch.equal(labels, other_labels)
    assert torch.cat([labels for _, labels in here]).tolist() == [1] * 5 + [2] * 6
    assert [*here[0][0].shape] == [4, 1, 32, 32], "without its mask"


def test_a_transform_makes_three_channels(conditional: Path) -> None:
    images = GeneratedImages(conditional, 2, transform=lambda image: image.expand(3, -1, -1))
    assert images[1][0].shape == (3, 32, 32) and as_picture(images.pixels[1]).size == (32, 32)


def test_two_lines_load_a_generator_of_ours_into_plain_torch(conditional: Path) -> None:
    network = dcgan.Generator(image_size=32, channels=1, latent_size=6, classes=3, width=8)
    network.load_state_dict(load_file(conditional / "average.safetensors"))
    latents, labels = torch.randn(3, 6), torch.arange(3)
    torch.testing.assert_close(network.eval()(latents, labels), load_generator(conditional)(latents, labels))


@pytest.mark.parametrize(
    ("changes", "message"), [({"count": 0}, "count: 0"), ({"label": 3}, "label: 3 is not from 0 to 2")]
)
def test_what_cannot_be_drawn_is_refused(conditional: Path, changes: dict[str, int], message: str) -> None:
    with pytest.raises(SonoforgeError, match=message):
        GeneratedImages(conditional, **{"count": 4, **changes})
