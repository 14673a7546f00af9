"""StyleGAN3: details move with the objects, because no layer sees the pixel grid.

Karras, Aittala, Laine, Härkönen, Hellsten, Lehtinen, Aila, "Alias-Free Generative Adversarial Networks", NeurIPS 2021.
Section 2: layers as operations on continuous signals.  Section 3 and figure 4: the generator, equivariant to
translation (configuration T), and to rotation as well (R: 1x1 convolutions, radially symmetric filters, twice the
channels).  Appendix C: filters.  Appendix F: input, initial values, half precision.
The discriminator is StyleGAN2's.
"""

import contextlib
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp import custom_bwd, custom_fwd
from torch.nn.functional import conv2d

from sonoforge.models.layers import Architecture, from_settings
from sonoforge.models.stylegan.filtered_lrelu import filtered_leaky_relu, lowpass
from sonoforge.models.stylegan.generator import StyledGenerator, StyledSettings
from sonoforge.models.stylegan.layers import (
    CLAMP,
    EPSILON,
    HALF_LEVELS,
    Drawn,
    EqualisedLinear,
    at_least_single,
    channel_options,
    eager_on_cpu,
    full_precision,
    initialise,
    normalise,
)
from sonoforge.models.stylegan.stylegan2 import Discriminator, ResidualSettings

CONFIGS = ("t", "r")
FIRST_CUTOFF = 2.0  # cycles over the image (section 3.2)
FIRST_STOPBAND = 2**2.1
LAST_STOPBAND = 2**0.3  # times the last cutoff
CRITICAL_LAYERS = 2  # last ones, which let everything pass up to half their sampling rate
MARGIN = 10  # samples computed beyond each border of the image, so that borders reveal no absolute position
TAPS = 6  # of a filter, for each sample of the coarser grid
HEADROOM = 2  # finer than both neighbours is the grid on which a non-linearity is computed
IMAGE_SCALE = 0.25  # of the last layer's result

_FINE_VALUES = 1 << 27  # on all fine grids that a CPU keeps at a time for the gradient, a byte each: some 0.5 GB


@dataclass(frozen=True)
class Grid:
    """The signal between two layers; frequencies and rates in cycles and samples over the image's side."""

    rate: int  # sampling rate s
    cutoff: float  # frequency f_c at which the signal is cut off, in the middle of the transition band
    half_width: float  # half the width f_h of the transition band
    side: int  # in samples, with margins
    channels: int


def plan_grids(image_size: int, channels: int, layers: int, channel_base: int, channel_max: int) -> list[Grid]:
    """Return the grids of the input and of every layer's result (section 3.2).

    Cutoffs and stop bands grow geometrically up to the critical layers.  The sampling rate is the image's, halved as
    often as the stop band allows; the number of channels is inversely proportional to the cutoff.

    Args:
        image_size: Must be a multiple of 16.
        channels: The image's.
        layers: Number L of layers before the one that makes the image; the result has L + 2 grids.
        channel_base: Channels of a layer times twice its cutoff.
        channel_max: Largest number of channels of a layer.
    """
    if layers <= CRITICAL_LAYERS:
        raise ValueError(f"layers: {layers} is below {CRITICAL_LAYERS + 1}")
    if image_size < 16 or image_size % 16:
        raise ValueError(f"image_size: {image_size} is not a multiple of 16")
    last_cutoff = image_size / 2
    grids = []
    # The first layer keeps the input's grid, and the last one the image's.
    for index in [0, *range(layers + 1)]:
        progress = min(index / (layers - CRITICAL_LAYERS), 1.0)
        cutoff = FIRST_CUTOFF * (last_cutoff / FIRST_CUTOFF) ** progress
        stopband = FIRST_STOPBAND * (last_cutoff * LAST_STOPBAND / FIRST_STOPBAND) ** progress
        rate = image_size
        while rate % 2 == 0 and rate / 2 >= 2 * stopband:
            rate //= 2
        grids.append(
            Grid(
                rate=rate,
                cutoff=cutoff,
                half_width=max(stopband, rate / 2) - cutoff,
                side=image_size if index >= layers - 1 else rate + 2 * MARGIN,
                channels=channels if index == layers else min(max(round(channel_base / (2 * cutoff)), 1), channel_max),
            )
        )
    return grids


class _Placement(EqualisedLinear):
    """Map a style to the cosine and sine of a rotation, and a translation (x, y) in image sides; at first, to none."""

    def __init__(self, style_size: int) -> None:
        super().__init__(style_size, 4)

    @torch.no_grad()
    def draw(self, chance: torch.Generator | None = None) -> None:
        """Set the initial values."""
        assert self.bias is not None  # noqa: S101 - it is made with one
        self.weight.zero_()
        self.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]))


