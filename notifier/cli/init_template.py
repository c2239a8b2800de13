"""The configuration file that `notifier init` writes."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import yaml

from notifier.core.severity import is_production

AuthMethod = Literal["aksk", "token", "ecs_agency", "default_chain"]
WebhookChatKind = Literal["wecom", "dingtalk", "feishu", "mattermost", "rocketchat"]
"""Chats whose channel needs the URL of a webhook and nothing else."""
ChannelKind = Literal["console", "slack", "email", "webhook"] | WebhookChatKind


CHAT_KINDS: tuple[WebhookChatKind, ...] = get_args(WebhookChatKind)


@dataclass(frozen=True, slots=True, kw_only=True)
class InitSource:
    """A project that was found."""

    name: str
    region: str
    project_id: str
    remark: str
    """What is in it, for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InitAnswers:
    """What the file depends on. No secrets: they stay in the environment."""

    region: str
    project_id: str
    auth: AuthMethod = "aksk"
    name: str = "prod"
    language: Literal["en", "zh"] = "en"
    timezone: str = "UTC"
    channels: tuple[ChannelKind, ...] = ("console",)
    endpoint: str = ""
    """Required for an unknown region."""
    iam_domain: str = "example-account"
    iam_username: str = "notifier"
    slack_channel: str = "#gaussdb"
    chat: WebhookChatKind | Literal[""] = ""
    smtp_host: str = "smtp.example.com"
    smtp_username: str = "notifier"
    mail_from: str = "GaussDB notifier <gaussdb@example.com>"
    mail_to: tuple[str, ...] = ("dba@example.com",)
    webhook_url: str = "https://tickets.example.com/hooks/gaussdb"
    found: tuple[InitSource, ...] = ()
    """The projects to poll; empty for the one of `project_id`."""
    regions: tuple[str, ...] = ()
    """Where an account's projects are polled, instead; empty for no account."""
    iam_endpoint: str = ""
    """Of an account."""


def render_config(answers: InitAnswers) -> str:
    """Return a configuration that loads when the variables that `environment_of` names are set."""
    channels = "".join(_channel(kind, answers) for kind in answers.channels)
    routes = "".join(_route(name, match, kinds, answers) for name, match, kinds in _ROUTES)
    return _HEAD.format(language=answers.language, timezone=_text(answers.timezone)) + (
        f"{_sources(answers)}\nchannels:{channels or ' []'}\n\nroutes:{routes or ' []'}\n"
        f"{_FORESIGHT}{_WEB}{_CHAT if 'slack' in answers.channels else ''}"
    )


def environment_of(text: str) -> list[str]:
    """Return the required environment variables of a configuration, in the order of their use."""
    return list(dict.fromkeys(re.findall(r"(?<!\$)\$\{(\w+)\}", text)))


_HEAD = """\
# ${{...}} is replaced by an environment variable. A secret `x` can also be given as `x_file`, the path of a file that
# other users cannot read. `notifier check` validates this file; `notifier check --online` tests every service.

language: {language}
timezone: {timezone}

store:
  url: sqlite:///notifier.db      # or postgresql://user:password@host/database

"""


_FORESIGHT = """
foresight:
  overdue: {enabled: true}        # report tasks that take far longer than usual

# Runs that should begin: the notifier reports where one does not.
# expect:
#   - manual backup of prod-* every 26h
"""


_WEB = """
# A page that shows all of this in a browser, and an API: http://127.0.0.1:8080. Other addresses need a password.
# web:
#   listen: 127.0.0.1:8080
"""


_CHAT = """
# Buttons on messages, and the command /gaussdb: an app-level token (xapp-…) with the scope connections:write.
# chat:
#   slack:
#     app_token_file: slack-app-token
"""


def _text(value: str) -> str:
    """Return a value as quoted YAML that refers to no environment variable."""
    quoted: str = yaml.safe_dump(value.replace("${", "$${"), default_style='"', allow_unicode=True, width=10_000)
    return quoted.strip()


def _lines(lines: Iterable[str], indent: int) -> str:
    return "".join(f"\n{' ' * indent}{line}" for line in lines)


# ---- the source ----


def _sources(answers: InitAnswers) -> str:
    if answers.regions:
        return _account(answers)
    return _found_sources(answers) if answers.found else _source(answers)


POLL_INTERVALS: Mapping[str, int] = {"30s": 10, "1m": 20, "2m": 40, "5m": 100, "10m": 200, "15m": 300}
"""Intervals between polls, and the number of sources that one key can poll as often with its usual budget."""


def _poll_every(sources: int) -> str:
    return next((interval for interval, most in POLL_INTERVALS.items() if sources <= most), "30m")


def _account(answers: InitAnswers) -> str:
    places = {"iam_endpoint": answers.iam_endpoint, "endpoint": answers.endpoint}
    return (
        "# Each project of the account is a source of its own, also one that is created later: see docs/discovery.md.\n"
        "sources:\n  - name: "
        + _text(answers.name)
        + _lines(
            [
                "kind: gaussdb_account",
                f"regions: [{', '.join(map(_text, answers.regions))}]",
                '# exclude: ["*_sandbox"]     # names or ids of projects that are not polled',
                *(f"{key}: {_text(url)}" for key, url in places.items() if url),
                _environment(answers),
                "auth:",
                *(f"  {line}" for line in _auth(answers)),
                f"poll_every: {_poll_every(len(answers.found))}\n",
            ],
            indent=4,
        )
    )


