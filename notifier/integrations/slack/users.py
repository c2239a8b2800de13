"""People in Slack: their language, their workspace, and whether they may make changes."""

import asyncio
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

from notifier.http import HttpError
from notifier.integrations.slack.api import WebApi
from notifier.integrations.slack.errors import nested_object, scope_remedy
from notifier.ports import Clock
from notifier.wording.phrases import Language

MAX_PROFILES = 1_000
"""Maximum number of profiles in the cache."""
PROFILE_TTL = 3_600.0
"""Time after which a profile is fetched again, in seconds; also after Slack did not answer."""
MEMBERS_TTL = 300.0
"""Time after which the members of a group are fetched again, in seconds."""
QUERY_TIMEOUT = 2.0
"""Maximum time of one call, in seconds."""
MAX_QUERIES = 10
"""Maximum number of profiles fetched in the background at once."""
MAX_MEMBERS_REPLY = 1024 * 1024
"""Maximum size of a list of members, in bytes: tens of thousands of them."""

_BOT = ""
"""Key of the bot itself among the calls under way."""
_FINAL_ERRORS = frozenset({"missing_scope", "user_not_found", "user_not_visible"})
"""Errors that a repeated call would bring again."""

T = TypeVar("T")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class UserProfile:
    """Facts about a person, as far as Slack shows them."""

    language: Language | None = None
    workspaces: frozenset[str] = frozenset()
    """Ids of the workspace and of its organization."""
    guest: bool = False
    """Whether the person is a guest, invited to some channels only."""


@dataclass(frozen=True, slots=True)
class _Cached(Generic[T]):
    value: T
    until: float
    """Time at which it is fetched again, by the monotonic clock."""


