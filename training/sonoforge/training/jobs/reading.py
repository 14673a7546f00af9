"""Make a blinded sheet for expert readers, and score their answers, each in a run folder."""

import dataclasses
import hashlib
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sonoforge.runtime.atomic import write_bytes
from sonoforge.runtime.cli.options import flatten
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.notice import NOTICE
from sonoforge.training import run_folder
from sonoforge.training.evaluation.image_set import find_images
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan.image_sets import check_named, is_run, read_image_sets
from sonoforge.training.gan.milestones import read_own_images
from sonoforge.training.reader_study.scores import Reader, read_readers, score_reading
from sonoforge.training.reader_study.sheet import KEY, Key, Pair, commitment, make_sheet, read_key, sources
from sonoforge.training.reports.reading import PAGE, read_pictures, write_report, write_sheet
from sonoforge.training.run_options import EvaluationInput
from sonoforge.training.settings.evaluation import EvaluateConfig

TABLE = "answers.csv"
_COLUMNS = (
    *("reader", "image", "kind", "class", "source", "file"),
    *("answer", "confidence", "class_given", "x", "y", "seconds"),
)
_USED = {field.name for field in dataclasses.fields(EvaluationInput)}
_NONCE = 32  # bytes: as many as the commitment has


def write(config: EvaluateConfig) -> run_folder.Written:
    """Draw ``config.reading_sheet`` real and as many generated images of each class, and write page and key.

    Raises:
        SonoforgeError: A set is missing or too small, or the settings do not go together.
    """
    _check(config)
    count = config.reading_sheet or 0  # what this is called for
    pairs = [_read_pair(config, fake, name) for fake, name in _sets(config)]
    sheet = make_sheet(pairs, count, config.reading_classes, secrets.token_bytes(_NONCE))
    folder = run_folder.open_run(Path(config.out), "reading-sheet", flatten(config), resume=False)
    with run_folder.working_in(folder):
        prints = hashlib.sha256("".join(pair.real.fingerprint for pair in pairs).encode()).hexdigest()
        run_folder.write_environment(folder, "cpu", config.seed, prints)
        content = sheet.key.encoded()
        write_bytes(folder / KEY, content)
        page = write_sheet(folder / PAGE, sheet, commitment(content))
        results = {
            "page": PAGE,
            "key": KEY,
            "commitment": commitment(content),
            "images": len(sheet.pictures),
            "side": sheet.key.side,
            "classes": list(sheet.key.classes),
            "sources": sources(sheet.key),
            "notice": NOTICE,
        }
        run_folder.write_results(folder, results)
    return run_folder.Written(folder, page, results)


def _check(config: EvaluateConfig) -> None:
    check_named(config)
    defaults = EvaluateConfig()
    for field in dataclasses.fields(EvaluateConfig):
        unused = field.name not in _USED and not field.name.startswith("reading_")
        if unused and getattr(config, field.name) != getattr(defaults, field.name):
            raise SonoforgeError(
                f"{field.name}: cannot be combined with --reading-sheet, which measures nothing; leave one out"
            )
    if len(set(config.reading_classes)) != len(config.reading_classes) or len(config.reading_classes) == 1:
        raise SonoforgeError(
            f"reading_classes: must be two or more different classes, not {','.join(config.reading_classes)}"
        )


def _sets(config: EvaluateConfig) -> list[tuple[str, str]]:
    """Return each generated set given by FAKE, or by a run alone, with its class; empty if the set states it."""
    given = config.fake or config.real
    whole = given == "phantom" or Path(given).exists()
    fakes = [given] if whole else [name for name in given.split(",") if name]
    if len(fakes) == 1 and not config.class_name and config.reading_classes:
        return [(fakes[0], name) for name in _classes(config, fakes[0]) or ("",)]
    return [(fake, config.class_name) for fake in fakes]


def _classes(config: EvaluateConfig, fake: str) -> tuple[str, ...]:
    """Return the classes of a conditional generator, or of a folder of class folders; none for other sets."""
    path = Path(fake)
    if is_run(path):
        return tuple(gan_checkpoint.describe(gan_checkpoint.find_checkpoint(path, config.checkpoint)).classes)
    classes = find_images(path).classes if path.is_dir() else ()
    return classes if len(classes) > 1 else ()


def _read_pair(config: EvaluateConfig, fake: str, class_name: str) -> Pair:
    count = config.count or config.reading_sheet if is_run(Path(fake)) else config.count
    inputs = dataclasses.replace(config, fake=fake if config.fake else "", class_name=class_name, count=count)
    if config.fake:
        return Pair(*read_image_sets(inputs, config.storage.open()))
    own = read_own_images(inputs, config.storage.open())
    return Pair(own.real, own.fake)


# ---- its readers' answers


def score(config: EvaluateConfig) -> run_folder.Written:
    """Score the files of answers to the sheet in the folder ``config.real``; write the page and `TABLE`.

    Raises:
        SonoforgeError: The sheet or a file of answers is missing or damaged.
        GateError: Key, page and answers do not belong together.
    """
    if dataclasses.replace(config, real="", answers=(), out=config.out) != EvaluateConfig(out=config.out):
        raise SonoforgeError("--answers takes the folder of a reading sheet, and no other option except --out")
    sheet = Path(config.real)
    if not config.real or not sheet.is_dir():
        raise SonoforgeError(f"REAL must be a folder made by evaluate --reading-sheet, not {config.real or 'empty'}")
    key, seal = read_key(sheet / KEY)
    pictures = read_pictures(sheet / PAGE, key, seal)
    readers = read_readers([Path(path) for path in config.answers], key, seal)
    given = {"sheet": config.real, "answers": config.answers}
    folder = run_folder.open_run(Path(config.out), "reading", given, resume=False)
    with run_folder.working_in(folder):
        run_folder.write_environment(folder, "cpu", 0, seal)
        results = score_reading(config.real, readers, key, seal)
        run_folder.write_table(folder / TABLE, _COLUMNS, _rows(readers, key))
        page = write_report(folder, results, pictures)
        run_folder.write_results(folder, results)
    return run_folder.Written(folder, page, results)


def _rows(readers: Sequence[Reader], key: Key) -> list[dict[str, Any]]:
    """Return the table of answers, without images that a reader left out."""
    rows = []
    for reader in readers:
        for entry in key.entries:
            row = [reader.name, entry.number, entry.kind, entry.class_name, entry.source, entry.file]
            if answer := reader.answers.get(entry.number):
                row += [answer.kind, answer.confidence, answer.class_name, *(answer.mark or ("", "")), answer.seconds]
            rows.append(dict(zip(_COLUMNS, row, strict=False)))
    return rows
