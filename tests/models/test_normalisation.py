"""Batch renormalisation against its published algorithm, written out in NumPy, and against batch normalisation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sonoforge.models.layers import PLAIN_PASSES, SCALE_PASSES, BatchRenorm2d


def draw(passes: int) -> list[Tensor]:
    """Batches (4, 3, 5, 5) whose mean and spread wander, so that both corrections meet their limits."""
    generator = torch.Generator().manual_seed(0)
    scales, shifts = (torch.rand(passes, 3, 1, 1, generator=generator) for _ in range(2))
    noise = torch.randn(passes, 4, 3, 5, 5, generator=generator)
    return list(noise * (0.05 + 3 * scales)[:, None] + 12 * shifts[:, None] - 3)


def make() -> BatchRenorm2d:
    norm = BatchRenorm2d(3)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.5, 1.0, 2.0]))
        norm.bias.copy_(torch.tensor([0.1, -1.0, 0.0]))
    return norm


def by_the_algorithm(batches: list[np.ndarray], weight: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, ...]:
    """Algorithm 1 of Ioffe 2017, in double precision, one channel at a time: last answer, moving mean and deviation."""
    epsilon, rate = 1e-5, 0.1
    answer = np.empty_like(batches[0])
    means, deviations = np.zeros(3), np.full(3, np.sqrt(1 + epsilon))
    for number, batch in enumerate(batches):
        r_max = 1 + 2 * min(max((number - 100) / 700, 0), 1)
        d_max = 5 * min(max((number - 100) / 400, 0), 1)
        for channel in range(3):
            values = batch[:, channel]
            mean, deviation = values.mean(), np.sqrt(values.var() + epsilon)
            r = min(max(deviation / deviations[channel], 1 / r_max), r_max)
            d = min(max((mean - means[channel]) / deviations[channel], -d_max), d_max)
            answer[:, channel] = weight[channel] * ((values - mean) / deviation * r + d) + bias[channel]
            means[channel] += rate * (mean - means[channel])
            deviations[channel] += rate * (deviation - deviations[channel])
    return answer, means, deviations


@pytest.mark.parametrize("passes", [1, PLAIN_PASSES + 50, SCALE_PASSES + 20])
def test_batch_renormalisation_is_the_published_algorithm(passes: int) -> None:
    norm, batches = make(), draw(passes)
    with torch.no_grad():
        for batch in batches:
            found = norm(batch)
    weight, bias = (values.detach().double().numpy() for values in (norm.weight, norm.bias))
    answer, means, deviations = by_the_algorithm([batch.double().numpy() for batch in batches], weight, bias)
    np.testing.assert_allclose(found.numpy(), answer, rtol=1e-4, atol=1e-4)
    assert norm.running_mean is not None and norm.running_var is not None
    np.testing.assert_allclose(norm.running_mean.numpy(), means, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose((norm.running_var + norm.eps).sqrt().numpy(), deviations, rtol=1e-4)


def test_its_state_is_that_of_batch_normalisation_and_so_is_its_answer_in_evaluation_mode() -> None:
    norm, usual = make(), nn.BatchNorm2d(3)
    for batch in draw(PLAIN_PASSES + 200):
        norm(batch)
    usual.load_state_dict(norm.state_dict())
    batch = draw(1)[0]
    torch.testing.assert_close(norm.eval()(batch), usual.eval()(batch))


def test_no_gradient_flows_through_the_corrections() -> None:
    """The gradient is that of the normalised batch times constants; also twice, as a gradient penalty needs it."""
    norm = make()
    for batch in draw(SCALE_PASSES):
        norm(batch)
    state = {name: value.clone() for name, value in norm.state_dict().items()}
    images = draw(1)[0].requires_grad_()
    target = torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    (found,) = torch.autograd.grad((norm(images) * target).sum(), images, create_graph=True)

    deviation, mean = (state["running_var"] + norm.eps).sqrt(), state["running_mean"]
    with torch.no_grad():
        spread, centre = torch.var_mean(images, dim=(0, 2, 3), correction=0)
        r = ((spread + norm.eps).sqrt() / deviation).clamp(1 / 3, 3)[:, None, None]
        d = ((centre - mean) / deviation).clamp(-5, 5)[:, None, None]
    spread, centre = torch.var_mean(images, dim=(0, 2, 3), correction=0, keepdim=True)
    written_out = ((images - centre) / (spread + norm.eps).sqrt() * r + d) * norm.weight[:, None, None]
    (expected,) = torch.autograd.grad((written_out * target).sum(), images, create_graph=True)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    second, wanted = (torch.autograd.grad(own.square().sum(), images)[0] for own in (found, expected))
    torch.testing.assert_close(second, wanted, rtol=1e-3, atol=1e-4)
