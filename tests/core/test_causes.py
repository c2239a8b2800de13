"""Known causes: every code and every official text is explained, whatever surrounds it."""

from __future__ import annotations

import re
import time
from importlib.resources import files

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from notifier.core import causes, patterns
from notifier.core.causes import Cause, CauseCatalogue, Explanation, Retryable, error_code
from notifier.core.patterns import Search
from notifier.wording.causes import builtin_catalogue

LANGUAGES = ("en", "zh")
BUILTIN = builtin_catalogue()
BY_ID = {cause.id: cause for cause in BUILTIN.causes}
CHINESE = re.compile(r"[\u4e00-\u9fff]")


def official_codes() -> list[tuple[str, str, str]]:
    """Return code, English text and Chinese text of every row of the official table."""
    _, *rows = files("notifier.wording.causes").joinpath("codes.tsv").read_text(encoding="utf-8").splitlines()
    found = [tuple(row.split("\t")) for row in rows]
    return [(code, en, zh) for code, en, zh in found]


OFFICIAL = official_codes()


def cause(name: str, **fields: object) -> Cause:
    texts = {"means": {"en": f"{name} happened."}, "do": {"en": f"Repair {name}."}, "retry": Retryable.NO}
    return Cause(id=name, **(texts | fields))  # type: ignore[arg-type]  # any field


# ---- the built-in table ----


def test_the_table_has_all_official_codes() -> None:
    assert len(OFFICIAL) == 245
    assert len({code for code, _, _ in OFFICIAL}) == 245


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_official_code_is_explained_in_each_language(language: str) -> None:
    for code, en, zh in OFFICIAL:
        found = BUILTIN.explain(f"Error code: {code}.")
        assert (found.code, found.retry) == (code, found.cause and found.cause.retry)
        assert (found.means(language) or "").startswith(zh if language == "zh" else en)
        assert found.action(language)
        assert found.short(language)


def test_official_english_texts_alone_find_the_cause_of_their_code() -> None:
    texts = {code: BUILTIN.explain(en).cause for code, en, _ in OFFICIAL}
    right = sum(found is not None and code in found.codes for code, found in texts.items())
    assert right >= 225  # of 245; the others are as vague as "Update failed."


def test_every_cause_is_complete_in_both_languages() -> None:
    assert len(BY_ID) == len(BUILTIN.causes) == 80
    for one in BUILTIN.causes:
        for texts in (one.means, one.do, one.short or {}):
            assert set(texts) == set(LANGUAGES)
            assert texts["en"].isascii()
            assert CHINESE.search(texts["zh"])
            assert all(text == text.strip() and "\n" not in text for text in texts.values())
        assert max(map(len, (one.short or {}).values())) <= 40
        assert one.match or one.codes


def test_no_code_belongs_to_two_causes() -> None:
    codes = [code.casefold() for one in BUILTIN.causes for code in one.codes]
    assert len(codes) == len(set(codes))


def test_every_code_of_the_table_is_found_in_a_text() -> None:
    for one in BUILTIN.causes:
        for code in one.codes:
            assert BUILTIN.explain(f"xx，错误码：{code}，yy").cause is one


def test_every_expression_is_accepted_by_both_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    for one in BUILTIN.causes:
        Search(one.match).check()
    monkeypatch.setattr(patterns, "re2", None)
    monkeypatch.setattr(patterns, "_compiled", patterns._compiled.__wrapped__)
    for one in BUILTIN.causes:
        Search(one.match).check()


