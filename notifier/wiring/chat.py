"""Builds the transports of the chat and the responder behind them from a configuration.

Imported only where a chat is configured: it loads the network stack.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import get_args
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from starlette.routing import Route

from notifier.chat.observed import ObservedResponder
from notifier.chat.ports import ChatReads, ChatTx
from notifier.chat.responder import ChatResponder, ResponderRules
from notifier.config.chat import SlackChatSettings
from notifier.config.config import Config
from notifier.http import HttpClient
from notifier.integrations.mattermost.http import MattermostRoutes
from notifier.integrations.slack import scopes
from notifier.integrations.slack import socket_mode as socket
from notifier.integrations.slack.api import WebApi
from notifier.integrations.slack.chat import RESPONSE_HOSTS, SlackChat, SlackChatRules
from notifier.integrations.slack.http import SlackRoutes
from notifier.integrations.slack.settings import SlackSettings
from notifier.integrations.slack.socket_mode import SocketModeTransport
from notifier.integrations.slack.users import UserDirectory
from notifier.logs import RejectionLog
from notifier.ports import ChatTransport, CheckResult, Clock, Store
from notifier.settings.types import is_loopback
from notifier.telemetry.ports import SILENT, Telemetry
from notifier.wording.links import LinkTemplates
from notifier.wording.localizer import Localizer
from notifier.wording.phrases import Language


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenChat:
    """The opened transports of the chat."""

    routes: Sequence[Route]
    """Those through which a chat calls the web server."""
    transports: Sequence[ChatTransport]
    """Those that have to run."""


async def open_transports(
    config: Config,
    store: Store[ChatTx, ChatReads],
    http: HttpClient,
    clock: Clock,
    *,
    wake: Callable[[], None],
    rejections: RejectionLog,
    stack: AsyncExitStack,
    telemetry: Telemetry = SILENT,
) -> OpenChat:
    """Open the configured transports until `stack` ends."""
    responder = ObservedResponder(ChatResponder(store, clock, _responder_rules(config), wake), telemetry)
    routes: list[Route] = []
    run: list[ChatTransport] = []
    if (slack := config.chat.slack) is not None:
        bot = _bot_api(config, slack, http)
        directory = UserDirectory(bot, clock, slack.workspaces)
        stack.push_async_callback(directory.aclose)
        directory.fetch_workspace_soon()
        trusting = http.with_ca_file(slack.ca_file)
        handler = SlackChat(responder, directory, trusting, _slack_rules(config, slack), bot)
        stack.push_async_callback(handler.aclose)
        if slack.mode == "http" and slack.signing_secret:
            secret = slack.signing_secret.get_secret_value()
            routes += SlackRoutes(handler=handler, signing_secret=secret, clock=clock, rejections=rejections).routes()
        if slack.mode == "socket":
            run.append(SocketModeTransport(handler, _app_api(slack, http), clock))
    if (mattermost := config.chat.mattermost) is not None:
        routes += MattermostRoutes(
            responder=responder,
            tokens=mattermost.accepted,
            allowed=mattermost.allow,
            language=config.language,
            rejections=rejections,
            direct=config.mattermost_bot is not None,
        ).routes()
    return OpenChat(routes=routes, transports=run)


async def check(config: Config, slack: SlackChatSettings, http: HttpClient) -> Sequence[CheckResult]:
    """Check that requests from Slack can arrive, and which scopes the bot has."""
    found: list[CheckResult] = []
    if slack.mode == "socket":
        found += await socket.check(_app_api(slack, http))
    if api := _bot_api(config, slack, http):
        found += await scopes.check(api, slack.allow)
    return found


def localizers(config: Config) -> Mapping[Language, Localizer]:
    """Return what formats for the readers of each language."""
    zone = ZoneInfo(config.timezone)
    return {language: Localizer(language=language, timezone=zone) for language in get_args(Language)}


def command_of(config: Config) -> str:
    """Return the slash command as people type it."""
    return config.chat.slack.command if config.chat.slack else "/gaussdb"


def _responder_rules(config: Config) -> ResponderRules:
    return ResponderRules(
        localizers=localizers(config),
        expected=config.expected,
        command=command_of(config),
        causes=config.cause_catalogue,
        links=link_templates(config),
        rotas=config.rotas_by_name,
        live=frozenset(one.name for one in config.channels if isinstance(one, SlackSettings) and one.live),
        during_maintenance=config.maintenance_mutes,
    )


def link_templates(config: Config) -> LinkTemplates:
    """Return where the links of messages and pages lead."""
    page_url = config.web.url if config.web else None
    return LinkTemplates(console_url=config.console_url, runbook_url=config.runbook_url, page_url=page_url)


def _slack_rules(config: Config, slack: SlackChatSettings) -> SlackChatRules:
    host = urlsplit(slack.api_url).hostname or ""
    own = {host} if is_loopback(host) else set()
    return SlackChatRules(
        language=config.language,
        allow=slack.allow,
        guests=slack.guests,
        direct=config.slack_token is not None,
        response_hosts=RESPONSE_HOSTS | own,
    )


def _bot_api(config: Config, slack: SlackChatSettings, http: HttpClient) -> WebApi | None:
    token = config.slack_token
    return WebApi(http=http.with_ca_file(slack.ca_file), url=slack.api_url, token=token) if token else None


def _app_api(slack: SlackChatSettings, http: HttpClient) -> WebApi:
    token = slack.app_token.get_secret_value() if slack.app_token else ""
    return WebApi(http=http.with_ca_file(slack.ca_file), url=slack.api_url, token=token)
