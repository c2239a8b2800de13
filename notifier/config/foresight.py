"""The sections `foresight` and `expect`: which tasks take too long, and which runs should begin."""

import re
from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, Field, PlainSerializer, PlainValidator, ValidationInfo, WithJsonSchema

from notifier.config.matchers import MatcherText
from notifier.core import overdue
from notifier.core.durations import format_duration, parse_duration
from notifier.core.expectations import MAX_EXPECTED, ExpectedRuns, MissingRules
from notifier.core.fields import OPERATION_KINDS, operation_kind
from notifier.core.matchers import parse_matcher
from notifier.core.overdue import FixedLimit, OverdueRules
from notifier.settings.base import Settings
from notifier.settings.types import Duration, PlainText
from notifier.settings.words import FixedMessageError, did_you_mean
from notifier.wording.operations import OPERATIONS
from notifier.wording.phrases import phrases


def _limited(text: str) -> str:
    return str(parse_matcher(text))


class OverdueSettings(Settings):
    """Tasks that run for too long."""

    enabled: bool = False
    """Whether `task.overdue` is reported."""
    usual: bool = True
    """Whether tasks without a limit of their own are judged by how long such tasks usually take."""
    factor: float = Field(default=overdue.FACTOR, ge=1.1, le=100)
    """How many times longer than usual a task may take."""
    at_least: Duration = Field(default=overdue.AT_LEAST, ge=timedelta(0), le=timedelta(days=7))
    """How much longer than usual a task may take in any case."""
    limits: dict[
        Annotated[str, AfterValidator(_limited)],
        Annotated[Duration, Field(ge=timedelta(minutes=1), le=timedelta(days=30))],
    ] = Field(default_factory=dict)
    """Limits of tasks by matcher, such as `operation=backup`: 2h. The first one that fits counts, instead of what is
    usual."""
    ignore: tuple[MatcherText, ...] = ()
    """Tasks that any of these matchers fits are never overdue."""

    @property
    def rules(self) -> OverdueRules | None:
        """The same as a value of the core; None where nothing is reported."""
        if not self.enabled:
            return None
        limits = tuple(FixedLimit(match=parse_matcher(text), limit=limit) for text, limit in self.limits.items())
        return OverdueRules(
            limits=limits, usual=self.usual, factor=self.factor, at_least=self.at_least, ignore=self.ignore
        )


class MissingSettings(Settings):
    """Runs that do not begin although their operation recurs."""

    enabled: bool = False
    """Whether `task.missing` is reported of runs whose rhythm was learned. Those of `expect` are always reported."""
    ignore: tuple[MatcherText, ...] = ()
    """Runs that any of these matchers fits are not expected by their rhythm."""


class ForesightSettings(Settings):
    """Judgements that follow from history. See docs/foresight.md."""

    overdue: OverdueSettings = OverdueSettings()
    missing: MissingSettings = MissingSettings()


# ---- expect ----

_EXAMPLE = "manual backup of prod-* every 26h"
_EXPECTED = re.compile(
    r"\s*(?P<operation>\S.*?)\s+of\s+(?P<instance>\S+)\s+every\s+(?P<every>\S+)(?:\s+grace\s+(?P<grace>\S+))?"
    r"(?P<succeeded>\s+succeeded)?\s*"
)
_LABELS = {
    label.casefold(): name
    for language in ("en", "zh")
    for name in sorted(OPERATIONS)
    if (label := phrases(language).get(f"operation.{name}"))
}
"""Names of operations by what messages call them."""


def _operation(text: str) -> str:
    """Return the API's name of an operation. Raises ValueError with what would be right."""
    if name := _LABELS.get(text.casefold()):
        return name
    if text in OPERATION_KINDS:
        fitting = sorted(name for name in OPERATIONS if operation_kind(name) == text)
        if len(fitting) == 1:
            return fitting[0]
        labels = ", ".join(label for label, name in _LABELS.items() if name in fitting and label.isascii())
        raise ValueError(f"{text!r} is the kind of several operations. Name one of them: {labels}.")
    if re.fullmatch(r"[A-Z]\w*[a-z]\w*[A-Z]\w*", text):  # an operation that is not documented
        return text
    known = [label for label in _LABELS if label.isascii()]
    raise ValueError(f"no operation is called {text!r}. {did_you_mean(text, known, otherwise='Operations')}")


class ExpectedSettings(Settings):
    """An operation that should begin again and again on each of some instances."""

    operation: PlainText
    """What messages call it (`manual backup`), its kind where there is one of it (`backup`), or the API's name."""
    match: tuple[MatcherText, ...] = ()
    """The instances, by matchers such as instance=prod-* or environment=production. None means all."""
    every: Duration = Field(ge=timedelta(minutes=10), le=MAX_EXPECTED)
    """Longest time from the beginning of a run to that of the next."""
    grace: Duration = Field(default=timedelta(0), ge=timedelta(0), le=timedelta(days=7))
    """Time that a run may be late in addition."""
    succeeded: bool = False
    """Whether a run counts only if it succeeds."""

    def runs(self, text: str) -> ExpectedRuns:
        """Return the same as a value of the core; `text` is what messages show of it."""
        return ExpectedRuns(
            text=text or self._text(),
            name=_operation(self.operation),
            every=self.every,
            match=self.match,
            grace=self.grace,
            succeeded=self.succeeded,
        )

    def _text(self) -> str:
        about = " and ".join(map(str, self.match)) or "every instance"
        more = f" grace {format_duration(self.grace)}" if self.grace else ""
        every = f"{self.operation} of {about} every {format_duration(self.every)}"
        return f"{every}{more}{' succeeded' if self.succeeded else ''}"


def _sentence(text: str) -> ExpectedSettings:
    """Read `manual backup of prod-* every 26h`. Raises ValueError with what would be right."""
    found = _EXPECTED.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no expectation; write for example {_EXAMPLE!r}")
    grace = found["grace"] or "0s"
    for length in (found["every"], grace):
        parse_duration(length)
    return ExpectedSettings.model_validate(
        {
            "operation": found["operation"],
            "match": [f"instance={found['instance']}"],
            "every": found["every"],
            "grace": grace,
            "succeeded": bool(found["succeeded"]),
        }
    )


def _expected(value: object, info: ValidationInfo) -> ExpectedRuns:
    if isinstance(value, ExpectedRuns):
        return value
    if isinstance(value, str):
        return _sentence(value).runs(" ".join(value.split()))
    if not isinstance(value, dict):
        raise FixedMessageError(f"must be text such as {_EXAMPLE}, or a mapping with operation and every.")
    return ExpectedSettings.model_validate(value, context=info.context).runs("")


ExpectEntry = Annotated[
    ExpectedRuns,
    PlainValidator(_expected),
    PlainSerializer(lambda expected: expected.text, when_used="json"),
    WithJsonSchema({"anyOf": [{"type": "string", "examples": [_EXAMPLE]}, ExpectedSettings.model_json_schema()]}),
]


def missing_rules(foresight: ForesightSettings, expect: tuple[ExpectedRuns, ...]) -> MissingRules:
    """Return which runs are expected."""
    return MissingRules(expected=expect, learned=foresight.missing.enabled, ignore=foresight.missing.ignore)
