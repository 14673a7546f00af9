"""`Classifier` against the same network computed in numpy, and the runtime's promise to need no torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bundle_factory as factory
from sonoforge.runtime import Classifier, ImageError
from sonoforge.runtime.images import quality_metrics as image_quality
from sonoforge.runtime.images.decoding import read_image
from sonoforge.runtime.inference.clips import answer_file
from sonoforge.runtime.inference.trust import Cause


def save(path: Path, seed: int) -> Path:
    Image.fromarray(factory.scan(seed)).save(path)
    return path


def prepared(path: Path) -> np.ndarray:
    small = Image.open(path).convert("RGB").resize((64, 64), Image.Resampling.BILINEAR)
    return np.asarray(small)[None]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_predict_equals_numpy_for_any_batch(classifier: Classifier, count: int) -> None:
    pixels = np.random.default_rng(count).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)
    expected, found = factory.forward(pixels), classifier.predict(pixels)
    assert list(found) == ["logits", "probabilities", "embedding", "cam"]
    for name, value in expected.items():
        assert found[name].dtype == np.float32
        assert found[name].shape == value.shape
        assert np.abs(found[name] - value).max() < 1e-4


@pytest.mark.parametrize("seed", [60, 61, 64])
def test_classify_tells_what_the_network_and_the_manifest_say(
    classifier: Classifier, tmp_path: Path, seed: int
) -> None:
    path = save(tmp_path / "a.png", seed)
    expected = factory.forward(prepared(path))
    answered = classifier.classify(path)
    result = answered.to_dict()
    assert list(result) == [
        *("file", "ok", "verdict", "label", "probabilities", "set", "findings", "abstained", "trust", "quality"),
        *("kind", "marks", "remarks", "model", "map", "crop", "ms"),
    ]
    assert result["crop"] is None
    assert result["ok"] is True
    assert result["file"] == str(path)
    found = np.array([result["probabilities"][name] for name in factory.CLASSES])
    equal = factory.equal_shares(prepared(path))[0]
    assert np.abs(found - equal).max() < 1e-5
    assert result["label"] == factory.CLASSES[int(equal.argmax())]
    assert result["set"] == [name for name, p in zip(factory.CLASSES, equal, strict=True) if p >= 0.2]
    lesion, malignant = equal[1] + equal[2], equal[2] / (equal[1] + equal[2])
    assert result["findings"] == {
        "lesion": {"probability": pytest.approx(lesion, abs=1e-5), "positive": lesion >= 0.3},
        "malignant": {"probability": pytest.approx(malignant, abs=1e-4), "positive": malignant >= 0.3},
    }
    assert list(result["quality"]) == [*image_quality.METRICS, "flags"]
    assert result["quality"]["resolution"] == 90
    assert set(result["trust"]) == {
        *("score", "in_distribution", "causes", "reasons", "distance", "neighbour_distance")
    }
    reference = np.load(classifier.bundle.path / "reference.npz")
    distance = np.linalg.norm((expected["embedding"][0] - reference["trust_mean"]) @ reference["trust_components"])
    assert result["trust"]["distance"] == pytest.approx(distance, rel=1e-3)
    assert set(result["ms"]) == {"decode", "preprocess", "infer", "total"}
    parts = [result["ms"][key] for key in ("decode", "preprocess", "infer")]
    assert all(part > 0 for part in parts)
    assert sum(parts) <= result["ms"]["total"]
    assert json.loads(json.dumps(result)) == result
    assert answered.size == (120, 90)
    assert answered.map == pytest.approx(expected["cam"][0, factory.CLASSES.index(answered.label)], abs=1e-4)
    assert answered.embedding == pytest.approx(expected["embedding"][0], abs=1e-4)


def test_class_thresholds_make_the_set(tmp_path: Path) -> None:
    folder = factory.write_bundle(tmp_path / "b")
    path = save(tmp_path / "a.png", 61)
    first = Classifier(folder).classify(path)
    other = next(name for name in factory.CLASSES if name != first.label)
    just = {name: value + 1e-9 for name, value in first.probabilities.items()}  # a hair too high
    just[other] = first.probabilities[other] - 1e-9
    factory.edit_manifest(folder, lambda m: m["conformal"].update(thresholds=just))
    found = Classifier(folder).classify(path)
    assert set(found.set) == {first.label, other}, "the label is in its set whatever its threshold"


def test_foreign_and_poor_images_are_pointed_out(classifier: Classifier, tmp_path: Path) -> None:
    Image.new("L", (300, 300), 255).save(tmp_path / "white.png")
    result = classifier.classify(tmp_path / "white.png")
    assert not result.trust.in_distribution
    assert Cause.UNLIKE_TRAINING in result.trust.causes
    assert {"saturated_high", "contrast_low", "brightness_high"} <= set(result.quality.flags)
    ordinary = classifier.classify(save(tmp_path / "a.png", 5))  # one of the reference images
    assert ordinary.trust.in_distribution
    assert ordinary.trust.score > result.trust.score
    assert ordinary.quality.flags == ()


@pytest.mark.parametrize("colour", [False, True])
def test_a_file_a_picture_and_an_array_get_the_same_answer(
    classifier: Classifier, tmp_path: Path, colour: bool
) -> None:
    pixels = factory.scan(3)
    if colour:
        pixels = np.stack([pixels, pixels // 2, pixels[::-1]], axis=2)
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    expected = classifier.classify(path)
    for given in (str(path), pixels, np.asfortranarray(pixels), Image.open(path), Image.fromarray(pixels)):
        found = classifier.classify(given)
        assert found.file == (given if isinstance(given, str) else None)
        assert {**found.to_dict(), "file": 0, "ms": 0} == {**expected.to_dict(), "file": 0, "ms": 0}
        assert np.array_equal(found.map, expected.map)


def test_a_picture_is_turned_upright_as_its_file_is(classifier: Classifier, tmp_path: Path) -> None:
    image = Image.fromarray(factory.scan(4))
    exif = image.getexif()
    exif[274] = 6
    image.save(tmp_path / "a.png", exif=exif)
    expected = classifier.classify(tmp_path / "a.png")
    assert expected.size == (90, 120)
    assert classifier.classify(Image.open(tmp_path / "a.png")).probabilities == expected.probabilities
    assert classifier.classify(read_image(tmp_path / "a.png")).probabilities == expected.probabilities
    sent = answer_file(classifier, "-", (tmp_path / "a.png").read_bytes())  # as standard input and `serve` do
    assert sent.result.probabilities == expected.probabilities
    assert classifier.classify(np.rot90(factory.scan(4), -1)).probabilities == expected.probabilities


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        (np.zeros((90, 120), np.float32), "unsupported", "array: float32 (90, 120) is not uint8"),
        (np.zeros((90, 120), np.uint16), "unsupported", "array: uint16 (90, 120) is not uint8"),
        (np.zeros((90, 120, 4), np.uint8), "unsupported", "array: uint8 (90, 120, 4) is not uint8"),
        (np.zeros((1, 90, 120), np.uint8), "unsupported", "array: uint8 (1, 90, 120) is not uint8"),
        (np.zeros((0, 120), np.uint8), "too_small", "array: 120x0 pixels"),
        (Image.new("F", (90, 120)), "unsupported", "image: F pixels"),
        (Image.new("L", (9, 120)), "too_small", "image: 9x120 pixels"),
    ],
)
def test_other_arrays_and_pictures_are_refused(
    classifier: Classifier, given: np.ndarray | Image.Image, code: str, message: str
) -> None:
    with pytest.raises(ImageError) as refusal:
        classifier.classify(given)
    assert refusal.value.code == code
    assert str(refusal.value).startswith(message)


def test_what_is_no_picture_at_all_is_a_type_error(classifier: Classifier) -> None:
    with pytest.raises(TypeError, match="not bytes"):
        classifier.classify(b"scan.png")  # type: ignore[arg-type]


def python(code: str, *arguments: str) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True, env=environment
    )
    return done.stdout


def test_the_runtime_imports_nothing_but_numpy_onnxruntime_and_pillow(classifier: Classifier, tmp_path: Path) -> None:
    code = """
