"""What all lists of one source share: the client, one login, one limiter."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

from notifier.http import HttpClient, parse_target
from notifier.ports import Clock
from notifier.sources.api import ApiClient
from notifier.sources.cloud_settings import ApiLanguage, CloudSettings
from notifier.sources.credentials import build_login
from notifier.sources.huawei_auth import ApiRequest
from notifier.sources.limiter import CredentialLimiter
from notifier.sources.lists import ApiList
from notifier.telemetry.ports import SILENT, Telemetry


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRuntime:
    """What the program gives to each source."""

    http: HttpClient
    """Shared with everything else, and not closed by a source."""
    clock: Clock
    """Gives the time and waits."""
    rng: Random
    """Chooses the jitter of retries."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Environment in which `auth.kind: default_chain` finds keys."""
    limiter: CredentialLimiter | None = None
    """Shared by the sources of one credential; None for the only one."""
    language: ApiLanguage = "en-us"
    """Of texts for people, where the settings name none."""
    telemetry: Telemetry = SILENT
    """Where calls are reported."""


class SourceAccess:
    """Opens the lists of one source. All of them log in once and share the limits of the credential."""

    def __init__(self, settings: CloudSettings, runtime: SourceRuntime) -> None:
        """Raises ConfigurationError for a credentials file that cannot be read."""
        self.where = f"source {settings.name}"
        """Beginning of messages."""
        self.clock = runtime.clock
        """Gives the time and waits."""
        self._settings = settings
        self._runtime = runtime
        self._limiter = runtime.limiter or CredentialLimiter(settings.calls_per_minute, runtime.clock)
        self._login = build_login(
            settings.auth,
            region=settings.region,
            project_id=settings.project_id,
            where=self.where,
            http=runtime.http,
            clock=runtime.clock,
            environ=runtime.environment,
        )

    def open_list(self, of: ApiList, endpoint: str, path: str) -> ApiClient:
        """Return the client of a list of the project.

        Args:
            of: what it lists, for errors.
            endpoint: of the service, without a path: `https://cts.cn-north-4.myhuaweicloud.com`.
            path: as it is signed and sent, without a query.
        """
        origin, _ = parse_target(endpoint)
        request = ApiRequest(
            host=origin.name,
            path=path,
            project_id=self._settings.project_id,
            language=self._settings.language or self._runtime.language,
        )
        return ApiClient(
            source=self._settings.name,
            where=self.where,
            url=f"{origin.scheme}://{origin.name}{path}",
            http=self._runtime.http,
            auth=self._login.requests(request),
            clock=self._runtime.clock,
            rng=self._runtime.rng,
            limiter=self._limiter,
            telemetry=self._runtime.telemetry,
            of=of,
        )
