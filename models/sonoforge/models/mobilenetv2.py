"""Define torchvision's MobileNetV2 (Sandler et al., CVPR 2018) and the zoomed second pass of our classifiers.

Where a network's own outline shows a lesion, the network sees that part again, enlarged.  Shapes are fixed, so that
every format and device can run it: a part is cut, mirrored and resized by two matrix products, with the weights of an
antialiased triangle filter.  Mirroring costs nothing and makes the second pass differ more from the first.
"""

import re
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sonoforge.models import OUTLINE_BLOCK

EMBEDDING = 1280  # width of the pooled feature vector that feeds the classifier

_OUTLINE_WIDTH = 96  # channels of the map that block `OUTLINE_BLOCK` reads
_SMALLEST = 0.35  # side of a window, as a share of the image's
_MARGIN = 1.5  # side of a window, of the lesion's
_SURE, _UNSURE = 0.4, 0.2  # largest share of a cell: from the first on the window is the lesion's, below the second all

_placeholders: list[torch.library.Library] = []


def import_torchvision() -> ModuleType:
    """Import torchvision, also beside a torch of another build (a CPU torch with a CUDA torchvision).

    Such a pair cannot load torchvision's compiled operators, and the import then stops because a detection operator
    (``nms``) is unknown.  They are not used here, so each is declared without an implementation; calling one still
    fails.
    """
    for _ in range(16):
        try:
            import torchvision  # noqa: PLC0415 - the point of this function
        except RuntimeError as error:
            unknown = re.search(r"operator torchvision::(\w+) does not exist", str(error))
            if unknown is None:
                raise
            library = torch.library.Library("torchvision", "FRAGMENT")
            library.define(f"{unknown[1]}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            _placeholders.append(library)
        else:
            module: ModuleType = torchvision
            return module
    raise RuntimeError("torchvision could not be imported: its operators do not match this torch")


def mobilenet_v2(classes: int, dropout: float = 0.2) -> Any:
    """Build a torchvision ``MobileNetV2`` with a fresh classifier.

    It has ``features`` (19 blocks) and ``classifier`` (dropout, linear 1280 -> classes); its input is (N, 3, 224, 224),
    normalised with the ImageNet mean and deviation.
    """
    net = import_torchvision().models.mobilenet_v2(weights=None, dropout=dropout)
    net.classifier[1] = nn.Linear(EMBEDDING, classes)
    nn.init.normal_(net.classifier[1].weight, 0.0, 0.01)
    nn.init.zeros_(net.classifier[1].bias)
    return net


@torch.no_grad()
def load_folded(net: Any, convolutions: list[tuple[Tensor, Tensor]]) -> None:
    """Load convolutions whose batch normalisation was folded in, as an exported graph holds them.

    ``convolutions`` are (weight, bias) in forward order.  Every batch norm becomes the identity plus the folded bias;
    call `restore_batch_norm` before fine-tuning in train mode.

    Raises:
        ValueError: The number or a shape of the convolutions does not fit.
    """
    layers = [m for m in net.features.modules() if isinstance(m, nn.Conv2d)]
    if len(convolutions) != len(layers):
        raise ValueError(f"there are {len(convolutions)} convolutions, not {len(layers)}")
    for layer, norm, (weight, bias) in zip(layers, _norms(net), convolutions, strict=True):
        if layer.weight.shape != weight.shape:
            raise ValueError(f"a kernel has the shape {tuple(weight.shape)}, not {tuple(layer.weight.shape)}")
        layer.weight.copy_(weight)
        norm.weight.fill_(1.0)
        norm.bias.copy_(bias)
        norm.running_mean.zero_()
        norm.running_var.fill_(1.0 - norm.eps)


@torch.no_grad()
def folded_statistics(net: Any) -> tuple[Tensor, Tensor]:
    """Return what would reach every batch norm of a `load_folded` network, given the running statistics of ``net``.

    These are the mean and variance of each channel of all batch norms, in forward order, (17056,) float32.
    """
    means, variances = [], []
    for norm in _norms(net):
        mean, variance = norm.running_mean.double().cpu(), norm.running_var.double().cpu()
        gain = norm.weight.double().cpu() / (variance + norm.eps).sqrt()
        means.append(gain * mean)
        variances.append((gain.square() * variance).clamp_min(1e-8))
    return torch.cat(means).float(), torch.cat(variances).float()


@torch.no_grad()
def restore_batch_norm(net: Any, means: Tensor, variances: Tensor) -> None:
    """Give every batch norm the statistics of `folded_statistics`, without changing what the network computes.

    The affine part absorbs the change, so outputs in eval mode stay equal (to rounding) while train mode, which
    normalises by the batch's own statistics, sees ordinary activations.

    Raises:
        ValueError: The number of channels is wrong.
    """
    norms = _norms(net)
    sizes = [norm.num_features for norm in norms]
    if len(means) != sum(sizes) or len(variances) != sum(sizes):
        raise ValueError(f"there are statistics of {len(means)} and {len(variances)} channels, not {sum(sizes)}")
    for norm, mean, variance in zip(norms, means.double().split(sizes), variances.double().split(sizes), strict=True):
        gain = norm.weight.double().cpu() / (norm.running_var.double().cpu() + norm.eps).sqrt()
        offset = norm.bias.double().cpu() - gain * norm.running_mean.double().cpu()
        norm.weight.copy_(gain * (variance + norm.eps).sqrt())
        norm.bias.copy_(offset + gain * mean)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)


