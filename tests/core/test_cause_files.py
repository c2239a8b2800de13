"""The option `causes`: files of an operator's own causes, and the mistakes in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.config.changes import changes
from notifier.config.config import Config
from notifier.config.loading import InvalidConfiguration, load
from notifier.core.causes import Retryable
from notifier.wording.causes import builtin_catalogue
from notifier.wording.marks import split_marked

ROOT = Path(__file__).parents[2]
BUILTIN = len(builtin_catalogue().causes)
CONFIG = """
store: {url: "sqlite:///notifier.db"}
sources:
  - {name: prod, kind: gaussdb, region: cn-north-4, project_id: 0611f1bd8b00d5d32f17c017f15b599f,
     endpoint: "http://127.0.0.1:1", auth: {kind: aksk, access_key: AKAKAK, secret_key: sksksk}}
channels: [{name: dba, kind: console}]
routes: [{name: everything, channels: [dba]}]
"""
OWN = r"""
causes:
  - id: nightly-job
    match: ['nightly job\b.{0,40}runs', '夜间作业']
    codes: [ACME.0001]
    means: {en: The nightly job holds the instance., zh: 夜间作业占用实例。}
    do: {zh: 等待作业结束。}
    short: nightly job
    retry: after
    evidence: inferred
    source: our own runbook
    runbook_url: https://wiki.example.com/gaussdb/nightly?x=1#y
  - id: timeout
    match: [timed out]
    means: Costs ${5} of patience.
    retry: yes
