"""Answers requests from any chat: queries from the store, changes through `notifier.chat.actions`."""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from types import MappingProxyType

from notifier import lookup, people
from notifier.chat import actions, replies
from notifier.chat.ports import ChatReads, ChatTx, PermissionCheck
from notifier.chat.replies import MAX_COUNTED_REASONS, PAGE_ROWS, ReplyFormatter
from notifier.chat.requests import LINK_ACTIONS, Button, ButtonAction, ChatReply, ClickRequest, CommandRequest
from notifier.core import commands, failures
from notifier.core.causes import CauseCatalogue
from notifier.core.commands import Query, TaskSelection
from notifier.core.durations import format_duration
from notifier.core.errors import StoreError
from notifier.core.health_facts import Expected
from notifier.core.identity import DirectChannel, Subject
from notifier.core.listings import fits_no_source
from notifier.core.maintenance_mutes import MaintenanceMute
from notifier.core.maintenance_values import MaintenanceRecord
from notifier.core.model import TaskStatus
from notifier.core.rota import Duty, Rota
from notifier.core.usual_memory import UsualMemory
from notifier.ports import Clock, Store, TaskFilter
from notifier.wording.causes import builtin_catalogue
from notifier.wording.links import LinkTemplates
from notifier.wording.localizer import Localizer
from notifier.wording.phrases import Language

MAX_BUTTON_VALUE = 2_000
"""Maximum length of the target of a button, in characters."""


_ALL_TASKS = TaskSelection()

