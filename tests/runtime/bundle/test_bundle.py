"""A valid bundle opens as folder and as .zip; every kind of tampering is refused in one line."""

from __future__ import annotations

import json
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import bundle_factory as factory
from sonoforge.runtime import Classifier, open_bundle
from sonoforge.runtime.bundle.reader import BundleError, DamagedBundleError, parse_manifest
from sonoforge.runtime.cli.answer_files import csv_format
from sonoforge.runtime.errors import SonoforgeError


@pytest.fixture
def bundle(bundle: Path, tmp_path: Path) -> Path:
    """One to change."""
    return Path(shutil.copytree(bundle, tmp_path / "bundle"))


def question(manifest: dict[str, Any], **changes: object) -> None:
    """Change the first question of a manifest, whether there is a lesion."""
    manifest["decision"]["questions"][0].update(changes)


def refused(path: Path, use: Callable[[Path], object] = open_bundle) -> str:
    with pytest.raises(SonoforgeError) as caught:
        use(path)
    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert "\n" not in message
    assert str(path) in message
    return message


def test_a_bundle_says_what_was_written(bundle: Path) -> None:
    folder = open_bundle(bundle)
    assert folder.classes == factory.CLASSES
    assert folder.manifest.temperature == factory.TEMPERATURE
    assert folder.manifest.preprocessing.to_dict() == {**factory.PREPROCESSING, "crop": "none"}
    golden = folder.golden()
    assert golden["pixels"].shape == (4, 64, 64, 3) and golden["cam"].shape == (4, 3, 8, 8)


@pytest.mark.parametrize("name", ["model.onnx", "reference.npz", "golden.npz", "MODEL_CARD.md"])
def test_a_flipped_bit_is_noticed_and_a_missing_file_named(bundle: Path, tmp_path: Path, name: str) -> None:
    data = bytearray((bundle / name).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / name).write_bytes(bytes(data))
    opened = open_bundle(bundle)
    with pytest.raises(DamagedBundleError, match=f"{name}: .*SHA-256"):
        opened.read(name)
    if name != "MODEL_CARD.md":
        assert "SHA-256" in refused(bundle, Classifier)
    for missing in (name, "manifest.json"):
        (bundle / missing).unlink()
        assert f"{missing} is missing" in refused(bundle)
        assert f"{missing} is missing" in refused(factory.zip_bundle(bundle, tmp_path / "b.zip"))


