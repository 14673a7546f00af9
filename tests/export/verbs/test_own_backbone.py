"""Other networks than MobileNetV2: trained, resumed, exported, answered and taken along as it is."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from page_code import DOCS, as_new_machine, blocks, place_with
from program import Finished, sonoforge, succeed, words
from sonoforge.models.backbones import plain_state
from sonoforge.models.mobilenetv2 import import_torchvision
from sonoforge.runtime import Classifier
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.preprocessing import IMAGENET
from sonoforge.runtime.inference.onnx_session import load_session
from sonoforge.training import own_code
from sonoforge.training.classifier.model_folder import load_model
from sonoforge.training.classifier.trained_network import load_network

SOURCE = blocks(DOCS / "own-network.md", "python")[0]
SIDE = 64
SMALL = words(
    f"--data phantom --set phantom.images=60 --device cpu --set classifier.image_size={SIDE} "
    "--set classifier.epochs=1 --set classifier.weights=none"
)
TRAIN = [
    "train",
    *SMALL,
    *words("--set train.holdout=0.25 --set classifier.ensemble_size=2 --set classifier.mirror=false"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the file on the page."""
    return place_with(SOURCE, "net.py", tmp_path_factory)


@pytest.fixture(autouse=True)
def _this_machine(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_new_machine(place, monkeypatch)


def _train(place: Path, backbone: str, *more: str) -> Finished:
    folders = ["--out", str(place / "runs"), "--set", f"cache.folder={place / 'decoded'}"]
    return sonoforge(*TRAIN, "--backbone", backbone, *folders, *more, "--json")


def _check(run: Path, formats: str, width: int) -> None:
    """The files pass the gate, answer as the trained networks do, and say which network it is."""
    made = succeed("export", run, "--formats", formats, "--json").json
    assert {row["format"]: row["status"] for row in made["formats"]} == dict.fromkeys(formats.split(","), "passed")
    bundle = open_bundle(run / "bundle")
    members, _, _ = load_model(run / "model")
    pixels = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)
    inputs = IMAGENET.normalise(pixels)
    session = load_session(bundle.read("model.onnx"), "model.onnx")
    logits, _, embedding, cam = session.run(None, {"input": inputs})
    with torch.inference_mode():
        expected = torch.stack([net(torch.from_numpy(inputs)) for net in members]).mean(0)
        first = load_network(run)(torch.from_numpy(inputs))
        assert torch.allclose(first, members[0](torch.from_numpy(inputs)), atol=1e-5)
    assert np.allclose(logits, expected.numpy(), atol=1e-4) and embedding.shape == (2, width)
    bias = torch.stack([net.classifier[1].bias for net in members]).mean(0).detach().numpy()
    assert np.allclose(cam.mean((2, 3)) + bias, logits, atol=1e-4)  # heat maps are exact
    Image.fromarray(pixels[0]).save("scan.png")
    assert set(Classifier(run / "bundle").classify("scan.png").probabilities) == {"normal", "benign", "malignant"}
    training, card = bundle.manifest.raw["training"], bundle.read("MODEL_CARD.md").decode()
    assert f"{training['backbone']}, {SIDE} x {SIDE}" in card and "MobileNetV2 (torchvision)" not in card
    assert f"{training['frozen_blocks']} of {len(members[0].features)} blocks frozen" in card
    assert "batch-norm.npz" not in bundle.manifest.files


