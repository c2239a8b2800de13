"""What the words after a slash command mean. Pure: what is wrong with them is a value too."""

from __future__ import annotations

import difflib
import html
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from types import MappingProxyType

from notifier.core.durations import format_duration, parse_duration

MAX_COMMAND_LENGTH = 2_000
"""Characters of a command that are read."""
MAX_NAME_LENGTH = 200
"""Characters of a job id or an instance's name that are looked for."""
MIN_MUTE, MAX_MUTE = timedelta(minutes=1), timedelta(days=30)
MAX_REASON_LENGTH = 300
"""Characters of a reason that are kept."""
MAX_PERIOD = timedelta(days=365)
DEFAULT_FAILED_PERIOD, DEFAULT_STATS_PERIOD = timedelta(days=1), timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Help:
    """What can be asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The tasks that failed lately."""

    within: timedelta
    about: str = ""
    """A source, or an instance's id, name or a part of it; empty for all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """The tasks that run."""

    about: str = ""
    """As for those that failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recent:
    """The tasks that changed last."""

    about: str = ""
    """As for those that failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeTask:
    """One task."""

    job_id: str
    """Or its beginning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeInstance:
    """The tasks of one instance."""

    instance: str
    """Its id, or its name or a part of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """How the tasks of each kind fared."""

    within: timedelta
    ignored: str = ""
    """Words that mean nothing here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscribeTask:
    """Tell me when this task ends."""

    job_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MuteInstance:
    """Tell nobody of the tasks of an instance for a while."""

    instance: str
    length: timedelta
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnmuteInstance:
    """Tell people of them again."""

    instance: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutes:
    """Which instances are muted."""

    ignored: str = ""
    """Words that mean nothing here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Whether the program itself is well."""

    ignored: str = ""
    """Words that mean nothing here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """Words that are no command. `key` is that of a phrase, which takes the other fields."""

    key: str
    given: str = ""
    meant: str = ""
    """What is right instead: a command as it should be typed."""


Command = (
    Help
    | Failed
    | Running
    | Recent
    | DescribeTask
    | DescribeInstance
    | Stats
    | SubscribeTask
    | MuteInstance
    | UnmuteInstance
    | Mutes
    | Status
    | Mistake
)

USAGE: Mapping[str, str] = MappingProxyType(
    {
        "failed": "failed 24h",
        "running": "running",
        "recent": "recent",
        "task": "task 31b8ae23",
        "instance": "instance gaussdb-prod-01",
        "stats": "stats 7d",
        "watch": "watch 31b8ae23",
        "mute": "mute gaussdb-prod-01 2h resizing",
        "unmute": "unmute gaussdb-prod-01",
        "mutes": "mutes",
        "status": "status",
        "help": "help",
    }
)
"""Every command with an example of how it is typed."""


def changes(command: Command) -> bool:
    """Tell whether a command alters what others see. A wish to be told in person does not."""
    return isinstance(command, MuteInstance | UnmuteInstance)


def parse(text: str) -> Command:
    """Read the words after the command's name. Never raises."""
    words = _words(text)
    if not words:
        return Help()
    name, rest = _folded(words[0]).casefold(), words[1:]
    reader = _READERS.get(name)
    if reader is None:
        return _unknown(words[0], rest)
    return reader(rest)


# ---- words ----

