"""What DCGAN, BEGAN, ProGAN and BigGAN have in common: sizes, seeds, labels, gradients."""

from __future__ import annotations

import itertools
import math
from types import ModuleType

import pytest
import torch
from torch import Tensor

from corners import corners
from gan_pairs import CASES, CLASSES, NETWORKS, draw_images, draw_latents, labels_in_turn, small_pair
from sonoforge.models import IMAGE_SIZES, began, biggan, dcgan, ga_gan
from sonoforge.models.labels import ScoreHead
from sonoforge.models.stylegan import progan


@pytest.mark.parametrize("size", corners(IMAGE_SIZES, 32, 224))
@pytest.mark.parametrize("name", NETWORKS)
def test_every_size_gives_images_and_scores_of_its_shape(name: str, size: int) -> None:
    generator, discriminator = small_pair(name, size=size)
    with torch.no_grad():
        images = generator(draw_latents(2))
        score, class_logits = discriminator(images)
    assert images.shape == (2, 2, size, size)
    assert bool(images.isfinite().all())
    assert score.shape == (2,)
    assert class_logits is None


@pytest.mark.parametrize("size", [16, 48, 100, 1024])
@pytest.mark.parametrize("module", [dcgan, began, progan, biggan, ga_gan])
def test_other_sizes_are_refused(module: ModuleType, size: int) -> None:
    for build in (lambda: module.Generator(size, 1, 4), lambda: module.Discriminator(size, 1)):
        with pytest.raises(ValueError, match=f"found {size}, expected one of 32, 64, 128, 224, 256, 512"):
            build()


@pytest.mark.parametrize("name", ["dcgan_thesis", "dcgan"])
def test_tanh_keeps_images_in_range(name: str) -> None:
    generator, _ = small_pair(name)
    images = generator(100 * draw_latents(4))
    assert 0.9 < float(images.detach().abs().max()) <= 1


@pytest.mark.parametrize(("name", "conditioning"), CASES)
def test_a_permuted_batch_gives_permuted_results(name: str, conditioning: str) -> None:
    generator, discriminator = (network.eval() for network in small_pair(name, conditioning))
    order = torch.tensor([2, 0, 3, 1])
    labels = labels_in_turn(conditioning, 4)
    permuted = None if labels is None else labels[order]
    with torch.no_grad():
        images, again = generator(draw_latents(4), labels), generator(draw_latents(4)[order], permuted)
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
        NETWORKS[name].initialise(built, torch.Generator().manual_seed(seed))
        networks.append(built.state_dict())
    assert [key for key in networks[0] if not torch.equal(networks[0][key], networks[1][key])] == []
    assert any(not torch.equal(networks[0][key], networks[2][key]) for key in networks[0])


@pytest.mark.parametrize(("name", "conditioning"), CASES)
def test_every_parameter_of_both_networks_learns(name: str, conditioning: str) -> None:
    generator, discriminator = small_pair(name, conditioning)
    labels = labels_in_turn(conditioning, 4)
    # The outer layers of smaller stages take part in those alone.
    stages = [(4, 1.0), (8, 0.5), (16, 0.5), (32, 0.5)] if name == "progan" else [None]
    for stage in stages:
        if stage is not None:
            generator.set_stage(*stage)
            discriminator.set_stage(*stage)
        score, logits = discriminator(generator(draw_latents(4), labels), labels)
        (score.square().sum() + (0 if logits is None else logits.square().sum())).backward()
    for network in (generator, discriminator):
        for parameter_name, values in network.named_parameters():
            assert values.grad is not None, parameter_name
            assert bool(values.grad.isfinite().all()), parameter_name
            assert bool(values.grad.any()), parameter_name


@pytest.mark.parametrize(("name", "conditioning"), CASES)
def test_a_gradient_penalty_has_the_gradient_that_differences_show(name: str, conditioning: str) -> None:
    """Double backward through the discriminator, against a central difference along a random direction."""
    discriminator = small_pair(name, conditioning)[1].double().eval()
    images = draw_images(3).double().requires_grad_()
    labels = labels_in_turn(conditioning, 3)
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
    step = 1e-9  # small, for no ReLU and no maximum to switch between the two points
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
    generator = small_pair(name, conditioning)[0].eval()
    same = draw_latents(1).expand(CLASSES, -1)
    with torch.no_grad():
        images = generator(same, torch.arange(CLASSES))
    for first, second in itertools.combinations(images, 2):
        assert float((first - second).abs().max()) > 1e-3
    with pytest.raises(ValueError, match="labels: found None"):
        generator(same)


@pytest.mark.parametrize("name", ["dcgan_thesis", "dcgan", "progan", "biggan", "ga_gan"])
def test_projection_adds_the_inner_product_of_embedding_and_features(name: str) -> None:
    discriminator = small_pair(name, "projection")[1].eval()
    features: list[Tensor] = []
    discriminator.head.register_forward_pre_hook(lambda module, arguments: features.append(arguments[0]))
    images = draw_images(4)
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


@pytest.mark.parametrize("name", ["dcgan_thesis", "dcgan", "progan", "biggan", "ga_gan"])
def test_auxiliary_logits_do_not_see_the_labels(name: str) -> None:
    discriminator = small_pair(name, "auxiliary")[1].eval()
    images = draw_images(4)
    score, logits = discriminator(images, torch.zeros(4, dtype=torch.int64))
    for labels in (torch.full((4,), 2), None):
        other_score, other_logits = discriminator(images, labels)
        assert torch.equal(score, other_score)
        assert torch.equal(logits, other_logits)


def test_conditioning_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="conditioning: found 'project'"):
        ScoreHead(4, 3, "project")
    with pytest.raises(ValueError, match="classes: found 0"):
        ScoreHead(4, 0, "auxiliary")
    with pytest.raises(ValueError, match="conditioning: found 'projection'"):
        began.Discriminator(32, 1, 3, "projection")
    with pytest.raises(ValueError, match="classes: found 0"):
        began.Discriminator(32, 1, 0, "concatenation")
