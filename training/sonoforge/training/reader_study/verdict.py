"""What a reading says, in words: did readers tell generated images from real ones?"""

from sonoforge.training.reader_study.results import ReadingResults
from sonoforge.training.statistics.intervals import LEVEL
from sonoforge.training.statistics.verdict import Verdict
from sonoforge.training.statistics.wording import counted, listed, share


def judge(results: ReadingResults) -> Verdict:
    """Say whether readers told the images apart, and what a negative answer leaves open."""
    readers = results["readers"]
    apart = [reader for reader in readers if reader["p_value"] <= LEVEL]
    better = [reader["name"] for reader in apart if (reader["accuracy"]["value"] or 0) > reader["chance"]]
    worse = [reader["name"] for reader in apart if reader["name"] not in better]
    sentences = []
    if better:
        sentences.append(
            f"{len(better)} of {counted(len(readers), 'reader')} did better than chance (exact binomial test at 5 %, "
            f"not corrected for the number of readers): {listed(better)}."
        )
    if worse:
        sentences.append(f"Worse than chance, calling generated images real and real ones generated: {listed(worse)}.")
    others = [reader for reader in readers if reader not in apart]
    noticed = [reader["noticeable"] for reader in others if reader["noticeable"] is not None]
    if noticed:
        start = "The others were not" if apart else "No reader was"
        sentences.append(
            f"{start} shown to differ from chance. That is no proof of likeness: with so few answers, an accuracy "
            f"below {share(max(noticed), 0)} is often missed."
        )
    seen = [f"{share(one['accuracy']['value'], 0)} ({one['name'].partition(', ')[2]})" for one in results["automatic"]]
    if seen:
        sentences.append(
            f"The automatic reader, a network that takes no part in this verdict, was right on {listed(seen)} of the "
            "images."
        )
    level = "no" if better or worse else "open"
    headline = "Yes" if better else "Yes, but the wrong way round" if worse else "Not shown"
    return Verdict(level, headline, tuple(sentences))
