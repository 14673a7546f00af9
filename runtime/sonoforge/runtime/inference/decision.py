"""Turn the network's probabilities into an answer: prevalence, label, prediction set, and the questions behind it.

A network's probabilities assume the class shares of its training: the bundle's *reference*. If a clinic's shares
differ, Bayes' theorem gives its probabilities, provided that each class looks the same in both (label shift; Saerens,
Latinne, Decaestecker, Adjusting the outputs of a classifier to new a priori probabilities, Neural Computation 14(1),
2002, section 2).  By default the classes count as frequent as at the site that the bundle was adapted to, or else as in
the bundle's `default`.

Operating points and prediction sets compare how well a scan fits each class, so neither depends on prevalence: a set
holds a scan's class as often as promised *within each class*, however common the class is (Vovk, Conditional validity
of inductive conformal predictors, Machine Learning 92, 2013).  The sets of a bundle that was adapted to a site
(`adaptation`) use the site's shares, whichever prevalence is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sonoforge.runtime.errors import SonoforgeError, did_you_mean
from sonoforge.runtime.notice import GUESSES

if TYPE_CHECKING:
    from sonoforge.runtime.bundle.classification import ClassifierManifest
    from sonoforge.runtime.inference.adaptation import Rules

SENSITIVITY = 0.95
"""Default sensitivity at which each question is asked."""

BREAST = frozenset(("normal", "benign", "malignant"))
PRESETS: dict[str, dict[str, float]] = {
    "screening": {"normal": 0.89, "benign": 0.095, "malignant": 0.015},
    "referral": {"normal": 0.17, "benign": 0.56, "malignant": 0.27},
}
"""Class shares by name, for breast ultrasound.

``screening``: 111 cancers in 7473 examinations of women at elevated risk, of whom 10.7 % were recalled in later rounds
(Berg et al., Ultrasound as the primary screening test for breast cancer, JNCI 108(4), 2016, abstract).  ``referral``:
the 780 scans of BUSI, women sent to one hospital (Al-Dhabyani et al., Dataset of breast ultrasound images, Data Brief
28, 2020, table 1).
"""


class Finding(NamedTuple):
    """The answer to one question."""

    probability: float  # of a yes, at the clinic's prevalence, among the classes that the question is about
    positive: bool  # whether the scan reaches the operating point
    threshold: float  # probability from which the answer is yes: the operating point at the clinic's prevalence


class Decision(NamedTuple):
    """What is decided about one scan."""

    probabilities: dict[str, float]  # of each class, at the clinic's prevalence; sum to 1
    label: str  # the most probable class
    set: tuple[str, ...]  # the label, and the classes that cannot be ruled out
    findings: dict[str, Finding]  # the answer to each of the bundle's questions, by name


class Clinic(NamedTuple):
    """Where answers are used."""

    prevalence: dict[str, float]  # share of each class among the clinic's scans; all above 0, sum to 1
    sensitivity: float = SENSITIVITY  # at which each question is asked


class AtClinic(NamedTuple):
    """The settings of a clinic that uses a classifier.

    Examples:
        >>> from sonoforge.runtime import AtClinic, Classifier
        >>> classifier = Classifier(asked=AtClinic("normal=.6,benign=.3,malignant=.1", sensitivity=0.9))
        >>> sorted(classifier.clinic.prevalence)
        ['benign', 'malignant', 'normal']

    Attributes:
        prevalence: Share of each class among its scans, ``normal=.6,benign=.3,malignant=.1``, or one of `PRESETS`;
            empty for the shares of the site that the bundle was adapted to, or else the bundle's own.
        sensitivity: Must be one that the bundle has operating points for.
        abstain: Abstain by the bundle's policy, even if it does not do so by default.
    """

    prevalence: str = ""
    sensitivity: float = SENSITIVITY
    abstain: bool = False


def read_clinic(prevalence: str, sensitivity: float, manifest: ClassifierManifest) -> Clinic:
    """Read the options ``--prevalence`` and ``--sensitivity``; see `AtClinic`."""
    aims = [point.aim for question in manifest.questions[:1] for point in question.points]
    if aims and sensitivity not in aims:
        known = ", ".join(f"{aim:g}" for aim in aims)
        raise SonoforgeError(f"--sensitivity: this bundle has no operating point for {sensitivity:g}, only for {known}")
    if manifest.site and not prevalence:
        return Clinic(manifest.site.prevalence, sensitivity)
    return Clinic(_read_shares(prevalence, manifest.classes) if prevalence else manifest.default, sensitivity)


def _read_shares(text: str, classes: Sequence[str]) -> dict[str, float]:
    known = [*PRESETS] if set(classes) == BREAST else []
    if text in known:
        return {name: PRESETS[text][name] for name in classes}
    example = ",".join(f"{name}={round(1 / len(classes), 2):g}" for name in classes)
    if text in PRESETS:
        raise SonoforgeError(
            f"--prevalence: {text!r} is for {', '.join(PRESETS[text])}, but this bundle's classes are "
            f"{', '.join(classes)}: {example}"
        )
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        try:
            shares[name.strip()] = float(value)
        except ValueError:
            shares[name.strip()] = float("nan")
    if sorted(shares) != sorted(classes) or len(shares) != len(text.split(",")):
        wrong = next((name for name in shares if name not in classes), text)
        raise SonoforgeError(
            f"--prevalence: {text!r} does not give each class once, such as {example}"
            f"{', or ' + ' or '.join(known) if known else ''}{did_you_mean(wrong, (*classes, *known))}"
        )
    for name, share in shares.items():
        if not 0 < share < 1:
            raise SonoforgeError(f"--prevalence: {name} needs a share between 0 and 1, such as 0.3, not in {text!r}")
    total = sum(shares.values())
    if not 0.99 <= total <= 1.01:
        raise SonoforgeError(f"--prevalence: shares sum to {total:g}, not 1")
    return {name: shares[name] / total for name in classes}


def reweighted(
    probabilities: Mapping[str, float], found: Mapping[str, float], to: Mapping[str, float]
) -> dict[str, float]:
    """Convert probabilities from the class shares ``found`` to the shares ``to``, by Bayes' theorem."""
    weighted = {name: p * to[name] / found[name] for name, p in probabilities.items()}
    total = sum(weighted.values())
    return {name: value / total for name, value in weighted.items()}


