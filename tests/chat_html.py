"""Chats as HTML, as their clients draw messages: WeCom's and DingTalk's Markdown, and the cards of Feishu."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from typing import Any

from markdown_it import MarkdownIt

from notifier.core.delivery import Body

STYLE = """
.chat { width: 420px; background: #fff; border-radius: 8px; padding: 10px 14px; margin: 4px 0; font-size: 14px }
.chat p { margin: 6px 0 } .chat p.plain { white-space: pre-line }
.chat blockquote { border-left: 3px solid #ccc; margin: 6px 0;
  padding-left: 8px; color: #555 } .chat code { background: #f2f2f2; padding: 0 3px }
.chat font[color=warning] { color: #fa9d3b } .chat font[color=info] { color: #2fb344 }
.chat font[color=comment] { color: #888 } .at { color: #3370ff }
.card { padding: 0 0 8px } .card > * { margin: 8px 14px; white-space: pre-line } .card .head { margin: 0;
  padding: 10px 14px; border-radius: 8px 8px 0 0; font-weight: 600 } .head.red { background: #fdd }
.head.orange { background: #fe9 } .head.green { background: #cfc } .head.blue { background: #cdf }
.head.grey { background: #ddd } .fields { display: grid; grid-template-columns: 1fr 1fr; gap: 6px }
.note { color: #888; font-size: 12px } .button { display: inline-block; border: 1px solid #ccc; border-radius: 6px;
  padding: 3px 10px; margin-right: 8px } .primary { background: #3370ff; color: #fff }
"""


def markdown(text: str, *, html: bool = False) -> str:
    """Return Markdown as HTML. With `html` its tags are kept."""
    return str(MarkdownIt("commonmark", {"html": html}).render(text))


def parts(text: str) -> Iterator[tuple[str, str]]:
    """Yield what a parser of Markdown finds besides paragraphs, text and line breaks: its kind, and its address."""
    usual = {"inline", "text", "softbreak", "hardbreak", "paragraph_open", "paragraph_close"}
    for token in MarkdownIt("commonmark", {"html": True}).parse(text):
        for one in (token, *(token.children or ())):
            if one.type not in usual and not one.type.endswith("_close"):
                yield one.type, str(one.attrs.get("href") or one.attrs.get("src") or "")


def wecom(body: Body) -> str:
    """Return a message of a WeCom robot. There a line break is one."""
    message = json.loads(body.content)
    kind, content = message["msgtype"], message[message["msgtype"]]["content"]
    if kind == "text":
        return f'<div class="chat"><p class="plain">{escape(content)}</p></div>'
    called = content.replace("<@", '<span class="at">@').replace("\n", "  \n")
    return f'<div class="chat">{markdown(called, html=True)}</div>'


def dingtalk(body: Body) -> str:
    """Return a message of a DingTalk robot, below the title that notifications show."""
    content = json.loads(body.content)["markdown"]
    return f'<small>{escape(content["title"])}</small><div class="chat">{markdown(content["text"])}</div>'


def feishu(body: Body) -> str:
    """Return a card of Feishu."""
    card = json.loads(body.content)
    head = card["header"]
    drawn = "".join(map(_element, card["elements"]))
    title = escape(head["title"]["content"])
    return f'<div class="chat card"><div class="head {head["template"]}">{title}</div>{drawn}</div>'


def _element(element: dict[str, Any]) -> str:
    if element["tag"] == "action":
        return f"<div>{''.join(map(_button, element['actions']))}</div>"
    if element["tag"] == "note":
        return f'<div class="note">{"".join(map(_text, element["elements"]))}</div>'
    if "fields" in element:
        fields = "".join(f"<div>{_text(field['text'])}</div>" for field in element["fields"])
        return f'<div class="fields">{fields}</div>'
    return f"<div>{_text(element['text'])}</div>"


def _button(button: dict[str, Any]) -> str:
    return f'<span class="button {button["type"]}">{escape(button["text"]["content"])}</span>'


def _text(text: dict[str, Any]) -> str:
    if text["tag"] == "plain_text":
        return escape(text["content"])
    content = text["content"].replace("<at id=", '<span class="at">@').replace("></at>", "</span>")
    return str(MarkdownIt("commonmark", {"html": True}).renderInline(content))


DRAWN = {"wecom": wecom, "dingtalk": dingtalk, "feishu": feishu}
"""How a body of each kind is drawn."""
