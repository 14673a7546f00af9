"""``sonoforge export --formats``: only files that answer as the network does get into a bundle."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from torch import nn

from bundle_factory import edit_manifest, replace_file
from places import CHECKOUT
from sonoforge.export.bundle import gate as images
from sonoforge.export.bundle.add_formats import describe
from sonoforge.export.formats.source import Source
from sonoforge.export.formats.table import FORMATS, Tolerance
from sonoforge.export.verbs.export import ExportConfig, main
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.errors import GateError, SonoforgeError
from sonoforge.runtime.verbs import verify

PASSING = ("onnx", "onnx-fp16", "ort")
PHANTOMS = 20


def shifted(source: Source) -> bytes:
    """A file whose first class is likelier than the network has it."""
    model = onnx.load_model_from_string(source.onnx)
    bias = next(tensor for tensor in model.graph.initializer if list(tensor.dims) == [3])
    changed = onnx.numpy_helper.to_array(bias) + np.array([0.5, 0, 0], np.float32)
    bias.CopyFrom(onnx.numpy_helper.from_array(changed, bias.name))
    return model.SerializeToString()  # type: ignore[no-any-return]


@pytest.fixture(scope="module", autouse=True)
def _few_images() -> Iterator[None]:
    """Files are judged on a sixth as many phantoms as a user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "PHANTOMS", PHANTOMS)
        patch.setattr(images, "FEWEST", PHANTOMS)
        yield


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, Path]:
    """The shipped bundle in formats that pass and one, under another's name, that does not."""
    folder = tmp_path_factory.mktemp("export") / "bundle"
    planted = dataclasses.replace(
        FORMATS["onnx-uint8"], write=shifted, tolerance=Tolerance(0.01, 0.1), whole_images=False
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FORMATS, "onnx-uint8", planted)
        formats = (*PASSING, "onnx-uint8")
        asked = ExportConfig(run="shipped", formats=formats, data="phantom", out=str(folder), zip=True)
        outcome = main(dataclasses.replace(asked, triton=str(folder.with_name("models"))))
    return outcome, folder


def test_files_that_agree_are_in_the_bundle_with_their_figures(exported: tuple[Outcome, Path]) -> None:
    outcome, folder = exported
    rows = {row["format"]: row for row in outcome.result["formats"]}
    manifest = open_bundle(folder).manifest
    for name in PASSING:
        row = rows[name]
        assert row["status"] == "passed" and row["labels_equal"] == row["count"] == PHANTOMS
        assert row["max_abs"] <= FORMATS[name].tolerance.of_passes(True).probability
        assert row["bytes"] == manifest.files[row["file"]].bytes
        assert manifest.files[row["file"]].format == name
        assert manifest.files[row["file"]].precision == FORMATS[name].precision
        kept = manifest.raw["parity"]["formats"][name]
        assert kept == {key: value for key, value in row.items() if key != "worst"}  # which may name a patient
        assert f"| {name} | {row['file']} |" in (folder / "MODEL_CARD.md").read_text()
        assert "| -0.0 |" not in (folder / "MODEL_CARD.md").read_text()
    assert rows["onnx-fp16"]["bytes"] < 0.65 * rows["onnx"]["bytes"]


def test_a_file_that_does_not_agree_is_left_out_with_the_reason(exported: tuple[Outcome, Path]) -> None:
    outcome, folder = exported
    row = next(row for row in outcome.result["formats"] if row["format"] == "onnx-uint8")
    assert (outcome.exit_code, row["status"]) == (1, "failed")
    assert "a probability differs by" in row["reason"] and row["max_abs"] > 0.01
    assert row["worst"] in describe(row) and row["worst"].startswith(("normal/", "benign/", "malignant/"))
    assert not (folder / "model.uint8.onnx").exists()
    assert "model.uint8.onnx" not in open_bundle(folder).manifest.files


def test_each_file_says_what_it_was_made_with_and_nothing_of_the_machine(exported: tuple[Outcome, Path]) -> None:
    _, folder = exported
    formats = open_bundle(folder).manifest.raw["parity"]["formats"]
    assert formats["onnx-fp16"]["made_with"]["onnx"] == onnx.__version__
    assert formats["onnx-fp16"]["calibration"] == {"images": PHANTOMS, "among_those_checked": PHANTOMS}
    traces = (str(Path.home()).encode() + b"/", str(CHECKOUT).encode(), b"site-packages")
    for file in folder.iterdir():
        assert not [trace for trace in traces if trace in file.read_bytes()], file.name


def test_triton_gets_the_files_that_passed(exported: tuple[Outcome, Path]) -> None:
    outcome, folder = exported
    models = {Path(model).name: Path(model) / "1" / "model.onnx" for model in outcome.result["triton"]}
    files = {"sonoforge": "model.onnx", "sonoforge-fp16": "model.fp16.onnx"}
    assert {name: path.read_bytes() for name, path in models.items()} == {
        name: (folder / file).read_bytes() for name, file in files.items()
    }


