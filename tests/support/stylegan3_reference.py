"""StyleGAN3 in plain operations: the slow, obvious form of what the networks compute fast.

Zeros are inserted and stored, every filter is a full two-dimensional convolution at the fine rate, samples are thrown
away after they were computed, each image has its own weights, and autograd keeps what it likes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import conv2d, leaky_relu, pad

from sonoforge.models.stylegan.stylegan3 import FourierInput, Generator, SynthesisLayer


def convolve(maps: Tensor, taps: Tensor) -> Tensor:
    """Filter each map with (T, T) taps, or with the outer product of (T,) taps, where they lie fully inside."""
    square = torch.outer(taps, taps) if taps.ndim == 1 else taps
    channels = maps.shape[1]
    return conv2d(maps, square.flip(0, 1).expand(channels, 1, *square.shape), groups=channels)


def insert_zeros(maps: Tensor, factor: int) -> Tensor:
    """``factor`` - 1 zeros between samples, none after the last."""
    count, channels, height, width = maps.shape
    sparse = maps.new_zeros(count, channels, (height - 1) * factor + 1, (width - 1) * factor + 1)
    sparse[:, :, ::factor, ::factor] = maps
    return sparse


def filtered_leaky_relu(maps: Tensor, up_taps: Tensor, down_taps: Tensor, *, up: int, down: int, crop: int) -> Tensor:
    """Up-sample, activate, down-sample."""
    border = len(up_taps) - 1
    fine = convolve(pad(insert_zeros(maps, up), [border] * 4), up_taps) * up**2
    fine = fine[:, :, crop : fine.shape[2] - crop, crop : fine.shape[3] - crop]
    active = (leaky_relu(fine, 0.2) * math.sqrt(2)).clamp(-256, 256)
    return convolve(active, down_taps)[:, :, ::down, ::down]


def input_plane(module: FourierInput, style: Tensor) -> Tensor:
    """The Fourier features, place by place, with 3x3 matrices."""
    side = len(module.positions)
    axis = [(index - (side - 1) / 2) / module.rate for index in range(side)]
    places = torch.tensor([[x, y, 1.0] for y in axis for x in axis])
    planes = []
    zero, one = torch.zeros(()), torch.ones(())
    for placement in module.placement(style):
        cosine, sine, x, y = placement / torch.hypot(placement[0], placement[1])
        turn = torch.stack([cosine, -sine, zero, sine, cosine, zero, zero, zero, one])
        move = torch.stack([one, zero, -x, zero, one, -y, zero, zero, one])
        matrix = turn.view(3, 3) @ move.view(3, 3) @ module.transform
        on_plane = (places @ matrix.t())[:, :2]
        waves = torch.sin(2 * math.pi * (on_plane @ module.frequencies.t() + module.phases))
        seen = (module.frequencies @ matrix[:2, :2]).norm(dim=1)
        fade = 1 - ((seen - module.cutoff) / (module.rate / 2 - module.cutoff)).clamp(0, 1)
        planes.append((waves * fade) @ module.weight.t() / math.sqrt(len(module.weight)))
    return torch.stack(planes).unflatten(1, (side, side)).permute(0, 3, 1, 2)


def layer(module: SynthesisLayer, maps: Tensor, style: Tensor) -> Tensor:
    """One synthesis layer, each image with its own weights."""
    maps = maps / module.magnitude.sqrt()
    done = []
    for image, scales in zip(maps, module.affine(style), strict=True):
        own = module.weight * scales[:, None, None]
        if module.to_image:
            own = own / math.sqrt(own[0].numel())
        else:
            own = own / own.square().sum((1, 2, 3), keepdim=True).sqrt()
        done.append(conv2d(image[None], own, module.bias, padding=own.shape[2] - 1))
    convolved = torch.cat(done)
    if module.to_image:
        return convolved
    return filtered_leaky_relu(
        convolved,
        module.up_taps,
        module.down_taps,
        up=module.up,
        down=module.down,
        crop=module.crop,
    )


def synthesise(generator: Generator, styles: Tensor) -> Tensor:
    """Styles (N, L, W) to images."""
    maps = input_plane(generator.synthesis.input, styles[:, 0])
    for index, module in enumerate(generator.synthesis.layers):
        maps = layer(module, maps, styles[:, index + 1])
    return maps / 4