def decide(
    probabilities: Mapping[str, float], manifest: ClassifierManifest, clinic: Clinic, rules: Rules | None = None
) -> Decision:
    """Decide about one scan; callers with many scans can pass ``rules`` from `adaptation.rules_of`."""
    equal = dict.fromkeys(manifest.classes, 1.0)
    return decide_equal(reweighted(probabilities, manifest.reference, equal), manifest, clinic, rules)


def decide_equal(
    probabilities: Mapping[str, float], manifest: ClassifierManifest, clinic: Clinic, rules: Rules | None = None
) -> Decision:
    """Decide as `decide` does, from probabilities for equally frequent classes."""
    import numpy as np  # noqa: PLC0415 - --help does not wait for it

    from sonoforge.runtime.inference import adaptation  # noqa: PLC0415 - nor for this

    names, rules = manifest.classes, rules or adaptation.rules_of(manifest, clinic.prevalence)
    equal = np.array([[probabilities[name] for name in names]])
    decided, here = adaptation.decide_all(equal, rules), adaptation.at_shares(equal, rules.prevalence)
    findings = {
        question.name: Finding(
            float(adaptation.scores_of(here, question.positive, question.among)[0]),
            bool(beyond[0, at]),
            adaptation.threshold_at(equal[0], rules.prevalence, question, question.thresholds[at]),
        )
        for question, beyond in zip(rules.questions, decided.beyond, strict=True)
        for at in [question.aims.tolist().index(clinic.sensitivity)]
    }
    return Decision(
        dict(zip(names, here[0].tolist(), strict=True)),
        names[decided.labels[0]],
        tuple(name for name, inside in zip(names, decided.sets[0], strict=True) if inside),
        findings,
    )


def in_words(manifest: ClassifierManifest, clinic: Clinic) -> list[str]:
    """Return sentences on the class shares assumed, each question, whether the bundle may be guessing, and the sets."""
    shares = clinic.prevalence
    if len(set(shares.values())) == 1:
        here = "all classes are equally frequent"
    else:
        here = f"the classes' shares are {', '.join(f'{name} {100 * share:.3g} %' for name, share in shares.items())}"
    if manifest.site and shares == manifest.site.prevalence:
        here += f", as among {sum(manifest.site.scans.values())} labelled scans of this bundle's site"
    sentences = [f"These answers assume that {here}."]
    for question in manifest.questions:
        point = next(point for point in question.points if point.aim == clinic.sensitivity)
        among = "" if len(question.among) == len(manifest.classes) else f" (of {' or '.join(question.among)})"
        where = "the site's" if manifest.site and question.name in manifest.site.moved else "held-out"
        sentences.append(
            f"{question.name.capitalize()}{among}: the threshold aims at a sensitivity of {percent(point.aim)}; "
            f"on {where} scans: sensitivity {percent(point.sensitivity)}, specificity {percent(point.specificity)}."
        )
    about_sets = (
        f"For {percent(1 - manifest.alpha)} of scans like the training scans, the true class is among those that "
        "cannot be ruled out. A probability is not the verdict: each class has a limit of its own for being ruled out, "
        "so one at 59 % may stand alone and one at 87 % may not."
    )
    if manifest.origin.startswith("not"):
        sentences.append(f"The bundle is {manifest.origin}.")
    return [*sentences, *[GUESSES] * manifest.guesses, about_sets]


def answers_in_words(findings: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return ``yes, 33 % (yes from 20 %)`` for each question of an entry, or ``not asked`` after a no."""
    said, arises = {}, True
    for name, finding in findings.items():
        share, least = percent(finding["probability"]), percent(finding["threshold"])
        answer = f"yes, {share}" if finding["positive"] else f"no, {'just below' if share == least else share}"
        said[name] = f"{answer} (yes from {least})" if arises else "not asked"
        arises = arises and finding["positive"]
    return said


def figures_in_words(entry: Mapping[str, Any]) -> dict[str, str]:
    """Return what is behind the verdict of an entry, by title, the most telling first."""
    ordered = sorted(entry["probabilities"].items(), key=lambda pair: -pair[1])
    return {
        "Cannot be ruled out": " or ".join(entry["set"]),
        **{name.capitalize(): said for name, said in answers_in_words(entry["findings"]).items()},
        "Probability of each class": ", ".join(f"{name} {percent(share)}" for name, share in ordered),
    }


def percent(share: float) -> str:
    """Return a share in whole percent, never rounded to 0 or 100."""
    whole = int(100 * share + 0.5)
    if 0 < share < 1 and whole in (0, 100):
        return "> 99 %" if whole else "< 1 %"
    return f"{whole} %"
