"""Inception-v3 with weights that are never unpickled, and its score against closed forms and torch-fidelity."""

from __future__ import annotations

import hashlib
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from sonoforge.models.mobilenetv2 import import_torchvision
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.evaluation import inception
from sonoforge.training.evaluation.inception import blank_extractor, inception_score, open_inception, recommended_splits
from sonoforge.training.evaluation.spaces import open_space

State = dict[str, torch.Tensor]


def _random_state() -> State:
    """Weights in the official structure, small enough that activations stay finite."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, blank in blank_extractor().state_dict().items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
        elif name.endswith(("running_var", "bn.weight")):
            state[name] = torch.rand(blank.shape, generator=generator) + 0.5
        else:
            fan_in = max(1, blank[0].numel()) if blank.dim() > 1 else 100
            state[name] = torch.randn(blank.shape, generator=generator) * (2 / fan_in) ** 0.5
    return state


@pytest.fixture(scope="module")
def state() -> State:
    return _random_state()


@pytest.fixture(scope="module")
def pth(state: State, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save(state, path)
    return path


def _images(count: int, channels: int = 3, size: int = 40) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(1).integers(0, 256, (count, size, size, channels), dtype=np.uint8)


def test_features_and_probabilities_are_those_of_torch_fidelity(pth: Path) -> None:
    import_torchvision()
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    images = _images(4)
    theirs = FeatureExtractorInceptionV3(
        "theirs", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(pth)
    )  # the file is this test's own
    with torch.inference_mode():
        features, logits = theirs(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
    found = open_space("inception", pth).embed(images)
    assert found.features.shape == (4, 2048)
    assert np.array_equal(found.features, features.numpy())
    assert found.probabilities is not None
    assert np.array_equal(found.probabilities, torch.softmax(logits, 1).numpy())
    assert np.ptp(found.features, axis=0).max() > 0  # different images are told apart


def test_both_formats_are_one_network_and_neither_is_called_the_published_one(
    state: State, pth: Path, tmp_path: Path
) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(state, path)
    first, second = open_inception(pth), open_inception(path)
    assert first.weights == second.weights
    assert first.name == second.name == f"inception-v3 (weights sha256 {first.weights})"
    assert all(
        torch.equal(value, state[name]) for name, value in second.module.state_dict().items() if "bn." not in name
    )
    changed = {**state, "fc.bias": state["fc.bias"] + 1e-3}
    save_file(changed, path)
    assert open_inception(path).weights != first.weights
    space = open_space("inception", pth)
    assert space.protocol["weights"] == f"tensors sha256 {first.weights}"


def test_only_the_published_files_hash_makes_weights_the_published_ones(
    pth: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inception, "STANDARD_SHA256", hashlib.sha256(pth.read_bytes()).hexdigest())
    assert open_inception(pth).name.startswith("inception-v3 2015-12-05 (the published weights, sha256 ")


def test_files_without_the_counters_of_batch_norm_are_whole(state: State, pth: Path, tmp_path: Path) -> None:
    path = tmp_path / "inference.safetensors"
    save_file({name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}, path)
    assert open_inception(path).weights == open_inception(pth).weights


class _Mischief:
    """Unpickling this writes a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.write_text, (self.trace, "executed")


@pytest.mark.parametrize("save", ["torch", "pickle"])
def test_a_file_that_would_run_code_is_refused_and_does_not_run(tmp_path: Path, state: State, save: str) -> None:
    path, trace = tmp_path / "weights.pth", tmp_path / "trace"
    content = {**state, "more": _Mischief(trace)}
    if save == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps({"more": _Mischief(trace)}, protocol=2))
    with pytest.raises(SonoforgeError, match=r"weights\.pth: refused, .* could run code") as error:
        open_inception(path)
    assert "\n" not in str(error.value)
    assert not trace.exists()
    # The test can fail: the same file, opened as torch-fidelity opens its weights, does run.
    torch.load(path, weights_only=False) if save == "torch" else pickle.loads(path.read_bytes())
    assert trace.read_text() == "executed"


