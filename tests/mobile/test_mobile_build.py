"""``sonoforge mobile build``: what it writes, and what it refuses."""

from __future__ import annotations

import hashlib
import json
import math
import re
import tarfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bundle_factory as factory
from places import CHECKOUT
from program import refused, sonoforge, succeed, understood
from sonoforge.mobile import web_app
from sonoforge.mobile.settings import AppSettings
from sonoforge.mobile.verbs.serve import serve_command
from sonoforge.mobile.web_app import WWW, NpmPackage, constants_script
from sonoforge.runtime.bundle.reader import SHIPPED
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.quality_metrics import METRICS
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.runtime.inference.decision import AtClinic


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """onnxruntime-web, without loading it."""
    content = {Path(name).name: name.encode() for name in web_app.ONNXRUNTIME_WEB.files}
    monkeypatch.setattr(web_app, "read_files", lambda *_: content)


@pytest.mark.usefixtures("stand_in")
def test_every_file_is_kept_for_offline_use_with_its_hash() -> None:
    files = web_app.app_files(Classifier())
    listed = json.loads(files["service-worker.js"].decode().partition("const FILES = ")[2].partition(";\n")[0])
    assert set(listed) == set(files) - {"service-worker.js"}
    assert all(hashlib.sha256(files[name]).hexdigest() == found for name, found in listed.items())
    manifest = json.loads(files["bundle/manifest.json"])
    assert manifest == json.loads((SHIPPED / "manifest.json").read_text())
    assert manifest["files"]["model.onnx"]["sha256"] == listed["bundle/model.onnx"]
    assert "bundle/image-signatures.npz" not in files
    about, data = json.loads(files["app.json"])["arrays"], zlib.decompress(files["bundle/arrays.bin"])
    for archive in ("reference", "golden"):
        with np.load(SHIPPED / f"{archive}.npz") as arrays:
            assert set(arrays) == set(about[archive])
            for name, (kind, shape, place) in about[archive].items():
                own = np.frombuffer(data, kind, math.prod(shape), place).reshape(shape)
                assert (own == arrays[name]).all()


@pytest.mark.usefixtures("stand_in")
def test_the_app_crops_and_abstains_as_the_bundle_says_or_as_it_is_told(tmp_path: Path) -> None:
    def settings(bundle: Path, **told: Any) -> dict[str, Any]:
        found = json.loads(web_app.app_files(Classifier(bundle, **told))["app.json"])
        words = found["settings"].partition("; prevalence=")[0].split("; ", 1)[1]
        return {key: found[key] for key in ("crop", "abstain")} | {"told": words}

    plain = factory.write_bundle(tmp_path / "plain")
    own = {**factory.PREPROCESSING, "crop": "auto"}
    cropping = factory.write_bundle(tmp_path / "own", model=factory.model_bytes(preprocessing=own))

    def edit(manifest: dict[str, Any]) -> None:
        manifest["preprocessing"] = own
        manifest["trust"]["checks"]["policy"]["always"] = True

    factory.edit_manifest(cropping, edit)
    neither = {"crop": "none", "abstain": False, "told": "file=model.onnx; crop=none; abstain=no"}
    both = {"crop": "auto", "abstain": True, "told": "file=model.onnx; crop=auto; abstain=yes"}
    assert settings(plain) == neither
    assert settings(cropping) == both
    assert settings(plain, crop="auto", asked=AtClinic(abstain=True)) == both
    assert settings(cropping, crop="none") == {**both, "crop": "none", "told": both["told"].replace("auto", "none")}


@pytest.mark.usefixtures("stand_in")
def test_the_app_answers_for_the_clinic_that_it_is_built_for(tmp_path: Path) -> None:
    told = ("--prevalence", "malignant=.1,normal=.6,benign=.3", "--sensitivity", "0.9")
    clinic = {"prevalence": {"normal": 0.6, "benign": 0.3, "malignant": 0.1}, "sensitivity": 0.9}
    built = succeed("mobile", "build", "--out", tmp_path / "app", *told).json
    assert built["clinic"]["prevalence"] == pytest.approx(clinic["prevalence"])
    assert json.loads((tmp_path / "app" / "app.json").read_text())["clinic"] == built["clinic"]
    assert built["clinic"]["sensitivity"] == clinic["sensitivity"]
    wrong = refused("mobile", "build", "--out", tmp_path / "other", "--prevalence", "normal=.5,benign=.5")
    assert "--prevalence" in wrong
    assert not (tmp_path / "other").exists()


