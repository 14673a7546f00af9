"""Judge a finished bundle on labelled images from elsewhere, as ``sonoforge validate`` does."""

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from sonoforge.runtime.bundle.classification import ClassifierManifest
from sonoforge.runtime.bundle.reader import Bundle
from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import flatten
from sonoforge.runtime.csv_tables import defused
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.inputs import Entry
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.runtime.inference.trust import Cause
from sonoforge.runtime.jobs.answering import Scans, answer_scans
from sonoforge.runtime.notice import NOTICE, trained_on_in_words
from sonoforge.training import run_folder
from sonoforge.training.data.cache import ImageCache, open_cache
from sonoforge.training.data.datasets import Dataset
from sonoforge.training.reports.validation import AT_ONCE, THOROUGH, Answered, log_collection, write_report
from sonoforge.training.settings.crossval import ValidateConfig
from sonoforge.training.statistics.intervals import Labels
from sonoforge.training.statistics.results import Record
from sonoforge.training.validation.figures import RECIPE, Answers, collapse, describe, read_external, read_meanings

TABLE = "answers.csv"
_THOROUGHLY = "classifier.trained_on", "data.splits", "reports.charts"  # need the packages of the extra ``train``
_COLUMNS = ("collection", "file", "group", "device", "label", "answer")


def validate(config: ValidateConfig) -> run_folder.Written:
    """Answer for every image of every collection, and compare with its label.

    Raises:
        SonoforgeError: There is no bundle or no collection, or labels or settings are wrong.
    """
    if not config.data:
        raise SonoforgeError(
            "--data is missing: labelled images, a folder for each label; see sonoforge validate --help"
        )
    classifier = Classifier(config.bundle or None)
    bundle = classifier.bundle
    cache_folder = config.storage.open()
    datasets = [read_external(text, cache_folder) for text in config.data]
    names = [dataset.name for dataset in datasets]
    if twice := [name for name in names if names.count(name) > 1]:
        raise SonoforgeError(f"--data: two collections are named {twice[0]!r}; give different names, as NAME:PATH")
    meanings = [read_meanings(config.classes, dataset.classes, bundle.classes) for dataset in datasets]
    folder = run_folder.open_run(Path(config.out), "validate", flatten(config), resume=False)
    with run_folder.working_in(folder):
        run_folder.write_environment(folder, "cpu", 0, bundle.manifest.files[classifier.file].sha256)
        found: list[Record] = []
        answered: list[Answered] = []
        for dataset, meaning in zip(datasets, meanings, strict=True):
            labels = tuple(meaning)  # in the order of the bundle's classes
            items = [replace(item, label=labels.index(dataset.classes[item.label])) for item in dataset.items]
            cache = open_cache(Dataset(dataset.name, dataset.root, labels, tuple(items)), folder=cache_folder)
            patients = {str(dataset.file(item.path)): item.group for item in cache.dataset.items}
            scans = answer_scans(classifier, patients, f"answering {dataset.name}", (0, 1))
            if scans.failed:
                raise SonoforgeError(scans.failed[0]["error"]["message"])
            search, seen, groups = _search(bundle, cache, scans)
            unseen = np.setdiff1d(np.arange(len(groups)), [*seen])
            answers = _answers(classifier, cache, scans.answered, unseen, groups)
            sums, said = collapse(meaning, bundle.classes)
            found.append(
                dict(
                    **describe(answers, meaning, sums, said),
                    unreadable=cache.unreadable,
                    trained_on={cache.dataset.items[image].path: why for image, why in seen.items()},
                    search=search,
                )
            )
            answered.append(Answered(cache.dataset, answers, sums, said, answers.probabilities @ sums))
            log_collection(found[-1])
        columns = (*_COLUMNS, *(f"p_{name}" for name in bundle.classes), "set", "causes")
        rows = [row for own in answered for row in _rows(own, bundle.classes)]
        run_folder.write_table(folder / TABLE, columns, rows)
        training = {name: bundle.manifest.raw["training"].get(name) for name in RECIPE}
        results = {
            "model": classifier.model,
            "training": training,
            "classes": list(bundle.classes),
            "collections": found,
            "notice": NOTICE,
        }
        report = write_report(folder, results, answered)
        run_folder.write_results(folder, results)
        say("")
        say("report: %s", report)
        say("answers: %s   (%s)", folder / TABLE, NOTICE)
        if not bundle.is_shipped:
            say("which images trained it is as stated by %s", bundle.manifest.title)
    return run_folder.Written(folder, report, results)


def _search(bundle: Bundle[ClassifierManifest], cache: ImageCache, scans: Scans) -> tuple[str, dict[int, str], Labels]:
    """Find training images and repeated scans, thoroughly if the packages for that are installed.

    Return `THOROUGH` or `AT_ONCE`, how each training image is known, and the (N,) group of each image.
    """
    try:
        trained_on, splits, _ = (importlib.import_module(f"sonoforge.training.{name}") for name in _THOROUGHLY)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("sonoforge"):
            raise
        seen = {i: "looks like a training image" for i, entry in enumerate(scans.answered) if entry["trained_on"]}
        return AT_ONCE, seen, np.array(scans.groups)
    seen = {row.image: row.why for row in trained_on.find_seen(bundle, cache)}
    return THOROUGH, seen, splits.scan_groups(cache)


def _answers(
    classifier: Classifier, cache: ImageCache, rows: Sequence[Entry], chosen: Labels, groups: Labels
) -> Answers:
    """Return the answers to the images at these indices, which did not train the network."""
    dataset, classes = cache.dataset, classifier.bundle.classes
    if not len(chosen):
        said = trained_on_in_words(len(rows), len(rows))
        raise SonoforgeError(f"{dataset.root}: {said.rstrip('.')}; give others")
    rows = [rows[i] for i in chosen]
    return Answers(
        arm="bundle",
        protocol="single",
        seed=0,
        name=dataset.name,
        files=tuple(dataset.items[i].path for i in chosen),
        folds=np.zeros(len(rows), np.int64),
        groups=groups[chosen],
        labels=dataset.labels[chosen],
        devices=tuple(dataset.items[i].device for i in chosen),
        probabilities=np.array([[row["probabilities"][name] for name in classes] for row in rows]),
        sets=np.array([[name in row["set"] for name in classes] for row in rows]),
        causes=tuple(tuple(map(Cause, row["trust"]["causes"])) for row in rows),
        prevalence=tuple(classifier.clinic.prevalence[name] for name in classes),
    )


def _rows(own: Answered, classes: Sequence[str]) -> Iterator[dict[str, str]]:
    answers, names, best = own.answers, own.names, own.probabilities.argmax(axis=1)
    for i, file in enumerate(answers.files):
        row = [answers.name, file, answers.groups[i], answers.devices[i], names[answers.labels[i]], names[best[i]]]
        inside = [name for name, held in zip(classes, answers.sets[i], strict=True) if held]
        yield {
            **dict(zip(_COLUMNS, map(defused, map(str, row)), strict=True)),
            **{f"p_{name}": repr(float(p)) for name, p in zip(classes, answers.probabilities[i], strict=True)},
            "set": "; ".join(inside),
            "causes": "; ".join(cause.value for cause in answers.causes[i]),
        }
