"""What ``segment`` prints: the tables of its page, and the verdicts."""

from collections.abc import Sequence

from sonoforge.runtime.cli.answer import say, tell
from sonoforge.training.reports.segmentation import arm_table, generator_table, structure_table
from sonoforge.training.reports.terminal.tables import table_text
from sonoforge.training.segmentation.results import SetResults


def tell_sets(results: Sequence[SetResults]) -> None:
    """Print tables and verdicts."""
    for own in results:
        tell(f"{own['name']}: {own['cases']} test cases of {own['patients']} patients, 95 % intervals by patient")
        for table in (arm_table(own), structure_table(own)):
            say("%s", table_text(table))
        if own["generators"]:
            space = own["generators"][0]["space"]
            tell(
                f"Cost and quality of the generators. FID and KID in {space} features; in parentheses, how many "
                "times what real images score against each other: at up to 1 they cannot be told from real ones."
            )
            say("%s", table_text(generator_table(own)))
        for sentence in own["verdict"]:
            tell(sentence)
