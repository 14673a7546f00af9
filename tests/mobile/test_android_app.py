"""``sonoforge mobile build --apk``: what is in the package, who signed it, and the page's side of its bridge."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import shutil
import stat
import subprocess
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from PIL import Image

from bundle_factory import scan
from program import refused, succeed
from sonoforge.mobile import android_app, web_app
from sonoforge.mobile.android_app import ANDROID, find_tools
from sonoforge.mobile.server import _TYPES
from sonoforge.mobile.web_app import WWW
from sonoforge.runtime.bundle.reader import SHIPPED, open_bundle
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.inference.classifier import Classifier

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ORIGIN = "https://appassets.androidplatform.net/"


class Built(NamedTuple):
    folder: Path
    apk: Path
    about: dict[str, Any]
    keystore: Path


@pytest.fixture(scope="module", params=[pytest.param("", marks=pytest.mark.slow)])  # half a minute of Java: by CI
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The shipped bundle's app, signed with a debug key that this build makes."""
    try:
        find_tools()
        for package in (web_app.ONNXRUNTIME_WEB, web_app.BUNDLETOOL):
            web_app.read_files(package)
    except SonoforgeError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("android")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        done = succeed("mobile", "build", "--out", folder / "app", "--apk")
    assert "DEBUG KEY" in done.err
    about = done.json["apk"]
    return Built(folder / "app", Path(about["file"]), about, folder / "state" / "sonoforge" / "android-debug.p12")


def printed(*command: object) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_both_signatures_of_the_whole_file_hold(built: Built) -> None:
    said = printed("apksigner", "verify", "--verbose", built.apk)
    assert "Verified using v2 scheme (APK Signature Scheme v2): true" in said
    assert "Verified using v3 scheme (APK Signature Scheme v3): true" in said
    printed("zipalign", "-c", "4", built.apk)
    data = built.apk.read_bytes()
    assert hashlib.sha256(data).hexdigest() == built.about["sha256"]
    assert len(data) <= 30_000_000


def test_it_asks_for_no_permission_and_keeps_nothing_for_backups(built: Built) -> None:
    assert printed("aapt2", "dump", "permissions", built.apk) == f"package: {built.about['application']}\n"
    badging = printed("aapt2", "dump", "badging", built.apk)
    assert "sdkVersion:'24'" in badging
    assert "targetSdkVersion:'34'" in badging
    assert "application-debuggable" not in badging
    tree = printed("aapt2", "dump", "xmltree", "--file", "AndroidManifest.xml", built.apk)
    for name in ("allowBackup", "usesCleartextTraffic", "debuggable"):
        assert re.search(rf":{name}\(0x[0-9a-f]+\)=false", tree), name
    assert set(re.findall(r'"(android\.intent\.action\.\w+)"', tree)) == {"android.intent.action.MAIN"}


def test_every_asset_is_the_web_apps_file_and_the_bundles(built: Built) -> None:
    with zipfile.ZipFile(built.apk) as package:
        assets = {n.removeprefix("assets/www/"): package.read(n) for n in package.namelist() if n.startswith("assets/")}
        dex = package.read("classes.dex")
        stored = [entry.filename for entry in package.infolist() if entry.compress_type == zipfile.ZIP_STORED]
    files = {p.relative_to(built.folder).as_posix(): p.read_bytes() for p in built.folder.rglob("*") if p.is_file()}
    assert assets == files
    manifest = json.loads((SHIPPED / "manifest.json").read_text())
    assert hashlib.sha256(assets["bundle/model.onnx"]).hexdigest() == manifest["files"]["model.onnx"]["sha256"]
    assert b"Lsonoforge/android/PageActivity;" in dex
    assert "resources.arsc" in stored  # Android 11 and later refuse it otherwise