class FourierInput(Drawn):
    """Waves of fixed frequencies on an infinite plane, translated and rotated by a style (appendix F).

    The image covers -0.5 to 0.5 of the plane, which is sampled on a grid; x points right, y down.
    """

    # (3, 3) matrix from points of the image to points of the plane: the inverse of the transform that the image is to
    # undergo.  The identity unless a user changes it; (N, 3, 3) for a transform for each image.
    transform: Tensor
    frequencies: Tensor  # (C, 2) of the waves along x and y, uniform on a disc
    phases: Tensor  # (C,) in turns
    positions: Tensor

    def __init__(self, grid: Grid, style_size: int) -> None:
        super().__init__()
        self.cutoff = grid.cutoff
        self.rate = grid.rate
        self.placement = _Placement(style_size)
        self.weight = nn.Parameter(torch.empty(grid.channels, grid.channels))
        self.register_buffer("transform", torch.eye(3))
        self.register_buffer("frequencies", torch.empty(grid.channels, 2))
        self.register_buffer("phases", torch.empty(grid.channels))
        positions = (torch.arange(grid.side) - (grid.side - 1) / 2) / grid.rate
        self.register_buffer("positions", positions, persistent=False)
        self.draw()

    @torch.no_grad()
    def draw(self, chance: torch.Generator | None = None) -> None:
        """Draw waves and weights."""
        self.weight.normal_(generator=chance)
        self.phases.uniform_(generator=chance)
        radius = torch.empty_like(self.phases).uniform_(generator=chance).sqrt() * self.cutoff
        angle = torch.empty_like(self.phases).uniform_(generator=chance) * (2 * math.pi)
        self.frequencies.copy_(torch.stack([radius * angle.cos(), radius * angle.sin()], 1))

    def forward(self, style: Tensor) -> Tensor:
        """Map (N, W) to (N, C, H, H) float32, even with mixed precision on."""
        with full_precision(style.device):
            placement: Tensor = self.placement(style)
            cosine, sine, x, y = (placement / placement[:, :2].norm(dim=1, keepdim=True)).unbind(1)
            turn = torch.stack([cosine, -sine, sine, cosine], 1).unflatten(1, (2, 2))
            matrix = turn @ self.transform[..., :2, :2]
            shift = turn @ (self.transform[..., :2, 2] - torch.stack([x, y], 1))[:, :, None]
            # Wave f at point M p + t has the phase f (M p + t) = (M^T f) p + f t.
            frequencies = self.frequencies @ matrix
            phases = self.phases + (self.frequencies @ shift).squeeze(2)
            # A transform that shrinks raises frequencies; waves fade out before half the sampling rate is reached.
            above = frequencies.norm(dim=2) - self.cutoff
            amplitudes = (1 - above / (self.rate / 2 - self.cutoff)).clamp(0, 1)
            horizontal = self.positions[:, None] * frequencies[:, None, :, 0] + phases[:, None]
            vertical = self.positions[:, None] * frequencies[:, None, :, 1]
            waves = (2 * math.pi * (horizontal[:, None] + vertical[:, :, None])).sin()  # (N, H, H, C)
            mixed: Tensor = waves @ (amplitudes[:, :, None] * self.weight.t() / math.sqrt(len(self.weight)))[:, None]
        return mixed.permute(0, 3, 1, 2)


