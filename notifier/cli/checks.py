"""The checks that need the channels' code, or the network."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from notifier.channels.settings import ChannelSettings
from notifier.channels.templates import DIGEST, named_key
from notifier.cli import event_loop
from notifier.cli.common import now
from notifier.cli.progress import spinner
from notifier.cli.samples import sample_requests
from notifier.config.config import Config
from notifier.config.document import Path
from notifier.config.reach import route_scopes, types_reaching
from notifier.core.events import EventType
from notifier.ports import CheckResult
from notifier.wiring.checks import check_online, check_rendering


def check_services(config: Config, line_of: Callable[[Path], int] | None) -> Sequence[CheckResult]:
    """Prove that every service works, without sending a message. `line_of` returns the line of a configured value."""
    with spinner("Checking credentials, channels and the store …"):
        return event_loop.run(check_online(config, line_of))


def check_templates(config: Config, templated: Sequence[ChannelSettings]) -> Sequence[CheckResult]:
    """Return a failed check for each sample message that a template of its channel cannot render."""
    scopes = route_scopes(config)
    reaching = {channel.name: types_reaching(config, channel.name, scopes) for channel in templated}
    names = (None, *sorted({route.template for route in config.routes if route.template}))
    return [
        found for name in names for found in _check_named_templates(config, [*_having(name, templated)], reaching, name)
    ]


def _having(template: str | None, channels: Sequence[ChannelSettings]) -> Sequence[ChannelSettings]:
    """Return the channels with templates that routes choose by this name; all of them for none."""
    return [channel for channel in channels if template is None or named_key(template) in channel.templates]


def _check_named_templates(
    config: Config,
    channels: Sequence[ChannelSettings],
    reaching: Mapping[str, Mapping[EventType, bool]],
    template: str | None,
) -> Iterator[CheckResult]:
    samples = {one.name: sample_requests(one, reaching[one.name], now(), template=template) for one in channels}
    for name, problems in event_loop.run(check_rendering(config, samples)).items():
        for kind, problem in problems.items():
            if template and kind == DIGEST:  # the same as without it
                continue
            chosen = f" --template {template}" if template else ""
            yield CheckResult(
                ok=not any(reaching[name][event.type] for event in samples[name][kind].events),
                proven=False,
                what=f"channel {name}",
                detail=f"{kind}: {problem}",
                remedy=f"notifier preview {name} {'--digest' if kind == DIGEST else f'--event {kind}'}{chosen}",
            )
