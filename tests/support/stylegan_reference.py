"""StyleGAN2's and StyleGAN3's networks in the plainest operations, on the parameters of the real ones.

Weights of its own for each image, zeros inserted and multiplied, two-dimensional filters at every place, samples
computed and dropped: what the fast networks must equal, and be faster than.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import conv2d, leaky_relu, linear, pad

from sonoforge.models.stylegan import stylegan3
from sonoforge.models.stylegan.generator import MappingLayers
from sonoforge.models.stylegan.layers import EqualisedConv2d, EqualisedLinear
from sonoforge.models.stylegan.stylegan2 import Discriminator, Generator, SynthesisLayer, ToImage


def insert_zeros(maps: Tensor, factor: int) -> Tensor:
    """(N, C, H, W) to (N, C, factor * H, factor * W), each sample followed by zeros."""
    count, channels, height, width = maps.shape
    spread = pad(maps.reshape(count, channels, height, 1, width, 1), (0, factor - 1, 0, 0, 0, factor - 1))
    return spread.reshape(count, channels, factor * height, factor * width)


def filter_2d(maps: Tensor, gain: float, before: int, after: int) -> Tensor:
    """Convolve padded maps with the outer product of 1, 3, 3, 1, scaled to sum to ``gain``."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    kernel = torch.outer(taps, taps) * (gain / 64)
    padded = pad(maps, (before, after, before, after))
    return conv2d(padded, kernel.expand(maps.shape[1], 1, 4, 4), groups=maps.shape[1])


def dense(layer: EqualisedLinear, features: Tensor) -> Tensor:
    weight = layer.weight * (layer.rate / math.sqrt(layer.weight.shape[1]))
    result = linear(features, weight, None if layer.bias is None else layer.bias * layer.rate)
    return leaky_relu(result, 0.2) * math.sqrt(2) if layer.activated else result


def mapped(mapping: MappingLayers, latents: Tensor | None, labels: Tensor | None) -> Tensor:
    """(N, W) vectors of latents and labels."""
    parts = [] if latents is None else [latents]
    if mapping.embedding is not None:
        assert labels is not None
        parts.append(dense(mapping.embedding, torch.eye(mapping.classes)[labels]))
    vectors = torch.cat([part * (part.square().mean(1, keepdim=True) + 1e-8).rsqrt() for part in parts], 1)
    for layer in mapping.layers:
        assert isinstance(layer, EqualisedLinear)
        vectors = dense(layer, vectors)
    return vectors


def own_weights(weight: Tensor, scales: Tensor, *, demodulate: bool) -> Tensor:
    """(O, I, K, K) and (N, I) to each image's weights (N, O, I, K, K) (Karras 2020, equations 1 and 3)."""
    weights = weight * scales[:, None, :, None, None]
    if not demodulate:
        return weights
    return weights / torch.sqrt(weights.square().sum((2, 3, 4), keepdim=True) + 1e-8)


def grouped_convolution(maps: Tensor, weights: Tensor, before: int, after: int) -> Tensor:
    """Convolve each image with its own weights: one convolution in N groups."""
    count, outputs, inputs, kernel, _ = weights.shape
    padded = pad(maps, (before, after, before, after))
    rows = padded.reshape(1, count * inputs, *padded.shape[2:])
    result = conv2d(rows, weights.reshape(count * outputs, inputs, kernel, kernel), groups=count)
    return result.reshape(count, outputs, *result.shape[2:])


def synthesis_layer(layer: SynthesisLayer, maps: Tensor, style: Tensor, noise: Tensor | None) -> Tensor:
    weights = own_weights(layer.weight, dense(layer.affine, style), demodulate=True)
    if layer.up:
        maps = grouped_convolution(insert_zeros(maps, 2), weights.flip((3, 4)), 2, 1)
        maps = filter_2d(maps, 4.0, 1, 1)
    else:
        maps = grouped_convolution(maps, weights, 1, 1)
    if noise is not None:
        maps = maps + noise * layer.noise_strength
    return (leaky_relu(maps + layer.bias[:, None, None], 0.2) * math.sqrt(2)).clamp(-256, 256)


def to_image(layer: ToImage, maps: Tensor, style: Tensor) -> Tensor:
    scales = dense(layer.affine, style) / math.sqrt(layer.weight.shape[1])
    image = grouped_convolution(maps, own_weights(layer.weight, scales, demodulate=False), 0, 0)
    return (image + layer.bias[:, None, None]).clamp(-256, 256)


