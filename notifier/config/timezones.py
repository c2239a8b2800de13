"""Names of time zones as settings."""

from typing import Annotated
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator

from notifier.settings.words import closest_match


def _timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (OSError, LookupError, ValueError):
        cities = [zone for zone in available_timezones() if "/" in zone and not zone.startswith("Etc/")]
        guess = closest_match(name, sorted(cities), likeness=0.7)
        hint = f"Did you mean {guess}?" if guess else "Write it as Asia/Shanghai or UTC."
        raise ValueError(f"no time zone is called {name!r}. {hint}") from None
    return name


Timezone = Annotated[str, AfterValidator(_timezone)]
