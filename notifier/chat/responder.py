"""The room behind every door: what people type and click, answered from the store and done in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from notifier import lookup, people
from notifier.chat import buttons, reports
from notifier.chat.ports import Allowed
from notifier.chat.reports import PAGE, Voice
from notifier.chat.requests import Answer, Asked, Clicked, Language
from notifier.core import commands
from notifier.core.commands import Command
from notifier.core.durations import format_duration, parse_duration
from notifier.core.errors import StoreError
from notifier.core.health import Expected
from notifier.core.model import Event, Person, TaskStatus
from notifier.ports import Clock, Queries, Store, TaskFilter, Transaction
from notifier.wording.formatter import Localizer

LONGEST_VALUE = 2_000
"""Characters of what a button carries back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomRules:
    """What the room needs to know of the configuration."""

    localizers: Mapping[Language, Localizer]
    expected: Expected
    """The sources and channels that are configured."""
    command: str = "/gaussdb"
    """What people type before their words."""


class ChatRoom:
    """Answers from the store; implements `doors.Room`."""

    def __init__(self, store: Store, clock: Clock, rules: RoomRules, wake: Callable[[], None]) -> None:
        """`wake` is called after something has changed that messages are to show."""
        self._store = store
        self._clock = clock
        self._rules = rules
        self._wake = wake

    async def answer(self, request: Asked | Clicked, language: Language, allowed: Allowed) -> Answer | None:
        """Answer, and do what was asked for; see `doors.Room`. A store that fails is told in words."""
        voice = Voice(language=language, localizer=self._rules.localizers[language], command=self._rules.command)
        try:
            if isinstance(request, Asked):
                return await self._asked(commands.parse(request.text), request, voice, allowed)
            return await self._clicked(request, voice, allowed)
        except StoreError:
            return voice.refusal("refused.store")

    # -- what people type --

    async def _asked(self, command: Command, request: Asked, voice: Voice, allowed: Allowed) -> Answer:
        match command:
            case commands.Help():
                return reports.help_(voice)
            case commands.Mistake(key=key, given=given, meant=meant):
                return voice.mistake(key, given, meant)
            case commands.MuteInstance() | commands.UnmuteInstance():
                return await self._change(command, request, voice, allowed)
            case commands.WatchTask(job_id=job_id):
                return await self._store.transact(partial(self._watch, job_id, request, voice))
        return await self._store.read(lambda q: self._look(q, command, voice, offset=0))

    def _look(self, q: Queries, command: Command, voice: Voice, *, offset: int) -> Answer:
        now = self._clock.now()
        match command:
            case commands.TaskOf(job_id=job_id):
                return self._task(q, lookup.find_task(q, job_id), job_id, voice)
            case commands.Stats(within=within, ignored=ignored):
                return reports.without(ignored, reports.statistics(q.statistics(now - within), within, voice), voice)
            case commands.Mutes(ignored=ignored):
                return reports.without(ignored, reports.mutes(q.mutes(now), voice), voice)
            case commands.Status(ignored=ignored):
                return reports.without(ignored, reports.status(lookup.health(q, self._rules.expected), voice), voice)
        return self._look_at_many(q, command, voice, offset)

    def _look_at_many(self, q: Queries, command: Command, voice: Voice, offset: int) -> Answer:
        match command:
            case commands.Failed(within=within, about=about):
                wanted = self._filter(about, TaskFilter(status=TaskStatus.FAILED, since=self._clock.now() - within))
                said = {"length": voice.localizer.duration(within), "within": format_duration(within)}
                return reports.about(about, self._list(q, wanted, "failed", voice, offset, **said), voice)
            case commands.Running(about=about):
                wanted = self._filter(about, TaskFilter(status=TaskStatus.RUNNING))
                return reports.about(about, self._list(q, wanted, "running", voice, offset), voice)
            case commands.Recent(about=about):
                listed = self._list(q, self._filter(about, TaskFilter()), "recent", voice, offset)
                return reports.about(about, listed, voice)
            case commands.InstanceOf(instance=instance):
                return self._instance(q, instance, voice, offset)
        return reports.help_(voice)

    def _filter(self, about: str, wanted: TaskFilter) -> TaskFilter:
        """Narrow a filter to a source, where one has that name, else to instances."""
        if about.lower() in {source.name for source in self._rules.expected.sources}:
            return replace(wanted, source=about.lower())
        return replace(wanted, instance=about or None)

    def _list(self, q: Queries, wanted: TaskFilter, key: str, voice: Voice, offset: int, **said: str) -> Answer:
        found = q.tasks(replace(wanted, limit=PAGE, offset=offset))
        page = reports.Page(rows=tuple(found), offset=offset, total=q.count_tasks(wanted))
        fresh = reports.freshness(
            q.source_states(), [source.name for source in self._rules.expected.sources], self._clock.now(), voice
        )
        return reports.tasks(page, key, fresh, voice, **said)

    def _task(self, q: Queries, found: lookup.TaskAnswer, wanted: str, voice: Voice) -> Answer:
        if found.task is None:
            return reports.no_task(found.candidates, wanted, voice)
        task = found.task.task
        latest = q.latest_event(task.source, task.job_id)
        acknowledged = q.acknowledgement(latest.event.id) if latest else None
        return reports.task(found.task, lookup.history(q, task), acknowledged, voice)

    def _instance(self, q: Queries, wanted: str, voice: Voice, offset: int) -> Answer:
        found = lookup.find_instance(q, wanted)
        instance = found.instance
        if instance is None:
            return reports.no_instance("instance", wanted, found, voice)
        whole = TaskFilter(instance_id=instance.id) if instance.id else TaskFilter(instance_name=instance.name)
        answer = self._list(q, whole, "instance", voice, offset, instance=instance.shown)
        muted = [mute for mute in q.mutes(self._clock.now()) if mute.instance in (instance.id, instance.name)]
        about = [voice.say("instance.muted", until=voice.when(mute.until), who=mute.name) for mute in muted]
        command = f"instance {voice.typed(instance.key)}"
        return replace(answer, lines=(*about, *answer.lines), command=command)

    # -- what people change --

    async def _change(
        self, command: commands.MuteInstance | commands.UnmuteInstance, request: Asked, voice: Voice, allowed: Allowed
    ) -> Answer:
        if not await allowed():
            return voice.refusal("refused.right")
        if isinstance(command, commands.UnmuteInstance):
            answer = await self._store.transact(partial(self._unmute_named, command.instance, request, voice))
        elif (muted := await self._store.transact(partial(self._mute_named, command, request, voice))) is not None:
            answer = muted
        else:  # What might be meant is looked for where it keeps nobody from writing.
            answer = await self._store.read(partial(self._unknown, command.instance, voice))
        self._wake()
        return answer

    def _unknown(self, wanted: str, voice: Voice, q: Queries) -> Answer:
        return reports.no_instance("mute", wanted, lookup.find_instance(q, wanted), voice)

    def _mute_named(
        self, command: commands.MuteInstance, request: Asked, voice: Voice, tx: Transaction
    ) -> Answer | None:
        """Mute an instance; None where none is known under that name."""
        if _replayed(tx, request):
            return voice.refusal("refused.replay")
        found = lookup.known_instance(tx, command.instance)
        if found.namesakes:
            return reports.no_instance("mute", command.instance, found, voice)
        instance = found.instance
        if instance is None:
            return None
        mute = people.mute(tx, instance.key, instance.shown, command.length, request.person, reason=command.reason)
        return reports.muted(mute, voice)

    def _unmute_named(self, wanted: str, request: Asked, voice: Voice, tx: Transaction) -> Answer:
        if _replayed(tx, request):
            return voice.refusal("refused.replay")
        found = lookup.known_instance(tx, wanted).instance
        ended = people.unmute(tx, (wanted, found.key if found else wanted), request.person)
        return voice.answer("unmute.done", instance=wanted) if ended else voice.refusal("unmute.none", instance=wanted)

    def _watch(self, job_id: str, request: Asked, voice: Voice, tx: Transaction) -> Answer:
        found = lookup.find_task(tx, job_id)
        if found.task is None:
            return reports.no_task(found.candidates, job_id, voice)
        if not request.direct:
            return voice.refusal("watch.elsewhere")
        task = found.task.task
        if task.status.terminal:
            at = voice.when(task.ended_at or found.task.changed_at)
            return voice.answer("watch.over", status=voice.localizer.status_label(task.status), at=at)
        new = people.subscribe(tx, task, request.person)
        return voice.answer("watch.done" if new else "watch.again", note=reports.name_of(task, voice))

    # -- what people click --

    async def _clicked(self, click: Clicked, voice: Voice, allowed: Allowed) -> Answer | None:
        if len(click.value) > LONGEST_VALUE:
            return voice.refusal("click.gone")
        match click.action:
            case buttons.DETAILS:
                return await self._store.read(partial(self._details, click.value, voice))
            case buttons.PAGE_BEFORE | buttons.PAGE_AFTER | buttons.SHARE:
                answer = await self._store.read(partial(self._again, click.value, voice))
                return replace(answer, shared=click.action == buttons.SHARE)
            case buttons.ACKNOWLEDGE | buttons.MUTE | buttons.UNMUTE:
                return await self._act(click, voice, allowed)
        return None

    def _details(self, subject: str, voice: Voice, q: Queries) -> Answer:
        source, _, job_id = subject.partition("/")
        return self._task(q, lookup.find_task(q, job_id, source=source), job_id, voice)

    def _again(self, value: str, voice: Voice, q: Queries) -> Answer:
        """Give a reply again, at another place of its list."""
        offset, _, words = value.partition(":")
        command = commands.parse(words)
        if commands.changes(command) or isinstance(command, commands.WatchTask | commands.Mistake):
            return voice.refusal("click.gone")
        place = int(offset) if offset.isascii() and offset.isdigit() and len(offset) < 8 else 0  # noqa: PLR2004 - digits
        return self._look(q, command, voice, offset=place)

    async def _act(self, click: Clicked, voice: Voice, allowed: Allowed) -> Answer | None:
        if not await allowed():
            return voice.refusal("refused.right")
        answer = await self._store.transact(partial(self._act_in, click, voice))
        self._wake()
        return answer

    def _act_in(self, click: Clicked, voice: Voice, tx: Transaction) -> Answer | None:
        length, _, event_id = click.value.rpartition(":")
        routed = tx.event(event_id)
        if routed is None:
            return voice.refusal("click.gone")
        if _replayed(tx, click):
            return voice.refusal("refused.replay")
        event = routed.event
        match click.action:
            case buttons.ACKNOWLEDGE:
                return _acknowledge(event, click, voice, tx)
            case buttons.MUTE:
                return _mute_clicked(event, length, click.person, voice, tx)
        return _unmute_clicked(event, click.person, voice, tx)


