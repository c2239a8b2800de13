"""A picture of every page, in each theme and width: `python -m pages.pictures [FOLDER [NAME ...]]` in `tests`.

The pages show the history of `pages.history`. Now and Task are drawn in Chinese too, and Now also where nobody is
needed and where a source is not watched.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.async_api import Browser

from notifier.web.pages import SITE
from notifier.web.requests import PageRoute
from pages.browser import Colours, example_path, open_browser, open_context, serve
from pages.history import Histories, Variant

FOLDER = Path(__file__).parent.parent.parent / "docs" / "pictures"
WORK = Path(tempfile.gettempdir()) / "notifier-pictures"
"""Where the databases are meanwhile. It is always the same, for the page of the configuration shows it."""
WIDTHS = (1280, 390)
IN_CHINESE = ("now", "task")
PLAIN = ("keyboard", "sessions")
"""Pages without a picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One picture."""

    name: str
    path: str
    theme: Colours = "light"
    width: int = 1280
    language: Literal["en", "zh"] = "en"
    variant: Variant = Variant.USUAL

    @property
    def file(self) -> str:
        """The name of its file: `now-zh-dark-390.png`."""
        variant = "" if self.variant is Variant.USUAL else f"-{self.variant}"
        language = "" if self.language == "en" else f"-{self.language}"
        return f"{self.name}{variant}{language}-{self.theme}-{self.width}.png"


def pictures() -> Iterator[Picture]:
    """Yield every picture."""
    themes: tuple[Colours, ...] = ("light", "dark")
    languages: tuple[Literal["en", "zh"], ...] = ("en", "zh")
    for name, path in named_pages():
        for language in languages if name in IN_CHINESE else languages[:1]:
            for theme in themes:
                for width in WIDTHS:
                    yield Picture(name=name, path=path, theme=theme, width=width, language=language)
    for variant in (Variant.CALM, Variant.BLIND):
        yield Picture(name="now", path="/", variant=variant)


def named_pages() -> Iterator[tuple[str, str]]:
    """Yield the name of each page with an address of it."""
    for route in SITE:
        if isinstance(route, PageRoute):
            name = "task" if route.path.startswith("/tasks/{source}/") else route.path.strip("/") or "now"
            if name not in PLAIN and "/" not in name and "{" not in name:
                yield name, example_path(route.path)


@contextmanager
def _empty_folder(path: Path) -> Iterator[Path]:
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path)


async def take(folder: Path, names: tuple[str, ...]) -> None:
    """Take the pictures whose names begin with one of these."""
    wanted = [one for one in pictures() if not names or one.file.startswith(names)]
    with _empty_folder(WORK) as made:
        histories = Histories(made)
        async with open_browser() as browser:
            for variant in Variant:
                found = [one for one in wanted if one.variant is variant]
                if found:
                    copies = made / f"copy-{variant}"
                    copies.mkdir()
                    async with serve(histories.copy(variant, copies)) as served:
                        for picture in found:
                            await _draw(browser, served.url, picture, folder / picture.file)


async def _draw(browser: Browser, url: str, picture: Picture, file: Path) -> None:
    window = open_context(browser, url, language=picture.language, theme=picture.theme, width=picture.width)
    async with window as context:
        page = await context.new_page()
        await page.goto(picture.path)
        height: int = await page.evaluate("Math.max(innerHeight, document.body.scrollHeight)")
        await page.set_viewport_size({"width": picture.width, "height": height})
        shrink(await page.screenshot(full_page=True), file)


def shrink(screenshot: bytes, file: Path) -> None:
    """Write a picture with 256 colours, which is a third of what a browser writes."""
    with Image.open(BytesIO(screenshot)) as picture:
        few = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    few.save(file, optimize=True)


def main(arguments: list[str]) -> None:
    """Take the pictures that the command line asks for."""
    folder = Path(arguments[0]) if arguments else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    asyncio.run(take(folder, tuple(arguments[1:])))


if __name__ == "__main__":
    main(sys.argv[1:])
