"""Names of time zones as settings."""

from typing import Annotated
from zoneinfo import available_timezones

from pydantic import AfterValidator

from notifier.core.wall_time import is_zone
from notifier.settings.words import closest_match


def _timezone(name: str) -> str:
    if not is_zone(name):
        cities = [zone for zone in available_timezones() if "/" in zone and not zone.startswith("Etc/")]
        guess = closest_match(name, sorted(cities), likeness=0.7)
        hint = f"Did you mean {guess}?" if guess else "Write it as Asia/Shanghai or UTC."
        raise ValueError(f"no time zone is called {name!r}. {hint}")
    return name


Timezone = Annotated[str, AfterValidator(_timezone)]