def _found_sources(answers: InitAnswers) -> str:
    shared = [
        *([f"endpoint: {_text(answers.endpoint)}"] if answers.endpoint else []),
        f"poll_every: {_poll_every(len(answers.found))}",
        "first_poll: baseline          # notify: report tasks that are already listed, too",
        "# environment: production     # shown in every message; failures in any other one are warnings",
        "auth:",
        *(f"  {line}" for line in _auth(answers)),
    ]
    entries = (
        [f"- name: {_text(one.name)}         # {one.remark}", *(f"  {line}" for line in _place(one))]
        for one in answers.found
    )
    return (
        "# What every source takes that does not give its own.\nsource_defaults:"
        + _lines(shared, indent=2)
        + "\n\nsources:"
        + "".join(_lines(lines, indent=2) for lines in entries)
        + "\n"
    )


def _place(source: InitSource) -> list[str]:
    return ["kind: gaussdb", f"region: {_text(source.region)}", f"project_id: {_text(source.project_id)}"]


def _source(answers: InitAnswers) -> str:
    endpoint = [f"endpoint: {_text(answers.endpoint)}"] if answers.endpoint else []
    return (
        "sources:\n  - name: "
        + _text(answers.name)
        + _lines(
            [
                "kind: gaussdb",
                f"region: {_text(answers.region)}",
                *endpoint,
                f"project_id: {_text(answers.project_id)}",
                _environment(answers),
                "auth:",
                *(f"  {line}" for line in _auth(answers)),
                "poll_every: 30s",
                "first_poll: baseline          # notify: report tasks that are already listed, too",
                "# Faults, failovers and failed backups: a second source of kind gaussdb_events, docs/alarms.md\n",
            ],
            indent=4,
        )
    )


def _environment(answers: InitAnswers) -> str:
    named = "environment: production     # shown in every message; failures in any other one are warnings"
    return named if is_production(answers.name) else f"# {named}"


def _auth(answers: InitAnswers) -> list[str]:
    match answers.auth:
        case "aksk":
            return [
                "kind: aksk                  # an access key of a user that may only list tasks",
                "access_key: ${HUAWEICLOUD_SDK_AK}",
                "secret_key: ${HUAWEICLOUD_SDK_SK}",
            ]
        case "token":
            return [
                "kind: token                 # user name and password, exchanged for tokens",
                f"domain: {_text(answers.iam_domain)}",
                f"username: {_text(answers.iam_username)}",
                "password: ${HUAWEICLOUD_IAM_PASSWORD}",
            ]
        case "ecs_agency":
            return ["kind: ecs_agency            # the agency of this ECS instance"]
    return ["kind: default_chain         # environment, then ~/.huaweicloud/credentials, then ECS agency"]


# ---- the channels and the ways to them ----


def _channel(kind: ChannelKind, answers: InitAnswers) -> str:
    return f"\n  - name: {kind}" + _lines([f"kind: {kind}", *_channel_settings(kind, answers)], indent=4)


def _channel_settings(kind: ChannelKind, answers: InitAnswers) -> list[str]:
    match kind:
        case "slack":
            return [
                "bot_token: ${SLACK_BOT_TOKEN}   # needs the scope chat:write, and best channels:history",
                f"channel: {_text(answers.slack_channel)}",
            ]
        case "email":
            return [
                f"host: {_text(answers.smtp_host)}",
                "security: starttls            # starttls | tls | none",
                *_login(answers),
                f"from: {_text(answers.mail_from)}",
                f"to: [{', '.join(map(_text, answers.mail_to))}]",
            ]
        case "webhook":
            return [
                f"url: {_text(answers.webhook_url)}",
                "secret: ${WEBHOOK_SECRET}     # whsec_ and base64; the receiver verifies signatures",
            ]
        case "wecom" | "dingtalk" | "feishu" | "mattermost" | "rocketchat":
            return [
                f"webhook_url: ${{{webhook_variable(kind)}}}   # whoever knows it can post",
                *_CHAT_HINTS.get(kind, ()),
            ]
    return []


_CHAT_HINTS: Mapping[str, tuple[str, ...]] = {
    "dingtalk": ("# secret_file: dingtalk-secret   # where the robot wants signed requests; it begins with SEC",),
    "feishu": ("# secret_file: feishu-secret     # where the bot wants signed requests",),
}


def webhook_variable(kind: WebhookChatKind) -> str:
    """Return the environment variable with the URL of a chat's webhook."""
    return f"{kind.upper()}_WEBHOOK_URL"


def _login(answers: InitAnswers) -> list[str]:
    """Return the lines of a login, or none without a user name."""
    if not answers.smtp_username:
        return []
    return [f"username: {_text(answers.smtp_username)}", "password: ${SMTP_PASSWORD}"]


_ROUTES: tuple[tuple[str, str, tuple[ChannelKind, ...]], ...] = (
    (
        "failures",
        "type in [task.failed, task.stalled, task.overdue, task.missing]",
        ("slack", *CHAT_KINDS, "email", "console", "webhook"),
    ),
    (
        "live-messages",
        "type in [task.started, task.progressed, task.completed, task.restarted, task.unlisted]",
        ("slack",),
    ),
    ("everything", "", ("console", "webhook")),
)
"""Name, matcher and kinds of channels. Failures go everywhere, other events only where they interrupt nobody."""


def _route(name: str, match: str, kinds: Iterable[ChannelKind], answers: InitAnswers) -> str:
    channels = [kind for kind in kinds if kind in answers.channels]
    matchers = [f"match: [{_text(match)}]"] if match else []
    settings = [*matchers, f"channels: [{', '.join(channels)}]"]
    return f"\n  - name: {name}{_lines(settings, indent=4)}" if channels else ""