_QUOTES = str.maketrans({"“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "‘": "'", "’": "'", "＂": '"'})
_MENTION = re.compile(r"<[@#!][A-Z0-9]{1,30}\|([^<>|]*)>|<([@#!][A-Z0-9]{1,30})>")
_LINK = re.compile(r"<(?:https?://|mailto:)[^<>|]*\|([^<>|]*)>")
_WORD = re.compile(r'"([^"]*)"|(\S+)')


def _words(text: str) -> Sequence[str]:
    """Split text as people type it: chats turn quotes, spaces and names into something else."""
    plain = html.unescape(_LINK.sub(r"\1", _MENTION.sub(r"\1\2", text[:MAX_COMMAND_LENGTH]))).translate(_QUOTES)
    spaced = "".join(" " if char.isspace() else char for char in plain if _shown(char))
    found = (quoted or bare for quoted, bare in _WORD.findall(spaced))
    return [word for word in found if word.strip()]


def _shown(char: str) -> bool:
    return char.isspace() or unicodedata.category(char) not in ("Cc", "Cf", "Cs")


# ---- commands ----


def _failed(words: Sequence[str]) -> Command:
    return _within("failed", words, DEFAULT_FAILED_PERIOD, lambda length, about: Failed(within=length, about=about))


def _stats(words: Sequence[str]) -> Command:
    return _within("stats", words, DEFAULT_STATS_PERIOD, lambda length, ignored: Stats(within=length, ignored=ignored))


def _within(name: str, words: Sequence[str], usual: timedelta, make: Callable[[timedelta, str], Command]) -> Command:
    length = _length(words[0]) if words else usual
    if length is None:
        return Mistake(key="mistake.duration", given=words[0], meant=USAGE[name])
    if not timedelta() < length <= MAX_PERIOD:
        return Mistake(key="mistake.look", given=words[0], meant=USAGE[name])
    return _with_rest(name, words[1:], partial(make, length))


def _with_rest(name: str, words: Sequence[str], make: Callable[[str], Command]) -> Command:
    rest = _folded(" ".join(words))
    return Mistake(key="mistake.long", meant=USAGE[name]) if len(rest) > MAX_NAME_LENGTH else make(rest)


def _followed(name: str, make: Callable[[str], Command]) -> Callable[[Sequence[str]], Command]:
    """Return the reader of a command that may have a name after it, or words that it ignores."""
    return lambda words: _with_rest(name, words, make)


def _folded(text: str) -> str:
    """Return what full-width letters, which input methods leave behind, stand for: no name has any in it."""
    return unicodedata.normalize("NFKC", text)


def _named(name: str, make: Callable[[str], Command]) -> Callable[[Sequence[str]], Command]:
    def read(words: Sequence[str]) -> Command:
        if not words:
            return Mistake(key=f"mistake.missing.{name}", meant=USAGE[name])
        wanted = _folded(" ".join(words))
        if len(wanted) > MAX_NAME_LENGTH:
            return Mistake(key="mistake.long", meant=USAGE[name])
        return make(wanted)

    return read


def _mute(words: Sequence[str]) -> Command:
    if not words:
        return Mistake(key="mistake.missing.mute", meant=USAGE["mute"])
    instance, rest = _folded(words[0]), words[1:]
    if len(instance) > MAX_NAME_LENGTH:
        return Mistake(key="mistake.long", meant=USAGE["mute"])
    if not rest:
        return Mistake(key="mistake.missing.length", given=instance, meant=f"mute {_quoted(instance)} 2h")
    length = _length(rest[0])
    if length is None:
        return Mistake(key="mistake.duration", given=rest[0], meant=f"mute {_quoted(instance)} 2h")
    if not MIN_MUTE <= length <= MAX_MUTE:
        return Mistake(key="mistake.mute", given=format_duration(length), meant=f"mute {_quoted(instance)} 2h")
    return MuteInstance(instance=instance, length=length, reason=" ".join(rest[1:])[:MAX_REASON_LENGTH] or None)


def _length(word: str) -> timedelta | None:
    try:
        return parse_duration(_folded(word).lower())
    except ValueError:
        return None


def _quoted(name: str) -> str:
    return f'"{name}"' if " " in name else name


_READERS: Mapping[str, Callable[[Sequence[str]], Command]] = MappingProxyType(
    {
        "help": lambda _: Help(),
        "?": lambda _: Help(),
        "failed": _failed,
        "running": _followed("running", lambda about: Running(about=about)),
        "recent": _followed("recent", lambda about: Recent(about=about)),
        "task": _named("task", lambda job_id: DescribeTask(job_id=job_id)),
        "instance": _named("instance", lambda instance: DescribeInstance(instance=instance)),
        "stats": _stats,
        "watch": _named("watch", lambda job_id: SubscribeTask(job_id=job_id)),
        "mute": _mute,
        "unmute": _named("unmute", lambda instance: UnmuteInstance(instance=instance)),
        "mutes": _followed("mutes", lambda ignored: Mutes(ignored=ignored)),
        "status": _followed("status", lambda ignored: Status(ignored=ignored)),
    }
)


def _unknown(word: str, rest: Sequence[str]) -> Mistake:
    near = difflib.get_close_matches(_folded(word).casefold(), [*USAGE], n=1, cutoff=0.6)
    if not near:
        return Mistake(key="mistake.unknown", given=word[:MAX_NAME_LENGTH])
    meant = " ".join([near[0], *map(_quoted, rest)]) if rest else USAGE[near[0]]
    return Mistake(key="mistake.meant", given=word[:MAX_NAME_LENGTH], meant=meant[:MAX_NAME_LENGTH])
