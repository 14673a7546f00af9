"""Make any image network a backbone of our classifiers: a chain of blocks, pooled, and a linear layer for the classes.

The network is traced and cut at its last feature maps; what follows gives way to pooling and one linear layer, so that
class-activation maps stay exact.  A chain can be cut wherever only one value is needed from there on, which its first
blocks can then be frozen and computed once for.  Tensors keep the names that the network itself gives them.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from sonoforge.models import DEFAULT
from sonoforge.models.mobilenetv2 import import_torchvision, mobilenet_v2

OWN_HEAD = "pooled_head"  # name of the linear layer, unless the network itself ends in such a one
_MOST_PREFIXES = 8  # tokens that stand for no place: a class token and registers
_GROWTH = 2  # a chain is not cut where maps are more than this many times as large as at the cut before


class BackboneError(ValueError):
    """A network cannot be a backbone; the text continues the network's name with why, and what to do."""


class Backbone(nn.Module):
    """Blocks ``features``, from images (N, 3, S, S) to maps (N, D, h, w), and ``classifier``, as in MobileNetV2."""

    def __init__(self, blocks: Sequence[nn.Module], width: int, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(*blocks)
        linear = nn.Linear(width, classes)
        nn.init.normal_(linear.weight, 0.0, 0.01)
        nn.init.zeros_(linear.bias)
        self.classifier = nn.Sequential(nn.Dropout(0.2), linear)
        self.head = OWN_HEAD

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, classes)."""
        logits: Tensor = self.classifier(self.features(images).mean((2, 3)))
        return logits


class Whole(nn.Module):
    """A network in one block, because it cannot be traced."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        """Return maps (N, D, h, w)."""
        return as_maps(getattr(self.net, "forward_features", self.net)(images))


def plain_names(net: nn.Module) -> dict[str, str]:
    """Return the names that a network's author knows, by the key of our classifier's ``state_dict``."""
    if not isinstance(net, Backbone):
        return {key: key for key in net.state_dict() if not key.startswith("outline.")}
    names = {}
    for key in net.state_dict():
        part, _, rest = key.split(".", 2)
        names[key] = f"{net.head}.{rest}" if part == "classifier" else rest
        if part == "features" and isinstance(net.features[0], Whole):
            names[key] = rest.removeprefix("net.")
    return names


def plain_state(net: nn.Module) -> dict[str, Tensor]:
    """Return a classifier's tensors by the names that the network's author knows."""
    state = net.state_dict()
    return {name: state[key] for key, name in plain_names(net).items()}


def load_plain(net: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load tensors named as in `plain_state`; others are left unchanged."""
    net.load_state_dict({key: state[name] for key, name in plain_names(net).items() if name in state}, strict=False)


def library_network(name: str, classes: int, *, pretrained: bool = False) -> nn.Module:
    """Build a classification network of torchvision, or of timm where it is installed.

    Args:
        name: As torchvision or timm calls it; torchvision's comes first.
        classes: Number of classes of its own last layer.
        pretrained: Let timm download its weights; torchvision's are loaded elsewhere.

    Raises:
        BackboneError: Neither knows the name.
    """
    models = import_torchvision().models
    if is_torchvision(name):
        net: nn.Module = models.get_model(name, weights=None, num_classes=classes)
        return net
    try:
        import timm  # noqa: PLC0415 - optional, and slow
    except ImportError:
        remedy = "pip install timm for those of timm, or give FILE.py:NAME for your own"
        raise BackboneError(f"{name!r} is not a classification network of torchvision; {remedy}") from None
    if not timm.is_model(name):
        raise BackboneError(f"{name!r} is not a classification network of torchvision or timm {timm.__version__}")
    return timm.create_model(name, pretrained=pretrained, num_classes=classes)


def is_torchvision(name: str) -> bool:
    """Whether torchvision has a classification network of this name."""
    models = import_torchvision().models
    return name in models.list_models(module=models)


