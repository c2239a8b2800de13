"""`notifier oncall`: who is on duty."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from notifier.cli.common import JsonOption, moment_of, view_for
from notifier.cli.configured import load_config
from notifier.cli.output import TableRow, cell, print_json, show
from notifier.cli.stores import read_duties
from notifier.cli.views import View
from notifier.config.config import Config
from notifier.core.errors import ConfigurationError
from notifier.core.rota import Duty, DutyPerson, Rota
from notifier.settings.words import did_you_mean
from notifier.wording import documents


def oncall(
    ctx: typer.Context,
    *,
    name: Annotated[str | None, typer.Argument(metavar="[ROTA]", help="Name of one rota (default: all).")] = None,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="TIME", help='Time in the configured zone, "2026-12-24 18:00" (default: now).'),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show who is on duty, until when, and who follows.

    Exits with 1 when nobody is on duty by one of the rotas.
    --json: {"at", "rotas": [{name, person, mention, until, following}]}.
    """
    config = load_config(ctx)
    rotas = _chosen(config, name)
    moment = moment_of(at, config.timezone)
    found = read_duties(config, rotas, moment)
    if as_json:
        print_json({"at": documents.time(moment), "rotas": [_document(rota, duty) for rota, duty in found]})
    else:
        view = view_for(config)
        show(view.table(("rota", "person", "until", "following"), [_row(view, *one) for one in found]))
    raise typer.Exit(0 if all(duty.person for _, duty in found) else 1)


def _chosen(config: Config, name: str | None) -> Mapping[str, Rota]:
    rotas = config.rotas_by_name
    if not rotas:
        raise ConfigurationError("no rota is configured. Add one to the section rotas.")
    if name is None:
        return rotas
    if name not in rotas:
        raise ConfigurationError(f"there is no rota {name!r}. {did_you_mean(name, rotas, otherwise='Rotas')}")
    return {name: rotas[name]}


def _document(rota: Rota, duty: Duty) -> dict[str, Any]:
    return {
        "name": rota.name,
        "person": duty.person and duty.person.name,
        "mention": list((duty.person.mention if duty.person else ()) or rota.fallback),
        "until": documents.time(duty.until),
        "following": duty.following and duty.following.name,
    }


def _row(view: View, rota: Rota, duty: Duty) -> TableRow:
    cells = (
        cell(rota.name),
        _person(view, duty.person),
        cell(view.when(duty.until) if duty.until else "–"),
        _person(view, duty.following) if duty.until else cell("–"),
    )
    return TableRow(cells, ())


def _person(view: View, person: DutyPerson | None) -> Any:  # noqa: ANN401 - what `cell` returns
    return cell(person.name) if person else cell(view.word("nobody"), "yellow")