class SynthesisLayer(Drawn):
    """Modulated convolution and non-linearity, from one grid to the next (section 3.2, figure 4b).

    ``to_image``: a 1x1 convolution without demodulation, non-linearity or filters.  ``radial``: equivariant to
    rotation, by a 1x1 convolution and radial filters on the way down.  ``magnitude_decay`` is the weight of the old
    ``magnitude`` when a batch is added.
    """

    # Moving average of the mean square of the layer's input, by whose root that is divided (section 3, config. D).
    magnitude: Tensor
    up_taps: Tensor
    down_taps: Tensor

    def __init__(
        self, source: Grid, target: Grid, style_size: int, *, to_image: bool, radial: bool, magnitude_decay: float
    ) -> None:
        super().__init__()
        self.to_image = to_image
        self.magnitude_decay = magnitude_decay
        kernel = 1 if to_image or radial else 3
        self.affine = EqualisedLinear(style_size, source.channels, bias_start=1.0)
        self.weight = nn.Parameter(torch.empty(target.channels, source.channels, kernel, kernel))
        self.bias = nn.Parameter(torch.empty(target.channels))
        self.register_buffer("magnitude", torch.ones(()))
        if not to_image:
            rate = HEADROOM * max(source.rate, target.rate)
            self.up = rate // source.rate
            self.down = rate // target.rate
            up_taps = lowpass(TAPS * self.up, source.cutoff, source.half_width, rate)
            radial = radial and 2 * target.cutoff < target.rate  # not where the cutoff is as high as the rate allows
            down_taps = lowpass(TAPS * self.down, target.cutoff, target.half_width, rate, radial=radial)
            self.register_buffer("up_taps", up_taps, persistent=False)
            self.register_buffer("down_taps", down_taps, persistent=False)
            # The convolution pads so far that every result that any input reaches is computed; what the output does
            # not need is cropped around the centre.
            after_convolution = source.side + kernel - 1
            finest = (after_convolution - 1) * self.up + len(up_taps)
            needed = (target.side - 1) * self.down + len(down_taps)
            self.crop = (finest - needed) // 2
        self.draw()

    @torch.no_grad()
    def gain(self, moved_by: Tensor | None) -> Tensor:
        """Return the factor for the input; a batch (N, C, H, H), if given, updates ``magnitude`` first."""
        if moved_by is not None:
            self.magnitude.lerp_(at_least_single(moved_by).square().mean(), 1 - self.magnitude_decay)
        return self.magnitude.rsqrt()

    def forward(self, maps: Tensor, style: Tensor, gain: Tensor) -> Tensor:
        """Map (N, C, H, H), (N, W) and the layer's `gain` to (N, C', H', H')."""
        with full_precision(style.device):
            scales = self.affine(style)
            if self.to_image:
                weight = self.weight / math.sqrt(self.weight[0].numel())
            else:
                # Demodulation undoes any factor of an image's scales and of an output's weights; these keep half
                # precision from overflowing (appendix F).
                weight = normalise(self.weight.flatten(1)).view_as(self.weight)
                scales = normalise(scales)
                powers = weight.square().sum((2, 3))
                demodulation = torch.rsqrt(scales.square() @ powers.t() + EPSILON)[:, :, None, None]
            scales = (scales * gain)[:, :, None, None]
        maps = maps * scales.to(maps.dtype)
        if self.to_image:
            return conv2d(maps, weight, self.bias).clamp(-CLAMP, CLAMP)
        maps = conv2d(maps, weight, padding=weight.shape[2] - 1)
        maps = torch.addcmul(self.bias.to(maps.dtype)[:, None, None], maps, demodulation.to(maps.dtype))
        return filtered_leaky_relu(maps, self.up_taps, self.down_taps, up=self.up, down=self.down, crop=self.crop)


