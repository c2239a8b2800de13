"""A channel through the library Apprise, which runs in a process of its own for each message."""

import asyncio
import json
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar

from notifier.channels.base import ChannelContext, encode_json, json_body, stored_body
from notifier.channels.card import CardLayout, CardLimits
from notifier.channels.kinds import installed_kinds
from notifier.channels.markup import ADDRESS, EMOJI, PlainMarkup
from notifier.channels.templated import TemplatedChannel
from notifier.channels.templates import FilledTemplate
from notifier.core.delivery import Body, Delivery, Outcome, Retry, Unknown
from notifier.core.model import TaskStatus
from notifier.core.severity import Severity
from notifier.integrations.apprise.outcomes import NOT_UNDERSTOOD, outcome_of
from notifier.integrations.apprise.settings import KIND_BY_SCHEME, AppriseSettings
from notifier.ports import CheckResult, RenderRequest
from notifier.wording.sanitize import one_line

# A service may read Markdown, HTML or its own markup into plain text: what could begin any of it is broken or replaced.
_MARKUP = PlainMarkup(
    active=re.compile(rf"[@#&\[\]!/]|{EMOJI}|{ADDRESS}"),
    replaced={"*": "∗", "_": "ˍ", "~": "∼", "`": "ˋ", "<": "‹", ">": "›", "|": "❘", "\\": "＼", "$": "＄"},
)
_TYPES: Mapping[Severity, str] = {
    Severity.CRITICAL: "failure",
    Severity.ERROR: "failure",
    Severity.WARNING: "warning",
    Severity.INFO: "info",
}
"""Apprise's word for how bad a message is."""
_MAX_RESULT = 256 * 1024
"""Maximum size of the result of the process, in bytes."""

NOT_PROMISED = (
    "best effort: Apprise does not say why it failed or what a lost answer means, a message may arrive twice, "
    "and network.allow, network.deny and network.no_proxy do not apply"
)


class AppriseChannel(TemplatedChannel[AppriseSettings]):
    """Posts to one URL of Apprise."""

    kind: ClassVar[str] = "apprise"
    keeps_deadline = True
    storm_size = 20

    def __init__(self, settings: AppriseSettings, context: ChannelContext) -> None:
        super().__init__(settings, context)
        self.storm_room = settings.max_length // 2
        limits = CardLimits(quote=settings.max_length // 4, line=settings.max_length // 4, part=200, short_reason=100)
        self._layout = CardLayout(_MARKUP, context.formatter, limits)

    def escape(self, text: str) -> str:
        """Return one line of text in which nothing is markup, a mention or a link to any service."""
        return _MARKUP.plain(text, self.settings.max_length)

    def compose(self, request: RenderRequest, filled: FilledTemplate) -> Body:
        """Return a title, a text and how bad it is, as JSON."""
        card = self._layout.card(request, filled)
        title, _, text = self._layout.text(card, self.settings.max_length).partition("\n")
        ended_well = card.state.status is TaskStatus.COMPLETED
        message = {
            "title": title,
            "body": text.strip() or title,
            "type": "success" if ended_well else _TYPES[card.severity],
        }
        return json_body(message)

    async def attempt(self, delivery: Delivery) -> Outcome:
        """Let Apprise send once. It is ended when it takes too long."""
        message: dict[str, str] = json.loads(stored_body(delivery).content)
        try:
            result = await self._run(message)
        except OSError as error:
            return Retry(f"Apprise cannot be started: {error.strerror}")
        return outcome_of(result, self.context.clock.now()) if result else Unknown(_NO_RESULT)

    async def check(self) -> Sequence[CheckResult]:
        """Load the URL. Nothing can be asked without a message."""
        result = await self._run({})
        if not result:
            return (CheckResult(ok=False, what=self.kind, detail=_NO_RESULT, remedy="make extras installs it again"),)
        if result["service"] is None:
            remedy = "compare `url` with the page of the service in Apprise's documentation"
            return (CheckResult(ok=False, what=self.kind, detail=NOT_UNDERSTOOD, remedy=remedy),)
        detail = f"{one_line(result['service'])}: {NOT_PROMISED}"
        own = KIND_BY_SCHEME.get(self.settings.scheme)
        remedy = f"use the kind {own}, which promises more" if own in installed_kinds() else ""
        return (CheckResult(ok=True, proven=False, what=self.kind, detail=detail, remedy=remedy),)

    async def _run(self, message: dict[str, str]) -> dict[str, Any] | None:
        """Return the result of `child.run`; None where there is none in time. Raises OSError."""
        request = {"url": self.settings.url.get_secret_value(), **message}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "notifier.integrations.apprise.child"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=_MAX_RESULT,
            env=self._environment,
        )
        try:
            async with asyncio.timeout(self.deadline):
                output, _ = await process.communicate(encode_json(request))
        except TimeoutError:
            return None
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        try:
            result: dict[str, Any] = json.loads(output)
        except ValueError:
            return None
        return result

    @property
    def _environment(self) -> Mapping[str, str]:
        """The environment of the process: of ours only what makes it find this program, and how to reach out."""
        proxy = self.context.http.proxy_url
        proxies = {"HTTP_PROXY": proxy, "HTTPS_PROXY": proxy, "NO_PROXY": "localhost,127.0.0.1,::1"} if proxy else {}
        trusted = {"REQUESTS_CA_BUNDLE": str(self.settings.ca_file)} if self.settings.ca_file else {}
        return {
            "PYTHONPATH": ":".join(filter(None, sys.path)),
            "PYTHONUTF8": "1",
            "LC_ALL": "C.UTF-8",
            **proxies,
            **trusted,
        }


_NO_RESULT = "Apprise gave no result in time: it may have sent the message"