"""
ENTRY = "id: a, match: [x], means: m, retry: no"


def loaded(folder: Path, **texts: str) -> Config:
    """Load a configuration that names these files in this order."""
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    names = ", ".join(f"{name}.yaml" for name in texts)
    path = folder / "notifier.yaml"
    path.write_text(f"{CONFIG}causes: [{names}]\n", encoding="utf-8")
    return load(path, {})


def mistakes(folder: Path, **texts: str) -> list[str]:
    with pytest.raises(InvalidConfiguration) as caught:
        loaded(folder, **texts)
    return [line.replace(f"{folder}/", "") for line in str(caught.value).splitlines()]


# ---- what loads ----


def test_without_files_the_built_in_causes_are_known(tmp_path: Path) -> None:
    assert loaded(tmp_path).cause_catalogue is builtin_catalogue()


def test_own_causes_come_first_in_every_field(tmp_path: Path) -> None:
    catalogue = loaded(tmp_path, own=OWN).cause_catalogue
    assert len(catalogue.causes) == BUILTIN + 1, "one is new, one replaces a built-in cause"
    found = catalogue.explain("The Nightly Job xyz runs; the task timed out.")
    assert found.cause is catalogue.causes[0]
    assert (found.means("en"), found.means("zh")) == ("The nightly job holds the instance.", "夜间作业占用实例。")
    assert (found.action("en"), found.action("zh"), found.short("zh")) == ("等待作业结束。",) * 2 + ("nightly job",)
    assert (found.retry, found.inferred) == (Retryable.AFTER, True)
    assert found.runbook_url == "https://wiki.example.com/gaussdb/nightly?x=1#y"
    assert catalogue.explain("error acme.0001").cause is found.cause
    timeout = catalogue.explain("The step timed out.")
    assert (timeout.means("zh"), timeout.action("en"), timeout.retry) == ("Costs ${5} of patience.", None, "yes")


def test_the_same_catalogue_serves_every_reader_of_a_configuration(tmp_path: Path) -> None:
    config = loaded(tmp_path, own=OWN)
    assert config.cause_catalogue is config.cause_catalogue


def test_a_reload_notices_a_changed_file(tmp_path: Path) -> None:
    before = loaded(tmp_path, own=OWN)
    assert changes(before, loaded(tmp_path, own=OWN)) == {}
    after = loaded(tmp_path, own=OWN.replace("patience", "time"))
    assert changes(before, after) == {"sections_changed": ["causes"]}
    assert after.cause_catalogue.explain("timed out").means("en") == "Costs ${5} of time."


def test_the_documented_example_loads(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "causes.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(causes:\n.*?)```", text, re.DOTALL)
    found = loaded(tmp_path, own=example).cause_catalogue
    assert found.explain("DBS.280450 in the second zone").means("en") != builtin_catalogue().explain(
        "DBS.280450"
    ).means("en")


def test_texts_have_no_marks_of_sentences(tmp_path: Path) -> None:
    text = "causes: [{id: a, match: [x], means: 'a \ue000b\ue001 <!here> *c*', retry: no}]"
    means = loaded(tmp_path, own=text).cause_catalogue.explain("x").means("en") or ""
    assert [part.text for part in split_marked(means)] == ["a b <!here> *c*"]


# ---- mistakes ----

SHOWN = "notifier.yaml:8:10: causes[0]: own.yaml"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ":1:1: the file is empty. Write a list: causes: [{id: …, match: […], means: …, retry: no}]"),
        ("# nothing", ":1:1: the file is empty. Write a list: causes: [{id: …, match: […], means: …, retry: no}]"),
        ("causes: [", ":1:10: ends too early: a list, mapping or value is missing."),
        ("causes: []", ":1:9: causes: must have at least 1 entry."),
        ("- id: a", ":1:1: must be a mapping: lines of key: value; here it is a list."),
        (f"causes: [{{{ENTRY}}}]\ncause: 1", ":2:1: cause: unknown key. Did you mean causes?"),
        (f"causes: [{{{ENTRY}, macth: [x]}}]", ":1:51: causes[0].macth: unknown key. Did you mean match?"),
        ("causes: [{id: a, match: [x], retry: no}]", ":1:10: causes[0].means: is missing."),
        ("causes: [{id: a, match: [x], means: m}]", ":1:10: causes[0].retry: is missing."),
        (
            "causes: [{id: a, match: [x], means: m, retry: maybe}]",
            ":1:47: causes[0].retry: must be one of yes, after, no.",
        ),
        (
            "causes: [{id: a, means: m, retry: no}]",
            ":1:10: causes[0].match: is missing. Give match, codes or both: they identify the reasons.",
        ),
        (
            "causes: [{id: a, match: ['('], means: m, retry: no}]",
            (
                ":1:26: causes[0].match[0]: '(' is not a regular expression: missing ), unterminated subpattern at"
                " position 0. Write \\ before a character that stands for itself."
            ),
        ),
        (
            "causes: [{id: a, match: ['(?=x)y'], means: m, retry: no}]",
            (
                ":1:26: causes[0].match[0]: '(?=x)y' cannot be matched in linear time: write it without a look-around"
                " (a route can have a second matcher, with =~ or !~)."
            ),
        ),
        (
            "causes: [{id: a, codes: [DBS.1], means: m, retry: no}]",
            ":1:26: causes[0].codes[0]: 'DBS.1' is no error code. Write one such as DBS.280277, or the id of an event.",
        ),
        (
            "causes: [{id: a, match: [x], means: [m], retry: no}]",
            ":1:37: causes[0].means: must be a text, or a mapping with en, zh or both.",
        ),
        (
            "causes: [{id: a, match: [x], means: {}, retry: no}]",
            ":1:37: causes[0].means: must be a text, or a mapping with en, zh or both.",
        ),
        (
            "causes: [{id: a, match: [x], means: {fr: m}, retry: no}]",
            ":1:38: causes[0].means.fr: unknown key. Known keys: en, zh.",
        ),
        (
            'causes: [{id: a, match: [x], means: "a\\nb", retry: no}]',
            ":1:37: causes[0].means: has inside it a line end. Remove it.",
        ),
        (
            "causes: [{id: A b, match: [x], means: m, retry: no}]",
            ":1:15: causes[0].id: must be of lower-case letters, digits, - and _, and start with a letter or a digit.",
        ),
        (
            f"causes: [{{{ENTRY}, runbook_url: 'https://w/a b'}}]",
            ":1:64: causes[0].runbook_url: must be a URL such as https://wiki.example.com/runbook.",
        ),
        (
            f"causes: [{{{ENTRY}, runbook_url: 'https://w/<手册>'}}]",
            ":1:64: causes[0].runbook_url: has '<' in it, which no URL has. Write it as %3C.",
        ),
        (
            f"causes: [{{{ENTRY}, runbook_url: https://w/手册}}]",
            ":1:64: causes[0].runbook_url: has '手' in it, which no URL has. Write it as %E6%89%8B.",
        ),
        (
            f"causes: [{{{ENTRY}, runbook_url: javascript:alert}}]",
            ":1:64: causes[0].runbook_url: must be a URL such as https://wiki.example.com/runbook.",
        ),
        (
            f"causes: [{{{ENTRY}}}, {{{ENTRY}}}]",
            ":1:57: causes[1].id: the id is taken by causes[0]. Give each cause its own.",
        ),
    ],
)
def test_a_mistake_is_one_line_with_file_entry_and_remedy(tmp_path: Path, text: str, expected: str) -> None:
    assert mistakes(tmp_path, own=text) == [f"{SHOWN}{expected}"]


def test_all_mistakes_of_all_files_are_shown_in_their_order(tmp_path: Path) -> None:
    entries = "\n".join(f"  - {{id: a{n}, match: ['['], means: m, retry: no}}" for n in range(12))
    found = mistakes(tmp_path, own=f"causes:\n{entries}\n", other="causes: [{}]")
    assert [int(re.findall(r"own.yaml:(\d+)", line)[0]) for line in found[:12]] == [*range(2, 14)]
    assert all(line.startswith("notifier.yaml:8:20: causes[1]: other.yaml:1:10: ") for line in found[12:])


def test_an_id_in_two_files_is_refused(tmp_path: Path) -> None:
    assert mistakes(tmp_path, own=f"causes: [{{{ENTRY}}}]", other=f"causes: [{{{ENTRY}}}]") == [
        "notifier.yaml:8:20: causes[1]: other.yaml: the id a is taken by own.yaml. Give each cause an id of its own."
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("[missing.yaml]", "causes[0]: cannot read missing.yaml: No such file or directory."),
        ("[folder]", "causes[0]: folder is a directory. Name the file in it."),
        ("[latin.yaml]", "causes[0]: latin.yaml:1: is not UTF-8 text. Save the file as UTF-8."),
        ("['']", "causes[0]: must be the path of a file."),
        ('["a\\0b"]', "causes[0]: must be the path of a file."),
        ("[{path: x}]", "causes[0]: must be the path of a file."),
        ("own.yaml", "causes: must be a list: entries in [ ], or each on a line of its own after a dash."),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, value: str, expected: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "latin.yaml").write_bytes(b"causes: \xe9")
    path = tmp_path / "notifier.yaml"
    path.write_text(f"{CONFIG}causes: {value}\n", encoding="utf-8")
    with pytest.raises(InvalidConfiguration) as caught:
        load(path, {})
    (line,) = str(caught.value).replace(f"{tmp_path}/", "").splitlines()
    assert line.endswith(f": {expected}")


@given(text=st.text("causeid: [{}]',\n-xa\x00\t#&*!|>%", max_size=60))
def test_no_file_makes_it_crash(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("any")
    with pytest.raises(InvalidConfiguration):
        loaded(folder, own=text)