def _replayed(tx: Transaction, request: Asked | Clicked) -> bool:
    return request.once is not None and not tx.once(request.once, tx.now())


def _acknowledge(event: Event, click: Clicked, voice: Voice, tx: Transaction) -> Answer | None:
    latest = tx.latest_event(event.source, event.job_id)
    if latest is not None and latest.event.id != event.id:
        what = voice.localizer.describe(latest.event).title
        return voice.refusal("click.over", what=what, at=voice.when(latest.event.observed_at))
    person = click.person
    before = tx.acknowledgement(event.id)
    standing = people.acknowledge(tx, event, person)
    if standing.by != person.id:
        return voice.refusal("click.acknowledged", who=standing.name, at=voice.when(standing.at))
    # A live message shows it by itself.
    return None if before is None and tx.is_live(click.message) else voice.answer("click.thanks")


def _mute_clicked(event: Event, length: str, person: Person, voice: Voice, tx: Transaction) -> Answer | None:
    task = event.task
    instance = task and (task.instance_id or task.instance_name)
    if not task or not instance or length not in buttons.DURATIONS:
        return voice.refusal("click.unnamed")
    now = tx.now()
    name = task.instance_name or instance
    if standing := next((mute for mute in tx.mutes(now) if mute.covers(task, now)), None):
        return voice.refusal("click.muted", instance=name, until=voice.when(standing.until), who=standing.name)
    return reports.muted(people.mute(tx, instance, name, parse_duration(length), person), voice)


def _unmute_clicked(event: Event, person: Person, voice: Voice, tx: Transaction) -> Answer | None:
    task, now = event.task, tx.now()
    name = (task and (task.instance_name or task.instance_id)) or "?"
    ended = people.unmute(tx, [mute.instance for mute in tx.mutes(now) if mute.covers(task, now)], person)
    return voice.answer("unmute.done", instance=name) if ended else voice.refusal("unmute.none", instance=name)
