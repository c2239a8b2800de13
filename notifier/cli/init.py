"""`notifier init`: write a commented configuration file, from options and answers."""

import base64
import os
import re
import shlex
import sys
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import typer

from notifier.cli.init_template import (
    CHAT_KINDS,
    AuthMethod,
    ChannelKind,
    InitAnswers,
    WebhookChatKind,
    environment_of,
    render_config,
    webhook_variable,
)
from notifier.cli.output import print_text
from notifier.config import loading as configuration
from notifier.core.errors import ConfigurationError
from notifier.settings.words import did_you_mean

_MODE = 0o644
"""Permissions of the file: it holds no secrets, and a service that runs as another user must read it."""
_SOURCE, _CHANNELS, _MESSAGES = "Source", "Channels (the console is always one)", "Messages"
_DEFAULT_FILE = Path("notifier.yaml")
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
"""The values of options that are not given."""


def _option(panel: str, name: str, text: str, metavar: str | None = None) -> Any:  # noqa: ANN401 - as typer types it
    return typer.Option(name, help=text, metavar=metavar, rich_help_panel=panel)


def init(
    *,
    region: Annotated[
        str, _option(_SOURCE, "--region", "Region, for example cn-north-4; with --discover several, as cn-*,me-*.")
    ] = _UNSET.region,
    project_id: Annotated[
        str, _option(_SOURCE, "--project-id", "Project id of that region (console: My Credentials).")
    ] = _UNSET.project_id,
    endpoint: Annotated[
        str, _option(_SOURCE, "--endpoint", "API address; required for an unknown region.", "URL")
    ] = _UNSET.endpoint,
    auth: Annotated[AuthMethod, _option(_SOURCE, "--auth", "Authentication method.")] = _UNSET.auth,
    iam_domain: Annotated[str, _option(_SOURCE, "--iam-domain", "IAM account name (auth token).")] = _UNSET.iam_domain,
    iam_username: Annotated[
        str, _option(_SOURCE, "--iam-username", "IAM user name (auth token).")
    ] = _UNSET.iam_username,
    name: Annotated[str, _option(_SOURCE, "--name", "Name of the source.")] = _UNSET.name,
    discover: Annotated[
        bool, _option(_SOURCE, "--discover", "Find the projects that use GaussDB, with the keys of the environment.")
    ] = False,
    account: Annotated[
        bool, _option(_SOURCE, "--account", "With --discover: write the account, whose projects are found again.")
    ] = False,
    iam_endpoint: Annotated[
        str, _option(_SOURCE, "--iam-endpoint", "With --discover: IAM that lists the projects.", "URL")
    ] = "",
    slack_channel: Annotated[
        str, _option(_CHANNELS, "--slack-channel", "Slack channel id or #name.", "ID")
    ] = _UNSET.slack_channel,
    chat: Annotated[
        WebhookChatKind | None, _option(_CHANNELS, "--chat", "Chat to post to with a webhook, whose URL is a secret.")
    ] = None,
    mail_to: Annotated[
        list[str] | None, _option(_CHANNELS, "--mail-to", "Mail recipient; repeatable.", "ADDRESS")
    ] = None,
    mail_from: Annotated[str, _option(_CHANNELS, "--mail-from", "Sender of mails.")] = _UNSET.mail_from,
    smtp_host: Annotated[str, _option(_CHANNELS, "--smtp-host", "SMTP host.")] = _UNSET.smtp_host,
    smtp_username: Annotated[str, _option(_CHANNELS, "--smtp-username", "SMTP user name.")] = _UNSET.smtp_username,
    webhook_url: Annotated[str, _option(_CHANNELS, "--webhook-url", "Webhook URL.", "URL")] = _UNSET.webhook_url,
    language: Annotated[
        Literal["en", "zh"], _option(_MESSAGES, "--language", "Language of messages.")
    ] = _UNSET.language,
    timezone: Annotated[
        str, _option(_MESSAGES, "--timezone", "Time zone of messages, for example Asia/Shanghai.")
    ] = _UNSET.timezone,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="Output file.")] = _DEFAULT_FILE,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write a commented configuration file. On a terminal it asks for what the options leave open.

    With --region and --project-id it asks nothing. It never asks for secrets and writes none: the file names the
    environment variables that hold them. With --discover it asks the cloud, with these variables, which projects of
    the account have GaussDB tasks or instances, and writes those; nothing is changed there.
    Exits with 1 when the keys are refused or no project uses GaussDB, with 3 when the cloud cannot be reached.
    """
    _refuse_to_overwrite(output, force=force)
    if (account or iam_endpoint) and not discover:
        raise ConfigurationError(f"{'--account' if account else '--iam-endpoint'} goes with --discover")
    if discover and project_id:
        raise ConfigurationError("--project-id does not go with --discover, which finds the projects")
    given: dict[str, Any] = {
        "region": region,
        "project_id": project_id,
        "endpoint": endpoint,
        "auth": auth,
        "iam_domain": iam_domain,
        "iam_username": iam_username,
        "name": name,
        "slack_channel": slack_channel,
        "chat": chat or "",
        "mail_to": tuple(address for text in mail_to or () for address in split_addresses(text)),
        "mail_from": mail_from,
        "smtp_host": smtp_host,
        "smtp_username": smtp_username,
        "webhook_url": webhook_url,
        "language": language,
        "timezone": timezone,
    }
    if discover:
        answers = _discovered(given, iam_endpoint, as_account=account)
    elif region and project_id:
        answers = _validated(given)
    elif sys.stdin.isatty():
        answers = _prompted(given)
    else:
        raise ConfigurationError("there is no terminal to ask on: give at least --region and --project-id")
    text = render_config(answers)
    _write(output, text)
    print_text(_next_steps(output, environment_of(text), answers.channels[-1]))


def _discovered(given: Mapping[str, Any], iam_endpoint: str, *, as_account: bool) -> InitAnswers:
    """Return answers with the projects that the cloud lists. On a terminal it asks for the rest."""
    from notifier.cli import init_discover  # noqa: PLC0415 - only this pays for the network stack

    if given["auth"] == "token" and given["iam_domain"] == _UNSET.iam_domain:
        raise ConfigurationError("--discover with --auth token needs --iam-domain, the name of the account")
    place = {"region": "", "project_id": ""}
    prefix = given["name"] if given["name"] != _UNSET.name else ""
    found = init_discover.discovered(
        _validated({**given, **place}),
        init_discover.split_globs(given["region"]),
        iam_endpoint=iam_endpoint,
        prefix=prefix,
        as_account=as_account,
    )
    if not sys.stdin.isatty():
        return found.in_answers(_validated({**given, **place}))
    settled = {"region", "endpoint", "project_id", "auth", "iam_domain", "iam_username", "name"}
    return found.in_answers(_prompted({**given, **place}, settled))


def _refuse_to_overwrite(output: Path, *, force: bool) -> None:
    if output.exists() and not force:
        raise ConfigurationError(f"{output} exists; --force replaces it, --output writes to another file")
    if not output.parent.is_dir():
        raise ConfigurationError(f"cannot write {output}: there is no directory {output.parent}")


# ---- answers ----


@dataclass(frozen=True, slots=True)
class InitQuestion:
    """One answer to ask for, and the option that gives it instead."""

    option: str
    text: str
    default: Callable[[InitAnswers], str] = lambda _: ""
    """Returns the answer that Enter alone gives."""
    _: KW_ONLY
    read: Callable[[str], Any] = str
    required: bool = False
    choices: tuple[str, ...] = ()
    """The accepted answers; empty where any text is accepted."""
    applies: Callable[[InitAnswers], bool] = lambda _: True
    """Returns whether the question applies after the earlier answers."""

    @property
    def field(self) -> str:
        """The field of `InitAnswers` that holds the answer."""
        return self.option.strip("-").replace("-", "_")


def split_addresses(text: str) -> tuple[str, ...]:
    """Split mail addresses at commas and semicolons, and at spaces where no display name can contain one."""
    separators = r"[,;\uff0c\uff1b\u3001]" + ("" if "<" in text else r"|\s")
    return tuple(filter(None, map(str.strip, re.split(separators, text))))


def _sender(answers: InitAnswers) -> str:
    domain = answers.mail_to[0].rpartition("@")[2].rstrip(">")
    return f"GaussDB notifier <gaussdb@{domain}>"


_DEFAULTS: InitAnswers = InitAnswers(region="cn-north-4", project_id="0" * 32, channels=())
_NO_CHANNELS = replace(_DEFAULTS, slack_channel="", mail_to=(), webhook_url="")


def _by_token(answers: InitAnswers) -> bool:
    return answers.auth == "token"


def _by_mail(answers: InitAnswers) -> bool:
    return bool(answers.mail_to)


_AUTH_METHODS = get_args(AuthMethod)

QUESTIONS: tuple[InitQuestion, ...] = (
    InitQuestion("--region", "Region", lambda _: "cn-north-4"),
    InitQuestion("--endpoint", "", applies=lambda _: False),  # asked with the region
    InitQuestion("--project-id", "Project id of that region (console: My Credentials)", required=True),
    InitQuestion(
        "--auth", f"Authentication ({', '.join(_AUTH_METHODS)})", lambda _: _UNSET.auth, choices=_AUTH_METHODS
    ),
    InitQuestion("--iam-domain", "IAM account name", required=True, applies=_by_token),
    InitQuestion("--iam-username", "IAM user name", required=True, applies=_by_token),
    InitQuestion("--slack-channel", "Slack channel id (empty: none)"),
    InitQuestion("--chat", f"Chat with a webhook ({', '.join(CHAT_KINDS)}; empty: none)", choices=("", *CHAT_KINDS)),
    InitQuestion("--mail-to", "Mail addresses, separated by commas (empty: none)", read=split_addresses),
    InitQuestion("--smtp-host", "SMTP host", required=True, applies=_by_mail),
    InitQuestion("--mail-from", "Sender of mails", _sender, applies=_by_mail),
    InitQuestion("--smtp-username", "SMTP user name (empty: no login)", applies=_by_mail),
    InitQuestion("--webhook-url", "Webhook URL (empty: none)"),
    InitQuestion("--name", "Name of the source", lambda _: _UNSET.name),
    InitQuestion("--language", "Language of messages (en, zh)", lambda _: _UNSET.language),
    InitQuestion("--timezone", "Time zone of messages, for example Asia/Shanghai", lambda _: _UNSET.timezone),
)


def _problem(answers: InitAnswers) -> str | None:
    """Return the first problem of the configuration that the answers make, or None."""
    text = render_config(_with_channels(answers))
    try:
        configuration.loads(text, _placeholder_environment(environment_of(text)))
    except configuration.InvalidConfiguration as error:
        return error.problems[0].what
    return None


def _validated(given: Mapping[str, Any]) -> InitAnswers:
    """Return the answers that options give. Raises ConfigurationError that names the invalid option."""
    # An unknown region is valid with an endpoint, so the endpoint is validated first.
    answers = _NO_CHANNELS
    for question in sorted(QUESTIONS, key=lambda question: question.field != "endpoint"):
        answers = replace(answers, **{question.field: given[question.field] or getattr(_NO_CHANNELS, question.field)})
        if what := _problem(answers):
            raise ConfigurationError(f"{question.option}: {what}")
    return _with_channels(answers)


def _prompted(given: Mapping[str, Any], known_already: Collection[str] = ()) -> InitAnswers:
    """Ask for everything that the options leave open, each question until its answer is valid."""
    settled = {field for field, value in given.items() if value and value != getattr(_UNSET, field)}
    settled |= {*known_already}
    channels = {"slack_channel", "chat", "mail_to", "webhook_url"}
    if settled & channels:
        settled |= channels
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
            typer.echo("This is required.", err=True)
            continue
        if question.choices and text not in question.choices:
            hint = did_you_mean(text, question.choices, otherwise="It is one of")
            typer.echo(f"Not accepted: {text!r}. {hint}", err=True)
            continue
        answered = replace(answers, **{question.field: question.read(text)})
        if question.field == "region" and _is_unknown(answered):
            typer.echo(f"Not a known region: {_problem(answered)}", err=True)
            endpoint = _prompt("API address, https://… (empty: enter another region)", "").strip()
            if not endpoint:
                continue
            answered = replace(answered, endpoint=endpoint)
        what = _problem(answered)
        if what is None:
            return answered
        typer.echo(f"Not accepted: {what}", err=True)


def _is_unknown(answers: InitAnswers) -> bool:
    """Return whether a region would be valid with an endpoint."""
    return _problem(answers) is not None and _problem(replace(answers, endpoint="https://example.com")) is None


def _prompt(question: str, default: str) -> str:
    answer: str = typer.prompt(question, default=default, err=True, show_default=bool(default))
    return answer


def _with_channels(answers: InitAnswers) -> InitAnswers:
    wanted: dict[ChannelKind, object] = {
        "console": True,
        "slack": answers.slack_channel,
        **({answers.chat: True} if answers.chat else {}),
        "email": answers.mail_to,
        "webhook": answers.webhook_url,
    }
    return replace(answers, channels=tuple(kind for kind, answer in wanted.items() if answer))


# ---- the file ----


def _placeholder_environment(names: Sequence[str]) -> Mapping[str, str]:
    """Return placeholders of the right shape, so that the configuration can be validated without its secrets."""
    webhook = "whsec_" + base64.b64encode(bytes(24)).decode()
    urls = dict.fromkeys(map(webhook_variable, CHAT_KINDS), "https://example.com/hook")
    return dict.fromkeys(names, "xoxb-stand-in") | urls | {"WEBHOOK_SECRET": webhook}


def _write(output: Path, text: str) -> None:
    try:
        with output.open("w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), _MODE)
            file.write(text)
    except OSError as error:
        print_text(text)  # the answers are not lost
        raise ConfigurationError(f"cannot write {output}: {error.strerror}; its text is printed above") from error


def _next_steps(output: Path, variables: Sequence[str], channel: ChannelKind) -> str:
    option = "" if output == _DEFAULT_FILE else f" -c {shlex.quote(str(output))}"
    commands = [f"notifier{option} {command}" for command in ("check --online", f"test-send {channel}", "run")]
    secrets = [f"  export {name}=…" for name in variables]
    return "\n".join(
        [
            f"Wrote {output}.",
            *(["", "Set these environment variables:", *secrets] if secrets else []),
            "",
            "Then:",
        ]
        + [f"  {command}" for command in commands]
    )
