"""Channels from their settings, and the HTTP client that they share with the sources and the chat."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from notifier.channels.base import ChannelContext
from notifier.channels.kinds import channel_class
from notifier.channels.undeliverable import UndeliverableChannel
from notifier.clock import SystemClock
from notifier.config.config import Config
from notifier.core.errors import ConfigurationError
from notifier.core.identity import DirectChannel
from notifier.core.routing import ChannelPolicy
from notifier.http import HttpClient
from notifier.integrations.mattermost.direct import MATTERMOST_RECEIVER, DirectMattermostChannel
from notifier.integrations.mattermost.settings import MattermostSettings
from notifier.integrations.slack.direct import DirectSlackChannel
from notifier.integrations.slack.settings import SlackSettings
from notifier.ports import Channel, Clock
from notifier.wording.localizer import Localizer

DIRECT_DIGEST_ABOVE = 5
"""More events than this for one person in one poll become digests: each message is a notification on a telephone."""


def http_client(config: Config) -> HttpClient:
    """Return a client with the configured proxy, addresses and certificates. The caller closes it."""
    network = config.network
    return HttpClient(
        proxy=network.proxy_url,
        no_proxy=network.no_proxy,
        allow=network.allow,
        deny=network.deny,
        ca_file=network.ca_file,
    )


def build_channels(config: Config, http: HttpClient, clock: Clock, only: str | None = None) -> dict[str, Channel]:
    """Return the configured channels by name, or the one that is named `only`."""
    context = _context(config, http, clock)
    return {
        settings.name: channel_class(settings.kind).open(settings, context)
        for settings in config.channels
        if only in {None, settings.name}
    }


@asynccontextmanager
async def open_channel(config: Config, name: str) -> AsyncIterator[Channel]:
    """Open one channel alone. Raises ConfigurationError when there is none of that name."""
    async with aclosing(http_client(config)) as http:
        channels = build_channels(config, http, SystemClock(), only=name)
        if not channels:
            known = ", ".join(settings.name for settings in config.channels) or "none"
            raise ConfigurationError(f"there is no channel {name!r}; configured: {known}")
        async with aclosing(channels[name]) as channel:
            yield channel


def direct_channel(config: Config, http: HttpClient, clock: Clock, name: str) -> Channel | None:
    """Return a direct channel in Slack or Mattermost. None where no bot is configured that could write to it."""
    direct = DirectChannel.parse(name) or DirectChannel(name)
    channel = _in_mattermost(config, http, clock, direct) or _in_slack(config, http, clock, direct.id)
    if channel is not None:
        channel.name = name
    return channel


def _in_mattermost(config: Config, http: HttpClient, clock: Clock, direct: DirectChannel) -> Channel | None:
    bot = config.mattermost_bot
    if not isinstance(bot, MattermostSettings) or not MATTERMOST_RECEIVER.fullmatch(direct.id):
        return None
    return DirectMattermostChannel(bot, _context(config, http, clock), direct)


def _in_slack(config: Config, http: HttpClient, clock: Clock, person: str) -> Channel | None:
    token, chat, context = config.slack_token, config.chat.slack, _context(config, http, clock)
    if token is None or chat is None:
        return None
    try:
        settings = SlackSettings.model_validate(
            {
                "name": "direct",
                "bot_token": token,
                "channel": person,
                "api_url": chat.api_url,
                "ca_file": chat.ca_file,
                "style": "post",
            }
        )
    except ValidationError:
        return UndeliverableChannel(f"{person!r} is not the id of a person in Slack", context)
    return DirectSlackChannel(settings, context)


def direct_policy(config: Config) -> ChannelPolicy | None:
    """Return the policy of all direct channels; None where no bot is configured that could write to them."""
    if config.slack_token is None and config.mattermost_bot is None:
        return None
    kinds = (DirectSlackChannel, DirectMattermostChannel)
    return ChannelPolicy(
        name=DirectChannel.PREFIX,
        digest_above=DIRECT_DIGEST_ABOVE,
        storm_size=min(kind.storm_size for kind in kinds),
        storm_room=min(kind.storm_room for kind in kinds),
    )


def direct_places(config: Config) -> Mapping[str, Sequence[str]]:
    """Return the configured channels that lead to where a direct channel would lead, by the name of that."""
    places: dict[str, list[str]] = {}
    for settings in config.channels:
        if isinstance(settings, SlackSettings) and settings.bot_token and settings.channel:
            places.setdefault(str(DirectChannel(settings.channel)), []).append(settings.name)
        if isinstance(settings, MattermostSettings) and settings.channel_id:
            places.setdefault(str(DirectChannel(f"~{settings.channel_id}")), []).append(settings.name)
    return places


def _context(config: Config, http: HttpClient, clock: Clock) -> ChannelContext:
    return ChannelContext(
        http=http,
        clock=clock,
        localizer=Localizer(language=config.language, timezone=ZoneInfo(config.timezone)),
        console_url=config.console_url,
        runbook_url=config.runbook_url,
        page_url=config.web.url if config.web else None,
        causes=config.cause_catalogue,
        chat_tokens=frozenset({config.slack_token} if config.slack_token else ()),
        **({"chat_command": config.chat.slack.command} if config.chat.slack else {}),
    )
