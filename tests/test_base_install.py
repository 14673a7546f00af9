"""The base install alone, without a network: a clinic's DICOM files to answers on paper, its own bundle, its figures.

``SONOFORGE_BASE_PYTHON`` names the Python of an environment that has the wheel and nothing else; without it one is made
from this checkout, for which the package index must be reached.  Run with ``-s`` to see what was measured.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless, RLELossless, generate_uid

from axe import printed_pages
from dicom_files import data_set, save, with_jpeg
from places import CHECKOUT
from sonoforge.runtime import Classifier
from sonoforge.training.phantom import CLASSES
from sonoforge.training.phantom.dataset import generate_phantom_set

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

# Where no network can be taken away from a process, Python's sockets are.
REFUSAL = "import socket\ndef refuse(*_): raise OSError('no network in this test')\n"
REFUSAL += "socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse\n"


def run(command: Sequence[object], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command as somebody who has none of the tests' variables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SONOFORGE_", "PYTHON", "VIRT"))}
    words = [str(word) for word in command]
    return subprocess.run(words, cwd=folder, env={**kept, **environment}, capture_output=True, text=True)


def succeed(command: Sequence[object], folder: Path, **environment: str) -> str:
    done = run(command, folder, **environment)
    assert done.returncode == 0, f"{shlex.join(map(str, command))}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    succeed([sys.executable, "-m", "build", "--wheel", "--outdir", folder, CHECKOUT], folder)
    return next(folder.glob("*.whl"))


def environment(folder: Path, *what: object) -> Path:
    """Make an environment with something installed; return its Python."""
    succeed([sys.executable, "-m", "venv", folder], folder.parent)
    succeed([folder / "bin" / "pip", "install", "-q", *what], folder.parent)
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def python(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    given = os.environ.get("SONOFORGE_BASE_PYTHON")
    return (
        Path(given) if given else environment(tmp_path_factory.mktemp("base") / "b", request.getfixturevalue("wheel"))
    )


class Offline:
    """Commands of an environment, run without a network."""

    def __init__(self, python: Path, folder: Path) -> None:
        self.python, self.folder, self.alone, self.variables = python, folder, ["unshare", "-rn"], dict[str, str]()
        if not shutil.which("unshare") or run([*self.alone, "true"], folder).returncode:
            (folder / "refusal").mkdir()
            (folder / "refusal" / "sitecustomize.py").write_text(REFUSAL)
            self.alone, self.variables = [], {"PYTHONPATH": str(folder / "refusal")}
        print(
            "\nno network:", " ".join(self.alone) or "connections are refused inside Python, as unshare cannot run here"
        )
        code = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=30)"
        tried = run([*self.alone, python, "-c", code], folder, **self.variables)
        assert "unreachable" in tried.stderr or "no network" in tried.stderr, tried.stderr

    def sonoforge(self, *arguments: object) -> Any:
        program = [*self.alone, self.python, "-m", "sonoforge.runtime.cli.main", *arguments, "--json", "--quiet"]
        return json.loads(succeed(program, self.folder, **self.variables))


def write_clinic(folder: Path, count: int, seed: int) -> dict[str, np.ndarray]:
    """Write simulated scans as DICOM of four transfer syntaxes, a folder for each class; return what they show."""
    shown = {}
    for number, image in enumerate(generate_phantom_set(count, seed)):
        syntax = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, RLELossless, None)[number % 4]
        file = data_set(image.pixels[None], PatientID=image.group, SOPInstanceUID=generate_uid())
        path = folder / CLASSES[image.label] / f"IM{number:06}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if syntax == RLELossless:
            file.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
        save(file, path, syntax) if syntax else save(with_jpeg(file, image.pixels[None]), path)
        if syntax:
            shown[path.name] = image.pixels
    return shown


def test_a_clinic_goes_from_dicom_to_paper_to_its_own_figures(
    python: Path, tmp_path: Path, browser: Browser, capsys: pytest.CaptureFixture[str]
) -> None:
    with capsys.disabled():
        offline = Offline(python, tmp_path)
    installed = json.loads(succeed([python, "-m", "pip", "list", "--format=json"], tmp_path))
    extras = {"torch", "scipy", "rich", "pylibjpeg", "highdicom", "python-gdcm", "scikit-learn"}
    assert not extras & {package["name"].lower() for package in installed}
    assert offline.sonoforge("doctor")["base"]["pydicom"]
    shown = write_clinic(tmp_path / "scans", 10, 4)

    answers = offline.sonoforge("classify", "scans", "--recursive", "--html", "answers.html")["results"]
    assert len(answers) == 10 and all(answer["ok"] and answer["dicom"]["frames"] == 1 for answer in answers)
    assert len(shown) > 6
    classifier = Classifier()
    for answer in answers:
        if (name := Path(answer["file"]).name) in shown:  # but JPEG, which loses
            expected = classifier.classify(Image.fromarray(shown[name])).probabilities
            assert answer["probabilities"] == pytest.approx(expected, abs=1e-4), name

    sheets = printed_pages(browser, tmp_path / "answers.html")
    with capsys.disabled():
        print(f"10 scans: {sheets} sheets of paper")
    assert 1 < sheets <= 4

    write_clinic(tmp_path / "ours", 48, 5)
    offline.sonoforge("adapt", "--data", "ours", "--out", "own")
    validated = offline.sonoforge("validate", "--data", "Clinic:ours", "--bundle", "own")
    assert (tmp_path / validated["report"]).is_file()
    (clinic,) = validated["collections"]
    counted = [[0] * len(CLASSES) for _ in CLASSES]  # label by answer, as the same scans are answered one by one
    for answer in offline.sonoforge("classify", "ours", "--recursive", "--bundle", "own")["results"]:
        label, shares = Path(answer["file"]).parent.name, answer["probabilities"]
        counted[CLASSES.index(label)][CLASSES.index(max(shares, key=shares.get))] += 1
    assert clinic["answers"] == list(CLASSES) and clinic["confusion"] == counted
    assert sum(map(sum, counted)) == 48


def sources(python: Path, folder: Path, wheel: Path) -> dict[str, tuple[Path, dict[str, str]]]:
    """Ways to have sonoforge without its extras, each with its Python and the variables that it needs."""
    copy = folder / "a checkout"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    for name in tracked.strip("\0").split("\0"):
        if (CHECKOUT / name).is_file() and not name.startswith(("tests/", "training/studies/")):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(CHECKOUT / name, copy / name)
    needed = ["numpy", "onnxruntime", "packaging", "pillow", "pydicom"]
    parts = os.pathsep.join(str(copy / part) for part in ("models", "runtime", "training", "export", "mobile"))
    return {
        "a wheel": (environment(folder / "wheel", wheel), {}),
        "a checkout": (environment(folder / "copied", copy), {}),
        "a checkout to be edited": (environment(folder / "edited", "-e", copy), {}),
        "a folder that is not installed": (environment(folder / "bare", *needed), {"PYTHONPATH": parts}),
    }


def test_the_command_that_a_refusal_names_works_wherever_sonoforge_came_from(tmp_path: Path, wheel: Path) -> None:
    """Copied to a shell as it is printed, with and without the environment's own ``pip`` on the path."""
    pixels = next(iter(generate_phantom_set(1, 7))).pixels
    file = data_set(pixels[None])
    file.compress(JPEG2000Lossless)
    save(file, tmp_path / "scan.dcm")
    for name, (python, variables) in sources(tmp_path, tmp_path, wheel).items():
        if name.startswith("a checkout"):
            variables["PATH"] = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
        classify = [python, "-m", "sonoforge.runtime.cli.main", "classify", "scan.dcm", "--json", "--quiet"]
        refused = run(classify, tmp_path, **variables)
        (answer,) = json.loads(refused.stdout)["results"]
        message = answer["error"]["message"]
        assert refused.returncode and "JPEG 2000" in message, name
        command = message.partition("; run ")[2]
        print(f"\n{name}: {command}")
        succeed(["bash", "-euc", command], tmp_path, **variables)
        (answer,) = json.loads(succeed(classify, tmp_path, **variables))["results"]
        assert answer["ok"], name
