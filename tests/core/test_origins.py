"""Which row of the audit log started a task, and whom it names."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from notifier.core.origins import (
    BASELINE_AGE,
    LONGEST_WINDOW,
    SEARCH_WINDOW,
    FoundOrigin,
    StartedTask,
    TraceCaller,
    TraceQuery,
    TraceRow,
    figures_of,
    find_origin,
    first_try_at,
    is_last_try,
    next_try_at,
    plan_queries,
    query_stages,
    started_by,
    trace_names,
    worth_asking,
)
from notifier.core.started_by import StartedBy, StartedVia

T0 = datetime(2026, 11, 27, 10, 15, tzinfo=UTC)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
JOB = "2b414788-a600-4883-a023-90e2eb0ea227"
PLAIN_JOB = "2b414788a6004883a02390e2eb0ea227"
OTHER_JOB = "04efe8e2925543fb8a6e8dd1aa3ba5dd"
INSTANCE = "ce2dce50f365430abe161bab79495a6ein14"
LI = TraceCaller(
    name="li.wei", user_name="li.wei", principal_urn="iam::05b2:user:li.wei", invoked_by=("service.console",)
)
TASK = StartedTask(
    source="prod",
    job_id=JOB,
    name="ResizeGaussDBV5Flavor",
    instance_id=INSTANCE,
    instance_name="orders-prod",
    created_at=T0,
    seen_at=T0 + 20 * SECOND,
)
ROW = TraceRow(
    trace_id="6f1e",
    name="resizeFlavor",
    kind="ConsoleAction",
    at=T0 - SECOND,
    recorded_at=T0 + 47 * SECOND,
    status=202,
    resource_id=INSTANCE,
    job_ids=frozenset({PLAIN_JOB}),
    user=LI,
    address="198.51.100.7",
)
NAMELESS = replace(ROW, job_ids=frozenset[str]())
"""The same row without the id of the job."""
RESULT = replace(NAMELESS, trace_id="9a2b", kind="SystemAction", at=T0 + 30 * SECOND, user=None, address="")
"""The second row of an asynchronous operation."""


def whom(found: FoundOrigin | None) -> str | None:
    return found.started_by.name if found else None


def find(*traces: TraceRow, task: StartedTask = TASK, last: bool = False, whole: bool = True) -> FoundOrigin | None:
    return find_origin(task, traces, last=last, whole=whole)


# ---- by the id of the job ----


@pytest.mark.parametrize("job_id", [JOB, JOB.upper(), PLAIN_JOB, PLAIN_JOB.upper()])
def test_a_job_id_is_compared_without_dashes_and_case(job_id: str) -> None:
    found = find(ROW, task=replace(TASK, job_id=job_id))
    assert found == FoundOrigin(
        started_by=StartedBy(name="li.wei", via=StartedVia.CONSOLE), trace_id="6f1e", lag=48 * SECOND
    )


def test_a_job_id_proves_what_neither_name_nor_time_would() -> None:
    strange = replace(ROW, name="somethingNew", at=T0 + 9 * MINUTE, resource_id="")
    assert whom(find(strange)) == "li.wei"
    assert whom(find(strange, task=replace(TASK, name="UnknownGaussDBV5Task", created_at=None))) == "li.wei"


def test_a_job_id_decides_between_rows_that_fit_alike() -> None:
    chen = replace(NAMELESS, trace_id="1", at=T0, user=TraceCaller(name="chen"))
    assert whom(find(chen, ROW)) == "li.wei"


def test_of_two_rows_of_an_operation_the_earliest_with_a_user_counts() -> None:
    result = replace(RESULT, job_ids=ROW.job_ids, at=T0 - MINUTE)
    later = replace(ROW, trace_id="later", at=T0 + 3 * MINUTE, user=TraceCaller(name="op"))
    assert whom(find(result, later, ROW)) == "li.wei"


def test_a_row_without_a_user_waits_for_the_one_with_it() -> None:
    result = replace(RESULT, job_ids=ROW.job_ids)
    assert find(result) is None
    assert find(result, last=True) == FoundOrigin(
        started_by=StartedBy(name="", via=StartedVia.SYSTEM), trace_id="9a2b", lag=17 * SECOND
    )


# ---- without an id of the job ----


def test_the_only_row_that_fits_by_name_instance_and_time_counts() -> None:
    assert whom(find(NAMELESS)) == "li.wei"
    assert whom(find(NAMELESS, RESULT)) == "li.wei"  # the result of the same operation is no second candidate


@pytest.mark.parametrize(
    "other",
    [
        replace(NAMELESS, name="deleteInstance"),
        replace(NAMELESS, at=T0 + 2 * MINUTE),
        replace(NAMELESS, at=T0 - 2 * MINUTE),
        replace(NAMELESS, resource_id="another"),
        replace(NAMELESS, job_ids=frozenset({OTHER_JOB})),
        replace(NAMELESS, status=409),
    ],
)
def test_a_row_of_something_else_does_not_fit(other: TraceRow) -> None:
    assert find(other, last=True) is None
    assert whom(find(replace(other, trace_id="0"), NAMELESS)) == "li.wei"


def test_two_candidates_name_nobody() -> None:
    chen = replace(NAMELESS, trace_id="1", at=T0 + SECOND, user=TraceCaller(name="chen"))
    assert find(NAMELESS, chen, last=True) is None


def test_a_row_that_is_listed_twice_is_one_candidate() -> None:
    assert whom(find(NAMELESS, NAMELESS)) == "li.wei"


def test_a_row_that_fits_another_task_as_well_names_nobody() -> None:
    twin = replace(TASK, job_id=OTHER_JOB, created_at=T0 + 90 * SECOND)
    assert find_origin(TASK, [NAMELESS], [TASK, twin], last=True) is None
    assert whom(find_origin(TASK, [NAMELESS], [TASK, replace(twin, created_at=T0 + 5 * MINUTE)], last=True)) == "li.wei"
    own = replace(ROW, trace_id="twin", job_ids=frozenset({OTHER_JOB}))
    assert whom(find_origin(TASK, [NAMELESS, own], [TASK, twin], last=True)) == "li.wei"


def test_rows_that_were_not_all_read_prove_nothing_by_being_alone() -> None:
    assert find(NAMELESS, whole=False, last=True) is None
    assert whom(find(ROW, whole=False)) == "li.wei"


def test_a_task_without_a_time_is_matched_by_its_job_alone() -> None:
    task = replace(TASK, created_at=None)
    assert find(NAMELESS, task=task, last=True) is None


def test_a_system_row_alone_says_so_only_at_the_last_try() -> None:
    assert find(RESULT) is None
    found = find(RESULT, last=True)
    assert found is not None
    assert found.started_by.via is StartedVia.SYSTEM


def test_a_backup_is_found_by_the_instance_in_the_request() -> None:
    backup = replace(TASK, name="BackupSnapshotGaussDBV5InInstance")
    row = replace(NAMELESS, name="createManualSnapshot", resource_id="backup-1", instance_ids=frozenset({INSTANCE}))
    assert whom(find(row, task=backup)) == "li.wei"
    assert find(replace(row, instance_ids=frozenset({"another"})), task=backup, last=True) is None


def test_a_creation_without_an_id_is_found_by_the_name_of_the_instance() -> None:
    task = replace(TASK, name="CreateGaussDBV5Instance", instance_id="")
    row = replace(NAMELESS, name="createInstance", resource_id="", resource_name="orders-prod")
    assert whom(find(row, task=task)) == "li.wei"
    assert find(replace(row, resource_name="orders-test"), task=task, last=True) is None


@pytest.mark.parametrize(
    ("operation", "names"),
    [
        ("CreateGaussDBV5Instance", ("createInstance",)),
        ("CloneGaussDBV5NewInstance", ("createInstance", "restoreInstance")),
        ("DeleteGaussDBV5Instance", ("deleteInstance",)),
        ("ResizeGaussDBV5Flavor", ("resizeFlavor",)),
        ("GaussDBV5ExpandClusterCN", ("instanceAction",)),
        ("GaussDBV5ExpandClusterDN", ("instanceAction",)),
        ("EnlargeGaussDBV5Volume", ("instanceAction", "resizeVolume")),
        ("BackupSnapshotGaussDBV5InInstance", ("createManualSnapshot",)),
        ("RestoreGaussDBV5InInstance", ("restoreInstance",)),
        ("RestoreGaussDBV5InInstanceToExistedInst", ("restoreInstance",)),
        ("UpgradeGaussDBV5Version", ("upgradeVersion",)),
        ("SomethingElse", ()),
    ],
)
def test_every_documented_operation_has_its_names_in_the_log(operation: str, names: tuple[str, ...]) -> None:
    assert trace_names(operation) == names


# ---- whom a row names ----


@pytest.mark.parametrize(
    ("user", "kind", "name", "via", "agency"),
    [
        (LI, "ConsoleAction", "li.wei", StartedVia.CONSOLE, ""),
        (replace(LI, invoked_by=()), "ApiCall", "li.wei", StartedVia.API, ""),
        (LI, "ApiCall", "li.wei", StartedVia.CONSOLE, ""),
        (TraceCaller(name="old"), "ApiCall", "old", StartedVia.API, ""),
        (TraceCaller(name="id", user_name="shown"), "ApiCall", "shown", StartedVia.API, ""),
        (TraceCaller(principal_urn="sts::1:assumed-agency:ops/li.wei"), "ApiCall", "li.wei", StartedVia.AGENCY, "ops"),
        (
            TraceCaller(principal_urn="sts::1:assumed-agency:ops/a/li.wei"),
            "ConsoleAction",
            "li.wei",
            StartedVia.CONSOLE,
            "ops",
        ),
        (TraceCaller(principal_urn="sts::1:external-user:okta/li.wei"), "ApiCall", "li.wei", StartedVia.API, ""),
        (TraceCaller(name="acme/terraform"), "ApiCall", "terraform", StartedVia.AGENCY, ""),
        (TraceCaller(name="acme/op_service"), "ApiCall", "op_service", StartedVia.SYSTEM, ""),
        (TraceCaller(name="li.wei"), "SystemAction", "li.wei", StartedVia.SYSTEM, ""),
        (TraceCaller(invoked_by=("service.console",)), "ApiCall", "", StartedVia.SYSTEM, ""),
        (None, "SystemAction", "", StartedVia.SYSTEM, ""),
    ],
)
def test_a_row_names_a_person_and_the_way(
    user: TraceCaller | None, kind: str, name: str, via: StartedVia, agency: str
) -> None:
    assert started_by(replace(ROW, user=user, kind=kind)) == StartedBy(name=name, via=via, agency=agency)


def test_an_address_is_taken_only_where_it_is_asked_for() -> None:
    assert started_by(ROW).address == ""
    assert started_by(ROW, with_address=True).address == "198.51.100.7"


def test_the_lag_of_a_row_is_never_negative() -> None:
    assert replace(ROW, recorded_at=None).lag is None
    assert replace(ROW, recorded_at=ROW.at - SECOND).lag == timedelta()


# ---- what to ask, and when ----


def test_an_instance_is_asked_for_ten_minutes_around_the_creation() -> None:
    assert query_stages(TASK, last=False) == (
        (TraceQuery(start=T0 - SEARCH_WINDOW, end=T0 + SEARCH_WINDOW, resource_id=INSTANCE),),
    )


@pytest.mark.parametrize(
    ("name", "instance", "last", "stages"),
    [
        ("BackupSnapshotGaussDBV5InInstance", INSTANCE, False, ["createManualSnapshot"]),
        ("BackupSnapshotGaussDBV5InInstance", INSTANCE, True, ["createManualSnapshot", INSTANCE]),
        ("RestoreGaussDBV5InInstance", INSTANCE, False, [INSTANCE, "restoreInstance"]),
        ("CreateGaussDBV5Instance", INSTANCE, False, [INSTANCE, "createInstance"]),
        ("CreateGaussDBV5Instance", "", False, ["createInstance"]),
        ("CloneGaussDBV5NewInstance", "", False, ["createInstance restoreInstance"]),
        ("Unknown", "", False, []),
        ("Unknown", INSTANCE, False, [INSTANCE]),
    ],
)
def test_stages_ask_by_instance_or_by_name(name: str, instance: str, *, last: bool, stages: Sequence[str]) -> None:
    found = query_stages(replace(TASK, name=name, instance_id=instance), last=last)
    assert [" ".join(one.resource_id or one.trace_name for one in stage) for stage in found] == stages


def test_near_tasks_of_one_instance_share_a_query_and_others_do_not() -> None:
    def asked(*after: timedelta, instance: str = INSTANCE) -> list[tuple[StartedTask, TraceQuery]]:
        tasks = [replace(TASK, job_id=f"{instance}{n}", created_at=T0 + one) for n, one in enumerate(after)]
        tasks = [replace(task, instance_id=instance) for task in tasks]
        return [(task, query_stages(task, last=False)[0][0]) for task in tasks]

    planned = plan_queries([*asked(3 * MINUTE, timedelta(), LONGEST_WINDOW + 4 * MINUTE), *asked(MINUTE, instance="b")])
    assert [(len(one.tasks), one.query.resource_id) for one in planned] == [(1, "b"), (2, INSTANCE), (1, INSTANCE)]
    assert (planned[1].query.start, planned[1].query.end) == (T0 - SEARCH_WINDOW, T0 + 3 * MINUTE + SEARCH_WINDOW)


def test_tries_come_one_five_and_fifteen_minutes_after_the_creation() -> None:
    times = [first_try_at(TASK)]
    while at := next_try_at(TASK, len(times), times[-1]):
        times.append(at)
    assert times == [T0 + MINUTE, T0 + 5 * MINUTE, T0 + 15 * MINUTE]
    assert [is_last_try(TASK, n, at) for n, at in enumerate(times)] == [False, False, True]


def test_a_task_that_was_found_late_is_asked_for_once_at_once() -> None:
    late = replace(TASK, seen_at=T0 + HOUR)
    assert first_try_at(late) == T0 + HOUR
    assert is_last_try(late, 0, T0 + HOUR)


def test_a_clock_that_is_ahead_does_not_delay_the_tries() -> None:
    ahead = replace(TASK, created_at=TASK.seen_at + HOUR)
    assert first_try_at(ahead) == TASK.seen_at + MINUTE
    assert next_try_at(ahead, 1, TASK.seen_at + MINUTE) == TASK.seen_at + 5 * MINUTE


def test_a_baseline_searches_for_its_youngest_tasks_only() -> None:
    def seen(after: timedelta) -> StartedTask:
        return replace(TASK, seen_at=T0 + after)

    assert worth_asking(seen(BASELINE_AGE), baseline=True)
    assert not worth_asking(seen(BASELINE_AGE + SECOND), baseline=True)
    assert worth_asking(seen(timedelta(days=7)), baseline=False)
    assert not worth_asking(seen(timedelta(days=7, seconds=1)), baseline=False)


def test_figures_name_the_lag_that_half_and_nearly_all_rows_have() -> None:
    found = figures_of(200, 100, [float(n) for n in range(100, 0, -1)])
    assert (found.searched, found.explained, found.lag_p50, found.lag_p99) == (200, 100, 50.0, 99.0)
    assert figures_of(3, 0, []).lag_p50 is None
