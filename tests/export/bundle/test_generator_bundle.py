"""Generators as bundles: written behind a gate, read with care, the same images as from the checkpoint."""

from __future__ import annotations

import dataclasses
import doctest
import functools
import importlib.util
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundle_factory import edit_manifest, npz, replace_file, write_bundle, zip_bundle
from corners import corners
from generator_checkpoints import ExportedGenerator, image_side, small_checkpoint
from program import refused, sonoforge
from sonoforge.export.bundle.generator import bundle_from_checkpoint
from sonoforge.export.formats.executorch import missing as executorch_missing
from sonoforge.export.formats.source import GeneratorSource, load_contiguous
from sonoforge.export.formats.table import FORMATS
from sonoforge.export.formats.torchscript import write_torchscript
from sonoforge.runtime.bundle.generation import GeneratorManifest
from sonoforge.runtime.bundle.reader import BundleError, DamagedBundleError, open_bundle
from sonoforge.runtime.errors import GateError, SonoforgeError
from sonoforge.runtime.inference.generator import Generator
from sonoforge.training.gan.generator import Truncation, load_generator, sample_batches

HAS_EXECUTORCH = not executorch_missing()


@pytest.fixture(scope="module", params=[("dcgan", 2), ("began", 0), ("stylegan2", 2)], ids=lambda case: case[0])
def made(request: pytest.FixtureRequest, generators: Any) -> ExportedGenerator:
    recipe, classes = request.param
    made: ExportedGenerator = generators(recipe, classes, masks=int(recipe == "dcgan"))
    return made


@pytest.fixture
def bundle(tmp_path: Path, generators: Any) -> Path:
    """A bundle of ``dcgan`` that a test may spoil."""
    return Path(shutil.copytree(generators("dcgan").bundle, tmp_path / "bundle"))


def _verified(bundle: object, *arguments: str) -> dict[str, Any]:
    done = sonoforge("verify", bundle, *arguments, "--json", "--quiet")
    assert done.code == (0 if done.json["ok"] else 1)
    return dict(done.json)


def test_images_are_those_of_the_checkpoint(made: ExportedGenerator) -> None:
    checkpoint, folder, manifest = made
    network, generator = load_generator(checkpoint), Generator(folder)
    classes = manifest["classes"]
    settings: list[tuple[float | None, float | None]] = [(None, None)]
    if manifest["psi"]["accepted"]:
        settings += [(0.5, None), (-1.0, None)]
    elif manifest["latents"]["distribution"] == "normal":
        settings += [(None, 0.8)]
    for psi, limit in settings:
        for label in range(len(classes)) if classes else [None]:
            truncation = Truncation(psi, limit=limit)
            expected = np.concatenate([*sample_batches(network, 11, 4, label, truncation)]).astype(int)
            found = generator.generate(11, 4, "" if label is None else classes[label], psi, limit)
            assert found.dtype == np.uint8 and found.shape == expected.shape
            assert np.abs(found - expected).max() <= 1
            assert np.ptp(found) > 10, "flat images would prove nothing"
    assert np.array_equal(found[:3], generator.generate(3, 4, "" if label is None else classes[label], psi, limit))
    assert generator.generate(0, 4, "" if label is None else classes[label]).shape == (0, *found.shape[1:])


def test_the_manifest_says_all_that_a_reader_needs(made: ExportedGenerator) -> None:
    checkpoint, folder, manifest = made
    assert json.loads((folder / "manifest.json").read_text()) == manifest
    about, recipe = open_bundle(folder, GeneratorManifest).manifest, manifest["recipe"]
    distribution = "uniform" if recipe == "began" else "normal"
    latents = {"size": about.latent_size, "recipe": "sha256-box-muller-1", "distribution": distribution}
    assert manifest["latents"] == manifest["latents"] | latents and about.latent_size == 6
    assert (about.image_size, about.channels) == (image_side(recipe), 2 if recipe == "dcgan" else 1)
    assert manifest["task"] == "generation"
    assert manifest["psi"] == {"accepted": recipe == "stylegan2", "default": 1.0}
    assert manifest["classes"] == ([] if recipe == "began" else ["a", "b"])
    assert manifest["class_name"] == ("lesion" if recipe == "began" else "")
    sha256 = json.loads((checkpoint / "checkpoint.json").read_text())["files"]["average.safetensors"]
    training = {"generator_sha256": sha256, "fingerprint": "0" * 64, "step": 7}
    assert manifest["training"] == manifest["training"] | training
    row = manifest["parity"]["formats"]["onnx"]
    assert row["max_abs"] <= row["tolerance"] == (1e-3 if recipe == "stylegan2" else 1e-4)
    assert row["status"] == "passed" and row["bytes"] == manifest["files"]["generator.onnx"]["bytes"]
    assert [batch for batch, _ in manifest["parity"]["checked"]] == [1, 3, 5]
    assert "torch" in [package["name"] for package in manifest["provenance"]["packages"]]
    card = (folder / "MODEL_CARD.md").read_text()
    assert "not a medical device" in card and "synthetic" in card and recipe in card
    for file in folder.iterdir():
        content = file.read_bytes()
        assert str(folder.parent).encode() not in content and b"site-packages" not in content