class Synthesis(nn.Module):
    """Turn styles into an image, over grids from `plan_grids`; see `SynthesisLayer`."""

    def __init__(self, grids: list[Grid], style_size: int, *, radial: bool, magnitude_decay: float) -> None:
        super().__init__()
        self.input = FourierInput(grids[0], style_size)
        pairs = list(itertools.pairwise(grids))
        self.layers = nn.ModuleList([
            SynthesisLayer(
                *pair, style_size, to_image=pair is pairs[-1], radial=radial, magnitude_decay=magnitude_decay
            )
            for pair in pairs
        ])  # fmt: skip
        self.num_styles = len(self.layers) + 1  # the input's, and one for each layer
        self.half_precision = [grid.rate << HALF_LEVELS > grids[-1].rate for grid in grids[1:]]
        fine = sum(target.channels * (HEADROOM * max(source.side, target.side)) ** 2 for source, target in pairs)
        self.images_at_once = max(1, _FINE_VALUES // fine)

    def forward(self, styles: Tensor, *, update_average: bool = False) -> Tensor:
        """Map styles (N, L, W) to images (N, C, S, S), at least float32, in about [-1, 1], unbounded.

        ``update_average``: this batch moves the layers' ``magnitude`` first.
        """
        if torch.is_grad_enabled() and eager_on_cpu(styles):
            images: Tensor = _ComputedAgain.apply(self, update_average, styles, *self.parameters())  # type: ignore[no-untyped-call]
            return images
        return self.compute(styles, update_average=update_average)[0]

    def compute(
        self, styles: Tensor, *, update_average: bool = False, gains: Sequence[Tensor] = ()
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the images of `forward` and the layers' gains; ``gains`` from an earlier pass can be reused."""
        first, *others = styles.unbind(1)
        maps: Tensor = self.input(first)
        used: list[Tensor] = []
        # Intermediate results of a whole batch are large; without a gradient nothing else needs them together.
        in_parts = not torch.is_grad_enabled() and eager_on_cpu(styles)
        layers: Iterable[Any] = self.layers
        known = gains or itertools.repeat(None, len(self.layers))
        for layer, style, half, given in zip(layers, others, self.half_precision, known, strict=True):
            gain = layer.gain(maps if update_average else None) if given is None else given
            used.append(gain)
            with contextlib.nullcontext() if half else full_precision(styles.device):
                if in_parts:
                    parts = zip(maps.split(self.images_at_once), style.split(self.images_at_once), strict=True)
                    maps = _joined((layer(*part, gain) for part in parts), len(maps))
                else:
                    maps = layer(maps, style, gain)
        return at_least_single(maps) * IMAGE_SCALE, used


def _joined(parts: Iterator[Tensor], count: int) -> Tensor:
    """Put parts of ``count`` images into one tensor as they arrive; `torch.cat` would hold all of them twice."""
    part = next(parts)
    # Images of one channel count as channels last, too: strides decide how the discriminator's sums are rounded.
    last = part.is_contiguous(memory_format=torch.channels_last)
    order = torch.channels_last if last else torch.contiguous_format
    joined = torch.empty((count, *part.shape[1:]), dtype=part.dtype, memory_format=order)
    first = 0
    for own in itertools.chain([part], parts):
        joined[first : first + len(own)] = own
        first += len(own)
    return joined


class _ComputedAgain(torch.autograd.Function):
    """Synthesise on a CPU, computing images again for their gradient, a few at a time.

    Keeping all layers of a whole batch would take gigabytes.  The first pass takes the whole batch, and may update the
    layers' magnitudes.
    """

    @staticmethod
    @custom_fwd(device_type="cpu")  # type: ignore[untyped-decorator]
    def forward(ctx: Any, synthesis: Synthesis, update_average: bool, styles: Tensor, *parameters: Tensor) -> Tensor:
        images, ctx.gains = synthesis.compute(styles, update_average=update_average)
        ctx.synthesis = synthesis
        ctx.save_for_backward(styles, *parameters)
        return images

    @staticmethod
    @custom_bwd(device_type="cpu")  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        synthesis, needed = ctx.synthesis, ctx.needs_input_grad[2:]
        inputs = list(itertools.compress(ctx.saved_tensors, needed))
        found: Sequence[Tensor]
        if torch.is_grad_enabled():  # this gradient is to be differentiated, too
            images, _ = synthesis.compute(ctx.saved_tensors[0], gains=ctx.gains)
            found = torch.autograd.grad(images, inputs, gradients, create_graph=True)
        else:
            # Rows of the styles themselves, so that each part adds to its own rows of their gradient.
            found = [torch.zeros_like(value) for value in inputs]
            size = len(gradients[0]) if synthesis.input.transform.ndim == 3 else synthesis.images_at_once
            rows = ctx.saved_tensors[0]
            for first in range(0, len(rows), size):
                part = slice(first, first + size)
                with torch.enable_grad():
                    images, _ = synthesis.compute(rows[part], gains=ctx.gains)
                torch._foreach_add_(found, torch.autograd.grad(images, inputs, gradients[0][part]))
        left = iter(found)
        return None, None, *(next(left) if own else None for own in needed)


@dataclass(frozen=True)
class GeneratorSettings(StyledSettings):
    """Size of a StyleGAN3 generator; the defaults are the published ones.

    The image size is a multiple of 16.  ``channel_base`` is a layer's channels times twice its cutoff; configuration R
    doubles it and ``channel_max``.
    """

    mapping_layers: int = 2
    mixing: float = 0.0
    config: str = "t"  # equivariant to translation, or "r", to rotation as well
    layers: int = 14  # number of synthesis layers before the one that makes the image
    magnitude_decay: float = 0.999  # see `SynthesisLayer`; the authors: 0.5 ** (batch / 20 000)


class Generator(StyledGenerator):
    """Map a latent vector to an image; ``grids`` replaces the ones from `plan_grids`."""

    synthesis: Synthesis

    def __init__(self, settings: GeneratorSettings, grids: list[Grid] | None = None) -> None:
        super().__init__()
        if settings.config not in CONFIGS:
            raise ValueError(f"config: {settings.config!r} is not one of {', '.join(CONFIGS)}")
        rotation = settings.config == "r"
        factor = 2 if rotation else 1
        grids = grids or plan_grids(
            settings.image_size,
            settings.channels,
            settings.layers,
            channel_base=factor * settings.channel_base,
            channel_max=factor * settings.channel_max,
        )
        synthesis = Synthesis(grids, settings.style_size, radial=rotation, magnitude_decay=settings.magnitude_decay)
        self.assemble(settings, synthesis)

    def synthesise(
        self, styles: Tensor, chance: torch.Generator | None = None, *, update_average: bool = False
    ) -> Tensor:
        """Generate one image for each row of styles, see `StyledGenerator.synthesise`; StyleGAN3 has no noise."""
        del chance
        images: Tensor = self.synthesis(styles, update_average=update_average)
        return images


MAGNITUDE_HALF_LIFE = 20_000  # images (the authors' code)

ARCHITECTURES = {
    "stylegan3": Architecture(
        from_settings(Generator, GeneratorSettings),
        from_settings(Discriminator, ResidualSettings),
        initialise,
        channel_options,
        lambda images: {"magnitude_decay": 0.5 ** (images / MAGNITUDE_HALF_LIFE)},
    )
}
