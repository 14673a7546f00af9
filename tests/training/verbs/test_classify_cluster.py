"""``sonoforge classify --cluster`` without Ray: order, contents that are sent, refusals.

`test_ray_cluster` has the same on a cluster.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Picture

import bundle_factory as factory
from program import refused, sonoforge
from sonoforge.runtime.bundle.reader import BundleError
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.training.verbs import classify as verb
from sonoforge.training.verbs.classify import Task, answer_images
from sonoforge.training.workers.opening import ThisProcess
from sonoforge.training.workers.workers import Workers, WorkerSettings

COUNT = 300  # more than two workers are given before the first is answered


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return factory.write_bundle(tmp_path_factory.mktemp("bundle") / "b")


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scans, some of them twice, and files that cannot be used."""
    folder = tmp_path_factory.mktemp("many")
    for i in range(COUNT):
        Picture.fromarray(factory.scan(i % 200)).save(folder / f"{i:03}.png")
    (folder / "005 junk.png").write_bytes(b"junk")
    (folder / "150 empty.png").write_bytes(b"")
    return folder


class Backwards(ThisProcess):
    """Two workers, of whom the one that began last is always done first."""

    slots = 2
    most_useful = 0  # workers, as there are no more tasks
    most_given = 0  # tasks before the first of them was done

    def run(self, function: Callable[[Any], Any], tasks: Iterable[Any], reads: object = None) -> Iterator[Any]:
        new, running = iter(tasks), list[Any]()
        given = 0
        while True:
            while len(running) < self.slots and (task := next(new, None)):
                running.append(task)
                given += 1
            if not running:
                return
            self.most_given = max(self.most_given, given)
            task = running.pop()
            given *= bool(running)
            yield function(task)


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> list[Backwards]:
    """Those who answer in place of a cluster."""
    opened: list[Backwards] = []

    def open_here(settings: WorkerSettings, folder: Path, most: int) -> contextlib.AbstractContextManager[Workers]:
        assert settings.cluster == "local" and folder.is_dir()
        opened.append(Backwards("cpu"))
        opened[-1].most_useful = most
        return contextlib.nullcontext(opened[-1])

    monkeypatch.setattr(verb, "open_workers", open_here)
    monkeypatch.setattr(verb, "check_cluster", lambda cluster, device: None)
    return opened


def lines(path: Path) -> list[dict[str, Any]]:
    """The answers of a file of JSON Lines, without what is a matter of time."""
    answers = [json.loads(line) for line in path.read_text().splitlines()]
    for answer in answers:
        answer.pop("ms", None)
    return answers


def assert_same_answers(command: tuple[object, ...], folder: Path) -> None:
    """Whoever answers, all that is said is the same, and so are the files."""
    done = [
        sonoforge(*command, "--csv", folder / f"{name}.csv", "--jsonl", folder / f"{name}.jsonl", *flags)
        for name, flags in (("here", ()), ("cluster", ("--cluster", "local")))
    ]
    assert done[0].code == done[1].code
    assert done[0].said == done[1].said
    assert (folder / "here.csv").read_bytes() == (folder / "cluster.csv").read_bytes()
    assert lines(folder / "here.jsonl") == lines(folder / "cluster.jsonl")