_QUERIES = (
    ButtonAction.DETAILS,
    ButtonAction.STORM_TASKS,
    ButtonAction.PAGE_BEFORE,
    ButtonAction.PAGE_AFTER,
    ButtonAction.SHARE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponderRules:
    """The part of the configuration that the responder needs."""

    localizers: Mapping[Language, Localizer]
    expected: Expected
    """The sources and channels that are configured."""
    command: str = "/gaussdb"
    """The slash command, as people type it."""
    causes: CauseCatalogue = field(default_factory=builtin_catalogue)
    """Explains the reasons of failed tasks."""
    links: LinkTemplates = field(default_factory=LinkTemplates)
    """Links to the console and to runbooks."""
    rotas: Mapping[str, Rota] = field(default_factory=dict)
    """The rotas by name."""
    live: Collection[str] = ()
    """Names of the channels whose messages change when people act on a task."""
    during_maintenance: Sequence[MaintenanceMute] = ()
    """The configured mutes that are in force during maintenance."""


class ChatResponder:
    """Implements `ports.Responder`."""

    def __init__(
        self, store: Store[ChatTx, ChatReads], clock: Clock, rules: ResponderRules, wake: Callable[[], None]
    ) -> None:
        """`wake` is called after a change that messages show."""
        self._store = store
        self._clock = clock
        self._rules = rules
        self._wake = wake
        self._usual = UsualMemory()
        self._queued: dict[Hashable, asyncio.Future[ChatReply]] = {}
        """The replies whose read has not begun, by what was asked for."""

    async def answer(
        self, request: CommandRequest | ClickRequest, language: Language, may_change: PermissionCheck
    ) -> ChatReply | None:
        """Do what was asked for and return the reply; see `ports.Responder`."""
        rules = self._rules
        fmt = ReplyFormatter(
            localizer=rules.localizers[language],
            command=rules.command,
            causes=rules.causes,
            links=rules.links,
            environments={source.name: source.environment for source in rules.expected.sources},
        )
        try:
            if isinstance(request, CommandRequest):
                return await self._handle_command(request, language, fmt, may_change)
            return await self._handle_click(request, language, fmt, may_change)
        except StoreError:
            return fmt.refusal("refused.store")

    async def _handle_command(
        self, request: CommandRequest, language: Language, fmt: ReplyFormatter, may_change: PermissionCheck
    ) -> ChatReply | None:
        command = commands.parse_command(request.text)
        if isinstance(command, commands.Mistake):
            return fmt.mistake(command.key, command.given, command.meant)
        if isinstance(command, Query):
            return await self._answer_query(command, request, language, fmt)
        refusal = None
        if command.restricted and not await may_change():
            refusal = fmt.refusal("refused.right")
        elif isinstance(command, commands.CreateMute):
            refusal = self._refuse_unknown_source(command, fmt)
        if refusal is not None:
            return refusal
        if isinstance(command, commands.SubscribeToEvents) and command.here and request.may_post:
            may_post = await request.may_post()
            if may_post is False:
                return fmt.refusal("subscribe.not_in_channel")
            request = replace(request, may_post=None) if may_post else request
        reply = await self._change(lambda tx: actions.perform_command(tx, command, request, fmt))
        if reply is None and isinstance(command, commands.CreateMute):
            name = command.scope.instance or ""
            found = await self._store.read(lambda q: lookup.find_instance(q, name))
            return replies.no_instance("mute", name, found, fmt)
        return reply

    def _refuse_unknown_source(self, command: commands.CreateMute, fmt: ReplyFormatter) -> ChatReply | None:
        configured = self._rules.expected.sources
        nobody = fits_no_source(command.scope.match, configured) if configured else None
        return None if nobody is None else fmt.mistake("mistake.matcher", str(nobody), commands.USAGE["mute"])

    async def _answer_query(
        self, command: Query, request: CommandRequest, language: Language, fmt: ReplyFormatter
    ) -> ChatReply:
        if isinstance(command, commands.Help):
            return replies.help_text(fmt)
        if isinstance(command, commands.Subscriptions):  # the answer depends on who asks, and where
            return await self._store.read(lambda q: self._subscriptions(q, command, request, fmt))
        return await self._read((command, language), lambda q: self._query(q, command, fmt))

    async def _handle_click(
        self, click: ClickRequest, language: Language, fmt: ReplyFormatter, may_change: PermissionCheck
    ) -> ChatReply | None:
        button = click.button
        if len(button.value) > MAX_BUTTON_VALUE:
            return fmt.refusal("click.gone")
        if button.action in LINK_ACTIONS:
            return None
        if button.action in _QUERIES:
            return await self._read((button, language), lambda q: self._query_of(q, button, fmt))
        if not await may_change():
            return fmt.refusal("refused.right")
        return await self._change(lambda tx: actions.perform_click(tx, click, fmt, self._rules.live))

    async def _read(self, asked: Hashable, query: Callable[[ChatReads], ChatReply]) -> ChatReply:
        """Return the reply to a query, read once for everybody who asks the same before the read begins.

        When something fails, many people ask the same at once. Somebody who asks after the read began may know of
        something newer, and gets a read of their own.
        """

        def begin(q: ChatReads) -> ChatReply:
            self._queued.pop(asked, None)
            return query(q)

        def end(reply: asyncio.Future[ChatReply]) -> None:
            if self._queued.get(asked) is reply:  # the database could not be read at all
                del self._queued[asked]
            if not reply.cancelled():
                reply.exception()  # retrieved, even where nobody waits any more

        if (queued := self._queued.get(asked)) is None:
            queued = self._queued[asked] = asyncio.ensure_future(self._store.read(begin))
            queued.add_done_callback(end)
        return await asyncio.shield(queued)

    async def _change(self, perform: Callable[[ChatTx], ChatReply | None]) -> ChatReply | None:
        reply = await self._store.transact(perform)
        self._wake()
        return reply

    # -- queries --

    def _query_of(self, q: ChatReads, button: Button, fmt: ReplyFormatter) -> ChatReply:
        """Return the reply to a button that changes nothing."""
        match button.action:
            case ButtonAction.DETAILS:
                subject = Subject.parse(button.target)
                return self._task(q, subject.job_id, fmt, source=subject.source)
            case ButtonAction.STORM_TASKS:
                return self._storm_tasks(q, button.target, fmt)
        reply = self._query_again(q, button, fmt)
        return replace(reply, shared=button.action is ButtonAction.SHARE)

    def _query_again(self, q: ChatReads, button: Button, fmt: ReplyFormatter) -> ChatReply:
        """Return the reply to the command of a button, from the row that the button names."""
        offset, storm_id = button.argument, Subject.parse(button.target).storm
        place = int(offset) if offset.isascii() and offset.isdigit() and len(offset) < 8 else 0  # noqa: PLR2004 - digits
        if storm_id:
            return self._storm_tasks(q, storm_id, fmt, place)
        command = commands.parse_command(button.target)
        if not isinstance(command, Query):
            return fmt.refusal("click.gone")
        return self._query(q, command, fmt, place)

    def _query(self, q: ChatReads, query: Query, fmt: ReplyFormatter, offset: int = 0) -> ChatReply:
        now = self._clock.now()
        match query:
            case commands.Failed() | commands.Running() | commands.Recent():
                reply = self._task_list(q, query, fmt, offset)
            case commands.ListOpen(tasks=selected):
                reply = self._open(q, selected, fmt, offset)
            case commands.DescribeTask(job_id=job_id):
                reply = self._task(q, job_id, fmt)
            case commands.DescribeInstance(instance=name):
                reply = self._instance(q, name, fmt, offset)
            case commands.Stats(within=within, ignored=ignored):
                reply = replies.with_ignored(ignored, replies.statistics(q.statistics(now - within), within, fmt), fmt)
            case commands.Mutes(ignored=ignored):
                during = lookup.mutes_during_maintenance(q, self._rules.during_maintenance)
                reply = replies.with_ignored(ignored, replies.mutes(q.known_mutes(), during, now, fmt), fmt)
            case commands.ListMaintenance(about=about):
                reply = replies.maintenance(self._maintenance(q, about), now, fmt)
            case commands.OnCall(rota=name):
                reply = replies.on_call(self._people_on_duty(q, name), name, fmt)
            case commands.Status(ignored=ignored):
                health = lookup.health_report(q, self._rules.expected)
                reply = replies.with_ignored(ignored, replies.status(health, fmt), fmt)
            case _:  # the button of a reply that was not read from the store
                reply = replies.help_text(fmt)
        return reply

    def _task_list(
        self,
        q: ChatReads,
        query: commands.Failed | commands.Running | commands.Recent,
        fmt: ReplyFormatter,
        offset: int,
    ) -> ChatReply:
        now, task_list = self._clock.now(), partial(self._list, q, fmt=fmt, offset=offset)
        match query:
            case commands.Failed(within=within, tasks=selected):
                values = {"length": fmt.localizer.window(within), "within": format_duration(within)}
                failed = TaskFilter(status=TaskStatus.FAILED, since=now - within)
                return task_list("failed", failed, selected=selected, values=values)
            case commands.Running(tasks=selected):
                return task_list("running", TaskFilter(status=TaskStatus.RUNNING), selected=selected)
            case commands.Recent(tasks=selected):
                return task_list("recent", TaskFilter(), selected=selected)

    def _people_on_duty(self, q: ChatReads, name: str) -> Sequence[tuple[Rota, Duty]]:
        """Return who is on duty by the rota of this name, or by all of them where there is none."""
        rotas = self._rules.rotas
        wanted = {name.lower(): rotas[name.lower()]} if name.lower() in rotas else rotas
        return lookup.people_on_duty(q, wanted, self._clock.now())

    def _list(
        self,
        q: ChatReads,
        key: str,
        wanted: TaskFilter,
        *,
        fmt: ReplyFormatter,
        offset: int,
        selected: TaskSelection = _ALL_TASKS,
        values: Mapping[str, str] = MappingProxyType({}),
    ) -> ChatReply:
        """List tasks: of the source with the name `about` where there is one, else of instances with that name."""
        configured, about = self._rules.expected.sources, selected.about
        sources = [source.name for source in configured]
        if about.lower() in sources:
            wanted = replace(wanted, source=about.lower())
        elif about:
            wanted = replace(wanted, instance=about)
        if selected.match:
            wanted = lookup.tasks_that_fit(q, wanted, selected.match, configured)
        now = self._clock.now()
        page = _page(q, wanted, offset, now, self._usual)
        fresh = replies.freshness(q.source_states(), sources, now, fmt)
        return replies.narrowed(selected, replies.tasks(page, key, fresh, fmt, **values), fmt)

    def _open(self, q: ChatReads, selected: TaskSelection, fmt: ReplyFormatter, offset: int) -> ChatReply:
        """List open failures: of the source with the name `about`, else of instances with that name."""
        about = selected.about
        is_source = about.lower() in {source.name for source in self._rules.expected.sources}
        found = failures.chosen(
            q.open_failures(),
            source=about.lower() if is_source else None,
            instance=None if is_source else about,
            match=selected.match,
            catalogue=fmt.causes if selected.match else None,
        )
        return replies.narrowed(selected, replies.open_failures(found, self._clock.now(), fmt, offset), fmt)

    def _maintenance(self, q: ChatReads, about: str) -> Sequence[MaintenanceRecord]:
        """Return the maintenance of the source with the name `about`, else of instances with that name."""
        if about.lower() in {source.name for source in self._rules.expected.sources}:
            return lookup.planned_maintenance(q, source=about.lower())
        return lookup.planned_maintenance(q, instance=about)

    def _subscriptions(
        self, q: ChatReads, command: commands.Subscriptions, request: CommandRequest, fmt: ReplyFormatter
    ) -> ChatReply:
        every = q.event_subscriptions() if request.direct else ()
        own, here = (people.subscriptions_of(every, DirectChannel(id_)) for id_ in (request.person.id, request.channel))
        return replies.with_ignored(command.ignored, replies.subscriptions(own, here, fmt), fmt)

    def _storm_tasks(self, q: ChatReads, storm_id: str, fmt: ReplyFormatter, offset: int = 0) -> ChatReply:
        if q.storm(storm_id) is None:
            return fmt.refusal("click.gone")
        wanted = TaskFilter(storm=storm_id)
        return self._list(q, "storm.reply_tasks", wanted, fmt=fmt, offset=offset, values={"storm": storm_id})

    def _task(self, q: ChatReads, job_id: str, fmt: ReplyFormatter, *, source: str | None = None) -> ChatReply:
        found = lookup.find_task(q, job_id, source=source)
        if found.task is None:
            return replies.no_task(found.candidates, job_id, self._clock.now(), fmt)
        task = found.task.task
        latest = q.latest_event(task.source, task.job_id)
        acknowledged = q.acknowledgement(latest.event.id) if latest else None
        (shown,) = lookup.with_usual(q, [found.task], ended=True, memory=self._usual)
        return replies.task(shown, lookup.task_history(q, task), acknowledged, fmt)

    def _instance(self, q: ChatReads, name: str, fmt: ReplyFormatter, offset: int) -> ChatReply:
        found = lookup.find_instance(q, name)
        instance = found.instance
        if instance is None:
            return replies.no_instance("instance", name, found, fmt)
        wanted = TaskFilter(instance_id=instance.id) if instance.id else TaskFilter(instance_name=instance.name)
        reply = self._list(q, "instance", wanted, fmt=fmt, offset=offset, values={"instance": instance.shown})
        mutes = [mute for mute in q.mutes(self._clock.now()) if mute.instance in (instance.id, instance.name)]
        muted = [fmt.text("instance.muted", until=fmt.when(mute.until), who=mute.name) for mute in mutes]
        return replace(reply, lines=(*muted, *reply.lines), command=f"instance {fmt.typed(instance.key)}")


def _page(q: ChatReads, wanted: TaskFilter, offset: int, now: datetime, usual: UsualMemory) -> replies.ReplyPage:
    """Read one page of a list. One that holds everything that matches is summed up without a further read."""
    found = lookup.with_usual(q, q.tasks(replace(wanted, limit=PAGE_ROWS, offset=offset)), memory=usual)
    whole = offset == 0 and len(found) < PAGE_ROWS
    by_source: Mapping[str, int] = {}
    if wanted.status:
        by_source = Counter(stored.task.source for stored in found) if whole else q.count_by_source(wanted)
        total = sum(by_source.values())
    else:
        total = len(found) if whole else q.count_tasks(wanted)
    reasons: Sequence[str] = ()
    if wanted.status is TaskStatus.FAILED:
        of_page = [stored.task.fail_reason for stored in found if stored.task.fail_reason]
        reasons = of_page if whole else q.fail_reasons(replace(wanted, limit=MAX_COUNTED_REASONS))
    return replies.ReplyPage(rows=found, offset=offset, total=total, by_source=by_source, reasons=reasons, now=now)