def test_other_networks_and_other_files_are_refused_in_one_line(tmp_path: Path, state: State) -> None:
    def without(name: str) -> State:
        return {key: value for key, value in state.items() if key != name}

    torch.save(import_torchvision().models.squeezenet1_1(weights=None).state_dict(), tmp_path / "squeezenet.pth")
    torch.save(without("fc.weight"), tmp_path / "headless.pth")
    torch.save({**state, "fc.bias": torch.zeros(1000)}, tmp_path / "thousand.pth")
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    torch.save({"state_dict": {"fc.bias": torch.zeros(2)}}, tmp_path / "nested.pth")
    (tmp_path / "rubbish.pth").write_bytes(b"rubbish")
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "weights.pkl").write_bytes(b"")
    for name, message in {
        "squeezenet.pth": r"not this Inception-v3 \(\d+ tensors are missing",
        "headless.pth": r"1 tensors .* first fc\.weight\)",
        "thousand.pth": r"1 tensors .* first fc\.bias\)",
        "list.pth": "not a plain mapping of names to tensors",
        "nested.pth": "not a plain mapping of names to tensors",
        "rubbish.pth": "refused|not a readable file",
        "empty.pth": "not a readable file of tensors",
        "weights.pkl": "unknown file type",
        "missing.pth": "no such weights file",
    }.items():
        with pytest.raises(SonoforgeError, match=message) as error:
            open_inception(tmp_path / name)
        assert str(error.value).startswith(str(tmp_path / name))
        assert "\n" not in str(error.value)


def test_a_download_that_fails_names_the_other_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("Network is unreachable\nand a second line")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(SonoforgeError, match=r"\.pth could not be downloaded \(Network is unreachable.*\); ") as error:
        open_space("inception")
    assert "\n" not in str(error.value)
    for way in ("give weights, a file", "mobilenetv2-imagenet", "bundle", "pixels"):
        assert way in str(error.value)


def test_a_download_is_kept_and_read_like_any_file(pth: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(_: str, path: str, hash_prefix: str, progress: bool) -> None:
        asked.append(hash_prefix)
        Path(path).write_bytes(pth.read_bytes())

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    assert open_inception(None).weights == open_inception(None).weights == open_inception(pth).weights
    assert asked == [inception.STANDARD_SHA256]


def _logits(count: int, classes: int, seed: int = 0, scale: float = 2.0) -> torch.Tensor:
    return scale * torch.randn(count, classes, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("classes", [2, 7, 1000])
def test_each_class_equally_often_and_without_doubt_scores_their_number(classes: int) -> None:
    found = inception_score(np.tile(np.eye(classes), (3, 1)), splits=1)
    assert found == pytest.approx(classes)


def test_two_classes_in_known_shares_score_their_entropy() -> None:
    table = np.eye(2)[np.repeat([0, 1], [30, 10])]
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert inception_score(table, splits=1) == pytest.approx(math.exp(entropy))


def test_a_set_cannot_score_more_than_its_number_of_images() -> None:
    assert [recommended_splits(images) for images in (50, 4999, 5000, 50_000)] == [1, 1, 10, 10]
    table = np.eye(1000)[:100]
    assert inception_score(table, splits=1) == pytest.approx(100)
    assert inception_score(table, splits=10) == pytest.approx(10)


def test_agrees_with_torch_fidelity() -> None:
    """Shuffled as ours, split by split."""
    import_torchvision()
    from torch_fidelity.metric_isc import isc_features_to_metric

    from sonoforge.runtime.seeds import derive_seed

    logits = _logits(95, 12, seed=3)
    order = np.random.default_rng(derive_seed(7, "inception score splits")).permutation(95)
    expected = isc_features_to_metric(logits[torch.from_numpy(order)], splits=10, shuffle=False)
    found = inception_score(logits.double().softmax(1).numpy(), splits=10, seed=7)
    assert found == pytest.approx(expected["inception_score_mean"], rel=1e-9)


def test_what_cannot_be_scored_is_refused() -> None:
    table = np.full((19, 4), 0.25)
    with pytest.raises(SonoforgeError, match="19 images cannot be split into 10"):
        inception_score(table, splits=10)
    with pytest.raises(SonoforgeError, match="not finite"):
        inception_score(np.where(np.arange(4) == 1, np.nan, table), splits=1)
    with pytest.raises(ValueError, match="not probabilities"):
        inception_score(table * 2, splits=1)
    with pytest.raises(ValueError, match=r"\(N, K\)"):
        inception_score(table[0], splits=1)