EDITS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "future format": (lambda m: m.update(format_version=2), "format_version: 2"),
    "no format": (lambda m: m.pop("format_version"), "format_version: None"),
    "unknown key": (lambda m: m.update(postprocessing={}), "unknown key 'postprocessing'"),
    "missing key": (lambda m: m.pop("trust"), "trust is missing"),
    "other task": (lambda m: m.update(task="segmentation"), "task: 'segmentation'"),
    "no intended use": (lambda m: m.update(intended_use=""), "intended_use"),
    "same class twice": (lambda m: m.update(classes=["a", "a", "b"]), "classes must be"),
    "class count": (lambda m: m.update(classes=["a", "b"]), "outputs.logits must be 2 classes, not 3"),
    "no decision": (lambda m: m.pop("decision"), "decision is missing"),
    "reference class": (lambda m: m["decision"]["reference"].pop("benign"), "benign is missing"),
    "reference sum": (lambda m: m["decision"]["reference"].update(benign=0.6), "decision.reference: shares sum to 1.1"),
    "reference of nothing": (lambda m: m["decision"]["reference"].update(benign=0), "reference.benign must be"),
    "question of nobody": (lambda m: question(m, among=["benign"]), "must be a part of"),
    "question without points": (lambda m: question(m, points=[]), "must be 1 to 20 operating points"),
    "question twice": (lambda m: question(m, name="malignant"), "a name is given twice"),
    "points that fall": (lambda m: m["decision"]["questions"][0]["points"].reverse(), "aims must rise"),
    "other aims": (lambda m: m["decision"]["questions"][0]["points"].pop(), "the same aims"),
    "class that clears the screen": (lambda m: m["classes"].__setitem__(0, "a\x1b[2J"), "not ['a\\x1b[2J'"),
    "name of two lines": (lambda m: m.update(name="a\nb"), "name must be one line of printable text"),
    "version": (lambda m: m.update(version="1\x07"), "not '1\\x07'"),
    "key of a file": (lambda m: m["files"]["golden.npz"].update({"\x1b": 1}), "'\\x1b'"),
    "format twice": (
        lambda m: m["files"].update({"a.onnx": m["files"]["golden.npz"] | {"format": "onnx", "precision": "fp32"}}),
        "files.a.onnx.format: onnx is given twice",
    ),
    "resample": (lambda m: m["preprocessing"].update(resample="nearest"), "preprocessing.resample must be"),
    "preprocessing key": (lambda m: m["preprocessing"].update(crop=0.9), "preprocessing.crop must be"),
    "cam rank": (lambda m: m["outputs"].update(cam=[3, 8]), "outputs.cam must be"),
    "output key": (lambda m: m["outputs"].update(mask=[3]), "unknown key 'mask'"),
    "no golden": (lambda m: m["files"].pop("golden.npz"), "golden.npz is missing"),
    "path": (lambda m: m["files"].update({"../x": m["files"]["golden.npz"]}), "not '../x'"),
    "backslash": (lambda m: m["files"].update({"a\\b": m["files"]["golden.npz"]}), "plain file name"),
    "file key": (lambda m: m["files"]["golden.npz"].update(url="x"), "files.golden.npz must be"),
    "hash form": (lambda m: m["files"]["golden.npz"].update(sha256="AB"), "64 lower-case hex digits"),
    "huge file": (lambda m: m["files"]["golden.npz"].update(bytes=10**12), "files.golden.npz.bytes must be"),
    "precision": (lambda m: m["files"]["model.onnx"].update(precision="int3"), "precision must be"),
    "temperature 0": (lambda m: m["calibration"].update(temperature=0), "calibration.temperature must be"),
    "alpha": (lambda m: m["conformal"].update(alpha=1.0), "conformal.alpha must be"),
    "threshold range": (lambda m: m["conformal"]["thresholds"].update(benign=1.2), "thresholds.benign must be"),
    "trust method": (lambda m: m["trust"].update(method="knn"), "trust.method must be"),
    "trust order": (lambda m: m["trust"].update(median=1e9), "must be less than threshold"),
    "unknown metric": (lambda m: m["quality"].update(beauty={"low": 0, "high": 1}), "unknown key 'beauty'"),
    "metric order": (lambda m: m["quality"]["noise"].update(low=9, high=1), "low 9.0 is above high 1.0"),
    "no scan bands": (lambda m: m["quality"].pop("scan"), "quality: scan is missing"),
    "a band of no metric": (
        lambda m: m["quality"]["scan"]["bands"].update(mood={"low": 1, "high": 2}),
        "quality.scan.bands: unknown key 'mood'",
    ),
    "scan bands without a count": (lambda m: m["quality"].update(scan={"bands": {}}), "quality.scan: count is missing"),
    "part of a count": (lambda m: m["quality"].update(scan={"count": 1.5, "bands": {}}), "scan.count must be"),
    "band order": (
        lambda m: m["quality"].update(scan={"count": 2, "bands": {"coverage": {"low": 2, "high": 1}}}),
        "quality.scan.bands.coverage: low 2.0 is above high 1.0",
    ),
    "checks, unknown": (lambda m: m["trust"]["checks"].update(mood=1), "trust.checks: unknown key 'mood'"),
    "checks, missing": (lambda m: m["trust"]["checks"].pop("contact"), "trust.checks: contact is missing"),
    "checks, no grain": (lambda m: m["trust"]["checks"].pop("grain"), "trust.checks: grain is missing"),
    "checks, grain": (lambda m: m["trust"]["checks"].update(grain=0), "trust.checks.grain must be"),
    "checks, colour": (lambda m: m["trust"]["checks"].update(colour=None), "trust.checks.colour must be"),
    "checks, order": (lambda m: m["trust"]["checks"]["neighbours"].update(median=9.0), "trust.checks.neighbours: "),
    "checks, foreign": (lambda m: m["trust"]["checks"].update(foreign=0.1), "must be trust.threshold"),
    "checks, weights": (lambda m: m["trust"]["checks"].update(upright=[1.0]), "must be 8 numbers"),
    "checks, a weight": (lambda m: m["trust"]["checks"].update(upright=[1e9] * 8), "must be within"),
    "checks, share": (lambda m: m["trust"]["checks"].update(contact=2), "trust.checks.contact must be"),
    "checks, always": (lambda m: m["trust"]["checks"]["policy"].update(always=1), "policy.always must be"),
    "checks, probability": (
        lambda m: m["trust"]["checks"]["policy"].update(least_probability=7),
        "_probability must be",
    ),
    "checks, source": (lambda m: m["trust"]["checks"].update(source=""), "trust.checks.source"),
    "no checks": (lambda m: m["trust"].pop("checks"), "trust: checks is missing"),
}


