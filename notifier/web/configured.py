"""What pages show of the configuration. Wiring makes it; nothing in it is secret."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from notifier.settings.effective import EffectiveValue


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownConfiguration:
    """The effective configuration, for people to read."""

    values: tuple[EffectiveValue, ...] = ()
    """Every setting."""
    kinds: Mapping[str, str] = field(default_factory=dict)
    """The kind of each channel, by name."""
    store: str = ""
    """File of the database, or its host and name."""
    remarks: Callable[[datetime], Sequence[str]] = lambda _at: ()
    """Returns what `notifier check` warns of, in English; hours are those of the week of a time."""