@pytest.mark.parametrize("flags", [(), ("--anonymous",)])
def test_answers_out_of_order_are_kept_in_order(
    workers: list[Backwards], bundle: Path, many: Path, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    """And no more than four tasks for each worker are under way or wait for the first."""
    assert_same_answers(("classify", many, tmp_path / "gone.png", "--bundle", bundle, *flags), tmp_path)
    assert [(own.most_given, own.most_useful) for own in workers] == [(8, 19)]
    rows = (tmp_path / "cluster.csv").read_text().splitlines()
    assert len(rows) == COUNT + 4 and all(f",{code}," in "\n".join(rows) for code in ("not_an_image", "empty"))
    assert any("copy_of" in line and line["copy_of"] for line in lines(tmp_path / "cluster.jsonl"))


def test_a_machine_with_other_files_is_sent_the_contents(
    workers: list[Backwards], bundle: Path, many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each second file is another one there; one of them cannot be read at home either when it is to be sent."""
    late = tmp_path / "late.png"
    late.write_bytes((many / "000.png").read_bytes())
    sent: list[int] = []

    def answer_elsewhere(task: Task) -> Any:
        late.unlink(missing_ok=True)
        sent.append(sum(len(image.content) for image in task.images))
        return answer_images(
            task._replace(
                images=[
                    image._replace(stamp=(1, 1)) if place % 2 and not image.content else image
                    for place, image in enumerate(task.images)
                ]
            )
        )

    monkeypatch.setattr(verb, "answer_images", answer_elsewhere)
    monkeypatch.setattr(verb, "_SENT_BYTES", 20_000)
    table = tmp_path / "a.csv"
    assert sonoforge("classify", late, many, "--bundle", bundle, "--csv", table, "--cluster", "local").code == 2
    assert 0 < max(sent) < 40_000 and sum(sent) > 100 * 5_000
    here = tmp_path / "here.csv"
    assert sonoforge("classify", late, many, "--bundle", bundle, "--csv", here).code == 2
    assert table.read_bytes() == here.read_bytes()
    assert "late.png: no such file" in table.read_text()


def test_an_interruption_keeps_what_is_answered_and_either_resumes_it(
    workers: list[Backwards], bundle: Path, many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, table = tmp_path / "whole.csv", tmp_path / "a.csv"
    assert sonoforge("classify", many, "--bundle", bundle, "--csv", whole).code == 2
    calls: list[Task] = []

    def interrupted(task: Task) -> Any:
        calls.append(task)
        if len(calls) > 12:
            raise KeyboardInterrupt
        return answer_images(task)

    monkeypatch.setattr(verb, "answer_images", interrupted)
    command = ("classify", many, "--bundle", bundle, "--csv", table)
    assert sonoforge(*command, "--cluster", "local").code == 130
    kept = table.read_bytes()
    assert 0 < kept.count(b"\n") < COUNT and whole.read_bytes().startswith(kept)
    monkeypatch.setattr(verb, "answer_images", answer_images)
    assert sonoforge(*command, "--cluster", "local", "--resume").code == 2
    names = [row.split(",")[0] for row in table.read_text().splitlines()]
    assert names == [row.split(",")[0] for row in whole.read_text().splitlines()]
    assert "0 of 0 files answered" in sonoforge(*command, "--resume").out


def test_an_error_of_the_copied_bundle_names_the_bundle_that_was_given(
    workers: list[Backwards], bundle: Path, many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def contradict(classifier: Classifier, image: object) -> None:
        assert classifier.bundle.path != bundle
        raise BundleError(f"{classifier.bundle.path}: model.onnx: found nan, expected finite numbers")

    monkeypatch.setattr(verb, "_answer", contradict)
    done = sonoforge("classify", many, "--bundle", bundle, "--cluster", "local", "--quiet")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert done.err.startswith(f"sonoforge: error: {bundle}: model.onnx: found nan")


def test_where_no_file_can_be_read_no_cluster_is_asked(bundle: Path, tmp_path: Path) -> None:
    """At this address nobody listens."""
    pytest.importorskip("ray")
    done = sonoforge("classify", tmp_path / "none", tmp_path, "--bundle", bundle, "--cluster", "192.0.2.1:1", "--quiet")
    assert done.code == 2
    assert [line.partition("(")[2].partition(")")[0] for line in done.err.splitlines()] == ["not_found", "is_directory"]


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        (("--watch", "incoming"), "--watch"),
        (("--html", "page.html", "--set", "classify.beside=true"), "--html, --set classify.beside"),
        (("--overlay", "seen", "--sr", "reports"), "--overlay, --sr"),
        (("--set", "model.threads=2"), "model.threads=2"),
        (("--set", "model.provider=CUDAExecutionProvider"), "model.provider=CUDAExecutionProvider"),
        (("-",), "- (standard input)"),
    ],
)
def test_what_this_machine_alone_can_do_is_refused(flags: tuple[str, ...], found: str, many: Path) -> None:
    line = refused("classify", many, "--cluster", "local", *flags)
    assert line.startswith(f"sonoforge: error: --cluster local: found it with {found}, expected files")
