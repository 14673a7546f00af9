"""The network's helpers: folding and restoring batch normalisation must not change what it computes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from sonoforge.models.mobilenetv2 import (
    EMBEDDING,
    folded_statistics,
    load_folded,
    mobilenet_v2,
    restore_batch_norm,
)


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    """A network whose batch norms carry statistics and gains that are not the initial ones."""
    torch.manual_seed(0)
    net = mobilenet_v2(3)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.0, 0.3)
            module.running_mean.normal_(0.0, 0.2)
            module.running_var.uniform_(0.5, 2.0)
    return net.eval()


def _folded(net: nn.Module) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Fold each batch norm into its convolution by the textbook formula."""
    layers = [m for m in net.features.modules() if isinstance(m, (nn.Conv2d, nn.BatchNorm2d))]
    pairs = []
    for convolution, norm in zip(layers[::2], layers[1::2], strict=True):
        gain = norm.weight / (norm.running_var + norm.eps).sqrt()
        pairs.append((convolution.weight * gain[:, None, None, None], norm.bias - gain * norm.running_mean))
    return pairs


def test_has_the_blocks_and_width_that_it_documents(trained: nn.Module) -> None:
    assert len(trained.features) == 19  # stem, 17 inverted residuals, last 1x1 convolution
    assert trained.classifier[1].in_features == EMBEDDING
    assert sum(p.numel() for p in trained.features.parameters()) == 2_223_872  # Sandler et al. 2018, width 1.0


def test_folded_convolutions_compute_what_the_network_computed(trained: nn.Module) -> None:
    folded = mobilenet_v2(3).eval()
    load_folded(folded, _folded(trained))
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(folded.features(images), trained.features(images), atol=1e-4)


def test_load_folded_refuses_another_architecture(trained: nn.Module) -> None:
    with pytest.raises(ValueError, match="expected 52"):
        load_folded(mobilenet_v2(3), _folded(trained)[:-1])


def test_restored_batch_norm_answers_and_trains_as_the_network_did(trained: nn.Module) -> None:
    own, images = copy.deepcopy(trained), torch.randn(8, 3, 64, 64)
    for module in own.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    own.train()
    with torch.no_grad():
        own.features(images)  # running statistics of a training
        net = mobilenet_v2(3)
        load_folded(net, _folded(own))
        restore_batch_norm(net, *folded_statistics(own))
        for mode, allowed in ((False, 1e-3), (True, 1e-2)):  # in training, what is added to each variance counts
            expected = own.train(mode).features(images)
            assert (net.train(mode).features(images) - expected).abs().max() < allowed * expected.max()
