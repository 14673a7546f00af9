"""Generated images at a URL: written there by one command for all classes, fetched from there, used as images are."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from generator_checkpoints import small_checkpoint
from program import refused, succeed


@pytest.fixture(scope="module")
def conditional(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a generator of three classes."""
    folder = tmp_path_factory.mktemp("conditional") / "run"
    small_checkpoint(folder, "dcgan", 3)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_all_classes_go_to_a_url_and_come_back_as_a_data_set(
    place: tuple[str, Any, str], conditional: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, files, root = place
    here = succeed("gan", "sample", conditional, "--class", "all", "--count", "12", "--out", tmp_path / "here").json
    there = succeed("gan", "sample", conditional, "--class", "all", "--count", "12", "--out", f"{url}/made/")
    assert there.json["targets"] == [f"{url}/made/{name}" for name in "abc"]
    assert there.json["count"] == 36 == here["count"]
    assert all(b"sonoforge:synthetic" in path.read_bytes() for path in (tmp_path / "here").glob("*/*.png"))
    assert "verysecret" not in there.err + there.out
    done = succeed("data", "import", "url", f"{url}/made", tmp_path / "fetched").json
    assert (done["files"], done["copied"]) == (39, 39)
    assert contents(tmp_path / "fetched") == contents(tmp_path / "here")
    assert succeed("data", "import", "url", f"{url}/made", tmp_path / "fetched").json["copied"] == 0
    audited = succeed("data", "audit", "--data", tmp_path / "fetched").json
    assert {name: own["images"] for name, own in audited["classes"].items()} == dict.fromkeys("abc", 12)
    # One that was damaged there is found by its hash.
    files.pipe_file(f"{root}/made/b/synthetic-b-0-00003.png", b"no picture")
    line = refused("data", "import", "url", f"{url}/made", tmp_path / "again")
    assert "synthetic-b-0-00003.png: differs from its manifest and was removed" in line
    assert not (tmp_path / "again" / "b" / "synthetic-b-0-00003.png").exists()


def test_a_folder_of_something_else_is_not_written_to(place: tuple[str, Any, str], conditional: Path) -> None:
    url, files, root = place
    words = ("gan", "sample", conditional, "--class", "a", "--count", "2")
    succeed(*words, "--out", f"{url}/one")
    succeed(*words, "--out", f"{url}/one")  # the same again is no harm
    line = refused(*words, "--seed", "5", "--out", f"{url}/one")
    assert f"{url}/one: holds other files already" in line
    files.makedirs(f"{root}/mine", exist_ok=True)
    files.pipe_file(f"{root}/mine/scan.png", b"a scan")
    assert "holds other files already" in refused(*words, "--out", f"{url}/mine")
    assert files.cat_file(f"{root}/mine/scan.png") == b"a scan"


def test_what_cannot_be_is_refused_in_one_line(conditional: Path, tmp_path: Path) -> None:
    sample = ("gan", "sample", conditional, "--count", "2", "--class")
    assert "a URL must point to a folder" in refused(*sample, "a", "--out", "memory://x/images.zip")
    assert "credentials" in refused(*sample, "a", "--out", "s3://key:secret@bucket/x")
    assert "give --out a folder" in refused(*sample, "all", "--out", tmp_path / "x.zip")
    assert "holds no files" in refused("data", "import", "url", "memory://nothing", tmp_path / "x")
    assert "is not a URL such as s3://bucket/folder" in refused("data", "import", "url", tmp_path, tmp_path / "x")
    small_checkpoint(tmp_path / "one", "dcgan", 0)
    assert "a generator with several classes" in refused("gan", "sample", tmp_path / "one", "--class", "all")


class Leading(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, and sends who asks for ``2.png`` elsewhere."""

    goal = ""

    def send_head(self) -> Any:
        if not self.path.endswith("2.png"):
            return super().send_head()
        self.send_response(302)
        self.send_header("Location", self.goal)
        self.end_headers()
        return None

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def leading(tmp_path: Path) -> Iterator[str]:
    pytest.importorskip("aiohttp")
    for name in ("1.png", "2.png"):
        (tmp_path / "set" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "set" / name).write_bytes(name.encode())
    handler = lambda *args: Leading(*args, directory=str(tmp_path))  # noqa: E731
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    "goal",
    [
        *("http://localhost:9/x", "https://localhost/x", "http://127.0.0.1:9/x", "ftp://127.0.0.1/x", "//localhost/x"),
        *("file:///etc/passwd", "http://127.0.0.1@localhost/x", "/set/1.png", "1.png"),
    ],
)
def test_a_server_cannot_lead_elsewhere(
    leading: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, goal: str
) -> None:
    monkeypatch.setattr(Leading, "goal", goal)
    command = ("data", "import", "url", f"{leading}/set/", tmp_path / "out")
    if goal.endswith("1.png"):
        assert succeed(*command).json["copied"] == 2
        assert contents(tmp_path / "out") == {"1.png": b"1.png", "2.png": b"1.png"}
    else:
        assert f"URL {leading}/set/: leads to " in refused(*command)
