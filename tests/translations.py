"""The catalogues of the page's own words, brought in step with its templates: `python tests/translations.py`.

Each area has a file of its own, `notifier/web/locale/zh/AREA.po`: an area is a page, and `common` is everything else.
A new message arrives untranslated, one that nothing uses leaves, and the others stay. `test_translations.py` holds that
every message is translated.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import DEFAULT_KEYWORDS, extract
from babel.messages.pofile import read_po, write_po

WEB = Path(__file__).parent.parent / "notifier" / "web"
FOLDER = WEB / "locale" / "zh"
COMMON = "common"
HEADER = """msgid ""
msgstr ""
"Content-Type: text/plain; charset=utf-8\\n"
"Language: zh_CN\\n"
"Plural-Forms: nplurals=1; plural=0;\\n"

"""
_OPTIONS = {
    ".html": ("jinja2.ext:babel_extract", {"newstyle_gettext": "true", "trimmed": "true", "silent": "false"}),
    ".py": ("python", {}),
}
"""The extractor of a kind of file, with its options."""


def area_of(path: Path) -> str:
    """Return the area of a file: the page whose module or template it is, or `access` for signing in."""
    if path.stem.startswith("access_"):
        return "access"
    return path.stem if (WEB / "pages" / f"{path.stem}.py").exists() else COMMON


def sources() -> Iterator[Path]:
    """Yield the files that messages come from."""
    yield from sorted((WEB / "templates").glob("*.html"))
    yield from sorted(path for path in WEB.rglob("*.py") if path.parent.name != "locale")


def extracted() -> Mapping[str, Catalog]:
    """Return the messages of each area, untranslated."""
    found: dict[str, Catalog] = defaultdict(lambda: Catalog(locale="zh_CN"))
    for path in sources():
        method, options = _OPTIONS[path.suffix]
        with path.open("rb") as file:
            for _, message, _, context in extract(method, file, DEFAULT_KEYWORDS, options=options):
                place = (path.relative_to(WEB).as_posix(), 0)
                found[area_of(path)].add(message, locations=[place], context=context)
    return found


def recorded() -> Mapping[str, Catalog]:
    """Return the catalogues as they are."""
    return {path.stem: read_po(BytesIO(path.read_bytes()), locale="zh_CN") for path in sorted(FOLDER.glob("*.po"))}


def in_step() -> Mapping[str, str]:
    """Return the text that each file should have, by area: every message once, with the translation that it has."""
    before = recorded()
    texts = {}
    for area, catalogue in sorted(extracted().items()):
        for message in catalogue:
            known = before[area].get(message.id, message.context) if area in before and message.id else None
            if known is not None and isinstance(known.string, str) != isinstance(message.id, str):
                continue  # it has become one with a plural, or is none any more
            if known is not None:
                message.string = known.string
        texts[area] = HEADER + _text(catalogue)
    return texts


def _text(catalogue: Catalog) -> str:
    written = BytesIO()
    write_po(written, catalogue, width=110, omit_header=True, include_lineno=False, sort_output=True)
    return written.getvalue().decode().strip() + "\n"


def message_texts(message: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the singular and the plural of a message, or the one text it has."""
    return (message or "",) if isinstance(message, str | None) else tuple(message)


def main() -> None:
    """Write the catalogues, and say what is not translated."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    texts = in_step()
    for area, text in texts.items():
        (FOLDER / f"{area}.po").write_text(text, encoding="utf-8")
    for path in FOLDER.glob("*.po"):
        if path.stem not in texts:
            path.unlink()
    for area, catalogue in recorded().items():
        for message in catalogue:
            if message.id and not all(message_texts(message.string)):
                print(f"{area}: not translated: {message_texts(message.id)[-1]}")  # noqa: T201 - its output


if __name__ == "__main__":
    main()
