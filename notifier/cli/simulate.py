"""`notifier simulate`: a cloud to develop and demonstrate against."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Annotated, Any, NamedTuple

import typer

from notifier.cli.common import duration
from notifier.cli.event_loop import run_until_signalled
from notifier.cli.output import print_json, print_note, print_text
from notifier.core.errors import ConfigurationError
from notifier.simulator.faults import FAULT_KINDS
from notifier.simulator.options import FORMS, Offset, Options, Order, ReasonLanguage
from notifier.simulator.rights import CLOUD_SERVICES, RIGHTS
from notifier.simulator.server import AuthKind, Simulator, SourceKind, source_yaml


def simulate(
    *,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Port to listen on; 0 selects a free port.")] = 0,
    seed: Annotated[int, typer.Option("--seed", help="Seed; the same seed gives the same tasks.")] = 1,
    speed: Annotated[float, typer.Option("--speed", help="Simulated seconds per real second.")] = 1.0,
    backlog: Annotated[int, typer.Option("--backlog", help="Number of tasks of the past month at start.")] = 60,
    static: Annotated[
        int | None, typer.Option("--static", metavar="N", help="Serve N tasks that never change instead.")
    ] = None,
    offset: Annotated[Offset, typer.Option("--offset", help="Meaning of the API parameter `offset`.")] = "record",
    order: Annotated[Order, typer.Option("--order", help="Order of the list.")] = "newest",
    language: Annotated[
        ReasonLanguage, typer.Option("--language", help="Language of `fail_reason`; header follows the request.")
    ] = "header",
    auth: Annotated[AuthKind, typer.Option("--auth", help="Authentication method of the printed source.")] = "aksk",
    kind: Annotated[SourceKind, typer.Option("--kind", help="Kind of the printed source.")] = "gaussdb",
    calls_per_minute: Annotated[
        int | None, typer.Option("--calls-per-minute", metavar="N", help="Number of calls allowed per minute.")
    ] = None,
    faults: Annotated[
        str,
        typer.Option(
            "--faults",
            metavar="SPEC",
            help=(
                "Faults and their probabilities, for example 429:0.1,slow=2:0.05,500@cts:0.2. "
                f"Kinds: {', '.join(FAULT_KINDS)}. Services: {', '.join(CLOUD_SERVICES)}."
            ),
        ),
    ] = "",
    project: Annotated[
        list[str],
        typer.Option("--project", metavar="NAME", help="One more project of the account: cn-north-4_payments."),
    ] = [],  # noqa: B006 - typer copies it
    disabled_project: Annotated[
        list[str], typer.Option("--disabled-project", metavar="NAME", help="One more project, which is disabled.")
    ] = [],  # noqa: B006 - typer copies it
    ring: Annotated[
        list[str],
        typer.Option("--ring", metavar="URL", help="Address to which SMN pushes a message whenever a task changes."),
    ] = [],  # noqa: B006 - typer copies it
    deny: Annotated[
        list[str],
        typer.Option("--deny", metavar="ACTION", help=f"Right that the credentials lack: {', '.join(RIGHTS)}."),
    ] = [],  # noqa: B006 - typer copies it
    trace_lag: Annotated[
        timedelta | None,
        typer.Option("--trace-lag", parser=duration, metavar="TIME", help="Average delay of traces (45s)."),
    ] = None,
    event_lag: Annotated[
        timedelta | None,
        typer.Option("--event-lag", parser=duration, metavar="TIME", help="Average delay of events and alarms (30s)."),
    ] = None,
    form: Annotated[
        list[str],
        typer.Option(
            "--form",
            metavar="NAME=FORM",
            help="Form in which the services answer: "
            + "; ".join(f"{name}: {', '.join(choices)}" for name, choices in FORMS.items())
            + ".",
        ),
    ] = [],  # noqa: B006 - typer copies it
    as_json: Annotated[bool, typer.Option("--json", help="Print the address and the source as JSON.")] = False,
) -> None:
    """Serve a simulated cloud until Ctrl-C, and print a source to paste into a configuration.

    It verifies signatures, issues IAM tokens, pages and filters the task list, and changes tasks as the seed
    determines. The same address serves the traces of CTS, the events of Cloud Eye, the alarm history and the
    maintenance events of the same instances, and IAM's list of projects. A topic of SMN rings the addresses
    of --ring, once they confirm.
    --json: {"url": "…", "source": {…}, "projects": {NAME: ID}, "topic": URN}, when it listens.
    """
    options = chosen_forms(
        form,
        projects=(*project, *disabled_project),
        disabled_projects=tuple(disabled_project),
        deny=tuple(deny),
        trace_lag=trace_lag,
        event_lag=event_lag,
        host=host,
        port=port,
        seed=seed,
        speed=speed,
        backlog=backlog,
        static=static,
        offset=offset,
        order=order,
        language=language,
        calls_per_minute=calls_per_minute,
        faults=faults,
    )
    run_until_signalled(partial(_serve, options, PrintedSource(auth, kind), ring, as_json=as_json))


class PrintedSource(NamedTuple):
    """Which source to print."""

    auth: AuthKind
    kind: SourceKind


def chosen_forms(forms: Sequence[str], **options: Any) -> Options:  # noqa: ANN401 - the fields of Options
    """Return options with forms written as NAME=FORM, without the options that are None.

    Raises ConfigurationError for a name that is unknown.
    """
    options = {name: value for name, value in options.items() if value is not None}
    for text in forms:
        name, _, form = text.partition("=")
        if name not in FORMS:
            raise ConfigurationError(f"simulator: there is no form {name!r}; there are {', '.join(FORMS)}")
        options[name] = form
    return Options(**options)


async def _serve(
    options: Options, printed: PrintedSource, ring: Sequence[str], stop: asyncio.Event, *, as_json: bool
) -> None:
    async with Simulator(options) as simulator:
        for url in ring:
            simulator.ring(url)
        if as_json:
            projects = {one.name: one.id for one in simulator.cloud.account.projects}
            topic = simulator.cloud.publisher.topic.urn
            source = simulator.source_config(printed.auth, kind=printed.kind)
            print_json({"url": simulator.url, "source": source, "projects": projects, "topic": topic})
        else:
            print_text(source_yaml(simulator, printed.auth, printed.kind))
            print_note(f"Simulating a cloud on {simulator.url}; Ctrl-C ends it.")
        await stop.wait()
        print_note(f"\nStopped after {len(simulator.request_log):,} calls.")
