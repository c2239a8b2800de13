"""What `check --online` proves about Zendesk, without a change."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from notifier.channels.reply_conditions import ParsedReply, value_at
from notifier.channels.tickets import TicketRefused, refused_check
from notifier.ports import CheckResult

_WHAT = "zendesk"
_AGENTS = ("agent", "admin")


class ZendeskCheck:
    """One check. `ask` is `ZendeskChannel._call`."""

    def __init__(self, ask: Callable[..., Awaitable[ParsedReply]], *, oauth: bool) -> None:
        self._ask = ask
        self._oauth = oauth

    async def result(self) -> CheckResult:
        """Return what is proven. A refusal names the missing right."""
        try:
            # A token with the two scopes that suffice may not ask who it belongs to.
            user = await self._ask("GET", "/users/me.json", accepted=(200, 403))
            if user.succeeded and (problem := _problem(user)):
                return CheckResult(ok=False, what=_WHAT, detail=problem[0], remedy=problem[1])
            tickets = await self._ask("GET", "/tickets.json", query={"per_page": 1})
        except TicketRefused as error:
            return refused_check(_WHAT, error)
        if not isinstance(value_at(tickets.data, "tickets"), list):
            return CheckResult(ok=False, what=_WHAT, detail="the reply is not that of Zendesk", remedy="check url")
        restricted = value_at(user.data, "user.ticket_restriction")
        if isinstance(restricted, str):
            detail = "the agent sees only some tickets; only a ticket proves the rest: see notifier test-send"
        elif self._oauth or not user.succeeded:
            detail = "tickets can be read; only a ticket proves tickets:write: see notifier test-send"
        else:
            return CheckResult(ok=True, what=_WHAT, detail="tickets can be opened, commented and solved")
        return CheckResult(ok=True, what=_WHAT, detail=detail, proven=False)


def _problem(reply: ParsedReply) -> tuple[str, str] | None:
    """Return what is wrong with the user, with the remedy; None where nothing is known to be wrong."""
    if not isinstance(value_at(reply.data, "user"), dict):
        return "the reply is not that of Zendesk", "check url"
    if value_at(reply.data, "user.id") is None:  # wrong credentials make an anonymous user
        return "the credential is not valid: Zendesk knows no user by it", "check user and token"
    if value_at(reply.data, "user.suspended") is True:
        return "the user is suspended", "unsuspend the user, or take another one"
    if value_at(reply.data, "user.role") not in _AGENTS:
        return "the user is no agent", "give the user the role of an agent"
    return None
