"""Own code: it runs only if the user named it or trusts its hash, and a kept copy stands in for the original."""

import hashlib
import multiprocessing
from pathlib import Path

import pytest

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training import own_code
from sonoforge.training.own_code import find, give, is_own, keep, load

SOURCE = """
import dataclasses
from pathlib import Path

Path(__file__).with_suffix(".ran").touch()

@dataclasses.dataclass
class Mine:
    size: int = 3
"""


@pytest.fixture(autouse=True)
def _new_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was allowed before."""
    monkeypatch.setenv("SONOFORGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(own_code.TRUST, raising=False)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A file of own code."""
    file = tmp_path / "mine.py"
    file.write_text(f"{SOURCE}\n# {tmp_path}\n")  # its hash is this test's alone
    return file


@pytest.fixture
def folder(mine: Path, tmp_path: Path) -> Path:
    """A folder that keeps a copy of it."""
    made = tmp_path / "run"
    made.mkdir()
    keep(find(f"{mine}:Mine"), made)
    return made


def test_names_of_code_are_told_from_names_of_ours() -> None:
    assert all(map(is_own, ("mine.py", "a/b.py:Net", "C:\\x.py", "pack.age:Net", "mine.py:Net#0123456789abcdef")))
    assert not any(map(is_own, ("dcgan", "projected:small-data", "resnet18.a1_in1k", "mine.py:no-name", "a.b")))


def test_a_folder_that_names_code_does_not_run_it(folder: Path, mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = hashlib.sha256(mine.read_bytes()).hexdigest()
    recorded = f"mine.py:Mine#{digest[:16]}"
    assert find(f"{mine}:Mine").recorded == recorded
    for trusted in ("", digest[:8], "0" * 16):
        monkeypatch.setenv(own_code.TRUST, trusted)
        with pytest.raises(SonoforgeError, match=f"run: needs the code {recorded}.*{own_code.TRUST}={digest[:16]}"):
            load(recorded, folder)
    assert not list(folder.glob("*.ran"))
    monkeypatch.setenv(own_code.TRUST, f"{'0' * 16}, {digest[:16].upper()}")
    assert load(recorded, folder)().size == 3
    assert list(folder.glob("*.ran")), "run once it is trusted"


def test_named_once_it_is_allowed_here_after_the_original_moved(folder: Path, mine: Path) -> None:
    made = load(give(f"{mine}:Mine"))
    recorded = find(f"{mine}:Mine").recorded
    mine.unlink()
    assert load(recorded, folder) is made, "run once in a process"
    (folder / own_code.COPY).write_text("size = 1")
    assert find(recorded, folder).source == find(f"{mine}:Mine#{recorded[-16:]}").source, "the machine's own copy"
    with pytest.raises(SonoforgeError, match=r"edited since, .* mine\.py:Mine#0"):
        load(f"mine.py:Mine#{'0' * 16}", folder)


def _size(spec: str, folder: Path) -> int:
    size: int = load(spec, folder)().size
    return size


def test_another_process_loads_what_this_one_was_given(folder: Path, mine: Path) -> None:
    load(give(f"{mine}:Mine"))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_size, (find(f"{mine}:Mine").recorded, folder)) == 3


def test_a_module_of_a_package_is_imported_by_name_once_its_hash_is_known() -> None:
    own = find("json.decoder:JSONDecoder")
    with pytest.raises(SonoforgeError, match="never allowed"):
        load("json.decoder:JSONDecoder")
    assert load(give(own.recorded)).__module__ == "json.decoder"
    with pytest.raises(SonoforgeError, match="edited since"):
        give(f"json.decoder:JSONDecoder#{'0' * 16}")


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("x = 1\ny = x / 0\n", "", "broken.py:2: ZeroDivisionError: division by zero"),
        ("x = (\n", "", "broken.py:1: SyntaxError"),
        ("import sys\nsys.exit(3)\n", "", "broken.py:2: SystemExit: 3"),
        ("def network(): ...\n", ":netwrok", r"defines no netwrok \(did you mean network\?\)"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, content: str, name: str, message: str) -> None:
    (tmp_path / "broken.py").write_text(content)
    with pytest.raises(SonoforgeError, match=message):
        load(give(f"{tmp_path}/broken.py{name}"))


def test_missing_code_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SonoforgeError, match=r"nope.py: there is no such file"):
        find(f"{tmp_path}/nope.py")
    with pytest.raises(SonoforgeError, match="no such Python module"):
        find("no_such_package.networks:Net")
