"""Parser of the words after a slash command. Pure: a mistake is a value too.

A command is a class, and a row of `_SYNTAX` that says in which group it is listed and how it is typed.
"""

import difflib
import html
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import ClassVar, NamedTuple, TypeVar

from notifier.core.durations import format_duration, parse_duration
from notifier.core.listings import check_listing
from notifier.core.matchers import Matcher, is_glob, parse_matchers
from notifier.core.mute_words import MuteWords, read_mute_words
from notifier.core.mutes import MAX_MUTE, MIN_MUTE, MuteScope, WrongMute
from notifier.core.subscriptions import MAX_FILTER_LENGTH, read_filter

T = TypeVar("T")

MAX_COMMAND_LENGTH = 2_000
"""Maximum length of a command that is read, in characters."""
MAX_QUERY_LENGTH = 200
"""Maximum length of a job id or of an instance's name, in characters."""
MAX_MATCHER_WORDS = 50
"""Number of words of a command whose lengths are limited: what follows is the reason of a mute."""
MAX_PERIOD = timedelta(days=365)
MAX_RESOLUTION_REASON = 300
"""Maximum length of why somebody resolves a failure, in characters. The rest is cut off."""
DEFAULT_FAILED_PERIOD, DEFAULT_STATS_PERIOD = timedelta(days=1), timedelta(days=7)


class Query:
    """A command that is answered from the store and changes nothing."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Help(Query):
    """List the commands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSelection:
    """What narrows a list of tasks. All of it has to fit; the default is all tasks."""

    about: str = ""
    """Name of a source, or an instance's id, name or part of its name; empty for all."""
    match: tuple[Matcher, ...] = ()
    text: str = ""
    """Both as they are typed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(Query):
    """List the tasks that failed lately."""

    within: timedelta
    tasks: TaskSelection = TaskSelection()


@dataclass(frozen=True, slots=True, kw_only=True)
class Running(Query):
    """List the running tasks."""

    tasks: TaskSelection = TaskSelection()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recent(Query):
    """List the tasks that changed last."""

    tasks: TaskSelection = TaskSelection()


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeTask(Query):
    """Show one task."""

    job_id: str
    """Job id or its beginning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeInstance(Query):
    """List the tasks of one instance."""

    instance: str
    """Id, name or part of the name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats(Query):
    """Count the tasks of each kind by how they ended."""

    within: timedelta
    ignored: str = ""
    """Words that the command does not take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutes(Query):
    """List the mutes."""

    ignored: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOpen(Query):
    """List the failures that are not over."""

    tasks: TaskSelection = TaskSelection()


@dataclass(frozen=True, slots=True, kw_only=True)
class ListMaintenance(Query):
    """List what the cloud plans to do to instances."""

    about: str = ""
    """Name of a source, or an instance's id, name or part of its name; empty for all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnCall(Query):
    """Show who is on duty."""

    rota: str = ""
    """Name of one rota; empty for all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status(Query):
    """Show the health of the program itself."""

    ignored: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscribeTask:
    """Send the requester a direct message when a task ends."""

    restricted: ClassVar[bool] = False
    """Whether the command affects what others see, so that not everybody may use it."""
    job_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscribeToEvents:
    """Send the requester, or the channel in which it is typed, every event that fits."""

    matchers: str
    """As it was typed; see `subscriptions.read_filter`."""
    here: bool = False
    """True for the channel, False for the requester."""

    @property
    def restricted(self) -> bool:
        """Whether the command affects what others see."""
        return self.here


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsubscribe:
    """End a subscription of the requester or of the channel, or all of them."""

    wanted: str
    """Its matchers or its id; empty for all."""
    here: bool = False

    @property
    def restricted(self) -> bool:
        """Whether the command affects what others see."""
        return self.here


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscriptions(Query):
    """List the subscriptions of the requester, and those of the channel."""

    ignored: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateMute:
    """Suppress notifications for a while."""

    restricted: ClassVar[bool] = True
    words: MuteWords
    scope: MuteScope