def build(make: str | Callable[[int], Any], classes: int, side: int, *, pretrained: bool = False) -> Any:
    """Build a classifier with ``features``, a chain of blocks, and ``classifier``, dropout and a linear layer.

    Args:
        make: A name for `library_network`; or a function that returns a network from images (N, 3, S, S) to feature
            maps (N, D, h, w) or to classes, of which it gets the number.
        classes: Number of classes.
        side: Side of the images in pixels.
        pretrained: See `library_network`.

    Raises:
        BackboneError: There is no such network, or it has no feature maps at this size.
    """
    if make == DEFAULT:
        return mobilenet_v2(classes)
    if isinstance(make, str):
        net: Any = library_network(make, classes, pretrained=pretrained)
    else:
        net = make(classes)
        if not isinstance(net, nn.Module):
            raise BackboneError(f"returns a {type(net).__name__}, not a torch.nn.Module")
    for module in net.modules():
        if isinstance(getattr(module, "inplace", None), bool):
            module.inplace = False  # blocks must not change the cached maps that they get
    return cut(net.eval(), classes, side)


@torch.no_grad()
def cut(net: nn.Module, classes: int, side: int) -> Backbone:
    """Cut a network, in evaluation mode, at its last feature maps, and divide what is left into blocks.

    The new last layer has the weights of the network's own if that computes the same from pooled maps.
    """
    example = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    try:
        answer = net(example)
    except Exception as error:  # whatever a foreign network raises
        said = " ".join(str(error).split())[:200]
        raise BackboneError(f"fails on images of {side} x {side} pixels ({said}); set classifier.image_size") from error
    if not isinstance(answer, Tensor):
        raise BackboneError(f"answers with a {type(answer).__name__}, not one tensor of feature maps or classes")
    try:
        traced = fx.GraphModule(net, _Tracer().trace(net))
        ShapeProp(traced).propagate(example)
    except Exception:  # tracing stops at any code that depends on values
        return _uncut(net, example, classes)
    blocks, width = _divide(traced, classes if answer.dim() == 2 else -1, side)
    if not blocks:
        raise BackboneError(
            f"has no feature maps (N, D, h, w) with h, w > 1 for images of {side} x {side} pixels; set a larger "
            "classifier.image_size, or return the maps"
        )
    made = Backbone(blocks, width, classes).eval()
    linear = next((own for own in reversed(list(net.named_modules())) if isinstance(own[1], nn.Linear)), None)
    if linear and linear[1].weight.shape == (classes, width) and linear[1].bias is not None:
        fresh = copy.deepcopy(made.classifier)
        nn.init.normal_(linear[1].weight)  # of a network that is not used further
        made.classifier[1] = linear[1]
        answer, own = net(example), made(example)
        if own.shape == answer.shape and (own - answer).abs().max() < 1e-4 * answer.abs().max():
            made.head = linear[0]
        made.classifier = fresh
    return made


def as_maps(values: Tensor) -> Tensor:
    """Turn maps (N, D, h, w), maps (N, h, w, D) or tokens (N, T, D), of square images, into maps (N, D, s, s).

    Tokens that stand for no place come first, and are left out.
    """
    if values.dim() == 4 and values.shape[2] == values.shape[3]:
        return values
    if values.dim() == 4:
        return values.permute(0, 3, 1, 2)
    side = math.isqrt(values.shape[1])
    return values[:, values.shape[1] - side * side :].transpose(1, 2).reshape(values.shape[0], -1, side, side)


def _width(shape: Sequence[int]) -> int:
    """Return D of something for `as_maps`; 0 for other shapes."""
    if len(shape) == 4 and (shape[2] == shape[3] > 1 or shape[1] == shape[2] > 1):
        return shape[1] if shape[2] == shape[3] else shape[3]
    side = math.isqrt(shape[1]) if len(shape) == 3 else 0
    return shape[2] if side > 1 and shape[1] - side * side <= _MOST_PREFIXES else 0


def _uncut(net: nn.Module, example: Tensor, classes: int) -> Backbone:
    """Use a network that cannot be traced as one block, if it gives maps."""
    values = getattr(net, "forward_features", net)(example)
    if isinstance(values, Tensor) and (width := _width(values.shape)):
        return Backbone([Whole(net)], width, classes).eval()
    raise BackboneError(
        "cannot be traced by torch.fx (its code depends on the values of tensors), so its feature maps are not found; "
        "return the feature maps (N, D, h, w) instead of classes"
    )


