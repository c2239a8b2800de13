"""docs/routing.md says what is so: its tables are complete, and what it shows can be read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from notifier.config.loading import loads
from notifier.core.fields import FIELDS, OPERATION_KINDS
from notifier.core.matchers import fits, parse_matcher, parse_matchers
from notifier.core.windows import parse_window

TEXT = (Path(__file__).parent.parent.parent / "docs" / "routing.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading."""
    _, _, below = TEXT.partition(f"\n{heading}\n")
    table = re.search(r"(?:^\|.*\n)+", below, re.MULTILINE)
    assert table, heading
    lines = table[0].splitlines()[2:]
    return [[cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def shown(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


OPS, FIELD_ROWS = rows("## Matchers"), rows("### Fields")
SOURCES = """
sources:
  - {name: prod, kind: gaussdb, region: cn-north-4, project_id: x, environment: production, labels: {team: a},
     auth: {kind: aksk, access_key: a, secret_key: b}}
calendars: [{name: office, dates: [2027-01-01]}]
"""


def test_every_op_has_a_row() -> None:
    ops = [op for row in OPS for op in shown(row[0])]
    assert ops == ["=", "!=", "in", "not in", "=~", "!~", "<", "<=", ">", ">="]


@pytest.mark.parametrize("row", OPS, ids=lambda row: row[0])
def test_the_example_of_an_op_has_it(row: Sequence[str]) -> None:
    (example,) = shown(row[2])
    assert parse_matcher(example).op in shown(row[0])


def test_every_field_has_a_row() -> None:
    assert sorted(name for row in FIELD_ROWS for name in shown(row[0])) == sorted([*FIELDS, "label.NAME"])


@pytest.mark.parametrize("row", FIELD_ROWS, ids=lambda row: row[0])
def test_the_example_of_a_field_is_about_it(row: Sequence[str]) -> None:
    (example,) = shown(row[2])
    name = shown(row[0])[0].replace("NAME", "team")
    assert parse_matcher(example).field == name


def test_every_kind_of_operation_is_named() -> None:
    (row,) = (row for row in FIELD_ROWS if shown(row[0]) == ["operation"])
    assert set(OPERATION_KINDS) <= set(shown(row[1]))


def window_rows() -> list[list[str]]:
    _, _, below = TEXT.partition("\n| window | open |\n")
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in below.split("\n\n")[0].splitlines()[1:]]


@pytest.mark.parametrize("row", window_rows(), ids=lambda row: row[0])
def test_a_window_that_is_shown_can_be_read(row: Sequence[str]) -> None:
    (window,) = shown(row[0])
    assert parse_window(window).parts


def test_the_asterisk_that_is_meant_itself_is_written_as_shown() -> None:
    (example,) = re.findall(r"`(fail_reason=~[^`]+)`", TEXT)
    matcher = parse_matcher(example)
    assert [fits(matcher, {"fail_reason": text}) for text in ("is it 100?", "100")] == [True, False]


TYPED = ["prod-* failed", "prod-1 prod-2", "source=prod duration>30m"]
MISTAKES = ["type=task.faild", "progress>abc", "progress>100", "duration>30", "severity>error", "instance in []"]


@pytest.mark.parametrize("text", TYPED)
def test_typed_words_that_are_shown_can_be_read(text: str) -> None:
    assert f"`{text}`" in TEXT.replace("\n", " ")
    assert parse_matchers(text)


@pytest.mark.parametrize("text", MISTAKES)
def test_the_mistakes_that_are_named_are_mistakes(text: str) -> None:
    assert f"`{text}`" in TEXT
    with pytest.raises(ValueError, match=r"\w"):
        parse_matcher(text)


def blocks() -> list[str]:
    return re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("block", blocks(), ids=range(len(blocks())))
def test_a_configuration_that_is_shown_can_be_read(block: str) -> None:
    document: dict[str, Any] = yaml.safe_load(block.replace("xoxb-…", "xoxb-1"))
    lists = [route.get(key, ()) for route in document.get("routes", ()) for key in ("channels", "otherwise")]
    names = {name for names in lists if isinstance(names, list) for name in names}
    channels = [{"name": name, "kind": "email", "host": "h", "from": "a@b.cd", "to": ["a@b.cd"]} for name in names]
    loads(yaml.safe_dump({"channels": channels} | document) + SOURCES, {})
