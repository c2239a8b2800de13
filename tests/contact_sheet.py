"""Every message on every channel on one page each, to look at: `python tests/contact_sheet.py FOLDER`.

It writes pages of HTML: Slack as its clients draw it, mails on a desktop and on a phone in light and dark, the console
at 80 and 120 columns, Mattermost and Rocket.Chat as text, WeCom, DingTalk and Feishu side by side. Where Chromium is
installed it takes a picture of each.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from email.message import EmailMessage
from html import escape
from pathlib import Path

import chat_html
import slack_html
from channel_samples import chat_body, console_text, mail, mattermost_text, part, rocketchat_text
from message_samples import FORMATTERS, requests, samples

from notifier.ports import RenderRequest
from notifier.wording.phrases import Language

STYLE = """
body { font: 14px/1.5 sans-serif; background: #e8e8e8; margin: 16px }
h2 { font-size: 14px; margin: 18px 0 4px }
pre { background: #111; color: #ddd; padding: 8px;
  font: 13px/1.35 'DejaVu Sans Mono', 'Noto Sans Mono CJK SC', monospace }
.sheet { columns: 2; column-gap: 16px } .one { break-inside: avoid }
.side { display: flex; gap: 16px; align-items: flex-start }
iframe { border: 0; background: #fff; flex-shrink: 0 } iframe.dark { color-scheme: dark; background: #1c1c1e }
"""
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def pages() -> Iterator[tuple[str, str, int]]:
    """Yield the name, the body and the width in pixels of each page."""
    for title, found in samples():
        shown = "".join(_one(name, slack_html.draw(one)) for name, one in found)
        yield f"slack {title}", f'<style>{slack_html.STYLE}</style><div class="sheet">{shown}</div>', 1360
    for language in FORMATTERS:
        yield f"mail {language}", _mails(language), 1900
        yield f"console {language}", _console(language), 1700
        yield f"mattermost {language}", _mattermost(language), 1100
        yield f"robots {language}", f"<style>{chat_html.STYLE}</style>{_robots(language)}", 1420


def _one(name: str, inner: str) -> str:
    return f'<div class="one"><h2>{escape(name)}</h2>{inner}</div>'


def _mails(language: Language) -> str:
    return "".join(_mail(name, mail(request, language)) for name, request in requests(language))


def _mail(name: str, found: EmailMessage) -> str:
    html, text = escape(part(found, "html")), escape(part(found, "plain"))
    headers = escape("\n".join(f"{key}: {value}" for key, value in found.items() if not key.startswith("Content")))
    frames = (
        f'<iframe srcdoc="{html}" width="700" height="420"></iframe>'
        f'<iframe srcdoc="{html}" width="320" height="420"></iframe>'
        f'<iframe class="dark" srcdoc="{html}" width="320" height="420"></iframe>'
    )
    return _one(name, f'<pre>{headers}</pre><div class="side">{frames}<pre>{text}</pre></div>')


def _console(language: Language) -> str:
    return "".join(_printed(name, request, language) for name, request in requests(language))


def _printed(name: str, request: RenderRequest, language: Language) -> str:
    def at(width: int, *, brief: bool) -> str:
        return f"<pre>{'·' * width}\n{escape(console_text(request, language, width, brief=brief))}</pre>"

    return _one(name, f'<div class="side">{at(80, brief=False)}{at(120, brief=False)}</div>{at(120, brief=True)}')


def _mattermost(language: Language) -> str:
    return "".join(_one(name, _posts(request, language)) for name, request in requests(language))


def _posts(request: RenderRequest, language: Language) -> str:
    shown = (f"<pre>{escape(text(request, language))}</pre>" for text in (mattermost_text, rocketchat_text))
    return f'<div class="side">{"".join(shown)}</div>'


def _robots(language: Language) -> str:
    return "".join(_one(name, _drawn(request, language)) for name, request in requests(language))


def _drawn(request: RenderRequest, language: Language) -> str:
    shown = (f"<div>{draw(chat_body(kind, request, language))}</div>" for kind, draw in chat_html.DRAWN.items())
    return f'<div class="side">{"".join(shown)}</div>'


def write(folder: Path) -> None:
    """Write the pages, and a picture of each where Chromium is installed."""
    folder.mkdir(parents=True, exist_ok=True)
    browser = next(filter(None, map(shutil.which, CHROMIUM)), None)
    for name, body, width in pages():
        path = folder / f"{'-'.join(name.lower().replace(',', '').split())}.html"
        path.write_text(f'<!doctype html><meta charset="utf-8"><style>{STYLE}</style>{body}', encoding="utf-8")
        if browser:
            _picture(browser, path, width)
    done = "pages and pictures" if browser else "pages; pictures need Chromium, which is not installed"
    sys.stdout.write(f"{folder}: {done}\n")


def _picture(browser: str, page: Path, width: int) -> None:
    with tempfile.TemporaryDirectory() as profile:
        quiet = ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
        look = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={width},6000"]
        shot = [f"--screenshot={page.with_suffix('.png')}", f"--user-data-dir={profile}", page.resolve().as_uri()]
        subprocess.run([browser, *quiet, *look, *shot], check=True, capture_output=True, timeout=120)  # noqa: S603 - our own pages


if __name__ == "__main__":
    write(Path(sys.argv[1]))