import contextlib, io, sys
before = set(sys.modules)
import sonoforge.runtime.cli.main as cli, sonoforge.runtime.verbs.classify, sonoforge.runtime.verbs.verify
bundle, image, table, folder = sys.argv[1:]
for line in (["classify", image, "--bundle", bundle, "--csv", table, "--json", "--quiet"],
             ["verify", bundle, "--json", "--quiet"],
             ["quality", folder, "--bundle", bundle, "--json", "--quiet"]):
    with contextlib.redirect_stdout(io.StringIO()):
        assert cli._run(line) == 0
new = {name.split(".")[0] for name in set(sys.modules) - before}
print(" ".join(sorted(new - set(sys.stdlib_module_names) - {"__mp_main__"})))
"""
    image = [save(tmp_path / f"{seed}.png", seed) for seed in range(8)][1]
    found = python(code, *map(str, (classifier.bundle.path, image, tmp_path / "a.csv", tmp_path))).split()
    # numpy.random's compiled modules share one that is not on disk.
    third_party = {name for name in found if not name.startswith("_")} - {"cython_runtime"}
    assert third_party == {"sonoforge", "numpy", "onnxruntime", "PIL"}


def test_help_and_a_wrong_flag_wait_for_no_library() -> None:
    code = """
import contextlib, io, sys
from sonoforge.runtime.cli import main as cli
from sonoforge.runtime.errors import SonoforgeError
with contextlib.redirect_stdout(io.StringIO()) as out:
    cli._run(["--help"])
    for line in (["classify", "--help"], ["quality", "--help"], ["classify", "x", "--wrong"]):
        try:
            cli._run(line)
        except (SystemExit, SonoforgeError):
            pass
assert "--html PAGE" in out.getvalue()
print(sorted({"numpy", "onnxruntime", "PIL", "torch"} & set(sys.modules)))
"""
    assert python(code).strip() == "[]"