class UserDirectory:
    """Fetches profiles and groups from Slack, and caches them. The owner calls `aclose` at the end."""

    def __init__(self, api: WebApi | None, clock: Clock, workspaces: Collection[str] = ()) -> None:
        """Without an `api` no language is known, and nobody is a member of a group.

        `workspaces`: ids of the workspaces and organizations whose members are ours; empty for the bot's own.
        """
        self._api = api
        self._clock = clock
        self._workspaces = frozenset(workspaces)
        self._people: OrderedDict[str, _Cached[UserProfile | None]] = OrderedDict()
        """Profiles; None where Slack did not answer."""
        self._groups: dict[str, _Cached[frozenset[str]]] = {}
        self._queries: dict[str, asyncio.Task[None]] = {}

    def language_of(self, person: str) -> Language | None:
        """Return a person's language if it is cached. If not, fetch it in the background for the next request."""
        known = self._people.get(person)
        if known is None or self._clock.monotonic() >= known.until:
            self._fetch_soon(person)
        return known.value.language if known and known.value else None

    async def fetch_workspace(self) -> None:
        """Fetch the workspace of the bot, unless workspaces are configured."""
        if self._api is None or self._workspaces:
            return
        try:
            response = await self._api.call("auth.test", QUERY_TIMEOUT, {})
        except HttpError as error:
            log.error("chat.workspace_unknown", reason=str(error))  # noqa: TRY400 - the sentence is enough
            return
        ids = (response.data.get("team_id"), response.data.get("enterprise_id"))
        self._workspaces = frozenset(id_ for id_ in ids if isinstance(id_, str) and id_)

    def fetch_workspace_soon(self) -> None:
        """Start `fetch_workspace` in the background."""
        if self._api is not None and not self._workspaces and _BOT not in self._queries:
            self._track(_BOT, asyncio.create_task(self.fetch_workspace(), name="fetch the bot's workspace"))

    async def is_outsider(self, person: str, stated: Collection[str]) -> bool:
        """Return whether a person belongs to another workspace. Nobody does while the bot's workspace is unknown.

        `stated` are the workspaces that the request names. Within an organization that can be another one than ours, so
        that Slack decides.
        """
        if not self._workspaces:
            self.fetch_workspace_soon()
        if not self._workspaces or not stated or self._workspaces.intersection(stated):
            return False
        profile = await self._profile(person)
        return profile is None or not self._workspaces & profile.workspaces

    async def denial_reason(self, person: str, stated: Collection[str], *, guests: bool) -> str | None:
        """Return the key of the phrase that says why a person may not make changes; None where they may.

        For configurations without a list of people who may.
        """
        await self.fetch_workspace()
        if await self.is_outsider(person, stated):
            return "refused.elsewhere"
        if guests or self._api is None:
            return None
        profile = await self._profile(person)
        if profile is None:
            return "refused.unsure"
        return "refused.guest" if profile.guest else None

    async def is_listed(self, person: str, allow: Collection[str]) -> bool:
        """Return whether a person is on a list of users and user groups. An empty list has everybody on it.

        A group that cannot be fetched has no members. Several groups are fetched at the same time.
        """
        if not allow or person in allow:
            return True
        groups = [id_ for id_ in allow if id_.startswith("S")]
        return any(person in members for members in await asyncio.gather(*map(self._members, groups)))

    async def wait_idle(self) -> None:
        """Wait for the calls in the background."""
        await asyncio.gather(*self._queries.values())

    async def aclose(self) -> None:
        """Cancel the calls in the background."""
        for query in self._queries.values():
            query.cancel()
        await asyncio.gather(*self._queries.values(), return_exceptions=True)

    def _fetch_soon(self, person: str) -> None:
        if self._api is None or person in self._queries or len(self._queries) >= MAX_QUERIES:
            return
        self._track(person, asyncio.create_task(self._fetch_profile(self._api, person), name="fetch a profile"))

    def _track(self, key: str, query: asyncio.Task[None]) -> None:
        self._queries[key] = query
        query.add_done_callback(lambda _: self._queries.pop(key))

    async def _profile(self, person: str) -> UserProfile | None:
        """Return a profile; None where Slack does not answer."""
        known = self._people.get(person)
        if self._api is not None and (known is None or known.value is None or self._clock.monotonic() >= known.until):
            await self._fetch_profile(self._api, person)
        found = self._people.get(person)
        return found.value if found else None

    async def _fetch_profile(self, api: WebApi, person: str) -> None:
        self._people[person] = _Cached(await _request_profile(api, person), self._clock.monotonic() + PROFILE_TTL)
        self._people.move_to_end(person)
        if len(self._people) > MAX_PROFILES:
            self._people.popitem(last=False)

    async def _members(self, group: str) -> frozenset[str]:
        known = self._groups.get(group)
        if known is None or self._clock.monotonic() >= known.until:
            known = _Cached(await self._request_members(group), self._clock.monotonic() + MEMBERS_TTL)
            if known.value:
                self._groups[group] = known
        return known.value

    async def _request_members(self, group: str) -> frozenset[str]:
        if self._api is None:
            return frozenset()
        try:
            response = await self._api.call(
                "usergroups.users.list", QUERY_TIMEOUT, query={"usergroup": group}, max_bytes=MAX_MEMBERS_REPLY
            )
        except HttpError as error:
            log.error("chat.group_unknown", group=group, reason=str(error))  # noqa: TRY400 - the sentence is enough
            return frozenset()
        users = response.data.get("users")
        if response.ok and isinstance(users, list):
            return frozenset(user for user in users if isinstance(user, str))
        remedy = f": {scope_remedy('usergroups:read')}" if response.code == "missing_scope" else ""
        log.error("chat.group_unknown", group=group, reason=f"{response.code or 'no answer that can be read'}{remedy}")
        return frozenset()


async def _request_profile(api: WebApi, person: str) -> UserProfile | None:
    try:
        response = await api.call("users.info", QUERY_TIMEOUT, query={"user": person, "include_locale": "true"})
    except HttpError as error:
        log.debug("chat.profile_unknown", reason=str(error))
        return None
    if response.code in _FINAL_ERRORS:
        return UserProfile()
    user = response.data.get("user")
    if not response.ok or not isinstance(user, dict):
        return None
    ids = (user.get("team_id"), nested_object(user, "enterprise_user").get("enterprise_id"))
    restricted = (user.get(key) is True for key in ("is_restricted", "is_ultra_restricted", "is_stranger"))
    return UserProfile(
        language=_language(user.get("locale")),
        workspaces=frozenset(id_ for id_ in ids if isinstance(id_, str)),
        guest=any(restricted),
    )


def _language(locale: object) -> Language | None:
    if not isinstance(locale, str) or not locale:
        return None
    return "zh" if locale.lower().startswith("zh") else "en"
