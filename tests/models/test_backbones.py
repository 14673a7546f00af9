"""Any network as a backbone: cut at its last feature maps, divided into blocks, with its own names."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sonoforge.models.backbones import Backbone, BackboneError, as_maps, build, library_network, load_plain, plain_state
from sonoforge.models.mobilenetv2 import import_torchvision

SIDE = 64


def images(side: int = SIDE) -> Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    ("name", "width", "blocks", "head"),
    [
        ("resnet18", 512, 9, "fc"),  # the stem and eight residual blocks (He et al., CVPR 2016, table 1)
        ("efficientnet_b0", 1280, None, "classifier.1"),
        ("mobilenet_v3_small", 576, None, "pooled_head"),  # its own head has a hidden layer
        ("squeezenet1_1", 512, None, "pooled_head"),  # its own head is a convolution to the classes
        ("shufflenet_v2_x0_5", 1024, None, "fc"),
    ],
)
def test_blocks_of_a_library_network_compute_its_last_maps(
    name: str, width: int, blocks: int | None, head: str
) -> None:
    net = build(name, 5, SIDE)
    assert (net.classifier[1].in_features, net.classifier[1].out_features, net.head) == (width, 5, head)
    assert blocks in (None, len(net.features)) and len(net.features) > 5
    with torch.inference_mode():
        maps = net.features(images())
        assert maps.shape[:2] == (2, width) and maps.shape[2] == maps.shape[3] > 1
        if head != "pooled_head":  # then it is the library's own network, which loads its tensors by name
            plain = library_network(name, 5).eval()
            plain.load_state_dict(plain_state(net))
            assert torch.allclose(plain(images()), net(images()), atol=1e-5)


def test_mobilenet_v2_is_torchvisions_own_with_the_same_names() -> None:
    net = build("mobilenet_v2", 3, SIDE)
    assert isinstance(net, import_torchvision().models.MobileNetV2) and not isinstance(net, Backbone)
    assert plain_state(net).keys() == net.state_dict().keys()


def test_trained_blocks_train_as_the_network_itself_does() -> None:
    net = build("resnet18", 4, SIDE)
    plain = library_network("resnet18", 4)
    plain.load_state_dict(plain_state(net))
    for each in (net, plain):
        each.train()
        loss = each.features(images()).mean((2, 3)).square().mean() if each is net else _pooled(plain).square().mean()
        loss.backward()
    own = dict(net.features.named_parameters())
    for name, value in plain.named_parameters():
        if not name.startswith("fc."):
            (found,) = [grown for key, grown in own.items() if key.partition(".")[2] == name]
            assert torch.allclose(found.grad, value.grad, rtol=1e-3, atol=1e-6)  # type: ignore[arg-type]
    state = plain_state(net)
    assert all(torch.equal(state[key], value) for key, value in plain.named_buffers())  # batch norms learnt, too


def _pooled(resnet: nn.Module) -> Tensor:
    kept: list[Tensor] = []
    hook = resnet.avgpool.register_forward_hook(lambda *values: kept.append(values[2]))  # type: ignore[union-attr]
    resnet(images())
    hook.remove()
    return kept[0].flatten(1)


class Maps(nn.Module):
    """Three blocks, the middle one with a residual; a head of two layers unless it returns maps."""

    def __init__(self, *, maps: bool, untraceable: bool = False) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(6, 6, 3, 1, 1), nn.Conv2d(6, 9, 1)
        self.shift = nn.Parameter(torch.ones(1, 6, 1, 1))
        self.norm, self.act = nn.BatchNorm2d(6), nn.ReLU(inplace=True)
        self.hidden, self.last = nn.Linear(9, 8), nn.Linear(8, 3)
        self.maps, self.untraceable = maps, untraceable

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm(self.first(x) + self.shift))
        if self.untraceable and float(x.mean()) > 1e9:
            x = x * 2
        x = self.third(F.relu(x + self.second(x)))
        return x if self.maps else self.last(F.relu(self.hidden(x.mean((2, 3)))))


@pytest.mark.parametrize(("maps", "untraceable", "blocks"), [(True, False, 3), (False, False, 3), (True, True, 1)])
def test_own_network_is_divided_where_one_value_flows(maps: bool, untraceable: bool, blocks: int) -> None:
    made: list[Maps] = []
    net = build(lambda _: made.append(Maps(maps=maps, untraceable=untraceable)) or made[0], 3, SIDE)
    assert len(net.features) == blocks and net.classifier[1].in_features == 9
    own = made[0].eval()
    expected = own.third(F.relu((x := own.act(own.norm(own.first(images()) + own.shift))) + own.second(x)))
    assert torch.allclose(net.features(images()), expected, atol=1e-6)
    state = plain_state(net)
    below = {key for key in own.state_dict() if (maps and untraceable) or not key.startswith(("hidden", "last"))}
    assert state.keys() - {"pooled_head.weight", "pooled_head.bias"} == below
    zeros = {key: torch.zeros_like(value) for key, value in state.items()}
    load_plain(net, zeros | {"unknown": torch.ones(3)})
    assert all(not value.any() for value in net.state_dict().values())


def test_classes_are_told_to_a_function_that_asks_for_them() -> None:
    told: list[int] = []
    build(lambda classes: told.append(classes) or nn.Conv2d(3, 7, 3), 5, SIDE)
    assert told == [5]


def test_tokens_and_maps_with_channels_last_become_maps() -> None:
    maps = torch.randn(2, 5, 4, 4)
    tokens = torch.cat([torch.randn(2, 3, 5), maps.flatten(2).transpose(1, 2)], dim=1)  # three of no place first
    for values in (maps, maps.permute(0, 2, 3, 1), tokens, tokens[:, 3:]):
        assert torch.equal(as_maps(values), maps)


def test_a_network_that_reshapes_its_patches_is_cut_at_its_tokens() -> None:
    class Patches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches, self.token = nn.Conv2d(3, 12, 16, 16), nn.Parameter(torch.randn(1, 1, 12))
            self.mix, self.norm, self.head = nn.Linear(12, 12), nn.LayerNorm(12), nn.Linear(12, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.patches(x).flatten(2).transpose(1, 2)
            x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1)
            return self.head(self.norm(x + self.mix(x))[:, 0])

    net = build(lambda _: Patches(), 3, SIDE)
    assert net.features(images()).shape == (2, 12, 4, 4) and net.head == "pooled_head"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        ("resnet19", "'resnet19' is not a classification network of torchvision"),
        ("fasterrcnn_resnet50_fpn", "is not a classification network"),
        (lambda _: 3, "returns a int, not a torch.nn.Module"),
        (lambda _: nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, 3)), "has no feature maps"),
        (lambda _: nn.Linear(7, 3), "fails on images of 64 x 64 pixels"),
        (lambda _: nn.MultiheadAttention(4, 2), "fails on images"),
    ],
)
def test_what_cannot_be_a_backbone_is_refused(make: object, message: str) -> None:
    with pytest.raises(BackboneError, match=message):
        build(make, 3, SIDE)  # type: ignore[arg-type]


def test_timm_networks_by_name() -> None:
    pytest.importorskip("timm")
    net = build("resnet18.a1_in1k", 3, SIDE)  # a name that torchvision does not have
    assert net.head == "fc" and len(net.features) == 9
