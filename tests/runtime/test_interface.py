"""The public interface: each example gives what it says; network, folders and other users are left alone."""

from __future__ import annotations

import doctest
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import bundle_factory as factory
from sonoforge import runtime


def public() -> Iterator[tuple[str, Any]]:
    """Every public function and class, and what a public module offers of its own."""
    for name in runtime.__all__:
        value = getattr(runtime, name)
        if inspect.ismodule(value):
            names = getattr(value, "__all__", [key for key, item in vars(value).items() if _own(item, value.__name__)])
            yield from ((f"{name}.{own}", getattr(value, own)) for own in names)
        else:
            yield name, value


def _own(item: Any, module: str) -> bool:
    return inspect.isfunction(item) and item.__module__ == module and not item.__name__.startswith("_")


# An exception is met, not called; the Generator's example needs a trained one, see test_generator_bundle.py.
NAMED = {name: value for name, value in public() if name not in ("ImageError", "Generator")}


@pytest.mark.parametrize("name", NAMED)
def test_its_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(factory.scan(1, 400, 300)).save("scan.png")
    found = [example for example in doctest.DocTestFinder().find(NAMED[name], name) if example.examples]
    assert found
    runner = doctest.DocTestRunner()
    for example in found:
        assert not any(doctest.SKIP in item.options for item in example.examples)
        report: list[str] = []
        runner.run(example, out=report.append)
        assert runner.failures == 0, "".join(report)


def test_importing_the_interface_loads_no_library() -> None:
    code = """
import sys, sonoforge.runtime as runtime
print(sorted({"numpy", "onnxruntime", "PIL", "torch"} & set(sys.modules)))
import numpy as np
runtime.quality.measure(np.zeros((90, 120), np.uint8))
print("onnxruntime" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "False"]


linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at /proc, or at system calls")


traced = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


@pytest.fixture(scope="module")
def picture() -> Iterator[Path]:
    """A scan that every user of the machine may read, which pytest's own folders are not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = Path(folder) / "scan.png"
        Image.fromarray(factory.scan(0)).save(path)
        yield path


def fresh(home: Path | None) -> dict[str, str]:
    """The environment with another home, or none, and without the switch of onnxruntime's telemetry."""
    kept = {name: value for name, value in os.environ.items() if name not in ("HOME", "ORT_DISABLE_TELEMETRY")}
    kept = {name: value for name, value in kept.items() if not name.startswith("XDG_")}
    return {**kept, "PYTHONDONTWRITEBYTECODE": "1", **({"HOME": str(home)} if home else {})}


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "sonoforge.runtime.cli.main", *map(str, arguments)]


def traced_calls(program: list[str], home: Path, trace: Path) -> list[tuple[str, str]]:
    """Run a program, and return its system calls that matter here: names and arguments."""
    calls = "trace=%network,%process,openat,open,creat,mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat"
    tracer = ["strace", "-f", "-qq", "-e", calls, "-e", "signal=none", "-o", str(trace)]
    subprocess.run([*tracer, *program], check=True, env=fresh(home), stdout=subprocess.DEVNULL)
    said = re.compile(r"\d+ +(\w+)\((.*)")
    return [(found[1], found[2]) for line in trace.read_text().splitlines() if (found := said.match(line))]


def threads(calls: list[tuple[str, str]]) -> int:
    """Count the threads and processes that were started."""
    return sum(name in ("clone", "clone3", "fork", "vfork") for name, _ in calls)


@linux
@traced
@pytest.mark.parametrize("verb", ["classify", "quality"])
def test_no_socket_no_file_and_no_thread_but_its_own(verb: str, picture: Path, tmp_path: Path) -> None:
    home, trace = tmp_path / "home", tmp_path / "trace"
    home.mkdir()
    seen = traced_calls(command(verb, picture, "--quiet"), home, trace)
    assert str(picture) in trace.read_text(), "the trace shows what was read"
    network = {name for name, _ in seen} & {"socket", "connect", "sendto", "sendmsg", "bind", "socketpair"}
    assert not network
    changed = [line for line in seen if line[0] in ("creat", "mkdir", "mkdirat", "rename", "renameat", "unlink")]
    opened = [what for name, what in seen if name in ("open", "openat") and re.search("O_WRONLY|O_RDWR|O_CREAT", what)]
    assert changed == [] and [what for what in opened if '"/dev/null"' not in what] == []
    # One thread loads the model; onnxruntime 1.32 and later start one that ends at once, too, as they are imported.
    quiet = "import os; os.environ['ORT_DISABLE_TELEMETRY'] = '1'; import onnxruntime"  # as the command line has it
    imported = traced_calls([sys.executable, "-c", quiet], home, trace)
    assert threads(seen) == (1 + threads(imported) if verb == "classify" else 0)
    assert list(home.iterdir()) == []


AUDITED = """
import json, os, sys
seen = []
def note(event, arguments):
    write = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    if event.startswith(("socket.", "subprocess.", "urllib.", "http.", "os.mkdir", "os.system", "os.exec")) or write:
        seen.append([event, str(arguments[0])])
sys.addaudithook(note)
import threading
from sonoforge.runtime import Classifier, quality
result = Classifier().classify(sys.argv[1])
quality.measure(sys.argv[1])
tasks = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 1
print(json.dumps([seen, [thread.name for thread in threading.enumerate()], tasks, result.label]))
"""


@pytest.mark.parametrize("home", ["fresh", "read-only", "none"])
def test_from_python_with_any_home(home: str, picture: Path, tmp_path: Path) -> None:
    folder = tmp_path / "home"
    folder.mkdir(mode=0o500 if home == "read-only" else 0o700)
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", AUDITED, str(picture)],
        check=True,
        env=fresh(None if home == "none" else folder),
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    seen, threads, tasks, label = json.loads(done.stdout)
    assert seen == [] and threads == ["MainThread"] and tasks == 1
    assert label in ("normal", "benign", "malignant")
    assert list(folder.iterdir()) == []


def test_telemetry_of_an_onnxruntime_that_was_imported_first_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    other = types.ModuleType("onnxruntime")
    other.disable_telemetry_events = lambda: called.append("off")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "onnxruntime", other)
    for value, times in ((None, 1), ("0", 1), ("", 1), ("1", 0)):
        called.clear()
        if value is None:
            monkeypatch.delenv("ORT_DISABLE_TELEMETRY")
        else:
            monkeypatch.setenv("ORT_DISABLE_TELEMETRY", value)
        if times:
            with pytest.warns(RuntimeWarning, match="onnxruntime was imported before sonoforge"):
                runtime.switch_off_telemetry()
        else:
            runtime.switch_off_telemetry()
        assert called == ["off"] * times and os.environ["ORT_DISABLE_TELEMETRY"] == "1"


@pytest.mark.parametrize(
    "imports",
    [
        "sonoforge.runtime, onnxruntime",
        "sonoforge.runtime.images.decoding, onnxruntime",
        "sonoforge.training, onnxruntime",
    ],
)
def test_no_import_order_starts_the_telemetry(imports: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    code = f"import {imports}, os, time; time.sleep(0.3); print(os.environ['ORT_DISABLE_TELEMETRY'])"
    done = subprocess.run([sys.executable, "-c", code], check=True, env=fresh(home), capture_output=True, text=True)
    assert done.stdout.strip() == "1" and done.stderr == ""
    assert list(home.iterdir()) == []
