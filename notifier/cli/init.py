"""`notifier init`: writes a commented configuration, asking for what flags do not say."""

from __future__ import annotations

import base64
import os
import re
import shlex
import sys
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import typer

from notifier import config as configuration
from notifier.cli.init_template import AuthMethod, ChannelKind, InitAnswers, environment_of, render_config
from notifier.cli.output import print_text
from notifier.core.errors import ConfigurationError
from notifier.settings.explain import did_you_mean

_MODE = 0o644
"""The file holds no secrets, and a service that runs as another user has to read it."""
_SOURCE, _CHANNELS = "Source", "Who is told (the console always is)"
_UNSET = InitAnswers(
    region="",
    project_id="",
    channels=(),
    slack_channel="",
    mail_to=(),
    mail_from="",
    smtp_host="",
    smtp_username="",
    webhook_url="",
)
"""What the options say where none is given."""


def init(
    *,
    region: Annotated[
        str, typer.Option("--region", help="For example cn-north-4.", show_default=False, rich_help_panel=_SOURCE)
    ] = "",
    project_id: Annotated[
        str,
        typer.Option(
            "--project-id", help="Of that region: My Credentials.", show_default=False, rich_help_panel=_SOURCE
        ),
    ] = "",
    endpoint: Annotated[
        str | None, typer.Option("--endpoint", metavar="URL", help="For an unknown region.", rich_help_panel=_SOURCE)
    ] = None,
    auth: Annotated[AuthMethod, typer.Option("--auth", help="How to sign in.", rich_help_panel=_SOURCE)] = _UNSET.auth,
    iam_domain: Annotated[
        str, typer.Option("--iam-domain", help="Account, for token.", rich_help_panel=_SOURCE)
    ] = _UNSET.iam_domain,
    iam_username: Annotated[
        str, typer.Option("--iam-username", help="User, for token.", rich_help_panel=_SOURCE)
    ] = _UNSET.iam_username,
    name: Annotated[
        str, typer.Option("--name", help="What the source is called.", rich_help_panel=_SOURCE)
    ] = _UNSET.source,
    slack_channel: Annotated[
        str,
        typer.Option(
            "--slack-channel", metavar="ID", help="Tell Slack, there.", show_default=False, rich_help_panel=_CHANNELS
        ),
    ] = "",
    mail_to: Annotated[
        list[str] | None,
        typer.Option("--mail-to", metavar="ADDRESS", help="Tell by mail. Repeatable.", rich_help_panel=_CHANNELS),
    ] = None,
    mail_from: Annotated[
        str,
        typer.Option(
            "--mail-from",
            help="Sender.",
            rich_help_panel=_CHANNELS,
        ),
    ] = _UNSET.mail_from,
    smtp_host: Annotated[
        str, typer.Option("--smtp-host", help="Mail server.", rich_help_panel=_CHANNELS)
    ] = _UNSET.smtp_host,
    smtp_username: Annotated[
        str, typer.Option("--smtp-username", help="Its user.", rich_help_panel=_CHANNELS)
    ] = _UNSET.smtp_username,
    webhook_url: Annotated[
        str,
        typer.Option(
            "--webhook-url", metavar="URL", help="Webhook URL.", show_default=False, rich_help_panel=_CHANNELS
        ),
    ] = "",
    language: Annotated[Literal["en", "zh"], typer.Option("--language", help="Of messages.")] = _UNSET.language,
    timezone: Annotated[str, typer.Option("--timezone", help="For times that people read.")] = _UNSET.timezone,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="Where to.")] = Path("notifier.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a commented configuration. It asks on a terminal; with --region and --project-id it needs no answers.

    Secrets are neither asked for nor written: the file names the environment variables that they come from.
    """
    _refuse_to_overwrite(output, force=force)
    given: dict[str, Any] = {
        "region": region,
        "project_id": project_id,
        "endpoint": endpoint or "",
        "auth": auth,
        "iam_domain": iam_domain,
        "iam_username": iam_username,
        "source": name,
        "slack_channel": slack_channel,
        "mail_to": tuple(address for text in mail_to or () for address in split_addresses(text)),
        "mail_from": mail_from,
        "smtp_host": smtp_host,
        "smtp_username": smtp_username,
        "webhook_url": webhook_url,
        "language": language,
        "timezone": timezone,
    }
    if not (region and project_id) and not sys.stdin.isatty():
        raise ConfigurationError("nobody is there to answer: give at least --region and --project-id")
    answers = _validated(given) if region and project_id else _prompted(given)
    text = render_config(answers)
    _write(output, text)
    print_text(_next_steps(output, environment_of(text), answers.channels[-1]))


def _refuse_to_overwrite(output: Path, *, force: bool) -> None:
    if output.exists() and not force:
        raise ConfigurationError(f"{output} is there already; --force replaces it, --output writes elsewhere")
    if not output.parent.is_dir():
        raise ConfigurationError(f"cannot write {output}: there is no directory {output.parent}")


# ---- answers ----


@dataclass(frozen=True, slots=True, kw_only=True)
class InitQuestion:
    """One thing to know, how to ask for it, and the option that says it instead."""

    field: str
    option: str
    text: str
    read: Callable[[str], object] = str
    default: Callable[[InitAnswers], str] = lambda _: ""
    """Returns the answer of who only presses Enter."""
    required: bool = False
    choices: tuple[str, ...] = ()
    """All the answers there are; none for any."""
    applies: Callable[[InitAnswers], bool] = lambda _: True
    """Returns whether it is worth asking after the answers before."""


def split_addresses(text: str) -> tuple[str, ...]:
    """Split mail addresses: at commas and semicolons, and at spaces where no name could have one."""
    separators = r"[,;\uff0c\uff1b\u3001]" + ("" if "<" in text else r"|\s")
    return tuple(filter(None, map(str.strip, re.split(separators, text))))


def _sender(answers: InitAnswers) -> str:
    domain = answers.mail_to[0].rpartition("@")[2].rstrip(">")
    return f"GaussDB notifier <gaussdb@{domain}>"


_DEFAULTS: InitAnswers = InitAnswers(region="cn-north-4", project_id="0" * 32, channels=())
_NO_CHANNELS = replace(_DEFAULTS, slack_channel="", mail_to=(), webhook_url="")

QUESTIONS: tuple[InitQuestion, ...] = (
    InitQuestion(field="region", option="--region", text="Region", default=lambda _: "cn-north-4"),
    InitQuestion(field="endpoint", option="--endpoint", text="", applies=lambda _: False),  # asked with the region
    InitQuestion(
        field="project_id",
        option="--project-id",
        text="Project id of that region (console: My Credentials)",
        required=True,
    ),
    InitQuestion(
        field="auth",
        option="--auth",
        text=f"Sign in by ({', '.join(get_args(AuthMethod))})",
        choices=get_args(AuthMethod),
        default=lambda _: _DEFAULTS.auth,
    ),
    InitQuestion(
        field="iam_domain",
        option="--iam-domain",
        text="IAM account",
        required=True,
        applies=lambda answers: answers.auth == "token",
    ),
    InitQuestion(
        field="iam_username",
        option="--iam-username",
        text="IAM user",
        required=True,
        applies=lambda answers: answers.auth == "token",
    ),
    InitQuestion(field="slack_channel", option="--slack-channel", text="Slack channel id (empty: none)"),
    InitQuestion(
        field="mail_to",
        option="--mail-to",
        text="Mail addresses, with commas between (empty: none)",
        read=split_addresses,
    ),
    InitQuestion(
        field="smtp_host",
        option="--smtp-host",
        text="Mail server (SMTP host)",
        required=True,
        applies=lambda answers: bool(answers.mail_to),
    ),
    InitQuestion(
        field="mail_from",
        option="--mail-from",
        text="Sender of the mails",
        default=_sender,
        applies=lambda answers: bool(answers.mail_to),
    ),
    InitQuestion(
        field="smtp_username",
        option="--smtp-username",
        text="User name at the mail server (empty: no login)",
        applies=lambda answers: bool(answers.mail_to),
    ),
    InitQuestion(field="webhook_url", option="--webhook-url", text="Webhook address (empty: none)"),
    InitQuestion(field="source", option="--name", text="Name of this source", default=lambda _: _DEFAULTS.source),
    InitQuestion(
        field="language",
        option="--language",
        text="Language of messages (en, zh)",
        default=lambda _: _DEFAULTS.language,
    ),
    InitQuestion(
        field="timezone",
        option="--timezone",
        text="Time zone of the people who read them, for example Asia/Shanghai",
        default=lambda _: _DEFAULTS.timezone,
    ),
)


def _problem(answers: InitAnswers) -> str | None:
    """Say what is wrong with the configuration that answers make, or None."""
    text = render_config(_with_channels(answers))
    try:
        configuration.loads(text, _placeholder_environment(environment_of(text)))
    except configuration.InvalidConfiguration as error:
        return error.problems[0].what
    return None


def _validated(given: Mapping[str, Any]) -> InitAnswers:
    """Return the answers that options give. Raises ConfigurationError that names the option that is not right."""
    # An unknown region is right with its endpoint, which is judged first.
    answers = _NO_CHANNELS
    for question in sorted(QUESTIONS, key=lambda question: question.field != "endpoint"):
        answers = _with(answers, question.field, given[question.field] or getattr(_NO_CHANNELS, question.field))
        if what := _problem(answers):
            raise ConfigurationError(f"{question.option}: {what}")
    return _with_channels(answers)


def _prompted(given: Mapping[str, Any]) -> InitAnswers:
    """Ask for all that the options leave open, each until the answer is right."""
    settled = {field for field, value in given.items() if value and value != getattr(_UNSET, field)}
    if settled & {"slack_channel", "mail_to", "webhook_url"}:
        settled |= {"slack_channel", "mail_to", "webhook_url"}
    known = {field: given[field] for field in settled if given[field]}
    answers = _validated(dict.fromkeys(given) | known)
    for question in QUESTIONS:
        if question.field not in settled and question.applies(answers):
            answers = _prompt_until_valid(question, answers)
    return _with_channels(answers)


def _prompt_until_valid(question: InitQuestion, answers: InitAnswers) -> InitAnswers:
    default = question.default(answers)
    while True:
        text = unicodedata.normalize("NFKC", _prompt(question.text, default)).strip()
        if not text and question.required:
            typer.echo("This cannot be left out.", err=True)
            continue
        if question.choices and text not in question.choices:
            hint = did_you_mean(text, question.choices, otherwise="It is one of")
            typer.echo(f"Not accepted: {text!r} is none of them. {hint}", err=True)
            continue
        answered = _with(answers, question.field, question.read(text))
        if question.field == "region" and _is_unknown(answered):
            typer.echo(f"Not a known region: {_problem(answered)}", err=True)
            endpoint = _prompt("Address of its API, https://… (empty: another region)", "").strip()
            if not endpoint:
                continue
            answered = replace(answered, endpoint=endpoint)
        what = _problem(answered)
        if what is None:
            return answered
        typer.echo(f"Not accepted: {what}", err=True)


def _with(answers: InitAnswers, field: str, value: Any) -> InitAnswers:  # noqa: ANN401 - of the field's type
    return replace(answers, **{field: value})


def _is_unknown(answers: InitAnswers) -> bool:
    """Tell whether a region would be right if only its endpoint were given."""
    return _problem(answers) is not None and _problem(replace(answers, endpoint="https://example.com")) is None


def _prompt(question: str, default: str) -> str:
    answer: str = typer.prompt(question, default=default, err=True, show_default=bool(default))
    return answer


def _with_channels(answers: InitAnswers) -> InitAnswers:
    wanted: dict[ChannelKind, object] = {
        "console": True,
        "slack": answers.slack_channel,
        "email": answers.mail_to,
        "webhook": answers.webhook_url,
    }
    return replace(answers, channels=tuple(kind for kind, answer in wanted.items() if answer))


# ---- the file ----


def _placeholder_environment(names: Sequence[str]) -> Mapping[str, str]:
    """Return values of the right shape, to find out what else is wrong before the file is written."""
    webhook = "whsec_" + base64.b64encode(bytes(24)).decode()
    return dict.fromkeys(names, "xoxb-stand-in") | {"WEBHOOK_SECRET": webhook}


def _write(output: Path, text: str) -> None:
    try:
        with output.open("w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), _MODE)
            file.write(text)
    except OSError as error:
        print_text(text)  # so that no answer is lost
        raise ConfigurationError(f"cannot write {output}: {error.strerror}; what it would hold is above") from error


def _next_steps(output: Path, variables: Sequence[str], channel: ChannelKind) -> str:
    option = "" if output == Path("notifier.yaml") else f" -c {shlex.quote(str(output))}"
    commands = [f"notifier{option} {command}" for command in ("check --online", f"test-send {channel}", "run")]
    secrets = [f"  export {name}=…" for name in variables]
    return "\n".join(
        [
            f"Wrote {output}.",
            *(["", "Set what it takes from the environment:", *secrets] if secrets else []),
            "",
            "Then:",
        ]
        + [f"  {command}" for command in commands]
    )
