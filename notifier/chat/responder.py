"""The room behind every door: what people type and click, answered from the store and done in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from notifier import lookup, people
from notifier.chat import buttons, reports
from notifier.chat.ports import PermissionCheck
from notifier.chat.reports import PAGE_ROWS, ReplyFormatter
from notifier.chat.requests import ChatReply, ClickRequest, CommandRequest
from notifier.core import commands
from notifier.core.commands import Command
from notifier.core.durations import format_duration, parse_duration
from notifier.core.errors import StoreError
from notifier.core.health import Expected
from notifier.core.identity import Subject
from notifier.core.model import Event, TaskStatus
from notifier.core.people import Person
from notifier.ports import Clock, Queries, Store, TaskFilter, Transaction
from notifier.wording.formatter import MessageFormatter
from notifier.wording.localizer import Localizer
from notifier.wording.phrases import Language

MAX_BUTTON_VALUE = 2_000
"""Characters of what a button carries back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponderRules:
    """What the room needs to know of the configuration."""

    localizers: Mapping[Language, Localizer]
    expected: Expected
    """The sources and channels that are configured."""
    command: str = "/gaussdb"
    """What people type before their words."""


class ChatResponder:
    """Answers from the store; implements `doors.Room`."""

    def __init__(self, store: Store, clock: Clock, rules: ResponderRules, wake: Callable[[], None]) -> None:
        """`wake` is called after something has changed that messages are to show."""
        self._store = store
        self._clock = clock
        self._rules = rules
        self._wake = wake

    async def answer(
        self, request: CommandRequest | ClickRequest, language: Language, may_change: PermissionCheck
    ) -> ChatReply | None:
        """Answer, and do what was asked for; see `doors.Room`. A store that fails is told in words."""
        fmt = ReplyFormatter(language=language, localizer=self._rules.localizers[language], command=self._rules.command)
        try:
            if isinstance(request, CommandRequest):
                return await self._handle_command(commands.parse(request.text), request, fmt, may_change)
            return await self._handle_click(request, fmt, may_change)
        except StoreError:
            return fmt.refusal("refused.store")

    # -- what people type --

    async def _handle_command(
        self, command: Command, request: CommandRequest, fmt: ReplyFormatter, may_change: PermissionCheck
    ) -> ChatReply:
        match command:
            case commands.Help():
                return reports.help_text(fmt)
            case commands.Mistake(key=key, given=given, meant=meant):
                return fmt.mistake(key, given, meant)
            case commands.MuteInstance() | commands.UnmuteInstance():
                return await self._change(command, request, fmt, may_change)
            case commands.SubscribeTask(job_id=job_id):
                return await self._store.transact(partial(self._watch, job_id, request, fmt))
        return await self._store.read(lambda q: self._query(q, command, fmt, offset=0))

    def _query(self, q: Queries, command: Command, fmt: ReplyFormatter, *, offset: int) -> ChatReply:
        now = self._clock.now()
        match command:
            case commands.DescribeTask(job_id=job_id):
                return self._task(q, lookup.find_task(q, job_id), job_id, fmt)
            case commands.Stats(within=within, ignored=ignored):
                return reports.without(ignored, reports.statistics(q.statistics(now - within), within, fmt), fmt)
            case commands.Mutes(ignored=ignored):
                return reports.without(ignored, reports.mutes(q.mutes(now), fmt), fmt)
            case commands.Status(ignored=ignored):
                return reports.without(ignored, reports.status(lookup.health(q, self._rules.expected), fmt), fmt)
        return self._query_list(q, command, fmt, offset)

    def _query_list(self, q: Queries, command: Command, fmt: ReplyFormatter, offset: int) -> ChatReply:
        match command:
            case commands.Failed(within=within, about=about):
                wanted = self._filter(about, TaskFilter(status=TaskStatus.FAILED, since=self._clock.now() - within))
                said = {"length": fmt.localizer.duration(within), "within": format_duration(within)}
                return reports.about(about, self._list(q, wanted, "failed", fmt, offset, **said), fmt)
            case commands.Running(about=about):
                wanted = self._filter(about, TaskFilter(status=TaskStatus.RUNNING))
                return reports.about(about, self._list(q, wanted, "running", fmt, offset), fmt)
            case commands.Recent(about=about):
                listed = self._list(q, self._filter(about, TaskFilter()), "recent", fmt, offset)
                return reports.about(about, listed, fmt)
            case commands.DescribeInstance(instance=instance):
                return self._instance(q, instance, fmt, offset)
        return reports.help_text(fmt)

    def _filter(self, about: str, wanted: TaskFilter) -> TaskFilter:
        """Narrow a filter to a source, where one has that name, else to instances."""
        if about.lower() in {source.name for source in self._rules.expected.sources}:
            return replace(wanted, source=about.lower())
        return replace(wanted, instance=about or None)

    def _list(
        self, q: Queries, wanted: TaskFilter, key: str, fmt: ReplyFormatter, offset: int, **said: str
    ) -> ChatReply:
        found = q.tasks(replace(wanted, limit=PAGE_ROWS, offset=offset))
        page = reports.Page(rows=tuple(found), offset=offset, total=q.count_tasks(wanted))
        fresh = reports.freshness(
            q.source_states(), [source.name for source in self._rules.expected.sources], self._clock.now(), fmt
        )
        return reports.tasks(page, key, fresh, fmt, **said)

    def _task(self, q: Queries, found: lookup.TaskAnswer, wanted: str, fmt: ReplyFormatter) -> ChatReply:
        if found.task is None:
            return reports.no_task(found.candidates, wanted, fmt)
        task = found.task.task
        latest = q.latest_event(task.source, task.job_id)
        acknowledged = q.acknowledgement(latest.event.id) if latest else None
        return reports.task(found.task, lookup.task_history(q, task), acknowledged, fmt)

    def _instance(self, q: Queries, wanted: str, fmt: ReplyFormatter, offset: int) -> ChatReply:
        found = lookup.find_instance(q, wanted)
        instance = found.instance
        if instance is None:
            return reports.no_instance("instance", wanted, found, fmt)
        whole = TaskFilter(instance_id=instance.id) if instance.id else TaskFilter(instance_name=instance.name)
        answer = self._list(q, whole, "instance", fmt, offset, instance=instance.shown)
        muted = [mute for mute in q.mutes(self._clock.now()) if mute.instance in (instance.id, instance.name)]
        about = [fmt.text("instance.muted", until=fmt.when(mute.until), who=mute.name) for mute in muted]
        command = f"instance {fmt.typed(instance.key)}"
        return replace(answer, lines=(*about, *answer.lines), command=command)

    # -- what people change --

    async def _change(
        self,
        command: commands.MuteInstance | commands.UnmuteInstance,
        request: CommandRequest,
        fmt: ReplyFormatter,
        may_change: PermissionCheck,
    ) -> ChatReply:
        if not await may_change():
            return fmt.refusal("refused.right")
        if isinstance(command, commands.UnmuteInstance):
            answer = await self._store.transact(partial(self._unmute_named, command.instance, request, fmt))
        elif (muted := await self._store.transact(partial(self._mute_named, command, request, fmt))) is not None:
            answer = muted
        else:  # What might be meant is looked for where it keeps nobody from writing.
            answer = await self._store.read(partial(self._unknown, command.instance, fmt))
        self._wake()
        return answer

    def _unknown(self, wanted: str, fmt: ReplyFormatter, q: Queries) -> ChatReply:
        return reports.no_instance("mute", wanted, lookup.find_instance(q, wanted), fmt)

    def _mute_named(
        self, command: commands.MuteInstance, request: CommandRequest, fmt: ReplyFormatter, tx: Transaction
    ) -> ChatReply | None:
        """Mute an instance; None where none is known under that name."""
        if _replayed(tx, request):
            return fmt.refusal("refused.replay")
        found = lookup.known_instance(tx.queries, command.instance)
        if found.namesakes:
            return reports.no_instance("mute", command.instance, found, fmt)
        instance = found.instance
        if instance is None:
            return None
        mute = people.mute(tx, instance.key, instance.shown, command.length, request.person, reason=command.reason)
        return reports.muted(mute, fmt)

    def _unmute_named(self, wanted: str, request: CommandRequest, fmt: ReplyFormatter, tx: Transaction) -> ChatReply:
        if _replayed(tx, request):
            return fmt.refusal("refused.replay")
        found = lookup.known_instance(tx.queries, wanted).instance
        ended = people.unmute(tx, (wanted, found.key if found else wanted), request.person)
        return fmt.answer("unmute.done", instance=wanted) if ended else fmt.refusal("unmute.none", instance=wanted)

    def _watch(self, job_id: str, request: CommandRequest, fmt: ReplyFormatter, tx: Transaction) -> ChatReply:
        found = lookup.find_task(tx.queries, job_id)
        if found.task is None:
            return reports.no_task(found.candidates, job_id, fmt)
        if not request.direct:
            return fmt.refusal("watch.elsewhere")
        task = found.task.task
        if task.status.terminal:
            at = fmt.when(task.ended_at or found.task.changed_at)
            return fmt.answer("watch.over", status=fmt.localizer.status_label(task.status), at=at)
        new = people.subscribe(tx, task, request.person)
        return fmt.answer("watch.done" if new else "watch.again", note=reports.task_title(task, fmt))

    # -- what people click --

    async def _handle_click(
        self, click: ClickRequest, fmt: ReplyFormatter, may_change: PermissionCheck
    ) -> ChatReply | None:
        if len(click.value) > MAX_BUTTON_VALUE:
            return fmt.refusal("click.gone")
        match click.action:
            case buttons.DETAILS:
                return await self._store.read(partial(self._details, click.value, fmt))
            case buttons.PAGE_BEFORE | buttons.PAGE_AFTER | buttons.SHARE:
                answer = await self._store.read(partial(self._query_again, click.value, fmt))
                return replace(answer, shared=click.action == buttons.SHARE)
            case buttons.ACKNOWLEDGE | buttons.MUTE | buttons.UNMUTE:
                return await self._change_by_click(click, fmt, may_change)
        return None

    def _details(self, value: str, fmt: ReplyFormatter, q: Queries) -> ChatReply:
        wanted = Subject.parse(value)
        found = lookup.find_task(q, wanted.job_id, source=wanted.source)
        return self._task(q, found, wanted.job_id, fmt)

    def _query_again(self, value: str, fmt: ReplyFormatter, q: Queries) -> ChatReply:
        """Give a reply again, at another place of its list."""
        offset, _, words = value.partition(":")
        command = commands.parse(words)
        if not isinstance(command, commands.Query):
            return fmt.refusal("click.gone")
        place = int(offset) if offset.isascii() and offset.isdigit() and len(offset) < 8 else 0  # noqa: PLR2004 - digits
        return self._query(q, command, fmt, offset=place)

    async def _change_by_click(
        self, click: ClickRequest, fmt: ReplyFormatter, may_change: PermissionCheck
    ) -> ChatReply | None:
        if not await may_change():
            return fmt.refusal("refused.right")
        answer = await self._store.transact(partial(self._apply_click, click, fmt))
        self._wake()
        return answer

    def _apply_click(self, click: ClickRequest, fmt: ReplyFormatter, tx: Transaction) -> ChatReply | None:
        length, _, event_id = click.value.rpartition(":")
        routed = tx.queries.event(event_id)
        if routed is None:
            return fmt.refusal("click.gone")
        if _replayed(tx, click):
            return fmt.refusal("refused.replay")
        event = routed.event
        match click.action:
            case buttons.ACKNOWLEDGE:
                return _acknowledge(event, click, fmt, tx)
            case buttons.MUTE:
                return _mute_clicked(event, length, click.person, fmt, tx)
        return _unmute_clicked(event, click.person, fmt, tx)


