"""What ``reading`` prints: the tables of its page, the agreement of the readers, and the verdict."""

from sonoforge.runtime.cli.answer import say, tell
from sonoforge.training.reader_study.results import ReadingResults
from sonoforge.training.reader_study.verdict import judge
from sonoforge.training.reports.reading import ANSWERED, agreement_text, reader_table
from sonoforge.training.reports.terminal.tables import table_text


def log_reading(results: ReadingResults) -> None:
    """Print the figures of each reader and of all together."""
    say("%s", table_text(reader_table(results), without={ANSWERED}))
    left = [f"{own['name']} {own['unanswered']}" for own in results["readers"] if own["unanswered"]]
    if left:
        tell(f"images left open, which do not count: {', '.join(left)}")
    for title, found in (("real or generated", results["agreement"]), ("class", results["class_agreement"])):
        if found and found["kappa"]:
            tell(f"agreement on {title}: {agreement_text(found)}")
    verdict = judge(results)
    tell(f"told apart: {verdict.headline.lower()}. {' '.join(verdict.sentences)}")
