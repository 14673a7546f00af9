"""Run the Inception-v3 behind published FID, KID and Inception Score, without unpickling its weights.

The network is TensorFlow's of 2015-12-05 as ported by torch-fidelity (Obukhov et al., doi:10.5281/zenodo.4957738): its
own layers and resize (bilinear of TensorFlow 1, to 299x299), features after the last pooling (2048), and logits without
their bias. torch-fidelity unpickles weights, which can run code; here they are read as ``.safetensors`` or as plain
tensors, and put into its layers.

Inception score (Salimans et al., NeurIPS 2016, section 4): the exponential of the mean Kullback-Leibler divergence
between a classifier's probabilities for one image and their mean over all images.  It never sees a real image, and a
set of n images cannot score more than n: published figures use 50 000 images in ten splits.  Small sets are therefore
scored whole (`recommended_splits`), and only figures from equally large sets with the same splits are comparable.
"""

import hashlib
import io
import itertools
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import entr
from torch import Tensor, nn

from sonoforge.models.mobilenetv2 import import_torchvision
from sonoforge.runtime.errors import SonoforgeError, refusing
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.pretrained import DIGEST, check_tensors, read_weights

# Of weights-inception-2015-12-05-6726825d.pth (95 628 359 bytes), which torch-fidelity and pytorch-fid hand out.
STANDARD_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
SIZE = 299
FEATURES, CLASSES = 2048, 1008

SPLITS = 10  # Salimans 2016, in the authors' code
SMALLEST_SPLIT = 500  # ours, not published: with fewer images a split cannot even show half of ImageNet's classes

_LAYERS = ["2048", "logits_unbiased"]
_COUNTER = "num_batches_tracked"  # batch norm's training counter, which the network's output does not depend on
_EXPECTED = ".safetensors or .pth weights of the Inception-v3 of 2015-12-05, with torch-fidelity's key names"


class Inception(NamedTuple):
    """The network, ready for use."""

    name: str  # says whether the weights are the published ones, which only the published file's hash proves
    weights: str  # hash of the tensors' names, shapes and float32 values, whatever the file format
    module: nn.Module  # torch-fidelity's extractor, in evaluation mode

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (N, 2048) and class probabilities (N, 1008) of images (N, 3, H, W) uint8."""
        features, logits = self.module(images)
        return features, logits.softmax(1)


def open_inception(weights: Path | None, device: torch.device | str = "cpu", ways_out: str = "") -> Inception:
    """Open the network from a ``.safetensors`` or ``.pth`` file with torch-fidelity's key names.

    None downloads the published file once, into torch's folder (``TORCH_HOME``); ``ways_out`` lists alternatives.

    Raises:
        SonoforgeError: The file does not exist, is another network or would run code, or the download failed.
    """
    path = weights or _downloaded(ways_out)
    state, published = _read(path)
    extractor = blank_extractor()
    expected = extractor.state_dict()
    kept = {name: value for name, value in state.items() if not name.endswith(_COUNTER)}
    computing = {name: value for name, value in expected.items() if not name.endswith(_COUNTER)}
    check_tensors(kept, computing, f"{path}: not this Inception-v3", f"give {_EXPECTED}")
    counters = {name: torch.zeros((), dtype=torch.int64) for name in expected if name.endswith(_COUNTER)}
    nn.Module.load_state_dict(extractor, kept | counters, assign=True)
    extractor.eval().requires_grad_(False).to(device)
    content = hashlib.sha256()
    for key, value in sorted(kept.items()):
        content.update(f"{key} {tuple(value.shape)}\n".encode())
        content.update(value.contiguous().numpy().astype("<f4").tobytes())
    digest = content.hexdigest()[:DIGEST]
    name = f"inception-v3 (weights sha256 {digest})"
    if published:
        name = f"inception-v3 2015-12-05 (the published weights, sha256 {STANDARD_SHA256[:DIGEST]})"
    return Inception(name, digest, extractor)


def blank_extractor() -> Any:
    """Return torch-fidelity's extractor with shapes only: no memory, no random draws."""
    import_torchvision()  # torch-fidelity imports it, which fails where torch is of another build
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3  # noqa: PLC0415

    class Blank(FeatureExtractorInceptionV3):  # type: ignore[misc]
        def load_state_dict(self, *_: object, **__: object) -> None:
            """Load nothing, because the constructor would load the file before it is checked."""

    nothing = io.BytesIO()  # the constructor opens a file or downloads one
    torch.save({}, nothing)
    nothing.seek(0)
    with torch.device("meta"):
        return Blank("inception", _LAYERS, feature_extractor_weights_path=nothing)


