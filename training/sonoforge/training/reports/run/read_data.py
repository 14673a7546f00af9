"""The parts of a run's report on its images: what they are, how they were divided, and the proof of it."""

from collections.abc import Sequence

from markupsafe import Markup

from sonoforge.training.crossval.evidence import class_counts
from sonoforge.training.data.audit import Cluster
from sonoforge.training.reports import blocks
from sonoforge.training.reports.audit import alike, class_table, file_table, search_blocks
from sonoforge.training.reports.pictures import cluster_blocks
from sonoforge.training.reports.run import statements
from sonoforge.training.reports.run.whole_run import WholeRun
from sonoforge.training.reports.texts import read_texts
from sonoforge.training.statistics.results import Record
from sonoforge.training.statistics.wording import counted, number, share

TEXTS = read_texts("run")
# More than these are counted but not shown, so that the page stays readable and below 6 MB.
_MIXED_CLUSTERS, _PLAIN_CLUSTERS, _CLUSTER_IMAGES = 4, 3, 10
_UNREADABLE = 10
_MANY_FOLDS, _MANY_CLASSES, _COLUMNS = 20, 16, 10  # of a table that scrolls; of one with a column for each class


def data(run: WholeRun) -> blocks.Section:
    """Show what the images are."""
    audit, masks = run.audit, run.audit["masks"]
    unreadable = list(audit["unreadable"].values())
    left_out = "every file could be read"
    if unreadable:
        were = "was" if len(unreadable) == 1 else "were"
        left_out = f"{counted(len(unreadable), 'file')} could not be read and {were} left out"
    said = (
        f"{counted(audit['images'], 'readable image')} of {audit['name']}"
        + (f" with {counted(masks, 'mask')}" if masks else "")
        + f"; {left_out}. Fingerprint of all contents and labels: "
    )
    content: list[blocks.Block] = [blocks.Text(said + blocks.fingerprint(audit["fingerprint"]) + ".")]
    if unreadable:
        shown = unreadable[:_UNREADABLE]
        if len(unreadable) > _UNREADABLE:
            shown.append(f"and {len(unreadable) - _UNREADABLE} more, listed in " + blocks.code("audit.json"))
        content.append(blocks.Bullets(shown))
    head = ["class", "images", "share", "different scans", *["masks"] * bool(masks)]
    rows = [
        (name, own["images"], share(own["images"] / audit["images"]), own["groups"], *[own["masks"]] * bool(masks))
        for name, own in audit["classes"].items()
    ]
    content += [
        blocks.Grid([class_table(head, rows), file_table(audit)]),
        blocks.Heading("Repeated scans"),
        blocks.Text(_repeated(run)),
    ]
    return blocks.Section("data", "Data", [*content, *search_blocks(audit), *_clusters(run)])


def _repeated(run: WholeRun) -> str:
    found = run.audit["duplicates"]
    if not found["clusters"]:
        return "No near-duplicates were found. " + alike(run.audit)
    mixed = found["mixed_label_clusters"]
    return (
        f"{counted(found['images_in_clusters'], 'image')} belong to {counted(found['clusters'], 'cluster')} of "
        f"repeated scans (the largest has {found['largest_cluster']}); {found['same_pixels']} "
        f"{'cluster contains' if found['same_pixels'] == 1 else 'clusters contain'} files with equal pixels, and "
        + blocks.bold(f"{mixed or 'none'} {'carry' if mixed > 1 else 'carries'} more than one label")
        + ". "
        + alike(run.audit)
    )


def _clusters(run: WholeRun) -> list[blocks.Block]:
    """Show a few clusters: those with mixed labels first, then the largest of one label."""
    small = [cluster for cluster in run.audit["clusters"] if len(cluster["files"]) <= _CLUSTER_IMAGES]
    mixed: list[Cluster] = [cluster for cluster in small if cluster["mixed"]][:_MIXED_CLUSTERS]
    plain = [cluster for cluster in small if not cluster["mixed"]][:_PLAIN_CLUSTERS]
    if not mixed and not plain:
        return []
    all_mixed = run.audit["duplicates"]["mixed_label_clusters"]
    all_plain = run.audit["duplicates"]["clusters"] - all_mixed
    some = f"{len(mixed)} of {counted(all_mixed, 'cluster')} with mixed labels and " if all_mixed else ""
    shown = f"{some}{len(plain)} of {counted(all_plain, 'cluster')} with one label"
    said = blocks.Text(TEXTS["shown_clusters"].format(shown=shown), "note-text")
    return [said, *cluster_blocks([*mixed, *plain], run.cache)]