@pytest.mark.slow
def test_verify_finds_what_another_program_answers_otherwise(tmp_path: Path, generators: Any) -> None:
    name = "generator.torchscript.pt"
    folder = Path(shutil.copytree(generators("dcgan", 0, ("torchscript",)).bundle, tmp_path / "dcgan"))
    other = load_generator(generators("began").checkpoint)  # its latents are as long, its images as large
    wrong = write_torchscript(GeneratorSource(other, b""))
    broken = "its runner ended with exit code 1: torch cannot load it"
    for content, message in ((wrong, "a golden image differs by "), (b"no program", broken)):
        replace_file(folder, name, content)
        (problem,) = _verified(folder, "--trust")["problems"]
        assert f"{name}: {message}" in problem and "sonoforge-" not in problem


@pytest.mark.parametrize(
    ("recipe", "name", "message"),
    [
        ("stylegan3-t", "torchscript", "torchscript: StyleGAN3's filtered activation"),
        ("stylegan3-r", "executorch", "executorch: XNNPACK leaves StyleGAN3"),
        ("dcgan", "tensorrt", r"tensorrt: tensorrt_rtx or tensorrt is not installed; run .*\[tensorrt-rtx\]'$"),
        ("dcgan", "tensorrt-fp61", "'tensorrt-fp61' .*did you mean tensor"),
    ],
)
def test_a_format_asked_for_by_name_that_cannot_be_had_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: str, name: str, message: str
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name.startswith("tensorrt") else real(name))
    checkpoint = small_checkpoint(tmp_path, recipe, 0)
    with pytest.raises(SonoforgeError, match=f"formats: {message}") as error:
        bundle_from_checkpoint(checkpoint, tmp_path / "bundle", ("all", name))
    assert "\n" not in str(error.value) and not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("spoilt", corners(["other network", "no program", "refused"], "other network", "no program"))
def test_a_format_that_fails_is_left_out_and_the_others_go_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoilt: str
) -> None:
    run = small_checkpoint(tmp_path, "dcgan", 0).parents[1]
    other = load_contiguous(small_checkpoint(tmp_path / "other", "began", 0))

    def write(source: Any) -> bytes:
        if spoilt == "refused":
            raise GateError("torchscript: found something, expected another")
        of_other = dataclasses.replace(source, generator=other)
        return write_torchscript(of_other) if spoilt == "other network" else b"no program"

    monkeypatch.setitem(FORMATS, "torchscript", dataclasses.replace(FORMATS["torchscript"], write=write))
    formats = ("--formats", "torchscript,onnx-fp16", "--zip")
    done = sonoforge("export", run, "--checkpoint", "last", *formats, "--json", "--quiet")
    status = {row["format"]: row["status"] for row in done.json["formats"]}
    assert done.code == 1 and status == {"onnx": "passed", "onnx-fp16": "passed", "torchscript": "failed"}
    reason = done.json["formats"][2]["reason"]
    expected = {"other network": "images differ from torch's by", "no program": "torch cannot load it as TorchScript"}
    assert expected.get(spoilt, "found something") in reason and str(tmp_path) not in reason and "\n" not in reason
    bundle = run / "bundle"
    assert not (bundle / "generator.torchscript.pt").exists()
    kept = open_bundle(bundle, GeneratorManifest).manifest.raw["parity"]["formats"]["torchscript"]
    assert kept["reason"] == reason and reason in (bundle / "MODEL_CARD.md").read_text()
    assert _verified(done.json["zip"])["ok"]


