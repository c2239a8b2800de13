"""The settings of an account whose projects are found. Light: no network library is imported here."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Field

from notifier.core.matchers import Matcher, fits
from notifier.core.projects import ALARMS_SUFFIX, FoundProject
from notifier.settings.types import Duration, EndpointUrl
from notifier.sources.cloud_settings import AnyAuth, CloudSettings, Token
from notifier.sources.gaussdb_events_settings import GaussDBEventsSettings
from notifier.sources.gaussdb_settings import GaussDBSettings
from notifier.sources.regions import ENDPOINTS, WITHOUT_CLOUD_EYE

GLOBAL_IAM = "https://iam.myhuaweicloud.com"

Glob = Annotated[str, Field(min_length=1, max_length=100)]
"""A text in which `*` stands for any text and `?` for one character."""
Globs = Annotated[tuple[Glob, ...], Field(max_length=1000)]


class GaussDBAccountSettings(GaussDBSettings):
    """All projects of an account, each read as a source of its own with these settings."""

    unused_settings = frozenset({"region", "project_id"})

    kind: Literal["gaussdb_account"]  # type: ignore[assignment]  # it is no GaussDB source, it makes some
    region: str = ""
    project_id: str = ""
    regions: Annotated[Globs, Field(min_length=1)] = ("*",)
    """Regions to read, with * and ?: cn-north-4, cn-*. Default: every region in which GaussDB is known; with `endpoint`
    any region."""
    projects: Annotated[Globs, Field(min_length=1)] = ("*",)
    """Names or ids of projects to read, with * and ?. Default: all."""
    exclude: Globs = ()
    """Names or ids of projects not to read, with * and ?."""
    discover_every: Annotated[Duration, Field(ge=timedelta(minutes=1), le=timedelta(days=7))] = timedelta(hours=1)
    """Time between two reads of the account's list of projects."""
    alarms: bool = False
    """Whether the alarms of each project are read too, by a source of kind gaussdb_events whose name ends with
    -alarms."""
    ces_endpoint: EndpointUrl | None = None
    """Cloud Eye's endpoint, for the alarms. Default: that of the region."""
    iam_endpoint: EndpointUrl | None = None
    """IAM that lists the projects and issues tokens. Default: that of auth, else https://iam.myhuaweicloud.com"""

    @property
    def url(self) -> str:
        """URL of the API, where it is the same for all regions; else the empty string."""
        return self.endpoint or ""

    @property
    def choice(self) -> Sequence[tuple[str, Sequence[str]]]:
        """What limits the projects, in words: `in` regions, `called` names, `except` names."""
        limits = (("in", self.regions, ("*",)), ("called", self.projects, ("*",)), ("except", self.exclude, ()))
        return [(word, globs) for word, globs, all_of_them in limits if globs != all_of_them]

    @property
    def iam_url(self) -> str:
        """URL of the IAM that lists the projects."""
        own = self.auth.iam_endpoint if isinstance(self.auth, Token) else None
        return self.iam_endpoint or own or GLOBAL_IAM

    @property
    def login(self) -> AnyAuth:
        """How the calls of its sources are authenticated: as configured, by this IAM where it issues tokens."""
        if isinstance(self.auth, Token) and self.auth.iam_endpoint is None and self.iam_endpoint:
            return self.auth.model_copy(update={"iam_endpoint": self.iam_endpoint})
        return self.auth

    @property
    def for_iam(self) -> Self:
        """The same with a login for calls about the whole account."""
        own = self.auth.model_copy(update={"iam_endpoint": self.iam_url}) if isinstance(self.auth, Token) else self.auth
        return self.model_copy(update={"auth": own})

    @property
    def some_region(self) -> str:
        """A region in which projects may be read."""
        regions = sorted(ENDPOINTS)
        return next((region for region in regions if _any_fits(self.regions, region)), regions[0])

    def reads(self, project: FoundProject) -> bool:
        """Return whether a project is to be read."""
        names = (project.name, project.project_id)
        return (
            (bool(self.endpoint) or project.region in ENDPOINTS)
            and _any_fits(self.regions, project.region)
            and any(_any_fits(self.projects, name) for name in names)
            and not any(_any_fits(self.exclude, name) for name in names)
        )

    def sources(self, project: FoundProject) -> Iterator[CloudSettings]:
        """Yield the sources that read a project. Their settings were checked with this account's."""
        own = {"region": project.region, "project_id": project.project_id, "auth": self.login}
        shared = {name: getattr(self, name) for name in GaussDBSettings.model_fields}
        yield GaussDBSettings.model_construct(**shared | own | {"kind": "gaussdb", "name": project.source})
        if self.alarms and (self.ces_endpoint or project.region not in WITHOUT_CLOUD_EYE):
            yield self._alarms_of(project, own)

    def _alarms_of(self, project: FoundProject, own: Mapping[str, object]) -> GaussDBEventsSettings:
        fields = GaussDBEventsSettings.model_fields
        shared = {name: getattr(self, name) for name in fields if name in type(self).model_fields}
        least: timedelta = fields["poll_every"].default
        named = {"kind": "gaussdb_events", "name": f"{project.source}-{ALARMS_SUFFIX}"}
        return GaussDBEventsSettings.model_construct(
            **shared | dict(own) | named | {"poll_every": max(self.poll_every, least)}
        )


def _any_fits(globs: tuple[str, ...], text: str) -> bool:
    return any(fits(Matcher(field="region", op="=", value=glob), {"region": text}) for glob in globs)
