"""Changes that are asked for in a chat: each calls one use case of `notifier.people` and formats the reply."""

from collections.abc import Collection

from notifier import lookup, mutes, people
from notifier.chat import replies
from notifier.chat.ports import ChatTx
from notifier.chat.replies import ReplyFormatter
from notifier.chat.requests import MUTE_LENGTHS, ButtonAction, ChatReply, ClickRequest, CommandRequest
from notifier.core.commands import (
    USAGE,
    Change,
    CreateMute,
    EndMute,
    ExtendMute,
    ResolveFailures,
    SubscribeTask,
    SubscribeToEvents,
    Unsubscribe,
)
from notifier.core.identity import DirectChannel
from notifier.core.model import Event
from notifier.core.mutes import Mute, MutesInForce, WrongMute
from notifier.core.people import Person
from notifier.core.subscriptions import MAX_SUBSCRIPTIONS


def perform_command(tx: ChatTx, command: Change, request: CommandRequest, fmt: ReplyFormatter) -> ChatReply | None:
    """Perform a command. Return None for an instance that is unknown: similar names are searched outside a write."""
    if _is_replayed(tx, request):
        return fmt.refusal("refused.replay")
    match command:
        case CreateMute() | EndMute() | ExtendMute():
            return _change_mute(tx, command, request.person, fmt)
        case ResolveFailures(wanted=wanted, reason=reason):
            return replies.resolved(people.resolve(tx, wanted, request.person, reason), wanted, tx.now(), fmt)
        case SubscribeTask(job_id=job_id):
            return _subscribe(tx, job_id, request, fmt)
        case SubscribeToEvents():
            return _subscribe_to_events(tx, command, request, fmt)
        case Unsubscribe():
            return _unsubscribe(tx, command, request, fmt)


def perform_click(tx: ChatTx, click: ClickRequest, fmt: ReplyFormatter, live: Collection[str]) -> ChatReply | None:
    """Perform the action of a button. Return None where the message itself shows the result.

    `live` are the channels whose messages change.
    """
    if click.button.action is ButtonAction.ACKNOWLEDGE_STORM:
        return _acknowledge_storm(tx, click, fmt, live)
    return _act_on_event(tx, click, fmt, live)


def _act_on_event(tx: ChatTx, click: ClickRequest, fmt: ReplyFormatter, live: Collection[str]) -> ChatReply | None:
    routed = tx.queries.event(click.button.target)
    if routed is None:
        return fmt.refusal("click.gone")
    if _is_replayed(tx, click):
        return fmt.refusal("refused.replay")
    match click.button.action:
        case ButtonAction.ACKNOWLEDGE:
            return _acknowledge(tx, routed.event, click, fmt, live)
        case ButtonAction.UNACKNOWLEDGE:
            return _unacknowledge(tx, routed.event, click, fmt, live)
        case ButtonAction.MUTE:
            return _mute_event(tx, routed.event, click, fmt)
    return _unmute_event(tx, routed.event, click, fmt)


def _is_replayed(tx: ChatTx, request: CommandRequest | ClickRequest) -> bool:
    return request.replay_key is not None and not tx.people.record_request(request.replay_key, tx.now())


def _change_mute(
    tx: ChatTx, command: CreateMute | EndMute | ExtendMute, person: Person, fmt: ReplyFormatter
) -> ChatReply | None:
    match command:
        case CreateMute():
            return _create_mute(tx, command, person, fmt)
        case EndMute(name=name):
            return replies.unmuted(mutes.end(tx, name, person), name, fmt)
        case ExtendMute():
            return _extend_mute(tx, command, person, fmt)


def _create_mute(tx: ChatTx, command: CreateMute, person: Person, fmt: ReplyFormatter) -> ChatReply | None:
    words, now = command.words, tx.now()
    try:
        request = mutes.MuteRequest(
            scope=command.scope,
            times=words.times(now, fmt.localizer.timezone),
            except_failures=words.except_failures,
            reason=words.reason,
        )
        muted = mutes.create(tx, request, person)
    except WrongMute as wrong:
        return fmt.mistake(f"mistake.{wrong.key}", wrong.given, USAGE["mute"])
    if isinstance(muted, Mute):
        return replies.muted(muted, now, fmt)
    return replies.no_instance("mute", command.scope.instance or "", muted, fmt) if muted.namesakes else None


def _extend_mute(tx: ChatTx, command: ExtendMute, person: Person, fmt: ReplyFormatter) -> ChatReply:
    try:
        extended = mutes.extend(tx, command.name, command.length, person)
    except WrongMute as wrong:
        return fmt.mistake(f"mistake.{wrong.key}", wrong.given, USAGE["extend"])
    return replies.extended(extended, command.name, tx.now(), fmt)


def _subscribe(tx: ChatTx, job_id: str, request: CommandRequest, fmt: ReplyFormatter) -> ChatReply:
    found = lookup.find_task(tx.queries, job_id)
    if found.task is None:
        return replies.no_task(found.candidates, job_id, tx.now(), fmt)
    if not request.direct:
        return fmt.refusal("watch.elsewhere")
    task = found.task.task
    if task.status.terminal:
        at = fmt.when(task.ended_at or found.task.changed_at)
        return fmt.reply("watch.over", status=fmt.localizer.status_label(task.status), at=at)
    new = people.subscribe(tx, task, request.person)
    return fmt.reply("watch.done" if new else "watch.again", note=replies.task_title(task, fmt))


