"""Reasons of the notifier's own in Chinese: every one that the code can write has a translation."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from factories import HOSTILE, T0, make_event
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.delivery import Delivered, DeliveryState, GaveUp, Outcome, Parked, Retry, with_reply
from notifier.core.mutes import Mute
from notifier.core.outbox import new_delivery, plan_suppressed, settle, sort_out
from notifier.core.recipients import combined_outcome
from notifier.core.routing import RoutedEvent
from notifier.core.rulings import mute_rule
from notifier.sources import lists
from notifier.sources.failures import classify
from notifier.sources.lists import ApiList
from notifier.wording.reasons import TRANSLATED_LENGTH, localized_reason, reason_templates

PACKAGE = Path(__file__).parent.parent.parent / "notifier"
DATA = tomllib.loads((Path(__file__).parent.parent / "data" / "reasons.toml").read_text(encoding="utf-8"))
REASON_MODULES: list[str] = DATA["modules"]
REASON_CLASSES = frozenset(DATA["classes"])
REASON_NAMES = frozenset({"detail", "elsewhere", "not_valid", "reason", "remedy"})
NO_REASONS = frozenset(DATA["no_reasons"])
"""Texts of those modules that nobody is shown as a reason: words of others, names, log messages, errors of commands."""
SAMPLES = (
    "7",
    "HTTP 7",
    "source 7",
    "connection refused by 7",
    "link_7@example.com: HTTP 7",
    "deleted or moved",
    "is empty",
)
"""What stands for the values in a text, one after the other, until a template fits."""
_REPLACED = (
    "while the service used it; the service saves what it holds beside it: stop the service and put the newest"
    " 7.rescued-… in the file's place"
)
CONTEXTS = (
    "{}",
    "HTTP 7; {}",
    "SMTP 7: {}",
    "connection to 7 lost {}",
    "no TLS with 7: {}",
    "{} HTTP 7",
    "{}: HTTP 7",
    "{}; link_7@example.com: HTTP 7",
    f"the database file 7 was {{}} {_REPLACED}",
    "the database 7 {}, this program needs 7: run `notifier db upgrade`",
    "answers HTTP 7 to HEAD; {}",
    "the clock of this machine is 7 minutes {} the service's",
)
"""Where a part of a reason can stand."""


def literal(node: ast.AST, sample: str) -> str | None:
    match node:
        case ast.Constant(value=str(text)):
            return re.sub(r"\{\w+\}", sample, text)
        case ast.JoinedStr(values=parts):
            return "".join(str(part.value) if isinstance(part, ast.Constant) else sample for part in parts)
    return None


def unshown(tree: ast.Module) -> set[int]:
    """Return the nodes that are no texts of their own: docstrings, parts of f-strings, patterns, log messages."""
    found: set[int] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant() as documentation):
                found.add(id(documentation))
            case ast.JoinedStr(values=parts):
                found |= {id(part) for part in parts}
            case ast.Call(func=ast.Attribute(value=ast.Name(id="log" | "re" | "sa"))):
                found |= {id(part) for part in ast.walk(node)}
    return found


def reasons_of(path: Path) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield each text of several words in a module, once with each sample for its values."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = unshown(tree)
    for node in ast.walk(tree):
        text = literal(node, SAMPLES[0])
        if id(node) in skipped or text is None or len(re.findall(r"[A-Za-z]{2,}", text)) < 2 or " " not in text:
            continue
        if text.startswith("notifier ") or text.strip(" ;:,") in NO_REASONS:
            continue
        yield getattr(node, "lineno", 0), tuple(str(literal(node, sample)) for sample in SAMPLES)


def translated(texts: tuple[str, ...]) -> bool:
    """Return whether a reason, or a part of one, is Chinese but for what stands for values."""
    for text in texts:
        for context in CONTEXTS:
            for part in (text.strip(" ;:,"), text):
                shown = localized_reason(context.format(part), "zh")
                if re.search(r"[\u4e00-\u9fff]", shown) and part not in shown:
                    return True
    return False


@pytest.mark.parametrize("module", REASON_MODULES)
def test_every_text_of_these_modules_has_a_chinese_form(module: str) -> None:
    missing = [(line, texts[0]) for line, texts in reasons_of(PACKAGE / f"{module}.py") if not translated(texts)]
    assert missing == [], "add templates to notifier/wording/phrases/reasons.zh.toml"


def given_reasons(tree: ast.Module) -> Iterator[ast.expr]:
    """Yield what outcomes, errors and results of checks are given as reasons and remedies, and sentences of tables."""
    gives, others = False, list[ast.expr]()
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords) if name in REASON_CLASSES:
                gives = True
                yield from args[:1]
                yield from (one.value for one in keywords if one.arg in REASON_NAMES)
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name in REASON_NAMES:
                others += [part for part in ast.walk(value) if isinstance(part, ast.Constant | ast.JoinedStr)]
    for statement in tree.body:
        match statement:
            case ast.Assign(value=value) | ast.AnnAssign(value=ast.expr() as value):
                parts = (part for part in ast.walk(value) if isinstance(part, ast.Constant | ast.JoinedStr))
                others += [part for part in parts if len(str(literal(part, "7")).split()) > 3]
    yield from others if gives else ()


def test_every_reason_that_the_code_gives_has_a_chinese_form() -> None:
    missing, seen = [], 0
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        skipped = unshown(tree)
        for node in given_reasons(tree):
            texts = tuple(text for sample in SAMPLES if (text := literal(node, sample)) and " " in text.strip())
            if not texts or id(node) in skipped or texts[0].strip(" ;:,") in NO_REASONS:
                continue
            if texts[0].startswith("notifier "):  # a command to paste
                continue
            seen += 1
            missing += [] if translated(texts) else [(f"{path.relative_to(PACKAGE)}:{node.lineno}", texts[0])]
    assert missing == [], "add templates to notifier/wording/phrases/reasons.zh.toml"
    assert seen > 100


def remedies(table: object) -> Iterator[str]:
    if isinstance(table, list):
        for row in table:
            yield from remedies(row) if isinstance(row, dict) else []
    elif isinstance(table, dict):
        for key, value in table.items():
            if not isinstance(value, str):
                yield from remedies(value)
            elif " " in value and key != "source":
                yield value


@pytest.mark.parametrize("table", ["channels/reply_rules.toml", "integrations/slack/errors.toml"])
def test_every_remedy_in_a_table_has_a_chinese_form(table: str) -> None:
    found = list(remedies(tomllib.loads((PACKAGE / table).read_text(encoding="utf-8"))))
    assert [text for text in found if localized_reason(text, "zh") == text] == []
    assert len(found) > 10


def test_the_default_message_of_every_error_has_a_chinese_form() -> None:
    from notifier.core import errors  # noqa: PLC0415 - for its classes

    kinds = [one for one in vars(errors).values() if isinstance(one, type) and one.__module__ == errors.__name__]
    messages = {str(kind()) for kind in kinds} - {"Something went wrong."}
    assert {message for message in messages if localized_reason(message, "zh") == message} == set()


# ---- what people read ----


def refused(status: int, code: str, message: str) -> str:
    body = f'{{"error_code": "{code}", "error_msg": "{message}"}}'.encode()
    return str(classify(status, {}, body, where="source prod", now=T0))


def refused_recipients() -> str:
    delivery = new_delivery("mail", [make_event()], DeliveryState.PENDING, T0)
    outcomes: Mapping[str, Outcome] = {
        "a@example.com": Delivered(),
        "b@example.com": GaveUp("SMTP 550 5.1.1: recipient refused"),
        "c@example.com": Retry("no answer from mx.example.com in time"),
    }
    outcome = combined_outcome(delivery, [*outcomes], outcomes)
    assert not isinstance(outcome, Delivered)
    return outcome.reason


def muted() -> str:
    event = make_event()
    assert event.task is not None
    until = T0 + timedelta(hours=1)
    about = event.task.instance_id or ""
    mute = Mute(id="7k2m", since=T0, instance=about, until=until, by="U1", name="bob", created_at=T0, reason="resizing")
    found = sort_out([RoutedEvent(event=event, channels=("dba",), routes=())], [mute_rule([mute], T0)])
    (delivery,) = plan_suppressed(found.suppressed, T0)
    return delivery.reason or ""


def given_up() -> str:
    delivery = new_delivery("dba", [make_event()], DeliveryState.PENDING, T0)
    outcome = Parked("HTTP 404; the webhook is not valid: copy its URL again or make a new one")
    settlement = settle(delivery, outcome, started_at=T0, finished_at=T0, schedule=(), chance=0.5)
    return settlement.reason or ""


MADE = {
    "unknown_key": refused(401, "APIGW.0301", "ak X not exist"),
    "service_failing": refused(503, "APIGW.0613", "a (b). c"),
    "http_reply": with_reply("HTTP 503", "HTTP 503: Service Unavailable"),
    "smtp_reply": with_reply("SMTP 554: message refused", "SMTP 550: spam"),
    "recipients": refused_recipients(),
    "parked": given_up(),
}


@pytest.mark.parametrize("english", DATA["examples"])
def test_a_reason_is_translated_with_the_reasons_in_it(english: str) -> None:
    assert localized_reason(english, "zh") == DATA["examples"][english]
    assert localized_reason(english, "en") == english


@pytest.mark.parametrize("name", MADE)
def test_a_reason_that_the_code_makes_is_translated(name: str) -> None:
    assert localized_reason(MADE[name], "zh") == DATA["made"][name]


def test_a_mute_is_translated_with_its_reason() -> None:
    english = muted()
    shown = localized_reason(english, "zh")
    assert shown.startswith("bob 已将 ")
    assert shown.endswith("（原因：resizing）")


# ---- text from outside ----

pieces = st.one_of(st.sampled_from([*HOSTILE, "{", "}", "{0}", "{host}", "%s", "; ", ": ", ". "]), st.text(max_size=30))


@given(pieces)
def test_text_from_outside_stays_as_it_is(text: str) -> None:
    if text and localized_reason(text, "zh") == text and len(text) < 1_000:
        assert localized_reason(f"gave up after 3 attempts, last: {text}", "zh").endswith(f"，最后一次：{text}")


@given(st.lists(pieces, max_size=20).map("".join))
def test_any_text_is_translated_or_kept(text: str) -> None:
    assert localized_reason(text, "en") == text
    assert isinstance(localized_reason(text, "zh"), str)


@pytest.mark.parametrize(
    "unit", ["; ", ": ", "a@b: HTTP 503; ", "outcome unknown: ", "source a: ", "HTTP 503; ", "{", " (by the proxy "]
)
def test_a_reason_of_any_depth_takes_no_long_time(unit: str) -> None:
    text = (unit * TRANSLATED_LENGTH)[:TRANSLATED_LENGTH]
    begin = datetime.now(UTC)
    localized_reason(text, "zh")
    assert datetime.now(UTC) - begin < timedelta(seconds=2)
    assert localized_reason(f"HTTP 503; {'x' * TRANSLATED_LENGTH}", "zh").startswith("HTTP 503; ")


# ---- the table ----


def test_templates_have_the_placeholders_of_their_english() -> None:
    templates = reason_templates("zh")
    kinds = {kind for template in templates for kind in template.kinds}
    assert kinds == {"text", "number", "addresses", "greedy", "host", "reason", "known"}
    for template in templates:
        named = re.findall(r"\{(\w*)\}", template.translation)
        assert sorted(named) == sorted(template.names), template.translation
        assert re.search(r"[\u4e00-\u9fff；：。]", template.translation) or template.translation == "HTTP {n}"


def test_english_needs_no_templates() -> None:
    assert reason_templates("en") == ()


LISTS = [value for value in vars(lists).values() if isinstance(value, ApiList)]
ENGLISH = re.compile(r"(?<![\w:./-])[a-z]{3,}(?![\w:/]|\.\w)")
"""A word of a sentence, and not of an action, a file or a setting."""


@pytest.mark.parametrize("of", LISTS, ids=lambda of: of.name)
@pytest.mark.parametrize("status", [403, 404])
def test_what_a_service_refuses_of_any_list_is_said_in_chinese_alone(of: ApiList, status: int) -> None:
    body = b'{"error_code": "CODE.1", "error_msg": "NO"}'
    reason = localized_reason(str(classify(status, {}, body, where="source prod", now=T0, of=of)), "zh")
    words = set(ENGLISH.findall(reason)) - {"prod", "region", "endpoint"}
    assert not words, reason


def test_a_source_without_any_right_to_alarms_says_so_in_chinese() -> None:
    reason = (
        "source prod: not allowed to list alarms. Grant the user ces:events:get, GaussDB ReadOnlyAccess in the project."
    )
    assert localized_reason(reason, "zh") == (
        "数据源 prod：没有查询告警的权限。请在项目中授予该用户 ces:events:get, GaussDB ReadOnlyAccess。"
    )