@pytest.mark.parametrize("case", EDITS)
def test_a_manifest_that_is_not_understood_is_refused(bundle: Path, case: str) -> None:
    edit, expected = EDITS[case]
    factory.edit_manifest(bundle, edit)
    message = refused(bundle)
    assert "manifest.json" in message
    assert expected in message
    assert message.isprintable()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "not valid JSON"),
        (b"\xff\xfe{}", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"[]", "must be an object"),
        (b'{"format_version": 1, "format_version": 1}', "given twice"),
        (b'{"format_version": NaN}', "NaN"),
        (b'{"\\u001b[2J": 1, "\\u001b[2J": 1}', r"among '\x1b[2J'"),
    ],
)
def test_a_manifest_that_is_not_json_is_refused(bundle: Path, data: bytes, expected: str) -> None:
    (bundle / "manifest.json").write_bytes(data)
    assert expected in refused(bundle)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"pixels": None}, "array pixels is missing"),
        ({"pixels": np.zeros((4, 64, 64, 3), np.float32)}, "pixels: it is float32"),
        ({"pixels": np.zeros((4, 32, 32, 3), np.uint8)}, "not uint8 (any, 64, 64, 3)"),
        ({"pixels": np.zeros((0, 64, 64, 3), np.uint8)}, "pixels: it is uint8 (0, 64, 64, 3)"),
        ({"logits": np.zeros((3, 3), np.float32)}, "logits: it is float32 (3, 3)"),
        ({"cam": np.full((4, 3, 8, 8), np.nan, np.float32)}, "cam: it holds NaN"),
    ],
)
def test_golden_arrays_of_another_shape_are_refused(bundle: Path, change: dict[str, Any], expected: str) -> None:
    arrays: dict[str, Any] = {**np.load(bundle / "golden.npz"), **change}
    data = factory.npz(**{name: value for name, value in arrays.items() if value is not None})
    factory.replace_file(bundle, "golden.npz", data)
    assert expected in refused(bundle, lambda path: open_bundle(path).golden())