def _subscribe_to_events(
    tx: ChatTx, command: SubscribeToEvents, request: CommandRequest, fmt: ReplyFormatter
) -> ChatReply:
    receiver = _receiver(request, here=command.here)
    if receiver is None:
        return _no_receiver(request, fmt)
    made = people.subscribe_to_events(tx, receiver, command.matchers, request.person)
    if made is None:
        return fmt.refusal("subscribe.full", n=MAX_SUBSCRIPTIONS)
    return replies.subscribed(made, fmt, here=command.here, doubtful=command.here and request.may_post is not None)


def _unsubscribe(tx: ChatTx, command: Unsubscribe, request: CommandRequest, fmt: ReplyFormatter) -> ChatReply:
    receiver = _receiver(request, here=command.here)
    if receiver is None:
        return _no_receiver(request, fmt)
    if command.wanted:
        ended = people.unsubscribe(tx, receiver, command.wanted, request.person)
    else:
        ended = people.unsubscribe_all(tx, receiver, request.person)
    left = people.subscriptions_of(tx.people.event_subscriptions(), receiver)
    return replies.unsubscribed(ended, left, command.wanted, fmt)


def _receiver(request: CommandRequest, *, here: bool) -> DirectChannel | None:
    """Return who is to get messages; None where nothing can be sent there."""
    id_ = request.channel if here else request.person.id
    return DirectChannel(id_) if request.direct and id_ else None


def _no_receiver(request: CommandRequest, fmt: ReplyFormatter) -> ChatReply:
    return fmt.refusal("subscribe.not_here" if request.direct else "watch.elsewhere")


def _acknowledge(
    tx: ChatTx, event: Event, click: ClickRequest, fmt: ReplyFormatter, live: Collection[str]
) -> ChatReply | None:
    before = tx.queries.acknowledgement(event.id)
    found = people.acknowledge_if_latest(tx, event, click.person)
    if isinstance(found, Event):
        return _over(found, fmt)
    if found.by != click.person.id:
        return fmt.refusal("click.acknowledged", who=found.name, at=fmt.when(found.at))
    is_shown = before is None and tx.queries.is_live_message(click.message, event.id, live)
    return None if is_shown else fmt.reply("click.thanks")


def _acknowledge_storm(tx: ChatTx, click: ClickRequest, fmt: ReplyFormatter, live: Collection[str]) -> ChatReply | None:
    if _is_replayed(tx, click):
        return fmt.refusal("refused.replay")
    found = people.acknowledge_storm(tx, click.button.target, click.person)
    if found is None:
        return fmt.refusal("click.gone")
    if found.acknowledged.by != click.person.id:
        return fmt.refusal("click.acknowledged", who=found.acknowledged.name, at=fmt.when(found.acknowledged.at))
    if tx.queries.is_live_message(click.message, found.acknowledged.event_id, live):
        return None
    if not found.count:
        return fmt.reply("storm.reply_all_taken")
    return fmt.reply("storm.reply_acknowledged", tasks=fmt.tasks(found.count))


def _unacknowledge(
    tx: ChatTx, event: Event, click: ClickRequest, fmt: ReplyFormatter, live: Collection[str]
) -> ChatReply | None:
    found = people.unacknowledge_if_latest(tx, event, click.person)
    if isinstance(found, Event):
        return _over(found, fmt)
    if found is None:
        return fmt.refusal("click.unclaimed")
    is_shown = tx.queries.is_live_message(click.message, event.id, live)
    return None if is_shown else fmt.reply("click.taken_back", who=found.name)


def _over(later: Event, fmt: ReplyFormatter) -> ChatReply:
    return fmt.refusal("click.over", what=fmt.event_title(later), at=fmt.when(later.observed_at))


def _mute_event(tx: ChatTx, event: Event, click: ClickRequest, fmt: ReplyFormatter) -> ChatReply:
    length, found = click.button.argument, None
    if event.task and length in MUTE_LENGTHS:
        found = mutes.mute_task(tx, event.task, MUTE_LENGTHS[length], click.person)
    if found is None:
        return fmt.refusal("click.unnamed")
    mute, is_new = found
    if is_new:
        return replies.muted(mute, tx.now(), fmt)
    name = (event.task and event.task.instance_name) or mute.instance
    until = fmt.when(mute.until)
    return fmt.refusal("click.muted", instance=name, until=until, who=mute.name)


def _unmute_event(tx: ChatTx, event: Event, click: ClickRequest, fmt: ReplyFormatter) -> ChatReply:
    task, now = event.task, tx.now()
    found = mutes.end_of_task(tx, task, click.person) if task else mutes.EndedMutes()
    wide = None if found.ended else MutesInForce(tx.queries.mutes(now), now).covering(event)
    if wide is not None:
        return fmt.refusal("click.wide", id=fmt.typed(wide.id))
    return replies.unmuted(found, (task and (task.instance_name or task.instance_id)) or "?", fmt)
