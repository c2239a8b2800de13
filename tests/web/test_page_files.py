"""The rules of the page's files: nothing inline, nothing marked as safe, colours from tokens, icons that exist."""

from __future__ import annotations

import gzip
import hashlib
import re
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from notifier.web.assets import asset_path, assets, serve_asset
from notifier.web.frame import TABS

WEB = Path(__file__).parent.parent.parent / "notifier" / "web"
TEMPLATES = sorted((WEB / "templates").glob("*.html"))
STYLES = sorted((WEB / "static").glob("*.css"))
STATIC = WEB / "static"


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_a_template_has_nothing_that_the_content_policy_refuses(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    found = re.findall(r"<style|\sstyle=|<script(?! src=\"{{ static)|\son\w+=|javascript:|hx-on", text)
    assert found == []


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_a_template_escapes_everything(path: Path) -> None:
    assert re.findall(r"\|\s*safe\b|autoescape|Markup", path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", STYLES, ids=lambda path: path.name)
def test_colours_are_tokens(path: Path) -> None:
    text = re.sub(r"^:root \{.*?^\}", "", path.read_text(encoding="utf-8"), count=1, flags=re.DOTALL | re.MULTILINE)
    on_paper = re.sub(r"^@media print \{.*?^\}", "", text, flags=re.DOTALL | re.MULTILINE)
    assert re.findall(r"#[0-9a-fA-F]{3,8}\b(?!\s*\{)|\brgba?\(|\bhsla?\(|\boklch\(", on_paper) == []


def test_every_icon_that_a_template_names_is_in_the_sprite() -> None:
    sprite = set(re.findall(r'<symbol id="(\w+)"', (STATIC / "icons.svg").read_text(encoding="utf-8")))
    text = "".join(path.read_text(encoding="utf-8") for path in TEMPLATES)
    named = set(re.findall(r'icon\("(\w+)"', text)) | set(re.findall(r'icon_name="(\w+)"', text))
    named |= set(re.findall(r'^ +"\w+": \["\w*", "(\w+)"', text, re.MULTILINE))
    named |= {tab.name for tab in TABS}
    assert (named - sprite, len(named) > len(TABS)) == (set(), True)


def test_vendored_files_are_those_that_their_texts_name() -> None:
    wrong = []
    notes = sorted(STATIC.glob("*.txt"))
    for note in notes:
        name, *lines = note.read_text(encoding="utf-8").splitlines()
        facts = dict(line.split(": ", 1) for line in lines if ": " in line)
        content = (STATIC / name).read_bytes()
        if hashlib.sha256(content).hexdigest() != facts["sha256"] or facts["version"].encode() not in content:
            wrong.append(name)
        assert "Permission to use" in note.read_text(encoding="utf-8")
    assert (wrong, [note.name for note in notes]) == ([], ["htmx.txt"])
    assert {path.name for path in STATIC.glob("*.min.js")} == {"htmx.min.js"}


# ---- how they are served ----


@pytest.fixture
def client() -> TestClient:
    return TestClient(Starlette(routes=[Route("/static/{name}", serve_asset)]))


def test_a_file_is_served_compressed_and_kept_for_good(client: TestClient) -> None:
    plain = client.get(asset_path("app.css"), headers={"Accept-Encoding": "identity"})
    packed = client.get(asset_path("app.css"), headers={"Accept-Encoding": "gzip"})
    assert plain.content == packed.content == (STATIC / "app.css").read_bytes()
    assert (packed.headers["Content-Encoding"], "Content-Encoding" in plain.headers) == ("gzip", False)
    assert "immutable" in plain.headers["Cache-Control"]


@pytest.mark.parametrize("name", ["app.000000000000.css", "app.css", "htmx.txt", "..%2Fserver.py", "server.py"])
def test_nothing_else_is_served(client: TestClient, name: str) -> None:
    assert client.get(f"/static/{name}").status_code == 404


def test_a_first_visit_is_small() -> None:
    sizes = {name: len(asset.compressed) for name, asset in assets().items()}
    common = sum(sizes[name] for name in ("app.css", "app.js", "htmx.min.js", "icons.svg"))
    assert common < 30_000, sizes
    assert all(gzip.decompress(asset.compressed) == asset.content for asset in assets().values())
