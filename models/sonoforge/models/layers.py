"""Define what several networks share: pairs by name, class labels, spectral norm, activations, norms, attention."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.functional import max_pool2d
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import _SpectralNorm, spectral_norm

# Spectral normalisation: Miyato, Kataoka, Koyama, Yoshida, ICLR 2018.  Each weight is divided by its largest singular
# value, estimated by one step of power iteration at each pass in training mode.
_TORCH_EPSILON = 1e-12  # torch's own
FIRST_STEPS = 15  # of power iteration, where it starts: torch's own


class _Outline(_SpectralNorm):
    """Skip spectral norm's iteration on the meta device, which has no values and takes seconds for a network."""

    def _power_method(self, weight_mat: torch.Tensor, n_power_iterations: int) -> None:
        pass


def normalised(layer: Any, epsilon: float = _TORCH_EPSILON) -> nn.Module:
    """Normalise the weight of a linear layer or convolution, in place; this costs nothing on the meta device."""
    if not layer.weight.is_meta:
        spectral_norm(layer, eps=epsilon)
    else:
        dim = 1 if isinstance(layer, nn.ConvTranspose2d) else 0  # of the outputs, as torch has it
        parametrize.register_parametrization(layer, "weight", _Outline(layer.weight, dim=dim, eps=epsilon))
    own: nn.Module = layer
    return own


def convolution(
    inputs: int, outputs: int, kernel: int, *, stride: int = 1, bias: bool = True, epsilon: float = _TORCH_EPSILON
) -> nn.Module:
    """Make a normalised convolution; at stride 1 a kernel of odd side keeps the side of the maps."""
    return normalised(nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, bias=bias), epsilon)


@torch.no_grad()
def draw_weights(
    network: nn.Module, generator: torch.Generator, draw: Callable[[nn.Parameter], object] | None = None
) -> None:
    """Draw the weights of convolutions, linear layers and embeddings, normalised or not; biases 0.

    ``draw`` fills one weight; without it weights are orthogonal (Saxe, McClelland, Ganguli, ICLR 2014).
    """
    for module in network.modules():
        if not isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear | nn.Embedding):
            continue
        normed: Any = getattr(module, "parametrizations", None)
        weight: Any = module.weight if normed is None else normed.weight.original  # before normalisation
        if draw is None:
            nn.init.orthogonal_(weight, generator=generator)
        else:
            draw(weight)
        if normed is not None:  # find the largest singular value anew
            norm = normed.weight[0]
            matrix = norm._reshape_weight_to_matrix(weight)  # one row an output
            left = torch.empty(len(matrix), device=matrix.device).normal_(generator=generator)
            for _ in range(FIRST_STEPS):
                right = F.normalize(matrix.T @ left, dim=0)
                left = F.normalize(matrix @ right, dim=0)
            norm._u.copy_(left)
            norm._v.copy_(right)
        if not isinstance(module, nn.Embedding) and module.bias is not None:
            nn.init.zeros_(module.bias)


