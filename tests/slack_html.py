"""A message of Slack drawn as HTML, as closely as a page can show what Slack's own clients do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape, unescape
from typing import Any

Json = dict[str, Any]

STYLE = """
.slack { font: 15px/1.46 Lato, 'Segoe UI', 'Noto Sans CJK SC', sans-serif; color: #1d1c1d; background: #fff;
  max-width: 640px; padding: 8px 12px; overflow-wrap: anywhere }
.slack .push { font-size: 12px; color: #616061; border-bottom: 1px dashed #ddd;
  margin-bottom: 6px; padding-bottom: 4px }
.slack .attachment { border-left: 4px solid; border-radius: 4px; padding-left: 12px; margin-top: 4px }
.slack .block { margin: 6px 0; white-space: pre-wrap }
.slack .context { font-size: 13px; color: #616061 }
.slack code { color: #e01e5a; background: #f6f6f6; border: 1px solid #ddd; border-radius: 3px; padding: 0 3px }
.slack blockquote { margin: 4px 0; padding-left: 12px; border-left: 4px solid #ddd; white-space: pre-wrap }
.slack .button { display: inline-block; border: 1px solid #bbb; border-radius: 4px; padding: 3px 10px;
  margin: 0 8px 6px 0; font-size: 13px; font-weight: 700 }
.slack .primary { background: #007a5a; border-color: #007a5a; color: #fff }
.slack .fields { display: grid; grid-template-columns: 1fr 1fr; gap: 6px }
.slack .row { display: flex; justify-content: space-between; gap: 12px }
.slack .mention { background: #fce8b2; color: #8a6d00; border-radius: 3px; padding: 0 2px }
"""

_MARK = re.compile(
    r"```\n?(?P<fence>.*?)\n?```|`(?P<code>[^`\n]+)`|\*(?P<bold>[^*\n]+)\*"
    r"|<!date\^[^|>]*\|(?P<date>[^>]*)>|<(?P<mention>[@!][^>|]*)(?:\|[^>]*)?>|<(?P<url>[^>|]+)\|(?P<words>[^>]*)>",
    re.DOTALL,
)


def draw(payload: Json) -> str:
    """Return a message: its push text, its blocks, and each attachment beside a bar in its colour."""
    attached = "".join(
        f'<div class="attachment" style="border-color: {escape(str(one.get("color", "#ddd")))}">{_blocks(one)}</div>'
        for one in payload.get("attachments") or ()
    )
    push = f'<div class="push">{escape(unescape(payload.get("text", "")))}</div>'
    return f'<div class="slack">{push}{_blocks(payload)}{attached}</div>'


def _blocks(holder: Json) -> str:
    return "".join(part for block in holder.get("blocks") or () for part in _block(block))


def _block(block: Json) -> Iterator[str]:
    match block["type"]:
        case "section":
            yield f'<div class="block row"><div>{"".join(_section(block))}</div>{_accessory(block)}</div>'
        case "context":
            yield f'<div class="block context">{"&ensp;".join(_text(one) for one in block["elements"])}</div>'
        case "actions":
            yield f'<div class="block">{"".join(map(_button, block["elements"]))}</div>'
        case "rich_text":
            yield f'<div class="block">{"".join(map(_rich, block["elements"]))}</div>'
        case "divider":
            yield "<hr>"
        case kind:
            raise ValueError(f"a block of type {kind} cannot be drawn")


def _section(block: Json) -> Iterator[str]:
    if "text" in block:
        yield _text(block["text"])
    if fields := block.get("fields"):
        yield f'<div class="fields">{"".join(f"<div>{_text(one)}</div>" for one in fields)}</div>'


def _accessory(block: Json) -> str:
    return _button(block["accessory"]) if "accessory" in block else ""


def _text(text: Json) -> str:
    return _mrkdwn(text["text"]) if text["type"] == "mrkdwn" else escape(text["text"])


def _mrkdwn(text: str) -> str:
    drawn, start = [], 0
    for found in _MARK.finditer(text):
        drawn.append(escape(unescape(text[start : found.start()])))
        drawn.append(_marked(found))
        start = found.end()
    return "".join([*drawn, escape(unescape(text[start:]))])


def _marked(found: re.Match[str]) -> str:
    shown = {name: escape(unescape(value)) for name, value in found.groupdict().items() if value is not None}
    match found.lastgroup:
        case "fence":
            return f"<blockquote>{shown['fence']}</blockquote>"
        case "code":
            return f"<code>{shown['code']}</code>"
        case "bold":
            return f"<b>{_mrkdwn(found['bold'])}</b>"
        case "date":
            return shown["date"]
        case "mention":
            return f'<span class="mention">{shown["mention"]}</span>'
    return f'<a href="#">{shown["words"]}</a>'


def _rich(element: Json) -> str:
    inner = "".join(map(_rich_part, element["elements"]))
    match element["type"]:
        case "rich_text_quote":
            return f"<blockquote>{inner}</blockquote>"
        case "rich_text_list":
            return f"<ul>{inner}</ul>"
    return f"<div>{inner}</div>"


def _rich_part(part: Json) -> str:
    if part["type"] == "rich_text_section":
        return f"<li>{''.join(map(_rich_part, part['elements']))}</li>"
    style, text = part.get("style", {}), escape(part.get("text", ""))
    if style.get("code"):
        return f"<code>{text}</code>"
    return f"<b>{text}</b>" if style.get("bold") else text


def _button(element: Json) -> str:
    label = element.get("text") or element.get("placeholder") or {}
    mark = " ▾" if element["type"] == "static_select" else " ↗" if "url" in element else ""
    style = "button primary" if element.get("style") == "primary" else "button"
    return f'<span class="{style}">{escape(label.get("text", ""))}{mark}</span>'