class Payload:
    """What an attacker would pickle: running it leaves a file behind."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (eval, (f"open({str(self.target)!r}, 'w').close()",))


@pytest.mark.parametrize("form", ["object array", "bare pickle"])
def test_a_pickle_is_never_executed(bundle: Path, tmp_path: Path, form: str) -> None:
    payload = Payload(tmp_path / "executed")
    if form == "object array":
        data = factory.npz(trust_mean=np.array([payload], dtype=object), trust_components=np.zeros((12, 2), np.float32))
    else:
        data = pickle.dumps(payload)
    factory.replace_file(bundle, "reference.npz", data)
    assert "not a plain numpy archive" in refused(bundle, Classifier)
    assert not (tmp_path / "executed").exists()
    pickle.loads(pickle.dumps(payload))  # the payload does work where it is loaded
    assert (tmp_path / "executed").exists()


def zipped_as(bundle: Path, path: Path, program: str) -> Path:
    """Zip a bundle as Finder, an old Windows program, or a person who zips a folder, or a folder in a folder."""
    inner = {"plain": "", "folder": "b-1/", "finder": "b/", "windows": "b\\", "windows flat": "", "nested": "b/b/"}
    beside = {
        "finder": {"b/.DS_Store": b"\0\0\0\1Bud1", "__MACOSX/._b": b"\0\5\x16\7"},
        "windows": {"b\\": b""},
        "windows flat": {"Thumbs.db": b"thumbs", "desktop.ini": b"[.ShellClassInfo]"},
    }.get(program, {})
    if program == "finder":
        beside |= {f"__MACOSX/b/._{file.name}": b"\0\5\x16\7" for file in bundle.iterdir()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        own = {inner[program] + file.name: file.read_bytes() for file in sorted(bundle.iterdir())}
        for name, data in {**beside, **own}.items():
            info = zipfile.ZipInfo("x")
            info.filename = name  # as given: on Windows the constructor would turn backslashes round
            archive.writestr(info, data)
    return path


@pytest.mark.parametrize("program", ["plain", "folder", "finder", "windows", "windows flat", "nested"])
def test_zips_of_all_programs_hold_the_same(bundle: Path, tmp_path: Path, program: str) -> None:
    zipped, folder = open_bundle(zipped_as(bundle, tmp_path / "b.zip", program)), open_bundle(bundle)
    assert zipped.manifest == folder.manifest
    for name in folder.manifest.files:
        assert zipped.read(name) == folder.read(name) == (bundle / name).read_bytes()


@pytest.mark.parametrize(
    "name", ["../evil.txt", "/tmp/evil.txt", "a/../../evil.txt", "..\\evil.txt", "C:\\evil.txt", "\\\\host\\evil"]
)
def test_a_zip_entry_that_leads_elsewhere_is_refused(bundle: Path, tmp_path: Path, name: str) -> None:
    path = factory.zip_bundle(bundle, tmp_path / "b.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(zipfile.ZipInfo(name), b"evil")
    assert "points outside the bundle" in refused(path)
    assert not (tmp_path.parent / "evil.txt").exists()


def test_a_name_given_twice_in_a_zip_is_refused(bundle: Path, tmp_path: Path) -> None:
    path = factory.zip_bundle(bundle, tmp_path / "b.zip")
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("model.onnx", b"another model")
    assert "contains model.onnx twice" in refused(path)
    path = zipped_as(bundle, tmp_path / "c.zip", "windows")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("b/manifest.json", b"{}")
    assert "contains manifest.json twice" in refused(path)


def test_a_zip_bomb_is_not_inflated(bundle: Path, tmp_path: Path) -> None:
    size = 100_000_000
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for item in bundle.iterdir():
            if item.name != "model.onnx":
                archive.write(item, item.name)
        with archive.open("model.onnx", "w") as stream:
            for _ in range(size // 1_000_000):
                stream.write(bytes(1_000_000))
    assert f"model.onnx: {size} bytes" in refused(tmp_path / "b.zip")
    with zipfile.ZipFile(tmp_path / "c.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", b" " * 50_000_000)
    assert "manifest.json: larger than" in refused(tmp_path / "c.zip")


def test_a_zip_that_lies_about_a_size_or_has_damaged_data_is_refused(bundle: Path, tmp_path: Path) -> None:
    path = factory.zip_bundle(bundle, tmp_path / "damaged.zip")
    with zipfile.ZipFile(path) as archive:
        offset = archive.getinfo("model.onnx").header_offset
    data = bytearray(path.read_bytes())
    data[offset + 200 : offset + 260] = bytes(60)
    path.write_bytes(bytes(data))
    assert "model.onnx: cannot be unpacked" in refused(path, Classifier)
    size = (bundle / "model.onnx").stat().st_size
    factory.edit_manifest(bundle, lambda m: m["files"]["model.onnx"].update(bytes=size - 50))
    path = factory.zip_bundle(bundle, tmp_path / "b.zip")
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"model.onnx") - 46  # its record in the central directory; APPNOTE 4.3.12
    assert data[entry : entry + 4] == b"PK\x01\x02" and struct.unpack_from("<I", data, entry + 24) == (size,)
    struct.pack_into("<I", data, entry + 24, size - 50)
    path.write_bytes(bytes(data))
    assert "model.onnx" in refused(path, Classifier)


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"PK\x03\x04 nonsense", b"text"):
        (tmp_path / "b.zip").write_bytes(content)
        assert "neither a folder nor a readable .zip" in refused(tmp_path / "b.zip")
    assert "no such bundle" in refused(tmp_path / "absent")
    assert "manifest.json is missing" in refused(tmp_path)


def preprocessed(text: object) -> Callable[[onnx.ModelProto], object]:
    """Let a model say that it was preprocessed in another way."""
    said = text if isinstance(text, str) else json.dumps(text)
    return lambda model: onnx.helper.set_model_props(model, {"sonoforge.preprocessing": said})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda model: setattr(model.graph.output[3], "name", "maps"), "output "),
        (lambda model: model.CopyFrom(onnx.load_from_string(factory.model_bytes(batch=1))), "with any batch"),
        (preprocessed({**factory.PREPROCESSING, "mean": [0.5, 0.5, 0.5]}), "sonoforge.preprocessing"),
        (lambda model: model.ClearField("metadata_props"), "sonoforge.preprocessing"),
        (preprocessed("{"), "sonoforge.preprocessing"),
    ],
)
def test_a_model_that_contradicts_the_manifest_is_refused(
    bundle: Path, change: Callable[[onnx.ModelProto], object], expected: str
) -> None:
    model = onnx.load(bundle / "model.onnx")
    change(model)
    factory.replace_file(bundle, "model.onnx", model.SerializeToString())
    assert expected in refused(bundle, Classifier)


def test_a_model_without_the_temperature_is_refused_when_it_answers(bundle: Path) -> None:
    factory.replace_file(bundle, "model.onnx", factory.model_bytes(temperature=1.0))
    classifier = Classifier(bundle)
    with pytest.raises(BundleError, match=r"not softmax\(logits / temperature\)"):
        classifier.predict(classifier.bundle.golden()["pixels"])


def test_no_question_is_called_as_a_column_of_csv(tmp_path: Path) -> None:
    folder = factory.write_bundle(tmp_path / "b")
    manifest = open_bundle(folder).manifest
    columns = csv_format(manifest).columns
    assert len(set(columns)) == len(columns)
    for column in {*columns} - {one.name for one in manifest.questions}:
        raw = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        question(raw, name=column)
        with pytest.raises(SonoforgeError, match=rf"questions\[0\].name: '{column}' is a column of classify --csv"):
            parse_manifest(json.dumps(raw).encode())


def exchanged(manifest: dict[str, Any]) -> None:
    """Call benign what is malignant, wherever the manifest names classes in the order of the outputs."""
    first, *others = manifest["classes"]
    manifest["classes"] = [first, *reversed(others)]


LIES: dict[str, Callable[[dict[str, Any]], object]] = {
    "classes exchanged": exchanged,
    "a better accuracy": lambda m: m["evaluation"].update(accuracy={"value": 0.99}),
    "a promise of more": lambda m: m.update(intended_use="Diagnosis."),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_manifest_that_was_changed_is_refused(bundle: Path, lie: str) -> None:
    path = bundle / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    open_bundle(bundle)
    LIES[lie](manifest)
    path.write_text(json.dumps(manifest), encoding="utf-8")
    assert "digest: " in refused(bundle)


def test_classes_in_another_order_than_the_networks_are_refused_whatever_the_digest_says(bundle: Path) -> None:
    factory.edit_manifest(bundle, exchanged)
    assert "its metadata key sonoforge.classes holds" in refused(bundle, Classifier)
