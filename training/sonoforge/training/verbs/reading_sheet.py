"""``sonoforge evaluate REAL FAKE --reading-sheet N``: a blinded page of real and generated images for expert readers.

A run of ``sonoforge gan train`` alone, without FAKE, is read against the images that it held out.

With ``--features`` an automatic reader answers it at once, see `sonoforge.training.reader_study.automatic`.

JSON (``--json``) is the ``results.json`` of the run folder, and ``run``, where it is: ``page`` and ``key`` (files in
it), ``commitment``, ``images``, ``side``, ``classes``, ``sources``, ``automatic`` (see
`sonoforge.training.reader_study.scores.ReaderResult`) and ``notice``.
"""

import dataclasses
import hashlib
import secrets
from pathlib import Path

from sonoforge.runtime.atomic import write_bytes
from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome, flatten
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.notice import NOTICE
from sonoforge.training import run_folder
from sonoforge.training.devices import find_device
from sonoforge.training.evaluation.image_set import find_images
from sonoforge.training.evaluation.spaces import Space, open_spaces
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan.image_sets import check_named, is_run, read_image_sets
from sonoforge.training.gan.milestones import read_own_images, seen_by_discriminator
from sonoforge.training.reader_study.answers import read_readers, write_reader
from sonoforge.training.reader_study.automatic import FOLDER, LEARNT, read_automatically
from sonoforge.training.reader_study.scores import score_reader
from sonoforge.training.reader_study.sheet import KEY, Pair, commitment, make_sheet
from sonoforge.training.reports.reading import automatic_text
from sonoforge.training.reports.reading_sheet import PAGE, write_sheet
from sonoforge.training.run_options import EvaluationInput
from sonoforge.training.verbs.settings.evaluation import EvaluateConfig

_USED = {"features", "weights", *(field.name for field in dataclasses.fields(EvaluationInput))}
_NONCE = 32  # bytes: as many as the commitment has


def main(config: EvaluateConfig) -> Outcome:
    """Draw the images, write the page and its key, and say what each is for."""
    _check(config)
    assert config.reading_sheet is not None  # noqa: S101 - what this module is called for
    space = _open_space(config)
    pairs = [_read_pair(config, fake, name) for fake, name in _sets(config)]
    sheet = make_sheet(pairs, config.reading_sheet, config.reading_classes, secrets.token_bytes(_NONCE))
    folder = run_folder.open_run(Path(config.out), "reading-sheet", flatten(config), resume=False)
    with run_folder.working_in(folder):
        prints = hashlib.sha256("".join(pair.real.fingerprint for pair in pairs).encode()).hexdigest()
        environment = run_folder.describe_environment(str(find_device(config.device)), config.seed, prints)
        run_folder.write_environment(folder, environment)
        content = sheet.key.encoded()
        write_bytes(folder / KEY, content)
        page = write_sheet(folder / PAGE, sheet, commitment(content))
        if space:
            for reader in read_automatically(pairs, sheet.key, space, config.seed, config.storage.open()):
                write_reader(folder / FOLDER / f"{run_folder.slug(reader.name)}.json", reader, commitment(content))
        automatic = read_readers([folder / FOLDER], sheet.key, commitment(content)) if space else []
        scores = [score_reader(reader, sheet.key) for reader in automatic]
        results = {
            "page": PAGE,
            "key": KEY,
            "commitment": commitment(content),
            "images": len(sheet.pictures),
            "side": sheet.key.side,
            "classes": list(sheet.key.classes),
            "sources": {
                kind: sorted({entry.source for entry in sheet.key.entries if entry.kind == kind})
                for kind in ("real", "generated")
            },
            "automatic": scores,
            "notice": NOTICE,
        }
        run_folder.write_results(folder, results)
        half = len(sheet.pictures) // 2
        say("%d real and %d generated images of %dx%d pixels, in a random order", half, half, *[sheet.key.side] * 2)
        say("for the readers: %s", page)
        say("keep to yourself until all have answered: %s", folder / KEY)
        say("sha256 of the key, as on the page: %s", results["commitment"])
        if scores:
            say("automatic reader: %s", scores[0]["experience"])
        for score in scores:
            say("%s", automatic_text(score))
        say("%s", NOTICE)
    return Outcome({"run": str(folder), **results}, f"sonoforge evaluate {folder} --answers FOLDER_OF_ANSWERS")


def _check(config: EvaluateConfig) -> None:
    check_named(config)
    defaults = EvaluateConfig()
    for field in dataclasses.fields(EvaluateConfig):
        unused = field.name not in _USED and not field.name.startswith("reading_")
        if unused and getattr(config, field.name) != getattr(defaults, field.name):
            raise SonoforgeError(f"{field.name}: --reading-sheet measures nothing; leave one of them out")
    if len(set(config.reading_classes)) != len(config.reading_classes) or len(config.reading_classes) == 1:
        raise SonoforgeError(
            f"reading_classes: found {','.join(config.reading_classes)}, expected two or more different classes"
        )


def _open_space(config: EvaluateConfig) -> Space | None:
    """Open what the automatic reader sees with, if there is to be one."""
    if len(config.features) > 1 or (config.weights and not config.features):
        raise SonoforgeError(
            f"--features: found {','.join(config.features) or 'none'}, expected the one feature space of the automatic "
            "reader with --reading-sheet"
        )
    if not config.features:
        return None
    (space,) = open_spaces(config.features, config.weights, str(find_device(config.device)))
    for fake, _ in _sets(config):
        run = Path(fake)
        seen = seen_by_discriminator(gan_checkpoint.find_checkpoint(run, config.checkpoint)) if is_run(run) else ""
        if seen and seen in space.name:
            raise SonoforgeError(
                f"--features: the discriminator of {run} saw images through {space.short_name}, which its generator "
                "learned to satisfy; give the automatic reader another network"
            )
    return space


def _sets(config: EvaluateConfig) -> list[tuple[str, str]]:
    """Return each generated set that FAKE, or a run alone, names, with its class; empty where the set says which."""
    given = config.fake or config.real
    whole = given == "phantom" or Path(given).exists()
    fakes = [given] if whole else [name for name in given.split(",") if name]
    if len(fakes) == 1 and not config.class_name and config.reading_classes:
        return [(fakes[0], name) for name in _classes(config, fakes[0]) or ("",)]
    return [(fake, config.class_name) for fake in fakes]


def _classes(config: EvaluateConfig, fake: str) -> tuple[str, ...]:
    """Return the classes of a conditional generator, or of a folder of class folders; of another set none."""
    path = Path(fake)
    if is_run(path):
        return tuple(gan_checkpoint.describe(gan_checkpoint.find_checkpoint(path, config.checkpoint)).classes)
    if not path.is_dir():
        return ()
    classes = find_images(path).classes
    return classes if len(classes) > 1 else ()


def _read_pair(config: EvaluateConfig, fake: str, class_name: str) -> Pair:
    drawn = max(config.reading_sheet or 0, LEARNT if config.features else 0)
    count = config.count or drawn if is_run(Path(fake)) else config.count
    inputs = dataclasses.replace(config, fake=fake if config.fake else "", class_name=class_name, count=count)
    if config.fake:
        return Pair(*read_image_sets(inputs, config.storage.open()))
    own = read_own_images(inputs, config.storage.open())
    return Pair(own.real, own.fake)
