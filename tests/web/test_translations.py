"""The page's own words are all there in Chinese, and say what the English ones say."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

import translations
from babel.messages.catalog import Message
from translations import message_texts

from notifier.web import catalogues


def messages() -> Iterator[tuple[str, Message]]:
    for area, catalogue in translations.recorded().items():
        yield from ((area, message) for message in catalogue if message.id)


def placeholders(text: str) -> list[str]:
    return sorted(set(re.findall(r"%\((\w+)\)s|\{(\w+)\}", text)))


def test_the_catalogues_are_in_step_with_the_templates() -> None:
    files = {path.stem: path.read_text(encoding="utf-8") for path in translations.FOLDER.glob("*.po")}
    assert files == translations.in_step(), "run `make translations`"


def test_every_message_is_translated() -> None:
    missing = [(area, one.id) for area, one in messages() if one.fuzzy or not all(message_texts(one.string))]
    assert missing == []


def test_translations_have_the_placeholders_of_the_message() -> None:
    wrong = [
        (area, one.id, text)
        for area, one in messages()
        for text in message_texts(one.string)
        if placeholders(text) != placeholders(message_texts(one.id)[-1])
    ]
    assert wrong == []


def test_areas_do_not_contradict_each_other() -> None:
    found = defaultdict(set)
    for _, one in messages():
        found[one.context, message_texts(one.id)[0]].add(message_texts(one.string))
    assert {key: texts for key, texts in found.items() if len(texts) > 1} == {}


def test_chinese_has_its_own_punctuation() -> None:
    half_width = re.compile(r"[一-鿿）”][,;!?](?!\S*%)|[一-鿿]\.$|[一-鿿]\(|[一-鿿]:")
    wrong = [text for _, one in messages() for text in message_texts(one.string) if half_width.search(text)]
    unfinished = [one.id for _, one in messages() if _ends(one, ".") and not _ends_in_chinese(one)]
    assert (wrong, unfinished) == ([], [])


def _ends(message: Message, sign: str) -> bool:
    return message_texts(message.id)[-1].endswith(sign)


def _ends_in_chinese(message: Message) -> bool:
    return all(text.endswith(("。", "）", "”")) for text in message_texts(message.string))


def test_plurals_and_contexts_are_found_when_the_page_is_made() -> None:
    words = catalogues.translations("zh")
    assert words.ngettext("%(count)s needs somebody", "%(count)s need somebody", 4) == "%(count)s 件需要处理"
    assert words.pgettext("between two facts", " · ") == "·"
    assert words.gettext("Statistics") == "统计"
