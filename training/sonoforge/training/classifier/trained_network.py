"""Take a trained classifier into plain torch."""

from pathlib import Path

from torch import nn

from sonoforge.models import DEFAULT
from sonoforge.models.backbones import OWN_HEAD, library_network, plain_state
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.training import own_code
from sonoforge.training.classifier.initial_weights import read_mobilenet
from sonoforge.training.classifier.model_folder import load_model


def load_network(source: str | Path | None = None, member: int = 0) -> nn.Module:
    """Return a trained network in evaluation mode, from normalised images (N, 3, S, S) to logits (N, C).

    A network of torchvision or timm that ends in pooling and one linear layer is the library's own class.  It answers
    on one look at an image; a bundle may answer on several networks, mirror images or passes.

    Args:
        source: A finished run of ``run`` or ``train``, or a bundle of one MobileNetV2; None for the shipped bundle.
        member: Which network of a run's ensemble.

    Raises:
        SonoforgeError: There is neither, or the bundle holds another network.
    """
    net: nn.Module
    if source is None or not (Path(source) / "model" / "model.json").is_file():
        net = read_mobilenet(open_bundle(source))
        return net
    members, record, _ = load_model(Path(source) / "model")
    name, net = record.training.get("backbone", DEFAULT), members[member]
    if name == DEFAULT or own_code.is_own(name) or net.head == OWN_HEAD:
        return net
    plain = library_network(name, len(record.classes))
    plain.load_state_dict(plain_state(net))
    return plain.eval()
