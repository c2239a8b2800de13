"""The settings of a GaussDB source: the task list of one project. Light: no network library is imported here."""

from typing import Literal, Self

from pydantic import Field, model_validator

from notifier.core.errors import ConfigurationError
from notifier.settings.explain import setting_error
from notifier.settings.types import EndpointUrl
from notifier.sources.base import TaskListSettings
from notifier.sources.cloud_settings import CloudSettings
from notifier.sources.regions import cts_endpoint, gaussdb_endpoint

Paging = Literal["auto", "record", "page"]
"""What `offset` counts, as configured; auto detects it."""


class GaussDBSettings(CloudSettings, TaskListSettings):
    """The task list of one project."""

    source_class = "notifier.sources.gaussdb:GaussDBSource"

    kind: Literal["gaussdb"]
    endpoint: EndpointUrl | None = None
    """Default: that of the region. Required for an unknown region."""
    paging: Paging = "auto"
    """How the API interprets `offset`; auto detects it."""
    page_size: int = Field(default=100, ge=1, le=100)
    maintenance: bool = False
    """Whether to read and announce what the cloud plans to do to the instances; see docs/maintenance.md. The user needs
    the action gaussdb:instance:listScheduleEvents."""
    started_by: bool = False
    """Search Cloud Trace for who started each task. Needs the action `cts:trace:list`."""
    started_by_address: bool = False
    """Also record and show the IP address that the request came from."""
    cts_endpoint: EndpointUrl | None = None
    """Endpoint of Cloud Trace. Default: that of the region."""

    @property
    def reads_maintenance(self) -> bool:
        """Whether the maintenance that the cloud plans is read and announced."""
        return self.maintenance

    @property
    def traces_url(self) -> str:
        """URL of Cloud Trace."""
        return self.cts_endpoint or cts_endpoint(self.region)

    @property
    def finds_origins(self) -> bool:
        """Whether it is searched for who started the tasks; see `SourceSettings.finds_origins`."""
        return self.started_by

    @property
    def url(self) -> str:
        """URL of the API."""
        return self.endpoint or gaussdb_endpoint(self.region)

    @model_validator(mode="after")
    def _has_endpoint(self) -> Self:
        try:
            _ = self.url
        except ConfigurationError as error:
            raise setting_error("region", str(error)) from None
        return self

    @model_validator(mode="after")
    def _has_a_use_for_addresses(self) -> Self:
        if self.started_by_address and not self.started_by:
            raise setting_error("started_by_address", "it has no effect without started_by: true on the same source")
        return self
