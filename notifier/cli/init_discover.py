"""`notifier init --discover`: the projects of an account that use GaussDB, as answers."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import typer

from notifier.cli import event_loop
from notifier.cli.init_template import InitAnswers, InitSource, environment_of, render_config
from notifier.cli.output import Column, TableRow, TextTable, cell, counted, show
from notifier.cli.progress import spinner
from notifier.config import loading as configuration
from notifier.config.files import environment
from notifier.core.errors import ConfigurationError, NotifierError
from notifier.core.projects import ProjectListing, source_name
from notifier.wiring.survey import SurveyedProject, survey_projects

ACCOUNT_NAME = "huawei"
"""Name of an account where none is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveredSources:
    """What the file is to have as sources."""

    found: tuple[InitSource, ...]
    regions: tuple[str, ...]
    """Of the account; empty where each project is a source."""
    asked: InitAnswers
    """With what the cloud was asked."""

    def in_answers(self, answers: InitAnswers) -> InitAnswers:
        """Return answers with these sources."""
        return replace(
            answers,
            found=self.found,
            regions=self.regions,
            name=self.asked.name,
            endpoint=self.asked.endpoint,
            iam_endpoint=self.asked.iam_endpoint,
        )


def discovered(
    answers: InitAnswers, regions: Sequence[str], *, iam_endpoint: str, prefix: str, as_account: bool
) -> DiscoveredSources:
    """Ask the cloud which projects use GaussDB, and show them.

    Raises ConfigurationError where the environment has no keys, SourceError where the cloud refuses them or cannot be
    reached, and NotifierError where no project uses GaussDB.

    Args:
        answers: how the cloud is asked.
        regions: which regions to ask, with * and ?; all where there are none.
        iam_endpoint: IAM that lists the projects; the empty string for the usual one.
        prefix: what the names of sources begin with; of an account its name. It may be empty.
        as_account: write one account instead of a source for each project.
    """
    asked = replace(
        answers,
        channels=(),
        found=(),
        regions=tuple(regions) or ("*",),
        iam_endpoint=iam_endpoint,
        name=prefix or ACCOUNT_NAME,
    )
    text = render_config(asked)
    known = environment()
    if missing := [name for name in environment_of(text) if not known.get(name, "").strip()]:
        raise ConfigurationError(
            f"--discover asks the cloud with the keys of the environment: set {', '.join(missing)}"
        )
    config = configuration.loads(text, known, origin="options")
    with spinner("Asking IAM and GaussDB …"):
        surveyed = event_loop.run(survey_projects(config))
    show(_table(surveyed))
    used = [one for one in surveyed if one.in_use]
    if not used and not as_account:
        raise _nothing(surveyed)
    found, taken = list[InitSource](), set[str]()
    for one in _without_unwanted(used):
        listing = ProjectListing(id=one.project.project_id, name=one.project.name)
        name = source_name(prefix, listing, taken)
        taken.add(name)
        found.append(
            InitSource(name=name, region=one.project.region, project_id=one.project.project_id, remark=_content(one))
        )
    places = tuple(regions) or tuple(sorted({one.region for one in found})) or ("*",)
    return DiscoveredSources(found=tuple(found), regions=places if as_account else (), asked=asked)


def split_globs(text: str) -> tuple[str, ...]:
    """Split regions at commas and spaces."""
    return tuple(filter(None, text.replace(",", " ").split()))


def _table(surveyed: Sequence[SurveyedProject]) -> TextTable:
    columns = [Column("Project"), Column("Project id", rigid=True), Column("What is in it")]
    rows = [
        TableRow([cell(one.project.name), cell(one.project.project_id), cell(_content(one), _style(one))])
        for one in surveyed
    ]
    return TextTable(columns, rows)


def _style(one: SurveyedProject) -> str:
    return "red" if one.error else "green" if one.in_use else "dim"


def _content(one: SurveyedProject) -> str:
    if one.error:
        return one.error
    if one.tasks:
        return f"{counted(one.tasks, 'task')} in the last month"
    return counted(one.instances, "instance") if one.instances else "no task and no instance"


def _nothing(surveyed: Sequence[SurveyedProject]) -> NotifierError:
    """Return why no project is to be polled."""
    refused = [one for one in surveyed if one.error]
    if refused:
        return NotifierError(
            f"no project uses GaussDB as far as it may be seen; {len(refused)} of {len(surveyed)} could not be asked."
            f" {refused[0].project.name}: {refused[0].error}"
        )
    return NotifierError(
        f"none of the {len(surveyed)} projects had a GaussDB task in the last month or has an instance; --account polls"
        " them anyway, and those that are created later"
    )


def _without_unwanted(used: Sequence[SurveyedProject]) -> Sequence[SurveyedProject]:
    """Ask on a terminal which projects to leave out."""
    if not used or not sys.stdin.isatty():
        return used
    names = {one.project.name for one in used}
    while True:
        text: str = typer.prompt(
            "Projects to leave out, by name (empty: none)", default="", err=True, show_default=False
        )
        left_out = set(split_globs(text))
        if left_out <= names and left_out != names:
            return [one for one in used if one.project.name not in left_out]
        what = ", ".join(sorted(left_out - names)) or "all of them"
        typer.echo(f"Not accepted: {what}. The projects are {', '.join(sorted(names))}.", err=True)
