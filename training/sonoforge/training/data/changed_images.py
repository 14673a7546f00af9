"""How the images of a data set differ from those that kept results were made from, in words."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from sonoforge.runtime.errors import SonoforgeError

NAMED = 3  # files of each kind that an error names; the others are counted


def check_unchanged(where: str, before: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Refuse results that were made from other images than a data set holds now.

    Args:
        where: Whose results, for the message.
        before: Content hash by relative path, when they were made; the first folder of a path is the class.
        now: The same today.

    Raises:
        SonoforgeError: The two differ; it names the files.
    """
    changes = describe_changes(before, now)
    if changes:
        raise SonoforgeError(
            f"{where}: was begun with other images than are there now: {changes}; put the files back as they were, or "
            "leave out --resume to start again"
        )


def describe_changes(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Say which files changed their class, their pixels or their name, and which are new or gone; empty: none.

    An image is followed by its content hash, so that one moved to another class is told from a new one.
    """
    left = {path: content for path, content in before.items() if now.get(path) != content}
    places: dict[str, list[str]] = defaultdict(list)
    for path, content in left.items():
        places[content].append(path)
    moved: list[str] = []
    renamed: list[str] = []
    other: list[str] = []
    for path, content in now.items():
        if before.get(path) == content:
            continue
        own = places[content]
        if not own:
            other.append(path)
            continue
        was = next((old for old in own if _class_of(old) == _class_of(path)), own[0])
        own.remove(was)
        del left[was]
        (renamed if _class_of(was) == _class_of(path) else moved).append(f"{was} is now {path}")
    changed = [path for path in other if path in left]
    kinds = {
        "of another class": moved,
        "with other pixels": changed,
        "new": [path for path in other if path not in left],
        "gone": [path for path in left if path not in changed],
        "renamed": renamed,
    }
    return "; ".join(f"{len(found)} {kind} ({name_some(found)})" for kind, found in kinds.items() if found)


def _class_of(path: str) -> str:
    return path.partition("/")[0]


def name_some(names: Iterable[str], mark: str = ", ") -> str:
    """Name the first few, with a mark between them, and count the others."""
    listed = list(names)
    more = f" and {len(listed) - NAMED} more" if len(listed) > NAMED else ""
    return mark.join(listed[:NAMED]) + more
