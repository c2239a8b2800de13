"""Text of tickets in the Atlassian Document Format, as JSON. Pure.

Nothing in a text node is markup or a mention, so that text from outside needs no escapes.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, zip_longest

from notifier.channels.base import Json
from notifier.channels.ticket_text import Block, Facts, Links, Paragraph, Quote, TicketMarkup, Written
from notifier.wording.marks import split_marked
from notifier.wording.sanitize import plain

_ISSUE = re.compile(r"\b([A-Z][A-Z0-9_]+-[1-9][0-9]*)\b")
"""The key of an issue: `OPS-12`."""
_CODE = ({"type": "code"},)
_STRONG = ({"type": "strong"},)


class AdfMarkup(TicketMarkup):
    """The document of a description or a comment."""

    def write(self, blocks: Sequence[Block]) -> str:
        """Return the document as JSON."""
        return _encoded(chain.from_iterable(map(_nodes, blocks)))

    def escape(self, text: str) -> str:
        """Return the text: nothing in it is markup."""
        return text


ADF = AdfMarkup()


def document(written: str, notes: Sequence[str] = (), *, browse: str = "", mark: str = "") -> Json:
    """Return what `AdfMarkup.write` wrote with sentences behind it, and a mark as code.

    Keys of issues in the sentences become links to `browse` and the key.
    """
    found: Json = json.loads(written) if written else _document([])
    more = [_paragraph(_linked(note, browse)) for note in notes]
    more += [_paragraph([_text(mark, _CODE)])] if mark else []
    return {**found, "content": [*found["content"], *more]}


def _encoded(nodes: Iterable[Json]) -> str:
    return json.dumps(_document(nodes), ensure_ascii=False, separators=(",", ":"))


def _document(nodes: Iterable[Json]) -> Json:
    return {"type": "doc", "version": 1, "content": list(nodes)}


def _nodes(block: Block) -> Iterator[Json]:
    match block:
        case Paragraph(sentence):
            yield from _paragraphs(_sentence(sentence))
        case Quote(text):
            yield from _around("blockquote", _paragraphs(_lines(plain(text))))
        case Facts(rows):
            yield from _listed([_text(f"{label}: "), _text(value, _CODE)] for label, value in rows)
        case Links(rows):
            yield from _listed([_text(label, ({"type": "link", "attrs": {"href": url}},))] for label, url in rows)
        case Written(text):
            parts = re.split(r"\n[^\S\n]*\n", plain(text, len(text)))
            yield from chain.from_iterable(map(_paragraphs, map(_lines, parts)))


def _sentence(sentence: str) -> Iterator[Json]:
    for part in split_marked(sentence):
        marks = _CODE if part.quoted else _STRONG if part.strong else ()
        yield from _lines(part.text, marks)


def _lines(text: str, marks: Sequence[Json] = ()) -> Iterator[Json]:
    """Yield the lines of a text with breaks between them. A text node without text would be refused."""
    for number, line in enumerate(text.splitlines()):
        if number:
            yield {"type": "hardBreak"}
        if line:
            yield _text(line, marks)


def _linked(note: str, browse: str) -> list[Json]:
    pieces = _ISSUE.split(note)  # every other one is a key
    words = map(_lines, pieces[::2])
    links = [[_text(key, ({"type": "link", "attrs": {"href": f"{browse}{key}"}},))] for key in pieces[1::2]]
    return list(chain.from_iterable(chain.from_iterable(zip_longest(words, links, fillvalue=()))))


def _text(text: str, marks: Sequence[Json] = ()) -> Json:
    return {"type": "text", "text": text, **({"marks": list(marks)} if marks else {})}


def _paragraph(nodes: Iterable[Json]) -> Json:
    return {"type": "paragraph", "content": list(nodes)}


def _paragraphs(nodes: Iterable[Json]) -> Iterator[Json]:
    """Yield one paragraph, or none where there is nothing to show."""
    content = list(nodes)
    if any("text" in node for node in content):
        yield _paragraph(content)


def _around(kind: str, nodes: Iterable[Json]) -> Iterator[Json]:
    content = list(nodes)
    if content:
        yield {"type": kind, "content": content}


def _listed(rows: Iterable[Iterable[Json]]) -> Iterator[Json]:
    shown = ([node for node in row if node.get("text")] for row in rows)
    items = chain.from_iterable(map(partial(_around, "listItem"), ([_paragraph(row)] for row in shown if row)))
    yield from _around("bulletList", items)