def _norms(net: Any) -> list[Any]:
    """Return the batch norms of a ``MobileNetV2``, in forward order."""
    return [module for module in net.features.modules() if isinstance(module, nn.BatchNorm2d)]


class OutlineHead(nn.Module):
    """Map features (B, 96, S/16, S/16) to logits (B, 1, S/16, S/16) of how much of each cell is lesion."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.Conv2d(_OUTLINE_WIDTH, 1, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """See `OutlineHead`."""
        logits: Tensor = self.cells(maps)
        return logits


class Passes(NamedTuple):
    """Results of both passes."""

    first: Tensor  # (N, 1280, s, s) its last maps of the whole image
    second: Tensor  # (N, 1280, s, s) of the window's mirror image
    window: Tensor  # (N, 4) left, top, right, bottom, as shares of the image's sides

    @property
    def embedding(self) -> Tensor:
        """The mean over both passes and all places, (N, 1280)."""
        return (self.first.mean((2, 3)) + self.second.mean((2, 3))) / 2


def run_twice(blocks: Sequence[Any], outline: OutlineHead, images: Tensor, side: int) -> Passes:
    """Run MobileNetV2's 19 blocks on whole images, and on the mirrored part of each that shows a lesion.

    Images are (N, 3, S, S), normalised; ``side`` is the network's input in each pass, in pixels.  ``outline`` reads the
    map before block `OUTLINE_BLOCK`.
    """

    def run(maps: Tensor, start: int, end: int) -> Tensor:
        for block in blocks[start:end]:
            maps = block(maps)
        return maps

    middle = run(resample(images, _everything(images), side), 0, OUTLINE_BLOCK)
    window = zoom_box(outline(middle))
    close = resample(images, window, side, mirrored=True)
    return Passes(run(middle, OUTLINE_BLOCK, len(blocks)), run(close, 0, len(blocks)), window)


def resample(images: Tensor, boxes: Tensor, side: int, *, mirrored: bool = False) -> Tensor:
    """Cut a window out of each image (N, C, H, W) and resize it to (N, C, side, side), as Pillow does bilinearly.

    ``boxes`` are (N, 4) left, top, right, bottom, as shares of the image's sides.
    """
    down = _triangles(boxes[:, 1], boxes[:, 3], images.shape[2], _middles(side, boxes))
    places = _middles(side, boxes, mirrored=mirrored)
    across = _triangles(boxes[:, 0], boxes[:, 2], images.shape[3], places)
    return down[:, None] @ images @ across[:, None].transpose(2, 3)


def _triangles(start: Tensor, end: Tensor, inputs: int, places: Tensor) -> Tensor:
    """Return the weights (N, outputs, inputs) of each input pixel in each output pixel; they add up to 1.

    Boxes go from ``start`` to ``end`` (N,), as shares of the images' side; ``places`` (outputs,) are the middles of the
    output pixels, as shares of the boxes.
    """
    step = (end - start) * (inputs / len(places))
    middles = start[:, None] * inputs + step[:, None] * (places * len(places))
    distance = _middles(inputs, start) * inputs - middles[:, :, None]
    weights = torch.relu(1 - distance.abs() / step.clamp_min(1)[:, None, None])
    return weights / weights.sum(2, keepdim=True)


def zoom_box(outline: Tensor) -> Tensor:
    """Return the window (N, 4) around the lesion in an outline's logits (N, 1, h, w), or everything if there is none.

    The lesion's middle and extent along each side come from a uniform distribution with the outline's mean and
    variance; a window is `_MARGIN` times as large. Everything is continuous, so formats that round differently still
    see nearly the same.
    """
    shares = outline[:, 0].sigmoid()
    peak = shares.amax((1, 2))
    cells = torch.relu(shares - peak[:, None, None] / 2)
    found = ((peak - _UNSURE) / (_SURE - _UNSURE)).clamp(0, 1)
    (left, right), (top, bottom) = (_span(cells.sum(axis), found) for axis in (1, 2))
    return torch.stack([left, top, right, bottom], dim=1)


def _span(cells: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
    """Return start and end (N,) of a window along a side, from the lesion's share (N, cells) of each of its cells."""
    count = cells.shape[1]
    weights = cells / cells.sum(1, keepdim=True)
    places = _middles(count, cells)
    mean = (weights * places).sum(1)
    variance = (weights * (places - mean[:, None]).square()).sum(1) + 1 / (12 * count**2)
    half = (_MARGIN * (3 * variance).sqrt()).clamp(_SMALLEST / 2, 0.5)
    half = found * half + (1 - found) * 0.5
    middle = torch.minimum(torch.maximum(found * mean + (1 - found) * 0.5, half), 1 - half)
    return middle - half, middle + half


