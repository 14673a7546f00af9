"""Every architecture: sizes, seeds, order of the batch, gradients of both orders, labels."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from corners import corners
from gan_pairs import (
    CASES,
    CLASSES,
    LATENT,
    NETWORKS,
    build_discriminator,
    draw_images,
    draw_latents,
    labels_in_turn,
    small_pair,
)
from sonoforge.models import IMAGE_SIZES
from sonoforge.models.layers import ScoreHead
from sonoforge.training.gan.networks import ARCHITECTURES

GROWING = ("stylegan1",)
STYLED = ("stylegan1", "stylegan2", "stylegan3-t", "stylegan3-r")


def test_there_is_a_case_of_every_architecture() -> None:
    assert {tiny.architecture for tiny in NETWORKS.values()} == ARCHITECTURES.keys() - {"flow"}, "see test_flow"


@pytest.mark.parametrize("size", corners(IMAGE_SIZES, 32, 224))
@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_every_size_gives_images_and_scores_of_its_shape(name: str, size: int) -> None:
    generator, discriminator = small_pair(name, size=size)
    images = generator(draw_latents(2))
    score, class_logits = discriminator(images)
    assert images.shape == (2, 2, size, size) and len(score) == 2 and class_logits is None
    assert bool(images.isfinite().all()) and bool(score.isfinite().all())
    if name in ("dcgan-thesis", "dcgan", "biggan", "ga-gan", "spade", "projected"):  # which end in a tanh
        assert float(generator(100 * draw_latents(4)).abs().max()) <= 1


@pytest.mark.parametrize("size", [48, 100, 2048])
@pytest.mark.parametrize("name", NETWORKS)
def test_other_sizes_are_refused(name: str, size: int) -> None:
    tiny, refusals = NETWORKS[name], []
    for build in (
        lambda: ARCHITECTURES[tiny.architecture].generator(
            image_size=size, channels=2, latent_size=LATENT, **tiny.generator
        ),
        lambda: build_discriminator(name, size),
    ):
        try:
            build()
        except ValueError as error:
            refusals.append(str(error))
    assert all(f"image_size: {size}" in refusal for refusal in refusals)
    # Any multiple of 8 is a size of the thesis's networks, any of 16 one of StyleGAN3's generator.
    free = {"dcgan-thesis": 8, "stylegan3-t": 16, "stylegan3-r": 16}.get(name)
    assert len(refusals) == (2 if not free or size % free else 0 if name == "dcgan-thesis" else 1)


@pytest.mark.parametrize(("name", "conditioning"), CASES)
@torch.no_grad()
def test_a_permuted_batch_gives_permuted_results(name: str, conditioning: str) -> None:
    generator, discriminator = (network.eval() for network in small_pair(name, conditioning))
    order = torch.tensor([2, 0, 3, 1])
    labels = labels_in_turn(conditioning, 4)
    permuted = None if labels is None else labels[order]
    images, again = generator(draw_latents(4), labels), generator(draw_latents(4)[order], permuted)
    (score, logits), (score_again, logits_again) = discriminator(images, labels), discriminator(again, permuted)
    assert float(images[:, 0].std(0).mean()) > 5e-4  # images that differ
    torch.testing.assert_close(again, images[order], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(score_again, score[order], rtol=1e-4, atol=1e-5)
    assert (logits is not None) == (conditioning == "auxiliary")
    if logits is not None:
        assert logits.shape == (4, CLASSES)
        torch.testing.assert_close(logits_again, logits[order], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_initial_weights_depend_on_the_generator_alone(name: str) -> None:
    networks = []
    for global_seed, seed in ((1, 7), (2, 7), (3, 8)):
        torch.manual_seed(global_seed)
        built = build_discriminator(name)
        ARCHITECTURES[NETWORKS[name].architecture].initialise(built, torch.Generator().manual_seed(seed))
        networks.append(built.state_dict())
    assert [key for key in networks[0] if not torch.equal(networks[0][key], networks[1][key])] == []
    assert any(not torch.equal(networks[0][key], networks[2][key]) for key in networks[0])


@pytest.mark.parametrize(("name", "conditioning"), CASES)
def test_every_parameter_of_both_networks_learns(name: str, conditioning: str) -> None:
    generator, discriminator = small_pair(name, conditioning)
    labels = labels_in_turn(conditioning, 4)
    # The outer layers of smaller stages take part only in these.
    stages: list[Any] = [(8, 0.5), (16, 0.5), (32, 0.5)] if name in GROWING else [None]
    for stage in stages:
        if stage is not None:
            generator.set_stage(*stage)
            discriminator.set_stage(*stage)
        score, logits = discriminator(generator(draw_latents(4), labels), labels)
        (score.square().sum() + (0 if logits is None else logits.square().sum())).backward()
    for network in (generator, discriminator):
        for parameter_name, values in network.named_parameters():
            if values.requires_grad and not (name == "stylegan1" and "synthesis.to_image.0" in parameter_name):
                assert values.grad is not None, parameter_name
                assert bool(values.grad.isfinite().all()), parameter_name
                # Instance normalisation takes a map's own constant out again.
                assert bool(values.grad.any()) or name == "spade", parameter_name


@pytest.mark.parametrize(("name", "conditioning"), [case for case in CASES if case[0] != "spade"])
def test_a_gradient_penalty_has_the_gradient_that_differences_show(name: str, conditioning: str) -> None:
    """Double backward through the discriminator, against a central difference along a random direction."""
    discriminator = small_pair(name, conditioning)[1].double().eval()
    images = draw_images(3).double().requires_grad_()
    labels = labels_in_turn(conditioning, 3)
    parameters = [values for values in discriminator.parameters() if values.requires_grad]

    def penalty() -> Tensor:
        (gradient,) = torch.autograd.grad(discriminator(images, labels)[0].sum(), images, create_graph=True)
        return gradient.square().sum()

    gradients = torch.autograd.grad(penalty(), parameters, allow_unused=True)
    chance = torch.Generator().manual_seed(3)
    directions = [torch.randn(values.shape, generator=chance, dtype=torch.float64) for values in parameters]
    pairs = [(own, way) for own, way in zip(gradients, directions, strict=True) if own is not None]
    expected = sum(float((gradient * direction).sum()) for gradient, direction in pairs)
    values_at = []
    step = 1e-9  # small, for no ReLU and no maximum to switch between the two points
    for sign in (1, -2):
        with torch.no_grad():
            for values, direction in zip(parameters, directions, strict=True):
                values.add_(sign * step * direction)
        values_at.append(float(penalty().detach()))
    assert expected != 0
    assert (values_at[0] - values_at[1]) / (2 * step) == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("name", ["stylegan1", "stylegan2", "stylegan3-t"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_mixed_precision_stays_close(name: str, dtype: torch.dtype) -> None:
    generator, discriminator = small_pair(name)
    images = generator(draw_latents(4))
    scores = discriminator(images)[0]
    with torch.autocast("cpu", dtype=dtype):
        half, half_scores = generator(draw_latents(4)), discriminator(images)[0]
    assert half.dtype == half_scores.dtype == torch.float32
    digits = 0.1 if dtype is torch.bfloat16 else 0.02
    assert float((half - images).abs().mean()) < digits * float(images.std())
    assert float((half_scores - scores).abs().max()) < digits * max(1.0, float(scores.abs().max()))


# Class labels.


@pytest.mark.parametrize(("name", "conditioning"), [case for case in CASES if case[1] != "none"])
@torch.no_grad()
def test_a_conditional_generator_listens_to_its_labels(name: str, conditioning: str) -> None:
    generator = small_pair(name, conditioning)[0].eval()
    same = draw_latents(1).expand(CLASSES, -1)
    images = generator(same, torch.arange(CLASSES))
    for first, second in itertools.combinations(images, 2):
        assert float((first - second).abs().max()) > 1e-3
    with pytest.raises(ValueError, match="labels: "):
        generator(same)


HEADED = ["dcgan-thesis", "dcgan", "biggan", "ga-gan", "stylegan1"]


@pytest.mark.parametrize("name", HEADED)
@torch.no_grad()
def test_projection_adds_the_inner_product_of_embedding_and_features(name: str) -> None:
    discriminator = small_pair(name, "projection")[1].eval()
    features: list[Tensor] = []
    discriminator.head.register_forward_pre_hook(lambda module, arguments: features.append(arguments[0]))
    images = draw_images(4)
    first, second = torch.tensor([0, 1, 2, 0]), torch.tensor([1, 2, 0, 0])
    difference = discriminator(images, second)[0] - discriminator(images, first)[0]
    embedding = discriminator.head.class_rows.weight
    if name in GROWING:
        embedding = embedding / math.sqrt(embedding.shape[1])  # equalised learning rate
    expected = ((embedding[second] - embedding[first]) * features[0]).sum(1)
    assert float(expected[:3].abs().min()) > 1e-5 and float(expected[3]) == 0
    torch.testing.assert_close(difference, expected, rtol=1e-3, atol=1e-5)
    with pytest.raises(ValueError, match="labels: "):
        discriminator(images)


@pytest.mark.parametrize("name", HEADED)
def test_auxiliary_logits_do_not_see_the_labels(name: str) -> None:
    discriminator = small_pair(name, "auxiliary")[1].eval()
    images = draw_images(4)
    score, logits = discriminator(images, torch.zeros(4, dtype=torch.int64))
    for labels in (torch.full((4,), 2), None):
        other_score, other_logits = discriminator(images, labels)
        assert torch.equal(score, other_score) and torch.equal(logits, other_logits)


@pytest.mark.parametrize(
    ("name", "classes", "conditioning", "message"),
    [
        ("dcgan", 3, "project", "conditioning: 'project'"),
        ("dcgan", 0, "auxiliary", "classes: "),
        ("began", 3, "projection", "conditioning: 'projection'"),
        ("began", 0, "concatenation", "classes: "),
        ("spade", 3, "projection", "conditioning: 'projection'"),
        ("projected", 2, "auxiliary", "conditioning: 'auxiliary'"),
        ("stylegan2", 2, "auxiliary", "conditioning: 'auxiliary'"),
    ],
)
def test_conditioning_that_makes_no_sense_is_refused(name: str, classes: int, conditioning: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_discriminator(name, 32, classes, conditioning)
    with pytest.raises(ValueError, match="classes: "):
        ScoreHead(4, 0, "auxiliary")


# Styles: a style for each layer, mixed and truncated.


@pytest.mark.parametrize("name", STYLED)
@torch.no_grad()
def test_chance_alone_mixes_styles_and_draws_noise(name: str) -> None:
    generator = small_pair(name)[0]
    generator.mixing = 1.0
    before = torch.get_rng_state()
    once, again, other = (generator(draw_latents(4), chance=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    plain = [generator(draw_latents(4)) for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(once, again) and torch.equal(*plain)
    assert float((once - other).abs().mean()) > 1e-3 and float((once - plain[0]).abs().mean()) > 1e-3


@pytest.mark.parametrize("name", STYLED)
@torch.no_grad()
def test_the_average_style_moves_when_asked_to_and_truncation_moves_styles_to_it(name: str) -> None:
    generator, latents = small_pair(name)[0], draw_latents(16)
    before = {key: value.clone() for key, value in generator.state_dict().items()}
    generator(latents)
    assert all(torch.equal(value, before[key]) for key, value in generator.state_dict().items())
    generator(latents, update_average=True)
    share = 0.005 if name == "stylegan1" else 0.002  # 1 - decay
    torch.testing.assert_close(generator.mapping.average, share * generator.mapping(latents)[:, 0].mean(0))
    none = generator(latents[:3], truncation_psi=0.0)
    assert float((none - none[:1]).abs().max()) < 1e-5