def test_both_engines_find_the_same_causes(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [text for _, en, zh in OFFICIAL for text in (en, zh)]
    found = [BUILTIN.explain(text) for text in texts]
    monkeypatch.setattr(patterns, "re2", None)
    assert [CauseCatalogue(BUILTIN.causes).explain(text).cause for text in texts] == [one.cause for one in found]


def test_what_is_guessed_is_marked() -> None:
    assert BUILTIN.explain("The snapshot could not be created.").inferred
    assert not BUILTIN.explain("Backup is in progress, please wait.").inferred


# ---- explaining ----


def test_a_code_decides_before_an_expression() -> None:
    found = BUILTIN.explain("Timed out while waiting for the VM. Error code: DBS.200316.")
    assert found.cause is BY_ID["storage-full"]


def test_the_first_code_with_a_known_cause_decides() -> None:
    found = BUILTIN.explain("Error code: DBS.999999. Caused by Ecs.0319.")
    assert (found.code, found.cause) == ("Ecs.0319", BY_ID["flavor-sold-out"])


def test_an_unknown_code_is_named_and_the_text_explained() -> None:
    found = BUILTIN.explain("Backup is in progress. Error code: DBS.999999.")
    assert (found.code, found.cause) == ("DBS.999999", BY_ID["backup-running"])


@pytest.mark.parametrize("reason", ["dbs.200316", "DBS.200316", "[dbs.200316]", "错误DBS.200316，请稍后"])
def test_a_code_is_found_in_any_case_and_without_spaces(reason: str) -> None:
    assert BUILTIN.explain(reason).code == "DBS.200316"


def test_the_id_of_an_event_is_a_code() -> None:
    found = BUILTIN.explain("event gaussdbv5expandclusterfailed was reported")
    assert (found.code, found.cause) == ("GaussDBV5ExpandClusterFailed", BY_ID["resources-exhausted"])


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_words_of_a_code_are_not_repeated(language: str) -> None:
    alone = BUILTIN.explain("DBS.280277").means(language) or ""
    written = BUILTIN.explain("Invalid object name. Error code: DBS.280277.").means(language) or ""
    assert alone.endswith(written)
    assert len(alone) > len(written)


def test_an_unknown_reason_is_not_explained() -> None:
    for reason in (None, "", "   ", "Something odd."):
        assert BUILTIN.explain(reason) == Explanation()
    nothing = BUILTIN.explain(None)
    assert (nothing.means("en"), nothing.action("zh"), nothing.short("en"), nothing.retry) == (None, None, None, None)
    assert (nothing.inferred, nothing.runbook_url) == (False, None)


def test_the_first_cause_that_matches_wins() -> None:
    first, second = cause("first", match=("Disk",)), cause("second", match=("disk full",))
    assert CauseCatalogue([first, second]).explain("disk full").cause is first
    assert CauseCatalogue([second, first]).explain("DISK FULL").cause is second


def test_the_first_cause_with_a_code_wins() -> None:
    first, second = cause("first", codes=("DBS.000001",)), cause("second", codes=("dbs.000001",))
    assert CauseCatalogue([first, second]).explain("DBS.000001").cause is first


def test_own_causes_come_first_and_replace_built_in_ones() -> None:
    own = cause("timeout", match=("timed out",), runbook_url="https://wiki.example.com/timeout")
    extended = BUILTIN.extended([own])
    assert extended.explain("The step timed out.").cause is own
    assert extended.explain("The step timed out.").runbook_url == "https://wiki.example.com/timeout"
    assert extended.explain("DBS.111205").cause is None, "the code belonged to the entry that was replaced"
    assert len(extended.causes) == len(BUILTIN.causes)
    assert len(BUILTIN.extended([cause("own", match=("x",))]).causes) == len(BUILTIN.causes) + 1


def test_a_text_in_one_language_serves_all_readers() -> None:
    only_zh = CauseCatalogue([cause("own", match=("odd",), means={"zh": "奇怪"}, do={})])
    found = only_zh.explain("odd")
    assert (found.means("en"), found.means("zh"), found.action("en")) == ("奇怪", "奇怪", None)


def test_catalogues_are_compared_by_identity() -> None:
    assert builtin_catalogue() is BUILTIN
    assert len({BUILTIN, CauseCatalogue(BUILTIN.causes), BUILTIN}) == 2


# ---- text from outside ----


@given(text=st.text(max_size=200))
@example(text="DBS.280277\ud83d")
def test_no_text_makes_it_fail(text: str) -> None:
    found = BUILTIN.explain(text)
    assert found.code is None or len(found.code) <= 80


@given(before=st.text("aZ. -_\n中，", max_size=9), after=st.text(" ，)\n", max_size=9))
def test_a_code_among_words_is_found(before: str, after: str) -> None:
    spaced = f"{before} DBS.280277{after}"
    assert error_code(spaced) == "DBS.280277"


@given(text=st.text("DBS.0279aE _-\n中", max_size=40))
def test_what_is_found_is_a_code_that_stands_in_the_text(text: str) -> None:
    if code := error_code(text):
        assert code in text
        assert re.fullmatch(r"[A-Z][A-Za-z]{1,9}\.[0-9]{4,8}", code)


@pytest.mark.parametrize(
    "text",
    [
        "node 192.168.0.37",
        "table public.2024",
        "V2.0-9.0.0",
        "DBS.1",
        "xDBS.280277",
        "DBS.280277x",
        "DBS.280277.log",
        "log.DBS.280277",
        "DBS.123456789",
        "kernel_DBS.280277",
    ],
)
def test_what_only_resembles_a_code_is_none(text: str) -> None:
    assert error_code(text) is None


@pytest.mark.parametrize(("text", "code"), [("Ecs.0319，可用区", "Ecs.0319"), ("(OBS.0503).", "OBS.0503"), ("", None)])
def test_codes_of_other_services_are_found(text: str, code: str | None) -> None:
    assert error_code(text) == code


def test_the_end_of_a_long_text_is_ignored() -> None:
    padding = "x " * causes.EXPLAINED_LENGTH
    assert BUILTIN.explain(padding + "DBS.280277") == Explanation()
    assert error_code(padding + "DBS.280277") is None
    assert BUILTIN.explain("DBS.280277 " + padding).code == "DBS.280277"


@pytest.mark.parametrize(
    "unit", ["backup ", "fail node storage agent ", "主备", "DBS.", "A.1", "quota" + " " * 39, "\ud83d", "\x00\n"]
)
def test_hostile_texts_take_a_moment(unit: str) -> None:
    text = unit * 1_000_000
    CauseCatalogue(BUILTIN.causes).explain("warm up")
    began = time.perf_counter()
    BUILTIN.explain(text)
    assert time.perf_counter() - began < 1