def test_the_debug_key_is_its_owners_alone_and_made_once(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    assert stat.S_IMODE(built.keystore.stat().st_mode) == 0o600
    monkeypatch.setenv("XDG_STATE_HOME", str(built.keystore.parents[1]))
    before = built.keystore.read_bytes()
    key = android_app.debug_key(find_tools())
    assert key.keystore.read_bytes() == before
    assert built.about["key"] == "debug"


def test_without_a_password_nothing_is_built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(android_app.PASSWORD, raising=False)
    monkeypatch.setattr("sys.stdin", (tmp_path / "nobody").open("w+"))
    monkeypatch.setattr("sonoforge.mobile.jobs.find_tools", lambda: None)
    (tmp_path / "own.p12").write_bytes(b"")
    line = refused("mobile", "build", "--out", tmp_path / "app", "--apk", "--key", tmp_path / "own.p12")
    assert f"set {android_app.PASSWORD}" in line
    assert not (tmp_path / "app").exists()
    assert "cannot be read" in refused("mobile", "build", "--out", tmp_path / "app", "--apk", "--key", tmp_path / "no")
    assert "requires --apk" in refused("mobile", "build", "--out", tmp_path / "app", "--key", tmp_path / "own.p12")


def test_missing_tools_are_named_with_their_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None if name in ("aapt2", "javac") else f"/usr/bin/{name}")
    monkeypatch.setattr(android_app, "_DEBIANS_PLATFORMS", tmp_path)
    monkeypatch.delenv("ANDROID_HOME", raising=False)
    line = refused("mobile", "build", "--out", tmp_path / "app", "--apk")
    assert "aapt2, javac, android.jar" in line and "aapt default-jdk-headless libandroid-23-java" in line
    for level in ("22", "23", "34", "x"):
        (tmp_path / "platforms" / f"android-{level}").mkdir(parents=True)
        (tmp_path / "platforms" / f"android-{level}" / "android.jar").write_bytes(b"")
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setenv("ANDROID_HOME", str(tmp_path))
    assert find_tools().platform == tmp_path / "platforms" / "android-34" / "android.jar"


def test_apps_of_two_bundles_have_two_names() -> None:
    manifest = open_bundle().manifest
    names = ["Breast: 3 classes", "breast-3-classes", "7", "УЗИ", "УЗЫ", "@string/x", "a\\u0041", "x" * 900, "x" * 901]
    apps = [android_app.describe_app(dataclasses.replace(manifest, name=name), "0") for name in names]
    assert len({app.application for app in apps}) == len(names)
    for app in apps:  # as Android demands: letters, digits and "_", each part begins with a letter
        assert re.fullmatch(r"[a-z]\w*(\.[a-z]\w*)+", app.application, re.ASCII), app
        assert len(app.application) <= 100


def test_a_later_bundle_has_a_larger_code() -> None:
    manifest = open_bundle().manifest

    def code(created: str) -> int:
        return android_app.describe_app(
            dataclasses.replace(manifest, raw={**manifest.raw, "created": created}), ""
        ).code

    assert code("1970-01-01T01:00:00") == code("1970-01-01T02:00:00+01:00") == 60
    assert code("2026-11-20") < code("2026-11-20T00:01:00") < 2**31
    for none in ("yesterday", "", "1969-12-31", "9999-12-31"):
        with pytest.raises(SonoforgeError, match="created: "):
            code(none)


def test_an_address_names_a_plain_file_of_the_app_or_none(tmp_path: Path) -> None:
    """`Addresses.java` on the plain JVM."""
    if shutil.which("javac") is None:
        pytest.skip("needs javac: apt-get install default-jdk-headless")
    sources = [
        ANDROID / "java" / "sonoforge" / "android" / "Addresses.java",
        Path(__file__).with_name("AddressesProgram.java"),
    ]
    printed("javac", "-J-XX:TieredStopAtLevel=1", "-d", tmp_path, *sources)
    expected = {
        "": "index.html text/html",
        "?a=../b#/../c": "index.html text/html",
        "index.html": "index.html text/html",
        "js/app.js?v=1": "js/app.js text/javascript",
        "vendor/ort.wasm.bundle.min.mjs": "vendor/ort.wasm.bundle.min.mjs text/javascript",
        "model": "model application/octet-stream",
        "../etc/hosts": "-",
        "js/../../x": "-",
        "js/..": "-",
        "%2e%2e/x": "-",
        "js/%2E%2E%2Fx": "-",
        "..\\x": "-",
        "/etc/hosts": "-",
        "js//app.js": "-",
        "js/": "-",
        ".hidden": "-",
        "js/.hidden": "-",
        "a b": "-",
        "a\nb": "-",
        "-rf": "-",
    }
    addresses = [ORIGIN + path for path in expected]
    foreign = ["http://appassets.androidplatform.net/", "https://appassets.androidplatform.net", "file:///etc/hosts"]
    foreign += ["https://appassets.androidplatform.net@example.org/", "https://example.org/index.html", "content://x/y"]
    found = printed(
        "java", "-XX:TieredStopAtLevel=1", "-cp", tmp_path, "sonoforge.android.AddressesProgram", *addresses, *foreign
    )
    assert found.splitlines() == [*expected.values(), *["-"] * len(foreign)]


def test_the_app_and_the_laptop_hand_out_files_of_the_same_types() -> None:
    assert _types() == {suffix: kind.partition(";")[0] for suffix, kind in _TYPES.items()}


