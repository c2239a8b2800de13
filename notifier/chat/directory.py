"""Who people in Slack are: the language they read, and whether they may change something."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass

import structlog

from notifier.chat.requests import Language
from notifier.http import HttpError
from notifier.ports import Clock
from notifier.slack.api import WebApi

KEPT = 1_000
"""People whose language is remembered."""
ASK_AGAIN = 3_600.0
"""Seconds after which a language is asked for anew; also after Slack did not tell."""
MEMBERS_KEPT = 300.0
"""Seconds for which the members of a group are remembered."""
WITHIN = 2.0
"""Seconds that a question may take."""
QUESTIONS = 10
"""Questions about languages at once."""
MAX_GROUP = 1024 * 1024
"""Bytes of a group's members: tens of thousands."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Known:
    language: Language | None
    until: float


@dataclass(frozen=True, slots=True)
class _Members:
    ids: frozenset[str]
    until: float


class Directory:
    """Asks Slack about people, and remembers. Whoever makes it calls `aclose` at the end."""

    def __init__(self, api: WebApi | None, clock: Clock) -> None:
        """Without an `api` nothing can be asked: no language is known, and nobody is a member of a group."""
        self._api = api
        self._clock = clock
        self._languages: OrderedDict[str, _Known] = OrderedDict()
        self._groups: dict[str, _Members] = {}
        self._questions: dict[str, asyncio.Task[None]] = {}

    def language_of(self, person: str) -> Language | None:
        """Return the language that somebody reads, where that is known by now; the next time it may be."""
        known = self._languages.get(person)
        if known is None or self._clock.monotonic() >= known.until:
            self._ask_soon(person)
        return known.language if known else None

    async def may(self, person: str, allow: Collection[str]) -> bool:
        """Tell whether somebody is on a list of users and user groups; an empty list has everybody on it.

        A group that cannot be asked about has no members. It takes no longer for many groups than for one.
        """
        if not allow or person in allow:
            return True
        groups = [id_ for id_ in allow if id_.startswith("S")]
        return any(person in members for members in await asyncio.gather(*map(self._members, groups)))

    async def settle(self) -> None:
        """Wait until nothing is being asked."""
        await asyncio.gather(*self._questions.values())

    async def aclose(self) -> None:
        """Ask nothing more."""
        for question in self._questions.values():
            question.cancel()
        await asyncio.gather(*self._questions.values(), return_exceptions=True)

    def _ask_soon(self, person: str) -> None:
        if self._api is None or person in self._questions or len(self._questions) >= QUESTIONS:
            return
        self._questions[person] = asyncio.create_task(self._ask(self._api, person), name="ask for a language")
        self._questions[person].add_done_callback(lambda _: self._questions.pop(person))

    async def _ask(self, api: WebApi, person: str) -> None:
        locale: object = None
        try:
            answer = await api.call("users.info", WITHIN, query={"user": person, "include_locale": "true"})
        except HttpError as error:
            log.debug("a language is not known", reason=str(error))
        else:
            user = answer.data.get("user")
            locale = user.get("locale") if isinstance(user, dict) else None
        self._languages[person] = _Known(_language(locale), self._clock.monotonic() + ASK_AGAIN)
        self._languages.move_to_end(person)
        if len(self._languages) > KEPT:
            self._languages.popitem(last=False)

    async def _members(self, group: str) -> frozenset[str]:
        known = self._groups.get(group)
        if known is None or self._clock.monotonic() >= known.until:
            known = _Members(await self._ask_for(group), self._clock.monotonic() + MEMBERS_KEPT)
            if known.ids:
                self._groups[group] = known
        return known.ids

    async def _ask_for(self, group: str) -> frozenset[str]:
        if self._api is None:
            return frozenset()
        try:
            answer = await self._api.call(
                "usergroups.users.list", WITHIN, query={"usergroup": group}, max_bytes=MAX_GROUP
            )
        except HttpError as error:
            log.error("who is in a user group is not known", group=group, reason=str(error))  # noqa: TRY400 - the sentence is enough
            return frozenset()
        users = answer.data.get("users")
        if answer.data.get("ok") is True and isinstance(users, list):
            return frozenset(user for user in users if isinstance(user, str))
        log.error("who is in a user group is not known", group=group, reason=_why(answer.code))
        return frozenset()


def _language(locale: object) -> Language | None:
    if not isinstance(locale, str) or not locale:
        return None
    return "zh" if locale.lower().startswith("zh") else "en"


def _why(code: str) -> str:
    scope = "add the bot scope usergroups:read under OAuth & Permissions and reinstall the app"
    return f"{code}: {scope}" if code == "missing_scope" else code or "no answer that can be read"
