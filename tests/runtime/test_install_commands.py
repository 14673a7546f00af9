"""The command that a message names installs the extra into the Python that runs, from where sonoforge came from."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

from places import CHECKOUT
from sonoforge.runtime import errors
from sonoforge.runtime.errors import SonoforgeError, install_extra, not_installed, pip_install, require


def installed(site: Path, record: dict[str, object] | None) -> list[str]:
    """The words of the command that names an extra, where a copy of the runtime was installed with this record."""
    package, about = site / "sonoforge" / "runtime", site / "sonoforge-0.1.0.dist-info"
    package.mkdir(parents=True)
    about.mkdir()
    shutil.copy(errors.__file__, package / "errors.py")
    (package / "__init__.py").touch()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: sonoforge\nVersion: 0.1.0\n")
    if record is not None:
        (about / "direct_url.json").write_text(json.dumps(record))
    code = "from sonoforge.runtime.errors import install_extra; print(install_extra('one,two'))"
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    return shlex.split(done.stdout)


# Records as PEP 610 shows them; FOLDER stands for a folder with a blank in its name.
@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (None, "sonoforge[one,two]"),  # from an index
        ({"url": "file://FOLDER/checkout", "dir_info": {}}, "FOLDER/checkout[one,two]"),
        ({"url": "file://FOLDER/x-0.1.0.whl", "archive_info": {}}, "FOLDER/x-0.1.0.whl[one,two]"),
        ({"url": "file://FOLDER/removed.whl", "archive_info": {}}, "sonoforge[one,two]"),
        ({"url": "https://example.org/x.whl", "archive_info": {}}, "sonoforge[one,two]"),
        ({"url": "https://example.org/x", "vcs_info": {"vcs": "git", "commit_id": "0"}}, "sonoforge[one,two]"),
    ],
)
def test_an_extra_comes_from_where_sonoforge_came_from(
    tmp_path: Path, record: dict[str, object] | None, expected: str
) -> None:
    folder = tmp_path / "with a blank"
    (folder / "checkout").mkdir(parents=True)
    (folder / "x-0.1.0.whl").touch()
    if record is not None:
        record = {**record, "url": str(record["url"]).replace("FOLDER", folder.as_uri().removeprefix("file://"))}
        assert str(folder) in unquote(str(record["url"])) or "FOLDER" not in expected
    words = installed(tmp_path / "site", record)
    assert words[-2:] == ["install", expected.replace("FOLDER", str(folder))]


def test_a_checkout_that_runs_is_installed_to_be_edited() -> None:
    assert shlex.split(install_extra("dicom", "-U"))[-4:] == ["install", "-U", "-e", f"{CHECKOUT}[dicom]"]
    assert shlex.split(install_extra(""))[-2:] == ["-e", str(CHECKOUT)]


def test_pip_is_called_by_its_name_only_where_that_is_this_environment_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, other = tmp_path / "own place", tmp_path / "other"
    for folder, program in ((own, "pip"), (other, "pip"), (other, "uv")):
        folder.mkdir(exist_ok=True)
        (folder / program).write_text("#!/bin/sh\n")
        (folder / program).chmod(0o755)
    python = str(own / "python")
    monkeypatch.setattr(sys, "executable", python)
    monkeypatch.setattr(sys, "prefix", "/elsewhere")
    found = {}
    for name, path, has_pip in (("own", own, 1), ("other", other, 1), ("uv", other, 0), ("none", tmp_path, 0)):
        monkeypatch.setenv("PATH", str(path))
        with monkeypatch.context() as within:
            within.setattr("importlib.util.find_spec", lambda _, spec=has_pip: spec or None)
            found[name] = shlex.split(pip_install("a>=1"))
    assert found == {
        "own": ["pip", "install", "a>=1"],
        "other": [python, "-m", "pip", "install", "a>=1"],
        "uv": ["uv", "pip", "install", "--python", python, "a>=1"],
        "none": ["pip", "--python", python, "install", "a>=1"],
    }
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)  # a system's Python, beside which another one's pip may lie
    monkeypatch.setenv("PATH", str(own))
    assert shlex.split(pip_install("a"))[:3] == [python, "-m", "pip"]


def test_only_what_is_absent_is_named() -> None:
    assert not_installed("dicom", "json", "numpy") == ""
    assert not_installed("dicom", "json", "no_such_a", "no_such_b").startswith("no_such_a, no_such_b is not installed")
    assert not_installed("", "json", "no_such_a").endswith("install no_such_a")
    require("this", "dicom", "json")
    with pytest.raises(SonoforgeError, match=r"^this: no_such_a is not installed; run .*\[dicom\]'$"):
        require("this", "dicom", "no_such_a")