def split(run: WholeRun) -> blocks.Section:
    """Show how the images were divided, and what every training read of them."""
    reads = [
        (f"{kind}s", own.runs, own.images, len(own.same_content), len(own.same_group))
        for kind, own in run.reads.items()
    ]
    read = blocks.Table(
        "What the trainings read, against their test folds",
        (
            *("training runs of", "number", "image reads compared", "test images read"),
            "test images with a group member read",
        ),
        reads,
        TEXTS["reads"],
    )
    checked = [
        (check.what, check.found, blocks.Cell("passed", "ok") if check.passed else blocks.Cell("FAILED", "bad"))
        for check in run.checks
    ]
    title = "Checks made while this page was written"
    seeds = " and one file for each further seed" if len(run.plans) > 1 else ""
    plan = TEXTS["plan"].format(seeds=seeds, fingerprint=run.results["split"]["fingerprint"][:16])
    content = [
        *_divided(run),
        read,
        blocks.Table(title, ("check", "found", "result"), checked, words=(1, 2)),
        _folds(run),
        blocks.Text(plan, "note-text"),
    ]
    return blocks.Section("split", "Split and proof", content)


def _divided(run: WholeRun) -> list[blocks.Text]:
    facts, kept, opinion = run.facts, run.results["split"], run.results["split"]["second_opinion"]
    generators = f" Generators: {facts.said['generators']}" if run.generators else ""
    sheet = blocks.code("second-opinion.png")
    leaks, views, distinct = (opinion[name] for name in ("leaks", "possible_second_views", "distinct_by_hand"))
    if leaks:
        show = "shows" if len(leaks) == 1 else "show"
        second = blocks.bold(f"{counted(len(leaks), 'pair')} in different folds {show} one scan") + " (" + sheet + ")."
    else:
        second = Markup("no pair in different folds shows one scan.")
    if views:
        second += (
            f" {counted(len(views), 'pair')} that may be second views of one lesion "
            f"{'was' if len(views) == 1 else 'were'} "
            f"{'kept in one fold' if facts.is_sealed else 'divided like all others'} (" + sheet + f"): {_named(views)}."
        )
    if distinct:
        were = "was" if len(distinct) == 1 else "were"
        found = blocks.bold(f"{counted(len(distinct), 'pair')} that it found {were} declared distinct by hand")
        second += " " + found + " (" + blocks.code("distinct.csv") + f"): {_named(distinct)}."
    return [
        blocks.Text(
            TEXTS["divided"].format(
                protocol=facts.protocol,
                images=counted(kept["images"], "image"),
                groups=counted(kept["groups"], "group"),
                joined=statements.name_groups(facts),
                folds=facts.said["divided"],
                generators=generators,
            )
        ),
        blocks.Text(
            TEXTS["proof"].format(
                near_duplicates=facts.said["near_duplicates_counted"],
                kept_apart=TEXTS["kept_apart"] if facts.is_sealed else "",
            )
        ),
        blocks.Text(TEXTS["second_opinion"].format(compared=opinion["compared"], found=second)),
    ]


def _named(pairs: Sequence[Record]) -> str:
    return ", ".join(f"{pair['file']} and {pair['other']} (r = {number(pair['correlation'], 2)})" for pair in pairs)


def _folds(run: WholeRun) -> blocks.Table:
    plan, classes = next(iter(run.plans.values())), run.classes
    counts = class_counts(plan, len(classes)).tolist()
    near_duplicates = run.results["split"]["test_images_with_near_duplicate_in_training"]
    label, near = "Test images of each fold by class", "with a near-duplicate in training"
    head: list[str]
    if len(classes) <= _COLUMNS:
        head = ["fold", *classes, "all", near]
        rows: list[blocks.Cells] = [
            (fold, *row, sum(row), own) for fold, (row, own) in enumerate(zip(counts, near_duplicates, strict=True), 1)
        ]
    else:
        head = ["class", *(f"fold {fold}" for fold in range(1, len(counts) + 1))]
        rows = [(name, *column) for name, column in zip(classes, zip(*counts, strict=True), strict=True)]
        rows += [blocks.Row("sum", ("all", *map(sum, counts))), (near, *near_duplicates)]
    return blocks.Table(
        label,
        head,
        rows,
        f"{label} (seed {plan.seed})" if len(run.plans) > 1 else label,
        tall=len(counts) > _MANY_FOLDS or len(classes) > _MANY_CLASSES,
    )