class _Tracer(fx.Tracer):
    """Trace down to torch's own layers and to modules without children, which know whether they are in training."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        homes = {base.__module__ for base in type(m).__mro__ if base is not nn.Module}
        torchs = any(home.startswith("torch.nn.modules.") for home in homes - {nn.Sequential.__module__})
        return torchs or not any(True for _ in m.children())


def _divide(traced: fx.GraphModule, taken: int, side: int) -> tuple[list[nn.Module], int]:
    """Return the blocks up to the last feature maps, and D of these; none if there are no maps.

    Maps of ``taken`` channels do not count: they are scores of the classes.
    """
    for node in list(traced.graph.nodes):
        if node.target is torch._assert:
            traced.graph.erase_node(node)
    traced.graph.eliminate_dead_code()
    nodes = [node for node in traced.graph.nodes if node.op not in ("get_attr", "output")]
    place = {node: index for index, node in enumerate(nodes)}
    needed = [max((place.get(user, len(nodes)) for user in node.users), default=-1) for node in nodes]
    reach = -1  # the last place that needs a value made before this one
    alone = []  # places behind which one tensor alone is needed
    for index, node in enumerate(nodes):
        if index and reach <= index < needed[index] and _shape(node):
            alone.append(index)
        reach = max(reach, needed[index])
    spatial = [index for index in alone if _width(_shape(nodes[index])) not in (0, taken)]
    while len(spatial) > 1 and isinstance(_module(traced, nodes[spatial[-1]]), (nn.AdaptiveAvgPool2d, nn.Dropout)):
        spatial.pop()
    if not spatial:
        return [], 0
    pieces: list[list[fx.Node]] = []  # each with a kernel or a matrix
    start, heavy = 1, False
    for end in (index for index in alone if index <= spatial[-1]):
        piece = nodes[start : end + 1]
        own = any(_has_matrix(traced, node) for node in piece)
        if pieces and not (own and heavy):
            pieces[-1] += piece
        else:
            pieces.append(piece)
        start, heavy = end + 1, heavy or own
    blocks: list[nn.Module] = []
    begun: list[fx.Node] = []
    entry, before = nodes[0], 3 * side * side
    for piece in pieces:
        begun += piece
        size = math.prod(_shape(piece[-1])[1:])
        if size <= _GROWTH * before or piece is pieces[-1]:
            blocks.append(_block(traced, begun, entry, as_last=piece is pieces[-1]))
            entry, before, begun = piece[-1], size, []
    return blocks, _width(_shape(entry))


def _block(traced: fx.GraphModule, nodes: Sequence[fx.Node], entry: fx.Node, *, as_last: bool) -> nn.Module:
    """Return a module of some of the nodes; its tensors keep their names."""
    graph = fx.Graph()
    known = {entry: graph.placeholder("maps")}
    for node in nodes:
        for read in node.all_input_nodes:
            if read.op == "get_attr" and read not in known:
                known[read] = graph.node_copy(read)
        known[node] = graph.node_copy(node, known.__getitem__)
    result, shape = known[nodes[-1]], _shape(nodes[-1])
    if as_last and (len(shape) != 4 or shape[2] != shape[3]):
        result = graph.call_function(as_maps, (result,))
    graph.output(result)
    return fx.GraphModule(traced, graph)


def _shape(node: fx.Node) -> tuple[int, ...]:
    """Return the shape of a tensor; empty for other values."""
    return tuple(getattr(node.meta.get("tensor_meta"), "shape", ()))


def _module(traced: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    return traced.get_submodule(str(node.target)) if node.op == "call_module" else None


def _has_matrix(traced: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node reads a kernel or a matrix."""
    module = _module(traced, node)
    reads = [] if module is None else list(module.parameters())
    reads += [attrgetter(str(read.target))(traced) for read in node.all_input_nodes if read.op == "get_attr"]
    return any(isinstance(own, Tensor) and sum(size > 1 for size in own.shape) > 1 for own in reads)