def enlarge_maps(maps: Tensor, side: int) -> Tensor:
    """Enlarge maps (N, C, s, s) to a multiple of their side by bilinear interpolation, which keeps their means."""
    return resample(maps, _everything(maps), side)


def place_maps(maps: Tensor, boxes: Tensor, side: int) -> Tensor:
    """Lay the maps (N, C, s, s) of mirrored boxes over the images that they were cut from: (N, C, side, side).

    Their means stay the same; they are 0 outside the boxes.
    """
    down = _overlaps(boxes[:, 1], boxes[:, 3], _middles(maps.shape[2], boxes), side)
    across = _overlaps(boxes[:, 0], boxes[:, 2], _middles(maps.shape[3], boxes, mirrored=True), side)
    return down[:, None] @ maps @ across[:, None].transpose(2, 3)


def _overlaps(start: Tensor, end: Tensor, places: Tensor, outputs: int) -> Tensor:
    """Return the weights (N, outputs, inputs) that map a window's cells, with middles ``places``, to an image's."""
    inputs = len(places)
    length = ((end - start) / inputs)[:, None, None]
    first = start[:, None, None] + length * (places * inputs - 0.5)
    low = (_middles(outputs, start) - 0.5 / outputs)[:, None]
    covered = torch.minimum(first + length, low + 1 / outputs) - torch.maximum(first, low)
    return torch.relu(covered) / length * (outputs / inputs)


def _everything(images: Tensor) -> Tensor:
    """Return a window (N, 4) that covers each whole image."""
    return images.new_tensor([[0.0, 0.0, 1.0, 1.0]]).expand(images.shape[0], 4)


def _middles(count: int, like: Tensor, *, mirrored: bool = False) -> Tensor:
    """Return the middles of equal parts of a side, as shares of it; ``mirrored`` reverses them."""
    places = torch.arange(count, dtype=like.dtype, device=like.device)
    return ((count - 1 - places if mirrored else places) + 0.5) / count
