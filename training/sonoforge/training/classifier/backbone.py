"""Name the network that a classifier trains: of torchvision, of timm, or the user's own code."""

import functools
import hashlib
import inspect
from pathlib import Path
from typing import Any, NamedTuple

import torch

from sonoforge.models import DEFAULT
from sonoforge.models.backbones import BackboneError, build, plain_state
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training import own_code


class Network(NamedTuple):
    """A network by name, for images of one size."""

    name: str = DEFAULT  # of torchvision or timm, or of own code with its hash, see `own_code.give`
    side: int = 224  # of the images, in pixels
    kept_in: Path | None = None  # folder with a copy of own code; None: it is where its name says

    @property
    def is_default(self) -> bool:
        """Whether it is MobileNetV2, whose weights bundles hold."""
        return self.name == DEFAULT

    @property
    def is_own(self) -> bool:
        """Whether it is the user's own code."""
        return own_code.is_own(self.name)

    @property
    def recorded(self) -> str:
        """The name for records, which tells versions of own code apart."""
        return own_code.find(self.name, self.kept_in).recorded if self.is_own else self.name

    @property
    def blocks(self) -> int:
        """How many blocks there are."""
        return len(outline(self).features)

    @property
    def short(self) -> str:
        """The name in a bundle's name."""
        return self.name.partition("#")[0].rpartition(":")[2].replace("_", "")

    def build(self, classes: int, seed: int, *, pretrained: bool = False) -> Any:
        """Build the classifier; what it draws comes from ``seed``.  See `backbones.build`."""
        make: Any = self._call if self.is_own else self.name
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            try:
                return build(make, classes, self.side, pretrained=pretrained)
            except BackboneError as error:
                raise SonoforgeError(f"--backbone {self.name}: {error}") from error

    def _call(self, classes: int) -> Any:
        """Run the user's function, which may take the number of classes."""
        function, own = own_code.load(self.name, self.kept_in), own_code.find(self.name, self.kept_in)
        if not callable(function):
            raise BackboneError("names no function or class; give FILE.py:NAME")
        with own_code.blaming(own):
            return function(classes=classes) if "classes" in inspect.signature(function).parameters else function()

    def keep_code(self, folder: Path) -> None:
        """Keep a copy of the user's code, if it is that, for `kept_in`."""
        if self.is_own:
            folder.mkdir(parents=True, exist_ok=True)
            own_code.keep(own_code.find(self.name, self.kept_in), folder)

    def own_digest(self) -> str:
        """Return a hash of the weights that the user's code brings along; empty if it draws them."""
        states = [plain_state(self.build(2, seed).features) for seed in (0, 1)]
        kernels = [key for key, value in states[0].items() if value.dim() > 1]
        if not all(torch.equal(states[0][key], states[1][key]) for key in kernels):
            return ""
        numbers = hashlib.sha256()
        for value in states[0].values():
            numbers.update(value.numpy().tobytes())
        return numbers.hexdigest()


MOBILENET = Network()


@functools.cache
def outline(network: Network) -> Any:
    """Return a classifier in evaluation mode, to look at its structure; MobileNetV2's has no values."""
    with torch.device("meta" if network.is_default else "cpu"):
        return network.build(1, 0).eval()