@pytest.mark.usefixtures("stand_in")
def test_the_next_command_serves_the_same_app_to_phones(tmp_path: Path) -> None:
    done = sonoforge("mobile", "build", "--out", tmp_path / "app", "--prevalence", "screening", "--abstain")
    command = "sonoforge serve --host 0.0.0.0 --prevalence screening --abstain"
    assert f"next: {command}\n" in done.err and "any web server with https" in done.said
    assert understood(*command.split()[1:]).code == 0
    assert serve_command(AppSettings(sensitivity=0.9), "my bundle").endswith(
        "serve 'my bundle' --host 0.0.0.0 --sensitivity 0.9"
    )


@pytest.mark.usefixtures("stand_in")
def test_only_an_app_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.docx").write_text("precious")
    assert "something other than an app" in refused("mobile", "build", "--out", tmp_path)
    assert (tmp_path / "thesis.docx").read_text() == "precious"


def test_a_package_that_was_not_tested_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "onnxruntime-web-1.30.0.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(CHECKOUT / "LICENSE", "package/dist/ort.wasm.bundle.min.mjs")
    line = refused("mobile", "build", "--out", tmp_path / "app", "--set", f"app.onnxruntime_web={archive}")
    assert "sha512-" in line
    assert not (tmp_path / "app").exists()


def test_without_npm_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("shutil.which", lambda _: None)
    package = NpmPackage("no-such", "1.0.0", "sha512-", ())
    with pytest.raises(SonoforgeError, match=r"npm pack no-such@1\.0\.0"):
        web_app.read_files(package)


def test_words_of_the_page_and_of_its_languages_are_those_it_says() -> None:
    english = json.loads((WWW / "words" / "en.json").read_text(encoding="utf-8"))
    flags = {f"flag {name}_{side}": "" for name in METRICS for side in ("low", "high")}
    said = set()
    for script in [*WWW.glob("js/*.js"), WWW / "index.html"]:
        text = script.read_text(encoding="utf-8")
        said |= set(re.findall(r'\bsay\("([^"]+)"', text)) | set(re.findall(r'data-(?:word|label)="([^"]+)"', text))
    assert said - set(english) == set()
    for file in WWW.glob("words/*.json"):
        words = json.loads(file.read_text(encoding="utf-8"))
        assert set(words) - {"reviewed"} <= set(english | flags), file.name
        if file.stem != "en":
            assert words["reviewed"] is False
            assert words["unreviewed"]
        for key, text in words.items():
            if key != "reviewed":
                assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", (english | flags)[key])), (
                    file.name,
                    key,
                )


def test_the_page_loads_nothing_from_elsewhere() -> None:
    for file in [*WWW.rglob("*.js"), *WWW.rglob("*.html"), *WWW.rglob("*.css")]:
        assert not re.findall(r"https?://(?!www\.w3\.org)", file.read_text(encoding="utf-8")), file.name
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', (WWW / "index.html").read_text())
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy[1].split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["connect-src"] == "'self'"
    assert "unsafe-eval" not in rules["script-src"].replace("wasm-unsafe-eval", "")


def test_scripts_name_constants_that_the_runtime_has() -> None:
    """One that moved to another module would be `undefined`, and every comparison with it false."""
    text = constants_script().decode()
    known = json.loads(text.partition("export default ")[2].rstrip(";\n"))
    named = []
    for path in WWW.rglob("*.js"):
        script = path.read_text(encoding="utf-8")
        named += re.findall(r"constants\.(\w+)\.([A-Z_]+)", script)
        for names, module in re.findall(r"const \{([^}]*)\} = constants\.(\w+);", script):
            named += [(module, name) for name in re.findall(r"[A-Z][A-Z0-9_]+", names)]
    assert len(named) > 40
    assert [(module, name) for module, name in named if name not in known.get(module, {})] == []
