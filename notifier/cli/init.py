"""`notifier init`: writes a commented configuration, asking for what flags do not say."""

from __future__ import annotations

import base64
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, get_args

import typer

from notifier import config as configuration
from notifier.cli.output import say
from notifier.core.errors import ConfigurationError
from notifier.scaffold import Answers, Auth, ChannelKind, environment_of, render_config

_MODE = 0o644
"""The file holds no secrets, and a service that runs as another user has to read it."""
_SOURCE, _TELL = "Source", "Who is told (the console always is)"
_NONE = Answers(region="", project_id="", channels=())


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
    auth: Annotated[Auth, typer.Option("--auth", help="How to sign in.", rich_help_panel=_SOURCE)] = _NONE.auth,
    iam_domain: Annotated[
        str, typer.Option("--iam-domain", help="Account, for token.", rich_help_panel=_SOURCE)
    ] = _NONE.iam_domain,
    iam_username: Annotated[
        str, typer.Option("--iam-username", help="User, for token.", rich_help_panel=_SOURCE)
    ] = _NONE.iam_username,
    name: Annotated[
        str, typer.Option("--name", help="What the source is called.", rich_help_panel=_SOURCE)
    ] = _NONE.source,
    slack_channel: Annotated[
        str,
        typer.Option(
            "--slack-channel", metavar="ID", help="Tell Slack, there.", show_default=False, rich_help_panel=_TELL
        ),
    ] = "",
    mail_to: Annotated[
        list[str] | None,
        typer.Option("--mail-to", metavar="ADDRESS", help="Tell by mail. Repeatable.", rich_help_panel=_TELL),
    ] = None,
    mail_from: Annotated[str, typer.Option("--mail-from", help="Sender.", rich_help_panel=_TELL)] = _NONE.mail_from,
    smtp_host: Annotated[
        str, typer.Option("--smtp-host", help="Mail server.", rich_help_panel=_TELL)
    ] = _NONE.smtp_host,
    smtp_username: Annotated[
        str, typer.Option("--smtp-username", help="Its user.", rich_help_panel=_TELL)
    ] = _NONE.smtp_username,
    webhook_url: Annotated[
        str,
        typer.Option("--webhook-url", metavar="URL", help="Tell a machine.", show_default=False, rich_help_panel=_TELL),
    ] = "",
    language: Annotated[Literal["en", "zh"], typer.Option("--language", help="Of messages.")] = _NONE.language,
    timezone: Annotated[str, typer.Option("--timezone", help="For times that people read.")] = _NONE.timezone,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="Where to.")] = Path("notifier.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a commented configuration. It asks on a terminal; with --region and --project-id it needs no answers.

    Secrets are neither asked for nor written: the file names the environment variables that they come from.
    """
    _refuse_to_overwrite(output, force=force)
    given = Answers(
        region=region,
        project_id=project_id,
        endpoint=endpoint,
        auth=auth,
        iam_domain=iam_domain,
        iam_username=iam_username,
        source=name,
        slack_channel=slack_channel,
        mail_to=tuple(mail_to or ()),
        mail_from=mail_from,
        smtp_host=smtp_host,
        smtp_username=smtp_username,
        webhook_url=webhook_url,
        language=language,
        timezone=timezone,
    )
    answers = _with_channels(_complete(given))
    text = render_config(answers)
    configuration.loads(text, _stand_ins(environment_of(text)), origin=str(output))
    _write(output, text)
    say(_next_steps(output, environment_of(text), answers.channels[-1]))


def _refuse_to_overwrite(output: Path, *, force: bool) -> None:
    if output.exists() and not force:
        raise ConfigurationError(f"{output} is there already; --force replaces it, --output writes elsewhere")


# ---- answers ----


def _complete(given: Answers) -> Answers:
    if given.region and given.project_id:
        return given
    if not sys.stdin.isatty():
        raise ConfigurationError("nobody is there to answer: give at least --region and --project-id")
    return _ask_who_is_told(_ask_for_source(given))


def _ask_for_source(given: Answers) -> Answers:
    return replace(
        given,
        region=given.region or _ask("Region", "cn-north-4"),
        project_id=given.project_id or _ask("Project id of that region (console: My Credentials)"),
        auth=_choose("Sign in by", get_args(Auth), given.auth),
    )


def _ask_who_is_told(given: Answers) -> Answers:
    if given.slack_channel or given.mail_to or given.webhook_url:
        return given
    return replace(
        given,
        slack_channel=_ask("Slack channel id (empty: none)", ""),
        mail_to=tuple(_ask("Mail addresses, with spaces between (empty: none)", "").split()),
        webhook_url=_ask("Webhook address (empty: none)", ""),
    )


def _ask(question: str, default: str | None = None) -> str:
    answer: str = typer.prompt(question, default=default, err=True, show_default=bool(default))
    return answer.strip()


def _choose(question: str, choices: Sequence[Auth], default: Auth) -> Auth:
    while (answer := _ask(f"{question} ({', '.join(choices)})", default)) not in choices:
        typer.echo(f"{answer!r} is none of them.", err=True)
    return next(choice for choice in choices if choice == answer)


def _with_channels(answers: Answers) -> Answers:
    wanted: dict[ChannelKind, object] = {
        "console": True,
        "slack": answers.slack_channel,
        "email": answers.mail_to,
        "webhook": answers.webhook_url,
    }
    return replace(answers, channels=tuple(kind for kind, answer in wanted.items() if answer))


# ---- the file ----


def _stand_ins(names: Sequence[str]) -> Mapping[str, str]:
    """Return values of the right shape, to find out what else is wrong before the file is written."""
    webhook = "whsec_" + base64.b64encode(bytes(24)).decode()
    return dict.fromkeys(names, "xoxb-stand-in") | {"WEBHOOK_SECRET": webhook}


def _write(output: Path, text: str) -> None:
    try:
        with output.open("w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), _MODE)
            file.write(text)
    except OSError as error:
        raise ConfigurationError(f"cannot write {output}: {error.strerror}") from error


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
