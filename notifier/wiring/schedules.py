"""What recurs, from its settings."""

from notifier.config.config import Config
from notifier.schedules import ScheduleRules


def schedule_rules(config: Config) -> ScheduleRules:
    """Return the reports, the rotas whose hand-overs are announced, and what is configured of the sources."""
    return ScheduleRules(
        reports=[one.scheduled(config.timezone) for one in config.reports],
        rotas=[rota for rota in config.rotas_by_name.values() if rota.announce],
        origins={source.name: source.origin for source in config.expected.sources},
    )