def test_verify_asks_every_file(exported: tuple[Outcome, Path], tmp_path: Path) -> None:
    other = Path(shutil.copytree(exported[1], tmp_path / "other"))
    bundle = open_bundle(other)
    source = Source(nn.Identity(), bundle.read("model.onnx"), np.zeros((0,)), bundle.manifest.preprocessing)
    replace_file(other, "model.fp16.onnx", shifted(source))  # whole, with the right hash, and of another network
    verified = verify.main(verify.VerifyConfig(bundle=str(other)))
    statuses = {name: row["status"] for name, row in verified.result["formats"].items()}
    expected = {"onnx-fp16": "failed", "ort": "passed"}
    assert (verified.exit_code, statuses) == (1, expected)
    (problem,) = verified.result["problems"]
    assert "model.fp16.onnx: a probability of a golden image differs by" in problem


@pytest.fixture(scope="module")
def again(exported: tuple[Outcome, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, Path]:
    """The same bundle exported again, on a machine that cannot write ort, with a stricter gate and a broken writer."""

    def fail(source: Source) -> bytes:
        raise ImportError("cannot import libx from /home/alice/venv/lib/libx.so: no such file")

    folder = shutil.copytree(exported[1], tmp_path_factory.mktemp("again") / "bundle")
    odd = {"torchscript": {"format": "torchscript", "max_abs": None}, "executorch": [1]}
    edit_manifest(folder, lambda manifest: manifest["parity"]["formats"].update(odd))
    with pytest.MonkeyPatch.context() as patch:
        for name in list(FORMATS):
            if name not in (*PASSING, "onnx-uint8"):
                patch.delitem(FORMATS, name)
        for name, change in (
            ("ort", {"packages": ("no_such_package",)}),
            ("onnx-fp16", {"tolerance": Tolerance(1e-9, 1.0)}),
            ("onnx-uint8", {"write": fail}),
        ):
            patch.setitem(FORMATS, name, dataclasses.replace(FORMATS[name], **change))
        out = folder.parent / "out"
        return main(ExportConfig(run=str(folder), formats=("all",), data="phantom", out=str(out))), out


def test_an_export_of_a_bundle_keeps_what_it_cannot_write_and_drops_what_passes_no_more(
    exported: tuple[Outcome, Path], again: tuple[Outcome, Path]
) -> None:
    (outcome, out), formats = again, open_bundle(again[1]).manifest.raw["parity"]["formats"]
    rows = {row["format"]: row for row in outcome.result["formats"]}
    assert outcome.exit_code == 1 and rows["onnx"]["status"] == "passed"
    assert set(formats) == {*PASSING, "onnx-uint8"}  # not the odd records of somebody else's bundle
    assert rows["ort"]["status"] == "not written" and formats["ort"]["status"] == "passed"
    assert (out / "model.ort").read_bytes() == (exported[1] / "model.ort").read_bytes()
    assert "model.fp16.onnx" not in open_bundle(out).manifest.files and not (out / "model.fp16.onnx").exists()
    assert (exported[1] / "model.fp16.onnx").is_file()  # the bundle that it was made of is unchanged
    assert rows["onnx-uint8"]["reason"].startswith("ImportError: cannot import libx from /home/alice")
    for file in ("manifest.json", "MODEL_CARD.md"):
        text = (out / file).read_text()
        assert "cannot import libx from ...: no such file" in text and "alice" not in text


def test_a_model_that_fails_itself_replaces_no_bundle(
    exported: tuple[Outcome, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FORMATS, "onnx", dataclasses.replace(FORMATS["onnx"], tolerance=Tolerance(1e-12, 1e-12)))
    out = shutil.copytree(exported[1], tmp_path / "out")
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    with pytest.raises(GateError, match=r"model\.onnx: a probability differs.*no bundle was written"):
        main(ExportConfig(run="shipped", data="phantom", out=str(out)))
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before
    assert [place.name for place in tmp_path.iterdir()] == ["out"]


def test_a_zip_of_somebodys_own_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "photos.zip").write_bytes(b"years of photos")
    with pytest.raises(SonoforgeError, match=r"photos\.zip: exists but is not a bundle"):
        main(ExportConfig(run="shipped", out=str(tmp_path / "photos"), zip=True))
    assert (tmp_path / "photos.zip").read_bytes() == b"years of photos"
    assert not (tmp_path / "photos").exists()


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "mistyped format": ({"formats": ("onnx-in8",)}, r"'onnx-in8'.*did you mean onnx-int8\?"),
    "no place": ({"run": "shipped", "formats": ("ort",)}, "give the new bundle a folder with --out"),
    "no run": ({"run": "nowhere"}, "nowhere: no such run folder or bundle"),
    "no images": ({"data": "nowhere", "formats": ("ort",)}, "nowhere"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    given, message = WRONG[case]
    values = {"run": "shipped", **({} if case == "no place" else {"out": str(tmp_path / "out")}), **given}
    with pytest.raises(SonoforgeError, match=message) as error:
        main(ExportConfig(**values))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_format_whose_packages_are_missing_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        FORMATS, "executorch", dataclasses.replace(FORMATS["executorch"], packages=("no_such_package",))
    )
    with pytest.raises(SonoforgeError, match=r"no_such_package is not installed; run .*\[mobile\]'$"):
        main(ExportConfig(run="shipped", formats=("executorch",), out=str(tmp_path / "out")))
