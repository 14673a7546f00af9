"""bfloat16 where it is faster."""

from __future__ import annotations

import torch
from torch import nn

from sonoforge.training.classifier.network import bfloat16

CPU = torch.device("cpu")


def test_only_depthwise_convolutions_with_a_stride_stay_in_float32_on_a_cpu() -> None:
    net = nn.Sequential(
        nn.Conv2d(4, 8, 1), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8)
    )
    inputs, kinds = torch.randn(2, 4, 16, 16), []
    for layer in net:
        layer.register_forward_hook(lambda _layer, _inputs, output: kinds.append(output.dtype))
    exact = net(inputs)
    with bfloat16(net, CPU, enabled=True):
        near = net(inputs)
    assert kinds == [torch.float32] * 3 + [torch.bfloat16, torch.bfloat16, torch.float32]
    torch.testing.assert_close(near, exact, rtol=0.05, atol=0.05)
    near.sum().backward()
    assert all(weight.grad is not None and weight.grad.dtype is torch.float32 for weight in net.parameters())
    assert not any("forward" in vars(layer) for layer in net)


def test_it_can_be_left_out() -> None:
    net = nn.Sequential(nn.Conv2d(8, 8, 3, stride=2, groups=8))
    with bfloat16(net, CPU, enabled=False):
        assert net(torch.zeros(1, 8, 9, 9)).dtype is torch.float32
