"""Who people in Slack are: the language they read, where they belong, and whether they may change something."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass

import structlog

from notifier.chat.requests import Language
from notifier.http import HttpError
from notifier.integrations.slack.api import WebApi
from notifier.integrations.slack.errors import inner
from notifier.ports import Clock

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

_OURSELVES = ""
"""Stands for the bot itself among those who are asked about."""
_MAY_NOT_ASK = frozenset({"missing_scope", "user_not_found", "user_not_visible"})
"""Answers that stay the same however often Slack is asked."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What Slack tells of somebody."""

    language: Language | None = None
    workspaces: frozenset[str] = frozenset()
    """The ids of their workspace and of its organization."""
    guest: bool = False
    """Whether they are invited to some channels only."""


@dataclass(frozen=True, slots=True)
class _Known:
    profile: Profile | None
    """None where Slack did not answer."""
    until: float


@dataclass(frozen=True, slots=True)
class _Members:
    ids: frozenset[str]
    until: float


class Directory:
    """Asks Slack about people, and remembers. Whoever makes it calls `aclose` at the end."""

    def __init__(self, api: WebApi | None, clock: Clock, workspaces: Collection[str] = ()) -> None:
        """Without an `api` nothing can be asked: no language is known, and nobody is a member of a group.

        `workspaces`: ids of workspaces and organizations whose members are ours; none: the bot's own.
        """
        self._api = api
        self._clock = clock
        self._ours = frozenset(workspaces)
        self._people: OrderedDict[str, _Known] = OrderedDict()
        self._groups: dict[str, _Members] = {}
        self._questions: dict[str, asyncio.Task[None]] = {}

    def language_of(self, person: str) -> Language | None:
        """Return the language that somebody reads, where that is known by now; the next time it may be."""
        known = self._people.get(person)
        if known is None or self._clock.monotonic() >= known.until:
            self._ask_soon(person)
        return known.profile.language if known and known.profile else None

    async def learn(self) -> None:
        """Learn whose bot it is, where that is not configured."""
        if self._api is None or self._ours:
            return
        try:
            answer = await self._api.call("auth.test", WITHIN, {})
        except HttpError as error:
            log.error("whose bot it is is not known", reason=str(error))  # noqa: TRY400 - the sentence is enough
            return
        ids = (answer.data.get("team_id"), answer.data.get("enterprise_id"))
        self._ours = frozenset(id_ for id_ in ids if isinstance(id_, str) and id_)

    def learn_soon(self) -> None:
        """Do the same without waiting for it."""
        if self._api is not None and not self._ours and _OURSELVES not in self._questions:
            self._note(_OURSELVES, asyncio.create_task(self.learn(), name="ask whose bot it is"))

    async def is_stranger(self, person: str, stated: Collection[str]) -> bool:
        """Tell whether somebody is known to belong to another workspace.

        `stated` is where they belong as the request has it; of an organization that may be another workspace than ours,
        so that Slack is asked then. Where it is not known whose bot this is, nobody is a stranger.
        """
        if not self._ours:
            self.learn_soon()
        if not self._ours or not stated or self._ours.intersection(stated):
            return False
        profile = await self._profile(person)
        return profile is None or not self._ours & profile.workspaces

    async def refusal(self, person: str, stated: Collection[str], *, guests: bool) -> str | None:
        """Return the phrase that says why somebody may change nothing where no list says who may; None: they may."""
        await self.learn()
        if await self.is_stranger(person, stated):
            return "refused.elsewhere"
        if guests or self._api is None:
            return None
        profile = await self._profile(person)
        if profile is None:
            return "refused.unsure"
        return "refused.guest" if profile.guest else None

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
        self._note(person, asyncio.create_task(self._learn_of(self._api, person), name="ask who somebody is"))

    def _note(self, key: str, question: asyncio.Task[None]) -> None:
        self._questions[key] = question
        question.add_done_callback(lambda _: self._questions.pop(key))

    async def _profile(self, person: str) -> Profile | None:
        """Return what Slack tells of somebody; None where it does not answer."""
        known = self._people.get(person)
        if self._api is not None and (known is None or known.profile is None or self._clock.monotonic() >= known.until):
            await self._learn_of(self._api, person)
        found = self._people.get(person)
        return found.profile if found else None

    async def _learn_of(self, api: WebApi, person: str) -> None:
        self._people[person] = _Known(await _ask(api, person), self._clock.monotonic() + ASK_AGAIN)
        self._people.move_to_end(person)
        if len(self._people) > KEPT:
            self._people.popitem(last=False)

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


async def _ask(api: WebApi, person: str) -> Profile | None:
    try:
        answer = await api.call("users.info", WITHIN, query={"user": person, "include_locale": "true"})
    except HttpError as error:
        log.debug("who somebody is is not known", reason=str(error))
        return None
    if answer.code in _MAY_NOT_ASK:
        return Profile()
    user = answer.data.get("user")
    if answer.data.get("ok") is not True or not isinstance(user, dict):
        return None
    ids = (user.get("team_id"), inner(user, "enterprise_user").get("enterprise_id"))
    restricted = (user.get(key) is True for key in ("is_restricted", "is_ultra_restricted", "is_stranger"))
    return Profile(
        language=_language(user.get("locale")),
        workspaces=frozenset(id_ for id_ in ids if isinstance(id_, str)),
        guest=any(restricted),
    )


def _language(locale: object) -> Language | None:
    if not isinstance(locale, str) or not locale:
        return None
    return "zh" if locale.lower().startswith("zh") else "en"


def _why(code: str) -> str:
    scope = "add the bot scope usergroups:read under OAuth & Permissions and reinstall the app"
    return f"{code}: {scope}" if code == "missing_scope" else code or "no answer that can be read"