@pytest.mark.skipif(not HAS_EXECUTORCH, reason="executorch is not installed: pip install 'sonoforge[mobile]'")
def test_a_program_that_ends_with_a_signal_fails_its_format_alone(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, generators: Any
) -> None:
    form = dataclasses.replace(FORMATS["executorch"], write=lambda source: b"a program")
    monkeypatch.setitem(FORMATS, "executorch", form)
    # Python imports this at its start; what runs the file finds it in place of executorch's own part.
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys, types\n"
        "part = types.ModuleType('sonoforge.export.formats.executorch')\n"
        "part.missing = lambda: ''\n"
        "part.open_file = lambda path, threads: os.kill(os.getpid(), 11)\n"
        "sys.modules[part.__name__] = part\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    row = bundle_from_checkpoint(generators("dcgan").checkpoint, bundle, ("executorch",))[-1]
    assert row["status"] == "failed" and "generator.pte: its runner ended with signal 11" in row["reason"]
    assert not (bundle / "generator.pte").exists() and _verified(bundle)["ok"]


def test_a_generator_that_fails_the_gate_leaves_what_was_there(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, generators: Any
) -> None:
    # The file of another network of the same shapes: began's latents are as long, its images as large.
    other = (generators("began").bundle / "generator.onnx").read_bytes()
    monkeypatch.setitem(FORMATS, "onnx", dataclasses.replace(FORMATS["onnx"], write=lambda source: other))
    before = {file.name: file.read_bytes() for file in bundle.iterdir()}
    words = r"generator\.onnx: images differ from torch's by .* no bundle was written"
    for target in (bundle, tmp_path / "new"):
        with pytest.raises(GateError, match=words) as error:
            bundle_from_checkpoint(generators("dcgan").checkpoint, target)
        assert "\n" not in str(error.value)
    assert {file.name: file.read_bytes() for file in bundle.iterdir()} == before
    assert not (tmp_path / "new").exists() and not list(tmp_path.glob(".*"))


def test_the_example_of_the_python_interface_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, generators: Any
) -> None:
    shutil.copytree(generators("began").bundle, tmp_path / "generator")
    monkeypatch.chdir(tmp_path)
    report: list[str] = []
    (example,) = [found for found in doctest.DocTestFinder().find(Generator, "Generator") if found.examples]
    assert doctest.DocTestRunner().run(example, out=report.append).failed == 0, "".join(report)


def test_a_bundle_replaces_only_one_of_its_own_task(bundle: Path, tmp_path: Path, generators: Any) -> None:
    run = generators("dcgan").checkpoint.parents[1]
    classifier = write_bundle(tmp_path / "classifier")
    (tmp_path / "notes").mkdir()
    before = {file: file.read_bytes() for folder in (bundle, classifier) for file in folder.iterdir()}
    for source, flags, message in (
        (run, ("--out", classifier), "holds a classifier's bundle, not a generator's"),
        ("shipped", ("--out", bundle), "holds a generator's bundle, not a classifier's"),
        (run, ("--out", tmp_path / "notes"), "exists but is not a bundle"),
        (run, ("--formats", "gif", "--out", tmp_path / "new"), "--formats: 'gif'"),
        (run, ("--data", "phantom", "--out", tmp_path / "new"), "is not for a generator"),
    ):
        assert message in refused("export", source, *flags)
    assert {file: file.read_bytes() for folder in (bundle, classifier) for file in folder.iterdir()} == before
    assert not (tmp_path / "new").exists()


# Reading.


def test_a_zip_holds_the_same_images(bundle: Path, tmp_path: Path) -> None:
    expected = Generator(bundle).generate(3, 1)
    for prefix in ("", "inner/"):
        archive = zip_bundle(bundle, tmp_path / f"x{len(prefix)}.zip", prefix)
        assert np.array_equal(Generator(archive).generate(3, 1, "lesion"), expected)
        assert _verified(archive)["ok"]


