"""Brings the packages' pages into the site, in place, and makes the reference's pages from the modules there are.

`mkdocs.yml` names this file as its hook.
"""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
IN_NAV = ("README.md", "CHANGELOG.md", "*/docs/**/*.*", "training/studies/**/*.md", ".pictures/*.png")
CARDS = "runtime/**/MODEL_CARD.md"
PACKAGES = ("runtime", "training", "export", "mobile", "models")
COMMAND_LINE = {"verbs", "cli"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, one of contents for each of their folders, and the reference."""
    for pattern in IN_NAV:
        for path in sorted(ROOT.glob(pattern)):
            files.append(_file(path, config, InclusionLevel.INCLUDED))
    for path in sorted(ROOT.glob(CARDS)):
        files.append(_file(path, config, InclusionLevel.NOT_IN_NAV))
    for uri, text in _reference():
        files.append(File.generated(config, uri, content=text, inclusion=InclusionLevel.INCLUDED))
    placed = set(_uris(config.nav))
    for folder in sorted({posixpath.dirname(file.src_uri) for file in files}):
        if folder.startswith((*(f"{package}/docs" for package in PACKAGES), "reference/")):
            text = _contents(folder, files)
            files.append(File.generated(config, f"{folder}/index.md", content=text, inclusion=InclusionLevel.INCLUDED))
    config.nav = [_expanded(entry, files, placed) for entry in config.nav or []]
    return files


def on_page_markdown(markdown: str, page: Page, files: Files, **_: Any) -> str:
    """Let a link to a folder lead to its contents; put a file that is no part of the site as text."""
    here = posixpath.dirname(page.file.src_uri)

    def linked(match: re.Match[str]) -> str:
        label, target = match[1], match[2].rstrip("/")
        uri = posixpath.normpath(posixpath.join(here, target))
        if uri in files.src_uris or not (ROOT / uri).exists():  # a page, or broken, which ends the build
            return match[0]
        if f"{uri}/index.md" in files.src_uris:
            return f"[{label}]({target}/index.md)"
        return label if "`" in label else f"{label} (`{uri}`)"

    return re.sub(r"(?<!!)\[([^\[\]]+)\]\(([^)#:\s]+)\)", linked, markdown)


def on_post_page(output: str, **_: Any) -> str:
    """Name the theme's search for screen readers, which it leaves without a name."""
    return output.replace('role="dialog"', 'role="dialog" aria-label="Search"')


def _file(path: Path, config: MkDocsConfig, inclusion: InclusionLevel) -> File:
    uri = path.relative_to(ROOT).as_posix()
    return File(uri, str(ROOT), config.site_dir, config.use_directory_urls, inclusion=inclusion)


def _reference() -> Iterator[tuple[str, str]]:
    """Yield a page for each room of a package: a folder, or the files beside the folders; and its modules."""
    rooms = defaultdict(list)
    for package in PACKAGES:
        for path in sorted((ROOT / package / "sonoforge").rglob("*.py")):
            module = path.relative_to(ROOT / package).with_suffix("").parts
            inner = [part for part in module if part != "__init__"]
            if not COMMAND_LINE & set(inner) and not any(part.startswith("_") for part in inner):
                deep = len(inner) > 3 or path.name == "__init__.py"
                rooms[tuple(inner[1:3] if deep else inner[1:2])].append(".".join(inner))
    for room, modules in rooms.items():
        name = room[-1] if room[1:] else "modules"
        blocks = "\n\n".join(f"::: {module}" for module in sorted(modules))
        yield f"reference/{room[0]}/{name}.md", f"# {'.'.join(room)}\n\n{blocks}\n"


def _title(file: File) -> str:
    """Return the heading a page begins with, else the file's name."""
    heading = re.match(r"# (.+)", file.content_string) if file.is_documentation_page() else None
    return heading[1] if heading else posixpath.basename(file.src_uri)


def _contents(folder: str, files: Files) -> str:
    """Return a page that lists a folder's files, and its folders that hold any."""
    inside = [file for file in files if posixpath.dirname(file.src_uri) == folder]
    lines = [f"- [{_title(file)}]({posixpath.basename(file.src_uri)})" for file in inside]
    deeper = {file.src_uri.removeprefix(f"{folder}/").split("/")[0] for file in files if _below(file, folder)}
    lines += [f"- [{name.capitalize()}]({name}/index.md)" for name in sorted(deeper)]
    name = folder.removesuffix("/docs").rsplit("/", 1)[-1].capitalize()
    return f"# {name}\n\n" + "\n".join(lines) + "\n"


def _below(file: File, folder: str) -> bool:
    return posixpath.dirname(file.src_uri).startswith(f"{folder}/")


def _uris(nav: Any) -> Iterator[str]:
    """Yield every page and folder that a navigation names."""
    if isinstance(nav, str):
        yield nav
    for entry in nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else []:
        yield from _uris(entry)


def _expanded(entry: dict[str, Any], files: Files, placed: set[str]) -> dict[str, Any]:
    """Return an entry of the navigation with the pages of the folder that it names."""
    ((title, target),) = entry.items()
    if not isinstance(target, str) or not target.endswith("/"):
        return entry
    return {title: _pages(target.rstrip("/"), files, placed)}


def _pages(folder: str, files: Files, placed: set[str]) -> list[Any]:
    """Return a folder's pages by title, its contents first and its folders last."""
    uris = [file.src_uri for file in files.documentation_pages() if file.src_uri not in placed]
    own = [uri for uri in uris if posixpath.dirname(uri) == folder and not uri.endswith(("/index.md", "/README.md"))]
    first = f"{folder}/README.md"
    deeper = sorted({uri.removeprefix(f"{folder}/").split("/")[0] for uri in uris if uri.startswith(f"{folder}/")})
    sections = [name for name in deeper if not name.endswith(".md")]
    return [
        first if first in uris else f"{folder}/index.md",
        *own,
        *({name.capitalize(): _pages(f"{folder}/{name}", files, placed)} for name in sections),
    ]
