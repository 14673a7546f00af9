"""A signature tells whose a bundle is: it fits one key and one manifest, in a folder and in a zip."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bundle_factory as factory
from program import refused, sonoforge, succeed
from sonoforge.export.bundle.folder import write_zip
from sonoforge.export.jobs import export_run
from sonoforge.export.settings import ExportConfig
from sonoforge.runtime.bundle.files import SIGNATURE
from sonoforge.runtime.bundle.reader import SHIPPED, open_bundle
from sonoforge.runtime.bundle.signing import read_key

pytest.importorskip("cryptography")
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)


def write_keys(folder: Path, name: str, key: Any = None, password: bytes = b"") -> tuple[Path, Path]:
    """Write a key pair as PEM; return the private and the public file."""
    key = key or ed25519.Ed25519PrivateKey.generate()
    hidden = BestAvailableEncryption(password) if password else NoEncryption()
    private, public = folder / f"{name}.pem", folder / f"{name}-public.pem"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, hidden))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    return write_keys(tmp_path, "own")


@pytest.fixture
def signed(bundle: Path, keys: tuple[Path, Path], tmp_path: Path) -> Path:
    copy = Path(shutil.copytree(bundle, tmp_path / "signed"))
    signature = read_key(keys[0], private=True).sign((copy / "manifest.json").read_bytes())
    (copy / SIGNATURE).write_bytes(signature)
    return copy


def verdict(bundle: Path, key: Path) -> tuple[bool, str]:
    """Return whether a bundle passes with a key, and whose the figures are or what is wrong."""
    done = sonoforge("verify", bundle, "--key", key, "--json")
    assert (done.code == 0) == done.json["ok"]
    return done.json["ok"], done.json.get("figures") or "".join(done.json["problems"])


def test_a_signed_bundle_verifies_and_an_edited_one_does_not(
    signed: Path, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    packed = tmp_path / "signed.zip"
    write_zip(signed, packed)
    for place in (signed, packed):
        assert verdict(place, keys[1]) == (True, f"signed with {keys[1]}")
        assert "as stated by patches 0.0.1" in succeed("verify", place).json["figures"]
    other = write_keys(tmp_path, "other")[1]
    assert "does not match the manifest and other-public.pem" in verdict(packed, other)[1]
    factory.edit_manifest(signed, lambda manifest: manifest["evaluation"].update(accuracy=0.991))
    assert succeed("verify", signed).json["ok"]  # its digest was made again
    ok, problem = verdict(signed, keys[1])
    assert not ok and "own-public.pem: the bundle was changed" in problem


def test_whoever_remakes_all_hashes_cannot_remake_the_signature(signed: Path, keys: tuple[Path, Path]) -> None:
    """Of the graph with its golden vectors, the signatures of the training images, and the card."""
    model = factory.model_bytes(seed=1)
    pixels = open_bundle(signed).golden()["pixels"]
    golden = {name: value.astype("float32") for name, value in factory.forward(pixels, seed=1).items()}
    kept = {file.name: file.read_bytes() for file in signed.iterdir()}
    for changed in (
        {"model.onnx": model, "golden.npz": factory.npz(pixels=pixels, **golden)},
        {"MODEL_CARD.md": b"# A model for tests, right in 100 %\n"},
    ):
        for name, data in kept.items():
            (signed / name).write_bytes(data)
        for name, data in changed.items():
            factory.replace_file(signed, name, data)
        assert succeed("verify", signed).json["figures"].startswith("as stated by")
        assert not verdict(signed, keys[1])[0]


@pytest.mark.parametrize("damage", [lambda file: file.unlink(), lambda file: file.write_bytes(b""),
                                    lambda file: file.write_bytes(file.read_bytes() + b"\n"),
                                    lambda file: file.write_bytes(file.read_bytes()[::-1])])  # fmt: skip
def test_a_missing_or_damaged_signature_fails(
    signed: Path, keys: tuple[Path, Path], damage: Callable[[Path], object]
) -> None:
    damage(signed / SIGNATURE)
    assert verdict(signed, keys[1])[0] is False
    assert succeed("verify", signed).json["ok"]


def test_openssl_checks_the_same_signature(signed: Path, keys: tuple[Path, Path]) -> None:
    if not (openssl := shutil.which("openssl")):
        pytest.skip("no openssl here to compare with")
    asked = [openssl, "pkeyutl", "-verify", "-pubin", "-rawin", "-inkey", keys[1], "-sigfile", signed / SIGNATURE]
    done = subprocess.run([*asked, "-in", signed / "manifest.json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    factory.edit_manifest(signed, lambda manifest: manifest.update(intended_use="anything"))
    done = subprocess.run([*asked, "-in", signed / "manifest.json"], capture_output=True, text=True, check=False)
    assert done.returncode != 0


def test_keys_of_another_kind_are_refused_in_one_line(signed: Path, tmp_path: Path) -> None:
    private, public = write_keys(tmp_path, "own")
    (tmp_path / "text.pem").write_text("no key")
    curve = write_keys(tmp_path, "curve", ec.generate_private_key(ec.SECP256R1()))[1]
    number = write_keys(tmp_path, "number", rsa.generate_private_key(65537, 2048))[1]
    for key in (private, tmp_path / "text.pem", tmp_path / "none.pem", tmp_path, curve, number):
        ok, problem = verdict(signed, key)
        assert not ok and str(key) in problem and "openssl pkey -in PRIVATE.pem -pubout" in problem, key
    hidden = write_keys(tmp_path, "hidden", password=b"secret")[0]
    for key in (public, hidden, tmp_path / "text.pem"):
        line = refused("export", "shipped", "--out", tmp_path / "out", "--set", f"export.sign={key}")
        assert str(key) in line and "openssl genpkey -algorithm ed25519" in line


def test_without_the_package_the_command_to_install_it_is_told(
    signed: Path, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    ok, problem = verdict(signed, keys[1])
    assert not ok and "cryptography is not installed; run" in problem and "[sign]" in problem


def test_export_signs_what_it_writes(keys: tuple[Path, Path], tmp_path: Path) -> None:
    asked = ExportConfig(run="shipped", data="phantom", out=str(tmp_path / "out"), zip=True, sign=str(keys[0]))
    done = export_run(asked)
    assert done.zip is not None
    for place in (done.folder, done.zip):
        assert verdict(place, keys[1]) == (True, f"signed with {keys[1]}")
    again = export_run(ExportConfig(run=str(done.folder), data="phantom"))  # in its place, unsigned
    assert not (again.folder / SIGNATURE).exists() and verdict(again.folder, keys[1])[0] is False


def test_an_edited_copy_is_not_taken_for_the_shipped_bundle(tmp_path: Path) -> None:
    copy = Path(shutil.copytree(SHIPPED, tmp_path / "copy"))
    assert open_bundle(copy).is_shipped
    assert succeed("verify", copy).json["figures"] == "shipped with sonoforge"
    for edit in (
        lambda manifest: manifest["evaluation"]["accuracy"].update(value=0.991),
        lambda manifest: manifest["decision"]["questions"][0]["points"][0].update(threshold=0.5),
    ):
        factory.edit_manifest(copy, edit)
        bundle = open_bundle(copy)
        assert not bundle.is_shipped
        assert bundle.manifest.origin == f"not the bundle shipped as {bundle.manifest.title}"
        assert f"which is {bundle.manifest.origin}" in succeed("verify", copy).json["figures"]
    page = tmp_path / "page.html"
    factory.write_scans(tmp_path / "scans", [0])
    succeed("classify", tmp_path / "scans", "--bundle", copy, "--html", page)
    assert bundle.manifest.origin in page.read_text(encoding="utf-8")
    named = json.loads((copy / "manifest.json").read_text(encoding="utf-8"))["name"]
    factory.edit_manifest(copy, lambda manifest: manifest.update(name=f"my-{named}"))
    assert open_bundle(copy).manifest.origin == ""


def test_what_trained_another_network_is_as_stated_by_its_bundle(tmp_path: Path) -> None:
    """The shipped signatures are easily copied into a bundle that was trained on the very test images."""
    copy = Path(shutil.copytree(SHIPPED, tmp_path / "copy"))
    factory.edit_manifest(copy, lambda manifest: manifest.update(created="2026-01-01T00:00:00+00:00"))
    for number, name in enumerate(("normal", "benign", "malignant") * 2):
        factory.write_scans(tmp_path / "scans" / name, [number])
    asked = ["validate", "--data", tmp_path / "scans", "--set", f"cache.folder={tmp_path}", "--out", tmp_path / "runs"]
    assert "as stated by mobilenetv2" in succeed(*asked, "--bundle", copy).said
    assert "as stated by" not in succeed(*asked).said
