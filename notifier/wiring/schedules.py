"""What recurs, from its settings."""

from notifier.config.config import Config
from notifier.core.model import SourceOrigin
from notifier.schedules import ScheduleRules


def schedule_rules(config: Config) -> ScheduleRules:
    """Return the reports, the rotas whose hand-overs are announced, and what is configured of the sources."""
    return ScheduleRules(
        reports=[one.scheduled(config.timezone) for one in config.reports],
        rotas=[rota for rota in config.rotas_by_name.values() if rota.announce],
        origins={
            source.name: SourceOrigin(
                source=source.name,
                region=source.region,
                project_id=source.project_id,
                environment=source.environment,
                labels=source.sorted_labels,
            )
            for source in config.sources
        },
    )
