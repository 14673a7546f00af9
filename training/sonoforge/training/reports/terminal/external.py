"""What ``validate`` prints of a collection: the tables of its page."""

from sonoforge.runtime.cli.answer import say, tell
from sonoforge.training.reports.external import area_tables, disturbed_table, flag_tables, label_tables
from sonoforge.training.reports.terminal.tables import table_text
from sonoforge.training.statistics.results import interval_text, share_text
from sonoforge.training.validation.collections import name_meaning
from sonoforge.training.validation.figures import Collection

_IMAGES, _AUC = 1, 2  # columns that the report alone has
_NAMED = 3  # files that a line names
_LEFT_OUT = {"unreadable": "cannot be read", "trained_on": "were trained on, or other versions of them"}


def log_collection(figures: Collection) -> None:
    """Print the figures of one collection, what of it was left out, and how far it falls when disturbed."""
    say("")
    counts = ", ".join(
        f"{count} {name_meaning(label, figures['labels'][label])}" for label, count in figures["images"].items()
    )
    tell(f"{figures['name']}: {counts}; {figures['groups']} groups (95 % intervals by group)")
    for key, why in _LEFT_OUT.items():
        left_out: dict[str, str] = figures[key]  # type: ignore[literal-required]
        if left_out:
            first = "; ".join(f"{file} ({reason})" for file, reason in list(left_out.items())[:_NAMED])
            tell(f"LEFT OUT: {len(left_out)} images {why}: {first}")
    accuracy, ece, size = share_text(figures["accuracy"]), interval_text(figures["ece"]), figures["mean_set_size"]
    tell(f"accuracy {accuracy}, ECE at these shares of labels {ece}, {size:.2f} classes in a set")
    labels, *others = label_tables(figures)
    say("%s", table_text(labels, without=(_IMAGES,)))  # which are counted above
    for table in (*others, *area_tables(figures), *flag_tables(figures)):
        say("%s", table_text(table))
    found = figures["robustness"]
    if found:
        clean, noticed = interval_text(found["auc"]), share_text(found["noticed"])
        tell(
            f"{found['images']} of these images, disturbed; AUC of {found['pair']} as they are {clean}, "
            f"{noticed} called foreign or poor; below, its change and how many are called so (the report has each "
            "AUC):"
        )
        say("%s", table_text(disturbed_table(figures["name"], found), without=(_AUC,)))