def _replayed(tx: Transaction, request: CommandRequest | ClickRequest) -> bool:
    return request.replay_key is not None and not tx.people.record_request(request.replay_key, tx.now())


def _acknowledge(event: Event, click: ClickRequest, fmt: ReplyFormatter, tx: Transaction) -> ChatReply | None:
    latest = tx.queries.latest_event(event.source, event.job_id)
    if latest is not None and latest.event.id != event.id:
        what = MessageFormatter(fmt.localizer).describe(latest.event).title
        return fmt.refusal("click.over", what=what, at=fmt.when(latest.event.observed_at))
    person = click.person
    before = tx.queries.acknowledgement(event.id)
    existing = people.acknowledge(tx, event, person)
    if existing.by != person.id:
        return fmt.refusal("click.acknowledged", who=existing.name, at=fmt.when(existing.at))
    # A live message shows it by itself.
    return None if before is None and tx.queries.is_live_message(click.message) else fmt.answer("click.thanks")


def _mute_clicked(event: Event, length: str, person: Person, fmt: ReplyFormatter, tx: Transaction) -> ChatReply | None:
    task = event.task
    instance = task and (task.instance_id or task.instance_name)
    if not task or not instance or length not in buttons.MUTE_LENGTHS:
        return fmt.refusal("click.unnamed")
    now = tx.now()
    name = task.instance_name or instance
    if existing := next((mute for mute in tx.queries.mutes(now) if mute.covers(task, now)), None):
        return fmt.refusal("click.muted", instance=name, until=fmt.when(existing.until), who=existing.name)
    return reports.muted(people.mute(tx, instance, name, parse_duration(length), person), fmt)


def _unmute_clicked(event: Event, person: Person, fmt: ReplyFormatter, tx: Transaction) -> ChatReply | None:
    task, now = event.task, tx.now()
    name = (task and (task.instance_name or task.instance_id)) or "?"
    ended = people.unmute(tx, [mute.instance for mute in tx.queries.mutes(now) if mute.covers(task, now)], person)
    return fmt.answer("unmute.done", instance=name) if ended else fmt.refusal("unmute.none", instance=name)
