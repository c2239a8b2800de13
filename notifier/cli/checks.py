"""The checks that need the channels' code, or the network."""

from collections.abc import Sequence

from notifier.channels.settings import ChannelSettings
from notifier.channels.templates import DIGEST
from notifier.cli import event_loop
from notifier.cli.common import now
from notifier.cli.progress import spinner
from notifier.cli.samples import sample_requests
from notifier.config.advice import types_reaching
from notifier.config.config import Config
from notifier.ports import CheckResult
from notifier.wiring.checks import check_online, check_rendering


def check_services(config: Config) -> Sequence[CheckResult]:
    """Prove that every service works, without sending a message."""
    with spinner("Checking credentials, channels and the store …"):
        return event_loop.run(check_online(config))


def check_templates(config: Config, templated: Sequence[ChannelSettings]) -> Sequence[CheckResult]:
    """Return a failed check for each sample message that a template of its channel cannot render."""
    reaching = {channel.name: types_reaching(config, channel.name) for channel in templated}
    samples = {channel.name: sample_requests(channel, reaching[channel.name], now()) for channel in templated}
    return [
        CheckResult(
            ok=not any(reaching[name][event.type] for event in samples[name][kind].events),
            proven=False,
            what=f"channel {name}",
            detail=f"{kind}: {problem}",
            remedy=f"notifier preview {name} {'--digest' if kind == DIGEST else f'--event {kind}'}",
        )
        for name, problems in event_loop.run(check_rendering(config, samples)).items()
        for kind, problem in problems.items()
    ]