def _put(place: str, value: Any) -> Any:
    """An edit of a manifest that gives the entry at a place, as KEY KEY, another value."""

    def edit(manifest: dict[str, Any]) -> None:
        *keys, last = place.split()
        functools.reduce(lambda inner, key: inner[key], keys, manifest)[last] = value

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_put("extra", 1), "unknown key 'extra'"),
        (_put("image extra", 1), "image: unknown key 'extra'"),
        (_put("training extra", 1), "training: unknown key"),
        (lambda manifest: manifest.pop("psi"), "psi is missing"),
        (_put("format_version", 2), "format_version"),
        (_put("format_version", True), "format_version"),
        (_put("task", "other"), "task"),
        (_put("name", ""), "name"),
        (_put("recipe", "a\x1b[2J"), "recipe"),
        (_put("image size", 10**9), "image.size"),
        (_put("image channels", True), "image.channels"),
        (_put("image masks", 65), "image.masks"),
        (_put("image structures", ["disc", "cup"]), "image.structures"),
        (lambda manifest: manifest["image"].update(masks=1, structures=["../a"]), "image.structures"),
        (_put("image range", [0, 1]), "image.range"),
        (_put("classes", ["a"]), "class_name"),
        (_put("classes", "a"), "classes"),
        (_put("latents recipe", "mersenne"), "latents.recipe"),
        (_put("latents distribution", ["normal"]), "latents.distribution"),
        (_put("latents size", 7), "inputs"),
        (_put("outputs images", ["N", 1, 32, 31]), "outputs"),
        (_put("psi accepted", 1), "psi.accepted"),
        (_put("psi accepted", True), "inputs"),
        (_put("training step", -1), "training.step"),
        (_put("training generator_sha256", "x"), "training.generator_sha256"),
        (lambda manifest: manifest["files"].pop("golden.npz"), "golden.npz is missing"),
        (_put("files ../x", {}), "must be a plain file name"),
        (_put("files generator.onnx precision", "fp64"), "precision"),
        (_put("files generator.onnx format", "torchscript"), "format must be 'onnx'"),
        (_put("files generator.onnx bytes", 10**12), "bytes"),
    ],
)
def test_a_manifest_that_is_not_as_it_must_be_is_refused(bundle: Path, edit: Any, message: str) -> None:
    edit_manifest(bundle, edit)
    with pytest.raises(SonoforgeError, match=message.replace("[", r"\[")) as error:
        Generator(bundle)
    assert str(error.value).startswith(str(bundle)) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["generator.onnx", "golden.npz"])
def test_a_changed_file_is_refused_before_it_is_used(bundle: Path, name: str) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    with pytest.raises(DamagedBundleError, match=f"{name}: .*SHA-256"):
        Generator(bundle)._session if name == "generator.onnx" else open_bundle(bundle, GeneratorManifest).golden()
    result = _verified(bundle)
    assert not result["ok"] and "SHA-256" in result["problems"][0]
    (bundle / name).unlink()
    with pytest.raises(DamagedBundleError, match="is missing"):
        open_bundle(bundle, GeneratorManifest)


def test_a_model_that_is_another_than_the_manifest_says_is_refused(bundle: Path, generators: Any) -> None:
    other = generators("dcgan", 2, masks=1).bundle
    for content, words in (((other / "generator.onnx").read_bytes(), "labels"), (b"no model", "not an ONNX file")):
        replace_file(bundle, "generator.onnx", content)
        with pytest.raises(SonoforgeError, match=words):
            Generator(bundle)


def test_verify_computes_the_golden_images(bundle: Path) -> None:
    result = _verified(bundle)
    assert result["ok"] and result["problems"] == []
    assert set(result["files"]) == {"generator.onnx", "golden.npz", "MODEL_CARD.md"}
    assert result["golden"]["images"] == 4
    assert result["golden"]["max_abs_difference"]["generator.onnx"] <= result["golden"]["tolerance"] == 1e-3
    assert "onnxruntime" in result["versions"]
    golden = open_bundle(bundle, GeneratorManifest).golden()
    golden["images"][2, 0, 5, 5] += 0.002
    replace_file(bundle, "golden.npz", npz(**golden))
    result = _verified(bundle)
    assert "generator.onnx: a golden image differs by 0.002" in result["problems"][0]


def test_golden_images_of_another_shape_are_refused(bundle: Path) -> None:
    golden = open_bundle(bundle, GeneratorManifest).golden()
    for changed, message in (
        ({"images": golden["images"][:, :, :8]}, "images: "),
        ({"seeds": golden["seeds"][:2]}, "seeds: "),
        ({"seeds": golden["seeds"] - 5}, "a seed is below 0"),
        ({"labels": golden["labels"] + 1}, "label belongs to no class"),
        ({"images": golden["images"] * np.float32("nan")}, "NaN"),
    ):
        replace_file(bundle, "golden.npz", npz(**{**golden, **changed}))
        with pytest.raises(BundleError, match=message):
            open_bundle(bundle, GeneratorManifest).golden()
