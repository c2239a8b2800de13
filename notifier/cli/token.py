"""`notifier token`: tokens of the API."""

import secrets
from datetime import timedelta
from typing import Annotated

import typer

from notifier import access
from notifier.cli.common import JsonOption, current_user, duration, view_for
from notifier.cli.configured import load_config
from notifier.cli.help_format import ReadableCommand, ReadableGroup
from notifier.cli.output import TableRow, cell, print_json, print_note, print_text, show
from notifier.cli.stores import read_store_with, write_store
from notifier.cli.views import View
from notifier.core.access import SECRET_BYTES, ApiToken, TokenScope, digest_of, format_token, is_expired, parse_scopes
from notifier.core.errors import ConfigurationError
from notifier.web.access.names import MAX_NAME, clean_name
from notifier.wiring.stores import Transaction
from notifier.wording import documents

NEVER = "never"

token = typer.Typer(
    help="Make, list and revoke tokens of the API. A token is shown once, when it is made; only a digest is stored.",
    cls=ReadableGroup,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _lifetime(text: str) -> timedelta | None:
    return None if text == NEVER else duration(text)


def _scopes(text: str) -> frozenset[TokenScope]:
    try:
        return parse_scopes(text.replace(",", " ").split())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


@token.command(cls=ReadableCommand)
def create(
    ctx: typer.Context,
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for, such as grafana.")],
    scope: Annotated[
        frozenset[TokenScope], typer.Option("--scope", parser=_scopes, metavar="SCOPES", help="What it allows.")
    ],
    expires: Annotated[
        str, typer.Option("--expires", metavar="TIME", help="How long it is valid (90d, 365d), or never.")
    ] = "365d",
    as_json: JsonOption = False,
) -> None:
    """Make a token, and print it: this is the only time that it can be read.

    Scopes, separated by commas: read (what the page shows), act (also acknowledge, mute, retry), admin (also end
    sessions), metrics (/metrics alone), feed (feeds alone).
    --json: {"token": {id, name, scopes, by, by_name, created_at, expires_at, used_at}, "secret"}.
    """
    cleaned, lifetime = clean_name(name), _lifetime(expires)
    if cleaned is None:
        raise ConfigurationError(f"a name has 1 to {MAX_NAME} characters that can be seen")
    config, user = load_config(ctx), current_user()
    secret = format_token(secrets.token_bytes(SECRET_BYTES))

    def record(tx: Transaction) -> ApiToken:
        made = ApiToken(
            id=secrets.token_hex(4),
            digest=digest_of(secret),
            name=cleaned,
            scopes=scope,
            by=user.id,
            by_name=user.name,
            created_at=tx.now(),
            expires_at=tx.now() + lifetime if lifetime else None,
        )
        access.create_token(tx, made, user)
        return made

    made = write_store(config, record)
    if as_json:
        print_json({"token": documents.token(made), "secret": secret})
        return
    view = view_for(config)
    print_text(secret)
    print_note(view.phrase("token.created", name=made.name, until=_until(view, made)))


@token.command("list", cls=ReadableCommand)
def list_tokens(ctx: typer.Context, *, as_json: JsonOption = False) -> None:
    """List the tokens, the newest first. Exits with 1 when there are none.

    --json: {"tokens": [{id, name, scopes, by, by_name, created_at, expires_at, used_at}]}.
    """
    config = load_config(ctx)
    found = read_store_with(config, lambda q: q.access.tokens())
    if as_json:
        print_json({"tokens": [documents.token(one) for one in found]})
    else:
        view = view_for(config)
        titles = ("id", "token", "scopes", "by", "used", "expires")
        show(view.table(titles, (_row(view, one) for one in found)) if found else view.phrase("token.none"))
    raise typer.Exit(0 if found else 1)


def _row(view: View, one: ApiToken) -> TableRow:
    used = view.when(one.used_at) if one.used_at else view.word("never_used")
    values = (one.id, one.name, " ".join(sorted(one.scopes)), one.by_name, used)
    return TableRow([*map(cell, values), cell(_until(view, one), "red" if is_expired(one, view.now) else "")])


def _until(view: View, one: ApiToken) -> str:
    """Return the day on which a token expires: it may be in another year."""
    if one.expires_at is None:
        return view.word("never_expires")
    return one.expires_at.astimezone(view.localizer.timezone).date().isoformat()


@token.command(cls=ReadableCommand)
def revoke(
    ctx: typer.Context,
    *,
    wanted: Annotated[str, typer.Argument(metavar="ID", help="Id or name, as `notifier token list` shows it.")],
    as_json: JsonOption = False,
) -> None:
    """Revoke a token: from now on it is refused.

    --json: {"token": the one that was revoked}.
    """
    config, user = load_config(ctx), current_user()
    revoked = write_store(config, lambda tx: access.revoke_token(tx, wanted, user))
    if as_json:
        print_json({"token": documents.token(revoked)})
    else:
        show(cell(view_for(config).phrase("token.revoked", name=revoked.name), "green"))