@dataclass(frozen=True, slots=True, kw_only=True)
class EndMute:
    """End a mute."""

    restricted: ClassVar[bool] = True
    name: str
    """Its id, or what it covers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtendMute:
    """Let a mute end later."""

    restricted: ClassVar[bool] = True
    name: str
    length: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolveFailures:
    """Close open failures by hand."""

    restricted: ClassVar[bool] = True
    wanted: str
    """A job id or its beginning, or an instance."""
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """Words that are no command. `key` names a phrase, which takes the other fields."""

    key: str
    given: str = ""
    meant: str = ""
    """A command that would be right, as it is typed."""


Change = SubscribeTask | SubscribeToEvents | Unsubscribe | CreateMute | EndMute | ExtendMute | ResolveFailures
"""A command that changes something."""
ChatCommand = Query | Change | Mistake


def parse_command(text: str) -> ChatCommand:
    """Parse the words after the command's name. Never raises."""
    plain = _plain(text)
    words = _words(plain)
    if not words:
        return Help()
    name = _folded(words[0]).casefold()
    syntax = _SYNTAX.get("help" if name == "?" else name)
    if syntax is None:
        return _unknown(words[0], words[1:])
    try:
        return syntax.parse(_Arguments(name, words[1:], _after_first_word(plain)))
    except _MistakeFound as found:
        return found.mistake


# ---- words ----