def library() -> str:
    """Return the name and version of the libraries that compute the features."""
    import_torchvision()
    from torch_fidelity.version import __version__  # noqa: PLC0415

    return f"torch {torch.__version__.partition('+')[0]}, torch-fidelity {__version__}"


def _read(path: Path) -> tuple[Mapping[str, Tensor], bool]:
    """Return the tensors of a file, floating ones as float32, and whether it is the published file."""
    if not path.is_file():
        raise SonoforgeError(f"{path}: no such weights file; give {_EXPECTED}")
    if path.suffix == ".safetensors":
        return read_weights(path, "").state, False
    if path.suffix not in (".pth", ".pt"):
        raise SonoforgeError(f"{path}: unknown file type; give {_EXPECTED}")
    with refusing(f"{path}: cannot be read", "check its permissions"):
        content = path.read_bytes()
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise SonoforgeError(
            f"{path}: refused, because it holds more than plain tensors and could run code; give {_EXPECTED}"
        ) from error
    except Exception as error:  # a damaged or hostile file may fail in any way
        raise SonoforgeError(f"{path}: not a readable file of tensors; give {_EXPECTED}") from error
    if not isinstance(state, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise SonoforgeError(f"{path}: not a plain mapping of names to tensors; give {_EXPECTED}")
    widened = {name: value.detach().float() if value.is_floating_point() else value for name, value in state.items()}
    return widened, hashlib.sha256(content).hexdigest() == STANDARD_SHA256


def _downloaded(ways_out: str) -> Path:
    """Return the published file, downloading it once."""
    import_torchvision()
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3  # noqa: PLC0415

    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(URL_INCEPTION_V3).name
    if path.is_file():
        return path
    with refusing(f"inception: {URL_INCEPTION_V3} could not be downloaded", ways_out, (OSError, RuntimeError)):
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(URL_INCEPTION_V3, str(path), STANDARD_SHA256, progress=False)
    return path


def recommended_splits(images: int) -> int:
    """Return the published ten splits for 5000 images or more, otherwise one: the whole set."""
    return SPLITS if images >= SPLITS * SMALLEST_SPLIT else 1


def inception_score(probabilities: NDArray[Any], splits: int = SPLITS, seed: int = 0) -> float:
    """Return exp(mean over images of KL(p(y|x) || p(y))), with p(y) the mean over the split's images; mean of splits.

    ``probabilities`` (N, K) has a row for each generated image that sums to 1 (within 0.001). ``seed`` shuffles the
    images, which does not affect a single split.

    Raises:
        ValueError: It is not a table of probabilities.
        SonoforgeError: A split has fewer than two images, or a probability is not a finite number.
    """
    if probabilities.ndim != 2:
        raise ValueError(f"inception score: shape must be (N, K), not {probabilities.shape}")
    count = len(probabilities)
    if splits < 1 or count < 2 * splits:
        raise SonoforgeError(
            f"inception score: {count} images cannot be split into {splits} of at least 2; use fewer splits or more "
            "images"
        )
    table = probabilities.astype(np.float64)
    if not np.isfinite(table).all():
        raise SonoforgeError("inception score: some class probabilities are not finite; check the images and weights")
    if table.min() < 0 or np.abs(table.sum(1) - 1).max() > 1e-3:
        raise ValueError("inception score: rows are not probabilities; give the softmax of the logits")
    order = np.random.default_rng(derive_seed(seed, "inception score splits")).permutation(count)
    bounds = [part * count // splits for part in range(splits + 1)]
    parts = [table[order[low:high]] for low, high in itertools.pairwise(bounds)]
    # The mean divergence is the entropy of the mean minus the mean entropy.
    scores = [np.exp(entr(part.mean(0)).sum() - entr(part).sum(1).mean()) for part in parts]
    return float(np.mean(scores))
