"""What ``segment`` prints: the tables of its page, and the verdicts."""

from collections.abc import Sequence

from sonoforge.training.pages.segmentation import arm_table, generator_table, structure_table
from sonoforge.training.pages.terminal.tables import table_text
from sonoforge.training.segmentation.results import SetResults


def describe_sets(results: Sequence[SetResults]) -> str:
    """Return tables and verdicts."""
    return "\n\n".join(_describe(own) for own in results)


def _describe(own: SetResults) -> str:
    lines = [f"{own['name']}: {own['cases']} test cases of {own['patients']} patients, 95 % intervals by patient"]
    lines += [table_text(arm_table(own)), table_text(structure_table(own))]
    if own["generators"]:
        space = own["generators"][0]["space"]
        lines.append(f"what the generators took; FID and KID in {space} features, in parentheses")
        lines.append("the multiple of what real images score against each other; up to 1 cannot be told from them")
        lines.append(table_text(generator_table(own)))
    return "\n".join([*lines, *own["verdict"]])
