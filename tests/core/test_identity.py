"""The text of an identity is written and read by one class, whatever names come from outside."""

from __future__ import annotations

import re
import uuid
from pathlib import Path

import pytest
from factories import make_event, make_task
from hypothesis import given
from hypothesis import strategies as st

import notifier
from notifier.core.identity import DirectChannel, MessageRef, Subject
from notifier.core.model import NAMESPACE, id_of

CONFIGURED = st.from_regex(r"[a-z0-9][a-z0-9_-]*", fullmatch=True)
"""Names of sources and channels, as the configuration allows them."""
HOSTILE = st.text() | st.text(alphabet=":/dmchanel ")
"""Whatever a service may call a task, a person or a message."""


@given(source=CONFIGURED, job_id=HOSTILE)
def test_the_subject_of_a_task_survives_its_text(source: str, job_id: str) -> None:
    subject = Subject(source=source, job_id=job_id)
    assert Subject.parse(str(subject)) == subject


@given(channel=CONFIGURED | HOSTILE.filter(bool).map(lambda person: str(DirectChannel(person))))
def test_the_subject_of_a_channel_survives_its_text(channel: str) -> None:
    subject = Subject(channel=channel)
    assert Subject.parse(str(subject)) == subject


@given(source=CONFIGURED, channel=CONFIGURED, job_id=HOSTILE)
def test_no_task_has_the_subject_of_a_channel(source: str, channel: str, job_id: str) -> None:
    assert str(Subject(source=source, job_id=job_id)) != str(Subject(channel=channel))


@given(channel=CONFIGURED, ts=HOSTILE)
def test_a_message_survives_its_text(channel: str, ts: str) -> None:
    ref = MessageRef(channel=channel, ts=ts)
    assert MessageRef.parse(str(ref)) == ref


@given(person=HOSTILE)
def test_a_direct_channel_survives_its_name(person: str) -> None:
    direct = DirectChannel(person)
    assert DirectChannel.parse(str(direct)) == direct


@given(name=CONFIGURED)
def test_a_configured_channel_is_no_person(name: str) -> None:
    assert DirectChannel.parse(name) is None


@pytest.mark.parametrize(
    ("identity", "text"),
    [
        (Subject(source="prod", job_id="a/b:c"), "prod/a/b:c"),
        (Subject(source="prod"), "prod/"),
        (Subject(channel="dba"), "channel:dba"),
        (Subject(), "/"),
        (MessageRef("C0DBA", "1768465800.000002"), "C0DBA:1768465800.000002"),
        (DirectChannel("U0123"), "dm:U0123"),
    ],
)
def test_existing_databases_hold_this_text(identity: object, text: str) -> None:
    assert str(identity) == text


def test_tasks_and_their_events_have_one_subject() -> None:
    task = make_task("job-1")
    assert make_event(task).subject == task.subject == str(Subject(source=task.source, job_id="job-1"))


def test_no_other_module_writes_these_prefixes() -> None:
    package = Path(notifier.__file__).parent
    prefix = re.compile(rf"""["']({Subject.CHANNEL_PREFIX}|{DirectChannel.PREFIX})(?! )""")
    modules = {path for path in package.rglob("*.py") if prefix.search(path.read_text())}
    assert modules == {package / "core" / "identity.py"}


@given(name=st.text(st.characters(exclude_categories=["Cs"])))
def test_the_id_of_a_name_is_its_uuid5(name: str) -> None:
    assert id_of(name) == str(uuid.uuid5(NAMESPACE, name))