_QUOTES = str.maketrans({"“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "‘": "'", "’": "'", "＂": '"'})
_MENTION = re.compile(r"<[@#!][A-Z0-9]{1,30}\|([^<>|]*)>|<([@#!][A-Z0-9]{1,30})>")
_LINK = re.compile(r"<(?:https?://|mailto:)[^<>|]*\|([^<>|]*)>")
_WORD = re.compile(r'"([^"]*)"|(\S+)')


def _plain(text: str) -> str:
    """Return text as people typed it: chats replace quotes, spaces and names."""
    plain = html.unescape(_LINK.sub(r"\1", _MENTION.sub(r"\1\2", text[:MAX_COMMAND_LENGTH]))).translate(_QUOTES)
    return "".join(" " if char.isspace() else char for char in plain if _is_visible(char))


def _words(plain: str) -> Sequence[str]:
    found = (quoted or bare for quoted, bare in _WORD.findall(plain))
    return [word for word in found if word.strip()]


def _after_first_word(plain: str) -> str:
    """Return what follows the name of a command, with the quotes in it."""
    first = next(found for found in _WORD.finditer(plain) if (found[1] or found[2]).strip())
    return plain[first.end() :].strip()


def _is_visible(char: str) -> bool:
    return char.isspace() or unicodedata.category(char) not in ("Cc", "Cf", "Cs")


def _folded(text: str) -> str:
    """Replace full-width letters, which input methods leave behind. No name contains any."""
    return unicodedata.normalize("NFKC", text)


_NAMES_INSTANCE = re.compile(r"\binstance\s*(=|!|in\b|not\b)")
"""Begins a matcher of the names of instances that is written out."""


def _shortened(error: ValueError) -> str:
    """Return what is wrong with matchers. Where one field was probably meant, the list of all is left out."""
    return re.sub(r"(did you mean '[^']*'\?); fields are .*", r"\1", str(error))


def _is_bare_name(matcher: Matcher) -> bool:
    """Return whether a matcher may come from words that stand alone and are no pattern: a name, or parts of one."""
    return matcher.field == "instance" and not matcher.negative and not any(map(is_glob, matcher.members))


def _quoted(name: str) -> str:
    return f'"{name}"' if " " in name else name


def _duration(word: str) -> timedelta | None:
    try:
        return parse_duration(_folded(word).lower())
    except ValueError:
        return None


# ---- commands ----


class _MistakeFound(Exception):
    def __init__(self, mistake: Mistake) -> None:
        super().__init__(mistake.key)
        self.mistake = mistake


class _Arguments:
    """The words after the name of a command, taken from the left. Methods raise _MistakeFound."""

    def __init__(self, command: str, words: Sequence[str], text: str) -> None:
        """`text` has the words as they were typed, with quotes."""
        self._command = command
        self._words = list(words)
        self._text = text

    def period(self, default: timedelta) -> timedelta:
        """Take a length of time to look back; `default` where no word is left."""
        if not self._words:
            return default
        word = self._take()
        period = _duration(word)
        if period is None:
            raise self._mistake("mistake.duration", word)
        if not timedelta() < period <= MAX_PERIOD:
            raise self._mistake("mistake.window", word)
        return period

    def _take(self) -> str:
        self._text = _after_first_word(self._text)
        return self._words.pop(0)

    def tasks(self) -> TaskSelection:
        """Take what narrows a list of tasks: a name, matchers, or both."""
        name = self.rest()
        if not name:
            return TaskSelection()
        typed = _folded(" ".join(self._text.split()))
        try:
            match = parse_matchers(typed)
            check_listing(match)
        except ValueError as error:
            raise self._mistake("mistake.filter", _shortened(error)) from error
        bare = [one for one in match if _is_bare_name(one) and not _NAMES_INSTANCE.search(typed)]
        if len(bare) == len(match):
            return TaskSelection(about=name, text=_quoted(name))
        named = next((one for one in bare if one.op == "="), None)
        rest = tuple(one for one in match if one is not named)
        return TaskSelection(about=named.value if named else "", match=rest, text=typed)

    def rest(self) -> str:
        """Take all words that are left."""
        rest = _folded(" ".join(self._words))
        if len(rest) > MAX_QUERY_LENGTH:
            raise self._mistake("mistake.long")
        return rest

    def name(self) -> str:
        """Take all words that are left as a name, which has to be there."""
        if not self._words:
            raise self._mistake(f"mistake.missing.{self._command}")
        return self.rest()

    def resolve(self) -> ResolveFailures:
        """Take what to resolve, and perhaps a reason."""
        if not self._words:
            raise self._mistake("mistake.missing.resolve")
        wanted, *reason = map(_folded, self._words)
        if len(wanted) > MAX_QUERY_LENGTH:
            raise self._mistake("mistake.long")
        return ResolveFailures(wanted=wanted, reason=" ".join(reason)[:MAX_RESOLUTION_REASON] or None)

    def subscribe(self) -> SubscribeToEvents:
        """Take what to subscribe to, for the channel after the word `here`."""
        here, wanted = self._after_here()
        if not wanted:
            raise self._mistake("mistake.missing.subscribe")
        try:
            read_filter(wanted)
        except ValueError as error:
            raise self._mistake("mistake.filter", _shortened(error)) from error
        return SubscribeToEvents(matchers=wanted, here=here)

    def unsubscribe(self) -> Unsubscribe:
        """Take what to unsubscribe from: the words of a subscription, its id, or `all`."""
        here, wanted = self._after_here()
        if not wanted:
            raise self._mistake("mistake.missing.unsubscribe")
        return Unsubscribe(wanted="" if wanted.casefold() == "all" else wanted, here=here)

    def _after_here(self) -> tuple[bool, str]:
        text = " ".join(_folded(self._text).split())
        first, _, rest = text.partition(" ")
        here = first.casefold() == "here"
        wanted = rest if here else text
        if len(wanted) > MAX_FILTER_LENGTH:
            raise self._mistake("mistake.long")
        return here, wanted

    def mute(self) -> CreateMute:
        """Take what to mute, when, and perhaps a reason."""
        if not self._words:
            raise self._mistake("mistake.missing.mute")
        folded = list(map(_folded, self._words))
        if max(map(len, folded[:MAX_MATCHER_WORDS])) > MAX_QUERY_LENGTH:
            raise self._mistake("mistake.long")
        words = self._taken(lambda: read_mute_words(folded, self._words))
        meant = f"mute {' '.join(map(_quoted, words.covers))} 2h"
        if not words.scheduled:
            after = self._words[len(words.covers) :]
            covers = " ".join(words.covers)
            raise self._mistake(
                *(("mistake.duration", after[0]) if after else ("mistake.missing.length", covers)), meant
            )
        if words.length is not None and not MIN_MUTE <= words.length <= MAX_MUTE:
            raise self._mistake("mistake.mute", format_duration(words.length), meant)
        return CreateMute(words=words, scope=self._taken(lambda: MuteScope.parse(words.covers)))

    def extension(self) -> ExtendMute:
        """Take the id of a mute, or what it covers, and by how much it is to be longer."""
        *named, length = self._words or [""]
        by = _duration(length)
        if not named or by is None:
            raise self._mistake("mistake.missing.extend")
        name = _folded(" ".join(named))
        if len(name) > MAX_QUERY_LENGTH:
            raise self._mistake("mistake.long")
        if not MIN_MUTE <= by <= MAX_MUTE:
            raise self._mistake("mistake.mute", format_duration(by))
        return ExtendMute(name=name, length=by)

    def _taken(self, read: Callable[[], T]) -> T:
        try:
            return read()
        except WrongMute as wrong:
            raise self._mistake(f"mistake.{wrong.key}", wrong.given) from None

    def _mistake(self, key: str, given: str = "", meant: str = "") -> _MistakeFound:
        return _MistakeFound(Mistake(key=key, given=given, meant=meant or USAGE[self._command]))


class CommandTopic(StrEnum):
    """The groups in which help lists the commands, in this order. The values name phrases."""

    QUERIES = "queries"
    """What is recorded about tasks and instances."""
    FOLLOWING = "following"
    """Messages to the person or the channel that asks for them."""
    ACTIONS = "actions"
    """What changes for others too, and lists of it."""
    PROGRAM = "program"
    """The program itself."""


class _Syntax(NamedTuple):
    group: CommandTopic
    usage: str
    """Example of how the command is typed."""
    parse: Callable[[_Arguments], Query | Change]


_QUERIES, _FOLLOWING, _ACTIONS, _PROGRAM = CommandTopic

_SYNTAX: Mapping[str, _Syntax] = MappingProxyType(
    {
        "failed": _Syntax(
            _QUERIES,
            "failed 24h",
            lambda words: Failed(within=words.period(DEFAULT_FAILED_PERIOD), tasks=words.tasks()),
        ),
        "running": _Syntax(_QUERIES, "running", lambda words: Running(tasks=words.tasks())),
        "recent": _Syntax(_QUERIES, "recent", lambda words: Recent(tasks=words.tasks())),
        "open": _Syntax(_QUERIES, "open", lambda words: ListOpen(tasks=words.tasks())),
        "task": _Syntax(_QUERIES, "task 31b8ae23", lambda words: DescribeTask(job_id=words.name())),
        "instance": _Syntax(
            _QUERIES, "instance gaussdb-prod-01", lambda words: DescribeInstance(instance=words.name())
        ),
        "stats": _Syntax(
            _QUERIES, "stats 7d", lambda words: Stats(within=words.period(DEFAULT_STATS_PERIOD), ignored=words.rest())
        ),
        "maintenance": _Syntax(_QUERIES, "maintenance", lambda words: ListMaintenance(about=words.rest())),
        "oncall": _Syntax(_QUERIES, "oncall", lambda words: OnCall(rota=words.rest())),
        "watch": _Syntax(_FOLLOWING, "watch 31b8ae23", lambda words: SubscribeTask(job_id=words.name())),
        "subscribe": _Syntax(_FOLLOWING, "subscribe prod-* failed", _Arguments.subscribe),
        "unsubscribe": _Syntax(_FOLLOWING, "unsubscribe prod-* failed", _Arguments.unsubscribe),
        "subscriptions": _Syntax(_FOLLOWING, "subscriptions", lambda words: Subscriptions(ignored=words.rest())),
        "resolve": _Syntax(_ACTIONS, "resolve 31b8ae23 repeated by hand", _Arguments.resolve),
        "mute": _Syntax(_ACTIONS, "mute gaussdb-prod-01 2h resizing", _Arguments.mute),
        "unmute": _Syntax(_ACTIONS, "unmute gaussdb-prod-01", lambda words: EndMute(name=words.name())),
        "extend": _Syntax(_ACTIONS, "extend gaussdb-prod-01 1h", _Arguments.extension),
        "mutes": _Syntax(_ACTIONS, "mutes", lambda words: Mutes(ignored=words.rest())),
        "status": _Syntax(_PROGRAM, "status", lambda words: Status(ignored=words.rest())),
        "help": _Syntax(_PROGRAM, "help", lambda _: Help()),
    }
)

USAGE: Mapping[str, str] = MappingProxyType({name: syntax.usage for name, syntax in _SYNTAX.items()})
"""Every command with an example of how it is typed."""

NARROWED_EXAMPLE = "failed 24h prod-* operation=backup"
"""How a list of tasks is narrowed."""

GROUPS: Mapping[CommandTopic, Sequence[str]] = MappingProxyType(
    {group: [name for name, syntax in _SYNTAX.items() if syntax.group is group] for group in CommandTopic}
)
"""The names of the commands of each group."""


def _unknown(word: str, rest: Sequence[str]) -> Mistake:
    near = difflib.get_close_matches(_folded(word).casefold(), [*USAGE], n=1, cutoff=0.6)
    if not near:
        return Mistake(key="mistake.unknown", given=word[:MAX_QUERY_LENGTH])
    meant = " ".join([near[0], *map(_quoted, rest)]) if rest else USAGE[near[0]]
    return Mistake(key="mistake.meant", given=word[:MAX_QUERY_LENGTH], meant=meant[:MAX_QUERY_LENGTH])