def generate(generator: Generator, latents: Tensor, labels: Tensor | None = None) -> Tensor:
    """(N, Z) to (N, C, S, S), with constant noise."""
    style = mapped(generator.mapping, latents, labels)
    synthesis = generator.synthesis
    maps = synthesis.constant.expand(len(style), *synthesis.constant.shape)
    images = torch.zeros(())
    for level, last in enumerate(synthesis.to_image):
        for index in range(max(2 * level - 1, 0), 2 * level + 1):
            layer = synthesis.layers[index]
            assert isinstance(layer, SynthesisLayer)
            maps = synthesis_layer(layer, maps, style, layer.noise)
        if level:
            images = filter_2d(insert_zeros(images, 2), 4.0, 2, 1)
        assert isinstance(last, ToImage)
        images = images + to_image(last, maps, style)
    return images


def convolution(layer: EqualisedConv2d, maps: Tensor) -> Tensor:
    kernel = layer.weight.shape[2]
    weight = layer.weight / math.sqrt(layer.weight[0].numel())
    if layer.down == 2:
        around = 2 + kernel - 1
        maps = conv2d(filter_2d(maps, 1.0, (around + 1) // 2, around // 2), weight)[:, :, ::2, ::2]
    else:
        maps = conv2d(maps, weight, padding=kernel // 2)
    if layer.bias is None:
        return maps * layer.gain
    activated = leaky_relu(maps + layer.bias[:, None, None], 0.2) * math.sqrt(2)
    return (activated * layer.gain).clamp(-256 * layer.gain, 256 * layer.gain)


def append_minibatch_std(maps: Tensor, group: int) -> Tensor:
    """Each image beside those that are as many groups away, in loops."""
    groups = math.ceil(len(maps) / group)
    appended = []
    for index in range(len(maps)):
        mates = [maps[other] for other in range(len(maps)) if other % groups == index % groups]
        mean = sum(mates, torch.zeros(())) / len(mates)
        variance = sum(((mate - mean).square() for mate in mates), torch.zeros(())) / len(mates)
        appended.append((variance + 1e-8).sqrt().mean() * torch.ones(1, *maps.shape[2:]))
    return torch.cat([maps, torch.stack(appended)], 1)


def judge(discriminator: Discriminator, images: Tensor, labels: Tensor | None = None) -> Tensor:
    """(N, C, S, S) to scores (N,)."""
    maps = convolution(discriminator.from_image, images)
    for block in discriminator.blocks:
        maps = convolution(block.skip, maps) + convolution(block.second, convolution(block.first, maps))
    maps = convolution(discriminator.last_conv, append_minibatch_std(maps, discriminator.group))
    features = dense(discriminator.score, dense(discriminator.last_linear, maps.flatten(1)))
    if discriminator.mapping is None:
        return features[:, 0]
    projected = features * mapped(discriminator.mapping, None, labels)
    return projected.sum(1) / math.sqrt(projected.shape[1])


# ---- StyleGAN3


def convolve(maps: Tensor, taps: Tensor) -> Tensor:
    """Filter each map with (T, T) taps, or with the outer product of (T,) taps, where they lie fully inside."""
    square = torch.outer(taps, taps) if taps.ndim == 1 else taps
    channels = maps.shape[1]
    return conv2d(maps, square.flip(0, 1).expand(channels, 1, *square.shape), groups=channels)


def filtered_leaky_relu(maps: Tensor, up_taps: Tensor, down_taps: Tensor, *, up: int, down: int, crop: int) -> Tensor:
    """Up-sample, activate, down-sample."""
    border = len(up_taps) - 1
    fine = convolve(pad(insert_zeros(maps, up), [border, border - up + 1] * 2), up_taps) * up**2
    fine = fine[:, :, crop : fine.shape[2] - crop, crop : fine.shape[3] - crop]
    active = (leaky_relu(fine, 0.2) * math.sqrt(2)).clamp(-256, 256)
    return convolve(active, down_taps)[:, :, ::down, ::down]


def input_plane(module: stylegan3.FourierInput, style: Tensor) -> Tensor:
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


def layer_of_stylegan3(module: stylegan3.SynthesisLayer, maps: Tensor, style: Tensor) -> Tensor:
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
    taps = module.up_taps, module.down_taps
    return filtered_leaky_relu(convolved, *taps, up=module.up, down=module.down, crop=module.crop)


def synthesise(generator: stylegan3.Generator, styles: Tensor) -> Tensor:
    """Styles (N, L, W) to images."""
    maps = input_plane(generator.synthesis.input, styles[:, 0])
    for index, module in enumerate(generator.synthesis.layers):
        maps = layer_of_stylegan3(module, maps, styles[:, index + 1])
    return maps / 4