def test_what_java_and_the_page_call_of_each_other_exists() -> None:
    java = "".join(file.read_text() for file in (ANDROID / "java").rglob("*.java"))
    script = (WWW / "js" / "save.js").read_text()
    assert set(re.findall(r"globalThis\.(sonoforge\w+) =", script)) == set(
        re.findall(r"window\.(sonoforge\w+)\?", java)
    )
    methods = set(re.findall(r"@JavascriptInterface\s+public \w+ (\w+)\(", java))
    assert set(re.findall(r"\bapp\.(\w+)\(", script)) == methods
    # A web view saves no download by itself: each must go through the one function that knows.
    assert [file.name for file in WWW.glob("js/*.js") if ".download = " in file.read_text()] == ["save.js"]


BRIDGE = """
window.saved = [];
window.textOf = (base64) => new TextDecoder().decode(Uint8Array.from(atob(base64), (one) => one.charCodeAt(0)));
window.sonoforgeAndroid = { save: (name, type, base64) => window.saved.push([name, type, window.textOf(base64)]) };
"""


@pytest.mark.slow
def test_the_page_answers_and_saves_through_the_app(app: Path, browser: Browser, tmp_path: Path) -> None:
    """In Chromium at the Android app's own address, with a stand-in for `PageActivity.Bridge`."""
    Image.fromarray(scan(0, 200, 150)).save(tmp_path / "0.png")
    elsewhere: list[str] = []

    def answer(route: Any) -> None:
        address = urlsplit(route.request.url)
        file = app / (address.path.removeprefix("/") or "index.html")
        if address.hostname != urlsplit(ORIGIN).hostname:
            elsewhere.append(route.request.url)
            route.abort()
        elif file.is_file():
            kind = _types().get(file.suffix, "application/octet-stream")
            route.fulfill(body=file.read_bytes(), content_type=kind, headers={"X-Content-Type-Options": "nosniff"})
        else:
            route.fulfill(status=404, body="")

    with browser.new_context() as context:
        context.route("**/*", answer)
        page = context.new_page()
        page.add_init_script(BRIDGE)
        page.goto(ORIGIN)
        page.set_input_files("#files", str(tmp_path / "0.png"))
        page.wait_for_selector(".card", timeout=300_000)
        assert page.is_hidden("label:has(#camera)")
        page.click("#save-json")
        page.click("#save-csv")
        while page.evaluate("saved.length") < 2:  # the page's policy lets no waiting expression be evaluated in it
            page.wait_for_timeout(20)
        (name, kind, text), (_, _, table) = page.evaluate("saved")
        assert page.evaluate("navigator.serviceWorker.getRegistrations().then((all) => all.length)") == 0
        assert page.evaluate("sonoforgeBack()") is False
        page.click("#open-model")
        page.wait_for_selector("dialog[open]")
        assert page.evaluate("sonoforgeBack()") is True
        assert page.query_selector("dialog[open]") is None
    assert elsewhere == []
    assert re.fullmatch(r"sonoforge-[\dT-]+\.json", name)
    assert kind == "application/json"
    (result,) = json.loads(text)["results"]
    expected = Classifier().classify(tmp_path / "0.png").probabilities
    assert result["probabilities"] == pytest.approx(expected, abs=1e-4)
    assert "0.png" in table


def _types() -> dict[str, str]:
    text = (ANDROID / "java" / "sonoforge" / "android" / "Addresses.java").read_text()
    return dict(re.findall(r'\{"(\.\w+)", "([^"]+)"\}', text))


@pytest.mark.slow  # compiles twice
def test_the_same_bundle_gives_the_same_bytes(built: Built) -> None:
    files = {p.relative_to(built.folder).as_posix(): p.read_bytes() for p in built.folder.rglob("*") if p.is_file()}
    tools, app = find_tools(), android_app.describe_app(open_bundle().manifest, "0")
    first = android_app.build_unsigned(files, app, tools)
    assert android_app.build_unsigned(dict(reversed(files.items())), app, tools) == first


@pytest.mark.slow  # makes a key
def test_an_own_key_signs_by_its_name(built: Built, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(android_app.PASSWORD, "its password")
    keystore = tmp_path / "own.jks"
    for alias in ("first", "second"):
        key = ["-alias", alias, "-keyalg", "EC", "-groupname", "secp256r1", "-dname", f"CN={alias}"]
        printed("keytool", "-genkeypair", *key, "-keystore", keystore, "-storepass:env", android_app.PASSWORD)
    tools = find_tools()
    with pytest.raises(SonoforgeError, match=r"app\.key_alias"):
        android_app.sign(built.apk.read_bytes(), android_app.own_key(keystore, ""), tools)
    signed = android_app.sign(built.apk.read_bytes(), android_app.own_key(keystore, "second"), tools)
    (tmp_path / "own.apk").write_bytes(signed)
    assert "certificate DN: CN=second" in printed("apksigner", "verify", "--print-certs", tmp_path / "own.apk")
