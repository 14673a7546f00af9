"""Judge a finished bundle on labelled images from elsewhere, as ``sonoforge validate`` does."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import flatten
from sonoforge.runtime.cli.progress import progress_bar
from sonoforge.runtime.csv_tables import defused
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.runtime.inference.result import Result
from sonoforge.runtime.jobs.answering import answers_in_order, workers_for
from sonoforge.runtime.notice import NOTICE, trained_on_in_words
from sonoforge.training import run_folder
from sonoforge.training.classifier.trained_on import find_seen
from sonoforge.training.data.cache import ImageCache, open_cache
from sonoforge.training.data.datasets import Dataset
from sonoforge.training.data.splits import scan_groups
from sonoforge.training.reports.validation import Answered, log_collection, write_report
from sonoforge.training.settings.crossval import ValidateConfig
from sonoforge.training.statistics.results import Record
from sonoforge.training.validation.figures import RECIPE, Answers, describe, read_external, read_meanings

TABLE = "answers.csv"
_COLUMNS = ("collection", "file", "group", "device", "label", "answer")


class Validated(NamedTuple):
    """A validation that was written."""

    folder: Path  # of the run
    report: Path
    results: Record  # ``results.json``


def validate(config: ValidateConfig) -> Validated:
    """Answer for every image of every collection, and compare with its label.

    Raises:
        SonoforgeError: There is no bundle or no collection, or labels or settings are wrong.
    """
    if not config.external:
        raise SonoforgeError("--external is missing: labelled images as NAME:PATH; see sonoforge validate --help")
    classifier = Classifier(config.bundle or None)
    bundle = classifier.bundle
    cache_folder = config.storage.open()
    datasets = [read_external(text, cache_folder) for text in config.external]
    names = [dataset.name for dataset in datasets]
    if twice := [name for name in names if names.count(name) > 1]:
        raise SonoforgeError(f"--external: two collections are named {twice[0]!r}; give different names")
    meanings = [read_meanings(config.classes, dataset.classes, bundle.classes) for dataset in datasets]
    folder = run_folder.open_run(Path(config.out), "validate", flatten(config), resume=False)
    with run_folder.working_in(folder):
        environment = run_folder.describe_environment("cpu", 0, bundle.manifest.files[classifier.file].sha256)
        run_folder.write_environment(folder, environment)
        found: list[Record] = []
        answered: list[Answered] = []
        for dataset, meaning in zip(datasets, meanings, strict=True):
            labels = tuple(meaning)  # in the order of the bundle's classes
            items = [replace(item, label=labels.index(dataset.classes[item.label])) for item in dataset.items]
            cache = open_cache(Dataset(dataset.name, dataset.root, labels, tuple(items)), folder=cache_folder)
            seen = find_seen(bundle, cache)
            answers = _answer(
                classifier, cache, np.setdiff1d(np.arange(len(cache.hashes)), [row.image for row in seen])
            )
            found.append(
                dict(
                    **describe(answers, meaning, bundle.classes),
                    unreadable=cache.unreadable,
                    trained_on={cache.dataset.items[row.image].path: row.why for row in seen},
                )
            )
            answered.append(Answered(cache.dataset, answers, meaning, bundle.classes))
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
    return Validated(folder, report, results)


def _answer(classifier: Classifier, cache: ImageCache, chosen: NDArray[np.int64]) -> Answers:
    """Answer for some of the images, as ``classify`` does."""
    dataset, classes = cache.dataset, classifier.bundle.classes
    if not len(chosen):
        said = trained_on_in_words(len(cache.hashes), len(cache.hashes))
        raise SonoforgeError(f"{dataset.root}: {said.rstrip('.')}; give others")
    results: dict[str, Result] = {}

    def answer(path: str) -> dict[str, str]:
        results[path] = classifier.classify(dataset.file(path))
        return {"file": path}

    paths = [dataset.items[i].path for i in chosen]
    with progress_bar(f"answering {dataset.name}", len(paths), show=len(paths) > 50) as advance:
        for done, _ in enumerate(answers_in_order(answer, paths, workers_for(len(paths), 1)), start=1):
            advance(done, None)
    rows = [results[path] for path in paths]
    return Answers(
        arm="bundle",
        protocol="single",
        seed=0,
        name=dataset.name,
        files=tuple(paths),
        folds=np.zeros(len(paths), np.int64),
        groups=scan_groups(cache)[chosen],
        labels=dataset.labels[chosen],
        devices=tuple(dataset.items[i].device for i in chosen),
        probabilities=np.array([[row.probabilities[name] for name in classes] for row in rows]),
        sets=np.array([[name in row.set for name in classes] for row in rows]),
        causes=tuple(row.trust.causes for row in rows),
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