def test_the_network_on_the_page_is_trained_exported_and_safe(
    place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    done = _train(place, "net.py:toy")
    assert done.code == 0, done.err
    run = Path(done.json["run"])
    _check(run, "onnx", 192)
    record = json.loads((run / "model" / "model.json").read_text())
    assert record["name"].startswith("toy-phantom") and record["training"]["frozen_blocks"] == round(11 / 19 * 8)
    assert re.fullmatch(r"net\.py:toy#[0-9a-f]{16}", record["training"]["backbone"])
    assert "already finished" in _train(place, "net.py:toy", "--resume").err
    refused = sonoforge("export", run / "bundle", "--formats", "ort", "--out", tmp_path / "again")
    assert refused.code == 2 and "only MobileNetV2 is rebuilt from a bundle: export its run folder" in refused.err
    with pytest.raises(SonoforgeError, match="only of MobileNetV2 are weights read from a bundle"):
        load_network(run / "bundle")
    # On a machine where nobody named it, the copy in the run folder is not run.
    monkeypatch.setattr(own_code, "default_folder", lambda: tmp_path / "elsewhere")
    for known in (own_code._RUN, own_code._GIVEN):
        known.clear()
    assert "never allowed on this machine" in sonoforge("export", run, "--out", tmp_path / "b").err
    monkeypatch.setattr(own_code, "default_folder", lambda: place / "cache")
    file = place / "net.py"
    file.write_text(file.read_text().replace("padding=1)", "padding=1, groups=1)"))
    assert "was made from initial weights net.py:toy#" in _train(place, "net.py:toy", "--resume").err


def test_weights_that_the_code_brings_along_are_kept_and_named(place: Path) -> None:
    torch.manual_seed(5)
    brought = nn.Conv2d(3, 8, 3, padding=1)
    torch.save(brought.state_dict(), place / "w.pt")
    load = "net = nn.Conv2d(3, 8, 3, padding=1)\n    net.load_state_dict(torch.load('w.pt', weights_only=True))"
    (place / "kept.py").write_text(f"import torch\nfrom torch import nn\n\n\ndef kept():\n    {load}\n    return net\n")
    run = Path(_train(place, "kept.py:kept", "--set", "classifier.learning_rate=1e-7").json["run"])
    record = json.loads((run / "model" / "model.json").read_text())
    assert record["training"]["weights"].startswith("kept.py:kept#") and "unknown" in record["training"]["weights"]
    found = load_file(run / "model" / "model.safetensors")
    assert found.keys() == {"weight", "bias", "pooled_head.weight", "pooled_head.bias"}
    assert torch.allclose(found["weight"], brought.weight, atol=1e-4)
    assert record["training"]["frozen_blocks"] == 0  # its only block is trained


@pytest.mark.slow
@pytest.mark.parametrize(("name", "width"), [("resnet18", 512), ("efficientnet_b0", 1280), ("mobilenet_v3_small", 576)])
def test_library_networks_are_trained_and_exported(place: Path, name: str, width: int) -> None:
    run = Path(_train(place, name).json["run"])
    also = ["executorch"] if importlib.util.find_spec("executorch") else []
    _check(run, ",".join(["onnx", "torchscript", *also]), width)
    if name != "mobilenet_v3_small":  # its own head has a hidden layer
        plain = getattr(import_torchvision().models, name)(num_classes=3).eval()
        plain.load_state_dict(load_file(run / "model" / "model.safetensors"))
        images = torch.randn(2, 3, SIDE, SIDE)
        assert torch.allclose(plain(images), load_model(run / "model")[0][0](images), atol=1e-5)
        assert type(load_network(run)) is type(plain)


def test_weights_of_mobilenet_go_into_torchvision(place: Path) -> None:
    run = Path(_train(place, "mobilenet_v2", "--set", "classifier.frozen_blocks=17").json["run"])
    members, record, _ = load_model(run / "model")
    images = torch.randn(2, 3, SIDE, SIDE)
    for member, name in enumerate(("model.safetensors", "model-1.safetensors")):
        plain = import_torchvision().models.mobilenet_v2(num_classes=3).eval()
        plain.load_state_dict(load_file(run / "model" / name))
        assert torch.equal(plain(images), members[member](images))
        assert torch.equal(load_network(run, member)(images), plain(images))
    assert "backbone" not in record.training and record.name.startswith("mobilenetv2-phantom")


def test_the_shipped_network_is_torchvisions() -> None:
    net = load_network()
    plain = import_torchvision().models.mobilenet_v2(num_classes=3).eval()
    plain.load_state_dict(plain_state(net))
    assert torch.equal(plain(torch.ones(1, 3, 96, 96)), net(torch.ones(1, 3, 96, 96)))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            "--backbone resnet18 --budget collections",
            "--backbone resnet18: outlines requires mobilenet_v2; give --budget quick",
        ),
        (
            "--backbone resnet18 --set classifier.frozen_blocks=9",
            "9 is too many; resnet18 has 9 blocks: give at most 8",
        ),
        ("--set classifier.frozen_blocks=19", "19 is too many; mobilenet_v2 has 19 blocks: give at most 18"),
        (
            "--backbone resnet18 --set classifier.weights=shipped",
            "bundle's weights are for MobileNetV2, not resnet18",
        ),
        ("--backbone resnt18", "'resnt18' is not a classification network of torchvision"),
        ("--backbone gone.py:toy", "gone.py: there is no such file"),
        ("--backbone net.py:toi", "defines no toi (did you mean toy?)"),
        ("--backbone net.py", "names no function or class"),
    ],
)
def test_what_does_not_fit_is_refused_before_a_run_folder_exists(place: Path, flags: str, message: str) -> None:
    out = place / "refused"
    done = sonoforge(*TRAIN, *words(flags), "--out", out, "--set", f"cache.folder={place / 'decoded'}")
    assert done.code == 2 and message in done.err and not out.exists()


@pytest.mark.slow
def test_a_whole_run_with_another_network(place: Path) -> None:
    words_of = words(
        "--folds 2 --arms real,gan --gan-recipe dcgan --set gan.width=4 --set gan.image_size=32 --set gan.steps=4"
    )
    words_of += words("--set classifier.backbone=resnet18 --set gan.batch=4 --jobs 1 --set classifier.ensemble_size=1")
    done = succeed("run", *SMALL, *words_of, "--out", place / "whole")
    bundle = open_bundle(Path(done.json["bundle"]))
    assert bundle.manifest.raw["training"]["backbone"] == "resnet18" and bundle.manifest.name.startswith("resnet18-")
    assert done.json["weights"] == "resnet18, random initialisation (--weights none)"
    shutil.rmtree(place / "whole")