def fix_weights(network: nn.Module) -> None:
    """Replace each normalised weight with its value, in place, in a network that needs no more training."""
    network.eval()  # without another step of power iteration
    for module in list(network.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


class Architecture(NamedTuple):
    """A pair of networks; each file declares its pairs by name in a dict ``ARCHITECTURES``.

    Generators take ``image_size``, ``channels``, ``latent_size``, ``classes`` and their own options; discriminators
    ``conditioning`` in place of ``latent_size``.
    """

    generator: Callable[..., nn.Module]
    discriminator: Callable[..., nn.Module]
    initialise: Callable[[Any, torch.Generator], None] = draw_weights  # draws the initial weights of either network
    # From a number of channels, of the widest or the base layer, to the options of either network.
    width_options: Callable[[int], dict[str, int]] = lambda width: {"width": width}
    # From the images in one forward pass to the options of the generator that depend on them.
    batch_options: Callable[[int], dict[str, float]] = lambda images: {}
    free_hidden: tuple[str, ...] = ()  # which of `activation` and `norm` both networks let a user change
    reconstruction: bool = False  # whether the discriminator's scores are reconstruction errors
    velocity: bool = False  # whether the generator learns a velocity (`flow`), and the discriminator does nothing
    cells: bool = False  # whether either network has a `cell`, which is a code
    projected: bool = False  # whether the discriminator sees images through a frozen feature network
    needs: tuple[str, ...] = ()  # of the discriminator: names in `settings.NEEDS` of the training


def from_settings(network: Callable[..., nn.Module], settings: Callable[..., object]) -> Callable[..., nn.Module]:
    """Return a function that takes keyword options and builds a network from an object of settings."""
    return lambda **options: network(settings(**options))


# Class labels.  A generator gets them one-hot beside the latent vector (Mirza and Osindero, "Conditional Generative
# Adversarial Nets", 2014; Odena, Olah, Shlens, ICML 2017): the first layer is linear, so its columns are an embedding.
# A discriminator scores its last features without the class ("none"); plus their inner product with an embedding of it
# ("projection": Miyato and Koyama, "cGANs with Projection Discriminator", ICLR 2018, equation 11); or also predicts it
# by linear logits ("auxiliary": Odena 2017, section 3).
CONDITIONINGS = ("none", "projection", "auxiliary")


def one_hot(labels: Tensor | None, classes: int, dtype: torch.dtype) -> Tensor:
    """Return (N, K) with a 1 at each label, of (N,) int64 in [0, K); missing labels raise ValueError."""
    if labels is None:
        raise ValueError(f"labels: the network is conditional; give (N,) int64 below {classes}")
    return F.one_hot(labels, classes).to(dtype)


def check_conditioning(conditioning: str, classes: int, known: tuple[str, ...] = CONDITIONINGS) -> None:
    """Raise ValueError for an unknown conditioning, or for one that needs classes if there are none."""
    if conditioning not in known:
        raise ValueError(f"conditioning: {conditioning!r} is not one of {', '.join(known)}")
    if conditioning != "none" and classes == 0:
        raise ValueError(f"classes: conditioning {conditioning!r} requires at least 1, not 0")


class ScoreHead(nn.Module):
    """The last layer of a discriminator, from features to score and class logits.

    ``linear`` makes a linear layer from inputs, outputs and ``bias``.
    """

    def __init__(
        self, features: int, classes: int, conditioning: str, linear: Callable[..., nn.Module] = nn.Linear
    ) -> None:
        super().__init__()
        check_conditioning(conditioning, classes)
        self.conditioning = conditioning
        self.classes = classes
        self.score = linear(features, 1)
        if conditioning != "none":
            # One row a class: its embedding, or the weights of its logit.
            self.class_rows = linear(features, classes, bias=conditioning == "auxiliary")

    def forward(self, features: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Map features (N, F) to scores (N,) and, only for ``"auxiliary"``, class logits (N, K); see `ScoredLayers`."""
        score: Tensor = self.score(features).squeeze(1)
        if self.conditioning == "none":
            return score, None
        products: Tensor = self.class_rows(features)
        if self.conditioning == "auxiliary":
            return score, products
        return score + (products * one_hot(labels, self.classes, products.dtype)).sum(1), None


class ScoredLayers(nn.Module):
    """A discriminator: ``features``, then ``head`` for one score, which is large if the image looks real."""

    layers: nn.Sequential
    head: ScoreHead

    def features(self, images: Tensor) -> Tensor:
        """Map images (N, C, S, S) in [-1, 1] to features (N, F)."""
        features: Tensor = self.layers(images)
        return features

    def forward(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Map images (N, C, S, S) in [-1, 1] to scores (N,) and, only for ``"auxiliary"``, class logits (N, K).

        Labels (N,) int64 are needed only by ``"projection"``.
        """
        answer: tuple[Tensor, Tensor | None] = self.head(self.features(images), labels)
        return answer


SLOPE = 0.2  # of leaky ReLU: Radford, Metz, Chintala, ICLR 2016, section 4
# Each activation is one ONNX operator, and has the second derivative that gradient penalties need.
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky-relu": lambda: nn.LeakyReLU(SLOPE),
    "elu": nn.ELU,
    "tanh": nn.Tanh,
}


def make_activation(name: str) -> nn.Module:
    """Make a layer of `ACTIVATIONS`; raise ValueError for another name."""
    if name not in ACTIVATIONS:
        raise ValueError(f"activation: {name!r} is not one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]()


# The normalisations that networks of DCGAN's kind take between a convolution and its activation.
NORMS = ("batch", "batch-renorm", "none")
MOST_SCALE, MOST_SHIFT = 3.0, 5.0  # r_max and d_max once they are fully relaxed: Ioffe 2017, section 4
# Passes of plain batch normalisation, and until r_max and d_max are fully relaxed: a fiftieth of section 4's 5000,
# 40 000 and 25 000 training steps, as a GAN of a few hundred images takes hundreds to thousands.
PLAIN_PASSES, SCALE_PASSES, SHIFT_PASSES = 100, 800, 500


class BatchRenorm2d(nn.BatchNorm2d):
    """Batch normalisation corrected, in training, towards the moving statistics used afterwards.

    Ioffe, "Batch Renormalization", NeurIPS 2017, algorithm 1: with mean m_B and standard deviation s_B of the batch,
    and their moving averages m and s,

        y = ((x - m_B) / s_B * r + d) * weight + bias,  r = s_B / s in [1 / r_max, r_max],  d = (m_B - m) / s in
        [-d_max, d_max],

    where no gradient flows through r and d.  r_max rises from 1 to `MOST_SCALE`, d_max from 0 to `MOST_SHIFT`.  State
    and evaluation mode are those of `torch.nn.BatchNorm2d`: ``running_var`` + ``eps`` is the square of s.
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
    """Return a normalisation of `NORMS` as one layer, none for ``"none"``; raise ValueError for another name."""
    if name not in NORMS:
        raise ValueError(f"norm: {name!r} is not one of {', '.join(NORMS)}")
    return [] if name == "none" else [(BatchRenorm2d if name == "batch-renorm" else nn.BatchNorm2d)(channels)]


EPSILON = 1e-4  # of spectral and batch normalisation: BigGAN's authors' code


class ConditionalBatchNorm(nn.Module):
    """Batch normalisation whose scale and shift are linear in a condition (Dumoulin, Shlens, Kudlur, ICLR 2017)."""

    def __init__(self, width: int, condition: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(width, EPSILON, affine=False)
        self.scale = normalised(nn.Linear(condition, width, bias=False), EPSILON)
        self.shift = normalised(nn.Linear(condition, width, bias=False), EPSILON)

    def forward(self, maps: Tensor, condition: Tensor) -> Tensor:
        """Normalise maps (N, width, H, W) under a condition (N, condition)."""
        scale, shift = self.scale(condition), self.shift(condition)
        result: Tensor = self.norm(maps) * (1 + scale[:, :, None, None]) + shift[:, :, None, None]
        return result


class GatedUp(nn.Module):
    """Double the side: nearest neighbour, convolution, normalisation under a condition if any, gated linear unit.

    ``norm`` makes the normalisation from its number of channels.
    """

    def __init__(self, inputs: int, outputs: int, norm: Callable[[int], nn.Module], *, bias: bool) -> None:
        super().__init__()
        self.convolution = convolution(inputs, 2 * outputs, 3, bias=bias)
        self.norm = norm(2 * outputs)

    def forward(self, maps: Tensor, condition: Tensor | None) -> Tensor:
        """Map (N, inputs, H, W), and what the normalisation takes, to (N, outputs, 2 H, 2 W)."""
        wide = self.convolution(F.interpolate(maps, scale_factor=2))
        return F.glu(self.norm(wide) if condition is None else self.norm(wide, condition), 1)


class SelfAttention(nn.Module):
    """Add to each pixel of the maps (N, width, H, W), H and W even, a mean over the image, weighted by attention.

    Zhang, Goodfellow, Metaxas, Odena, "Self-Attention Generative Adversarial Networks", ICML 2019, section 3: values
    have half the channels, and keys and values are pooled.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        few, half = max(1, width // 8), max(1, width // 2)
        self.queries = convolution(width, few, 1, bias=False, epsilon=EPSILON)
        self.keys = convolution(width, few, 1, bias=False, epsilon=EPSILON)
        self.values = convolution(width, half, 1, bias=False, epsilon=EPSILON)
        self.output = convolution(half, width, 1, bias=False, epsilon=EPSILON)
        self.strength = nn.Parameter(torch.zeros(()))  # gamma: nothing is attended to at first

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps of the same shape."""
        queries = self.queries(maps).flatten(2)
        keys = max_pool2d(self.keys(maps), 2).flatten(2)
        values = max_pool2d(self.values(maps), 2).flatten(2)
        weights = torch.bmm(queries.transpose(1, 2), keys).softmax(2)
        attended = torch.bmm(values, weights.transpose(1, 2)).unflatten(2, maps.shape[2:])
        result: Tensor = maps + self.strength * self.output(attended)
        return result
