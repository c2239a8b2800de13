"""What reads planned maintenance, from the settings of sources."""

from collections.abc import Mapping, Sequence

from notifier.config.config import Config
from notifier.core.credentials import Credential
from notifier.core.routing import RoutingConfig
from notifier.maintenance import Maintenance, MaintenanceReader, MaintenanceSource
from notifier.sources.access import SourceAccess
from notifier.sources.gaussdb_settings import GaussDBSettings
from notifier.sources.maintenance import GaussDBMaintenance


def build_maintenance_lists(config: Config, access: Mapping[str, SourceAccess]) -> Sequence[GaussDBMaintenance]:
    """Return the lists of the sources whose maintenance is read."""
    return [
        GaussDBMaintenance(one, access[one.name])
        for one in config.maintenance_sources
        if isinstance(one, GaussDBSettings)
    ]


def build_maintenance(
    config: Config,
    lists: Sequence[MaintenanceReader],
    credentials: Mapping[str, Credential],
    routing: RoutingConfig,
) -> Maintenance:
    """Return what reads these lists and announces what they plan."""
    origins = {source.name: source.origin for source in config.expected.sources}
    sources = {
        one.name: MaintenanceSource(reader=one, origin=origins[one.name], credential=credentials.get(one.name))
        for one in lists
    }
    return Maintenance(sources=sources, rules=config.maintenance.rules, routing=routing)
