"""Layers shared by several networks: activations and normalisations by name, conditional norm, self-attention."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.functional import max_pool2d

from sonoforge.models.spectral import convolution, normalised

# Each activation is one ONNX operator, and has the second derivative that gradient penalties need.
SLOPE = 0.2  # of leaky ReLU: Radford, Metz, Chintala, ICLR 2016, section 4

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky-relu": lambda: nn.LeakyReLU(SLOPE),
    "elu": nn.ELU,
    "tanh": nn.Tanh,
}


def make_activation(name: str) -> nn.Module:
    """Make one layer.

    Raises:
        ValueError: An unknown name.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"activation: found {name!r}, expected one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]()


# The normalisations that networks of DCGAN's kind take between a convolution and its activation.
# Batch renormalisation: Ioffe, "Batch Renormalization: Towards Reducing Minibatch Dependence in Batch-Normalized
# Models", NeurIPS 2017.

NORMS = ("batch", "batch-renorm", "none")
MOST_SCALE, MOST_SHIFT = 3.0, 5.0  # r_max and d_max once they are fully relaxed: section 4
# Passes of plain batch normalisation, and until r_max and d_max are fully relaxed: a fiftieth of section 4's 5000, 40
# 000 and 25 000 training steps, as a GAN of a few hundred images takes hundreds to thousands.
PLAIN_PASSES, SCALE_PASSES, SHIFT_PASSES = 100, 800, 500


class BatchRenorm2d(nn.BatchNorm2d):
    """Batch normalisation that is corrected, in training, towards the moving statistics used afterwards.

    Algorithm 1: with mean m_B and standard deviation s_B of the batch, and their moving averages m and s,

        y = ((x - m_B) / s_B * r + d) * weight + bias,  r = s_B / s in [1 / r_max, r_max],  d = (m_B - m) / s in
        [-d_max, d_max],

    where no gradient flows through r and d.  r_max rises from 1 to `MOST_SCALE`, d_max from 0 to `MOST_SHIFT`, so that
    it begins as batch normalisation.  The state is that of `torch.nn.BatchNorm2d`, and so is the answer in evaluation
    mode: ``running_var`` + ``eps`` is the square of the moving average s.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (N, C, H, W) by channel."""
        mean, variance, passes = self.running_mean, self.running_var, self.num_batches_tracked
        if not self.training or mean is None or variance is None or passes is None:
            return super().forward(input)
        with torch.no_grad():
            own_variance, own_mean = torch.var_mean(input.float(), dim=(0, 2, 3), correction=0)
            own_deviation, deviation = (own_variance + self.eps).sqrt(), (variance + self.eps).sqrt()
            most_scale = 1 + (MOST_SCALE - 1) * _relaxed(passes, SCALE_PASSES)
            most_shift = MOST_SHIFT * _relaxed(passes, SHIFT_PASSES)
            scale = torch.clamp(own_deviation / deviation, 1 / most_scale, most_scale)
            shift = torch.clamp((own_mean - mean) / deviation, -most_shift, most_shift)
            momentum = 0.1 if self.momentum is None else self.momentum
            mean.lerp_(own_mean, momentum)
            variance.copy_(torch.lerp(deviation, own_deviation, momentum).square() - self.eps)
            passes.add_(1)
        weight, bias = self.weight * scale, self.weight * shift + self.bias
        return F.batch_norm(input, None, None, weight, bias, training=True, eps=self.eps)


def _relaxed(passes: Tensor, full: int) -> Tensor:
    """Return the share, 0 to 1, to which a limit is relaxed: 0 at first, then rising linearly."""
    return ((passes - PLAIN_PASSES) / (full - PLAIN_PASSES)).clamp(0, 1)


def make_norm(name: str, channels: int) -> list[nn.Module]:
    """Return the normalisation of this name as layers: one, or none for ``"none"``.

    Raises:
        ValueError: Another name.
    """
    if name not in NORMS:
        raise ValueError(f"norm: found {name!r}, expected one of {', '.join(NORMS)}")
    if name == "none":
        return []
    return [(BatchRenorm2d if name == "batch-renorm" else nn.BatchNorm2d)(channels)]


_EPSILON = 1e-4  # of spectral and batch normalisation, as in BigGAN


class ConditionalBatchNorm(nn.Module):
    """Batch normalisation whose scale and shift are linear in a condition (Dumoulin, Shlens, Kudlur, ICLR 2017)."""

    def __init__(self, width: int, condition: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(width, _EPSILON, affine=False)
        self.scale = normalised(nn.Linear(condition, width, bias=False), _EPSILON)
        self.shift = normalised(nn.Linear(condition, width, bias=False), _EPSILON)

    def forward(self, maps: Tensor, condition: Tensor) -> Tensor:
        """Maps (N, width, H, W) and condition (N, condition) to (N, width, H, W)."""
        scale, shift = self.scale(condition), self.shift(condition)
        normalised: Tensor = self.norm(maps) * (1 + scale[:, :, None, None]) + shift[:, :, None, None]
        return normalised


class SelfAttention(nn.Module):
    """Add to each pixel of the maps a mean over the image, weighted by attention.

    Zhang, Goodfellow, Metaxas, Odena, "Self-Attention Generative Adversarial Networks", ICML 2019, section 3: values
    have half the channels, and keys and values are pooled.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        few, half = max(1, width // 8), max(1, width // 2)
        self.queries = convolution(width, few, 1, bias=False, epsilon=_EPSILON)
        self.keys = convolution(width, few, 1, bias=False, epsilon=_EPSILON)
        self.values = convolution(width, half, 1, bias=False, epsilon=_EPSILON)
        self.output = convolution(half, width, 1, bias=False, epsilon=_EPSILON)
        self.strength = nn.Parameter(torch.zeros(()))  # gamma: nothing is attended to at first

    def forward(self, maps: Tensor) -> Tensor:
        """(N, width, H, W) to the same, H and W even."""
        queries = self.queries(maps).flatten(2)
        keys = max_pool2d(self.keys(maps), 2).flatten(2)
        values = max_pool2d(self.values(maps), 2).flatten(2)
        weights = torch.bmm(queries.transpose(1, 2), keys).softmax(2)
        attended = torch.bmm(values, weights.transpose(1, 2)).unflatten(2, maps.shape[2:])
        result: Tensor = maps + self.strength * self.output(attended)
        return result
