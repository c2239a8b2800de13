"""The settings that every kind of channel has. Light: reading a configuration imports this, and no network library."""

from datetime import timedelta
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, ValidationError, model_validator

from notifier.channels import rate_limits
from notifier.channels.rate_limits import BudgetText, Rate, RateLimit
from notifier.channels.templates import MessageTemplates, TemplateText, message_template_problem
from notifier.core.pacing import Pace
from notifier.settings.base import Settings
from notifier.settings.explain import error_detail, setting_error
from notifier.settings.types import CaFile, Duration, Name

_PACE = Pace()


class BreakerSettings(Settings):
    """When sending to a failing channel is suspended, and for how long."""

    opens_after: int = Field(default=_PACE.opens_after, ge=1, le=1000)
    """Consecutive failures after which only probes are sent: one message now and then."""
    probes: tuple[Annotated[Duration, Field(ge=timedelta(seconds=1), le=timedelta(hours=1))], ...] = Field(
        default=_PACE.probes, min_length=1, max_length=20
    )
    """Waits before the first, second … probe. The last one repeats."""


class ChannelSettings(Settings):
    """Settings that every kind has. A kind narrows `kind` to `Literal["…"]` and adds its own."""

    channel_class: ClassVar[str] = ""
    """Where the channel class of the kind is, as `package.module:Class`. It is imported when a channel is opened. Set
    by a kind whose entry point names its settings class."""
    extra: ClassVar[str] = ""
    """Name of the extra with the library that the kind needs. Empty where the program itself has all of it."""
    library: ClassVar[str] = ""
    """Module of that library."""
    takes_templates: ClassVar[bool] = False
    """Whether `templates` replace messages of the kind. True for a kind whose channel is a `TemplatedChannel`."""

    keeps_tickets: ClassVar[bool] = False
    """Whether the kind keeps tickets, so that `ticket` of a route has an effect."""
    mention_forms: ClassVar[str] = ""
    """How the kind writes whom a message mentions, for errors; the empty string where it mentions nobody."""

    kind: str = ""
    name: Name
    digest_above: Annotated[int, Field(ge=1)] | None = 20
    """Events of one poll above which digests are sent, and failed tasks above which a storm is reported in one message.
    null sends each event by itself."""
    digest_size: int = Field(default=100, ge=2, le=100)
    """Maximum number of events in one digest."""
    concurrency: int = Field(default=1, ge=1, le=256)
    """Maximum number of messages in flight, each about another task."""
    on_unknown: Literal["resend", "hold"] = "resend"
    """What to do with a message that may have arrived, where the service cannot be asked: send it again, or hold it
    until somebody decides with `notifier retry`."""
    rate: Rate | None = rate_limits.AUTO
    """Messages in the long run, of all replicas together: `1/s`, `30/m`, `500/h`. `auto` is the limit of the service,
    null is no limit."""
    burst: int | None = Field(default=None, ge=1, le=1000)
    """Messages at once after a pause. null is the limit of the service."""
    budget: BudgetText | None = None
    """Maximum number of messages in any hour, minute or day, of all replicas together: `20/h`, `5/m`, `100/d`. Beyond
    it events that are not loud are held until there is room, and then sent as one digest. Critical events and errors
    are always sent, and count. null is no budget."""
    breaker: BreakerSettings = BreakerSettings()
    """When sending is suspended because it fails."""
    templates: MessageTemplates = Field(default_factory=dict)
    """Jinja2 templates that replace messages, by types of events: `task.failed`, a family `task.*`, `digest`, or `*`
    for every event; the most specific one applies. `@NAME` is for the messages of routes with `template: NAME`. Each is
    the text of the body, or a mapping with title and text."""

    ca_file: CaFile = None
    """PEM file of authorities to trust besides those of the operating system and of `network.ca_file`."""

    @classmethod
    def accepts_mention(cls, text: str) -> bool:  # noqa: ARG003 - a kind that mentions people needs it
        """Return whether the kind understands an entry of `routes[].mention`. Its messages leave out all others."""
        return False

    @property
    def limit(self) -> RateLimit:
        """The limit of the service: what `limits.toml` has for the kind. A kind may override it."""
        return rate_limits.rate_limit(self.kind)

    @property
    def pace(self) -> Pace:
        """The pace of sending: what is configured, else the limit of the service."""
        rate = self.limit.per_second
        if self.rate != rate_limits.AUTO:
            rate = rate_limits.parse_rate(self.rate) if self.rate else None
        return Pace(
            per_second=rate,
            burst=self.burst or self.limit.burst,
            opens_after=self.breaker.opens_after,
            probes=self.breaker.probes,
        )

    @property
    def deadline(self) -> timedelta:
        """Maximum time of one attempt, a `find_sent` before it included: the `timeout` of a kind that has one."""
        timeout: timedelta = getattr(self, "timeout", timedelta(seconds=10))
        return timeout

    @property
    def has_template(self) -> bool:
        """Whether a template of the settings renders messages. It can fail: see `BaseChannel.render_problem`."""
        return bool(self.templates)

    def template_problem(self, part: str, template: TemplateText) -> str | None:  # noqa: ARG002 - for other kinds
        """Return why a template cannot be used, with the remedy; None where it can. `part` is `title` or `text`."""
        return message_template_problem(template)

    @model_validator(mode="after")
    def _check_templates(self) -> Self:
        if self.templates and not self.takes_templates:
            raise setting_error("templates", f"has no effect: channels of the kind {self.kind} take no templates")
        problems = [
            error_detail(("templates", key, part), what)
            for key, one in self.templates.items()
            for part, template in one.parts.items()
            if (what := self.template_problem(part, template))
        ]
        if problems:
            raise ValidationError.from_exception_data("settings", problems, hide_input=True)
        return self
