"""The statements that run often: one text for each database, and parameters by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from factories import T0
from sqlalchemy import CompoundSelect, Delete, Dialect, Insert, Select, Update
from sqlalchemy.dialects import registry

from notifier.core.credentials import CredentialState
from notifier.core.pacing import ChannelHealth
from notifier.store import statements
from notifier.store.engine import SqlStore
from notifier.store.schema import metadata

COLUMNS = {
    table.name: " ".join(column.name for column in table.columns if column.identity is None)
    for table in metadata.sorted_tables
}
SET_LATER = {"claimed_by", "begun", "body", "content_type", "recipients", "retried_at"}
SETTLED = "delivery_id number new_state new_available_at new_outcome_unknown new_reason new_settled_at"

PARAMETERS: Mapping[str, str] = {
    "NOTIFY": "",
    "TIME": "",
    "SERVER_TIME": "",
    "CLAIM_POLL": "source owner now until latest_start latest_end force",
    "EPOCH": "source",
    "DUE_SOURCES": "now",
    "SOURCE_NAMES": "",
    "SOURCES_TO_JUDGE": "before ahead",
    "TASK_NAMES": "",
    "EVENT": "event_id",
    "LATEST_EVENT": "source job_id",
    "ACKNOWLEDGEMENT": "event_id",
    "CREDENTIAL": "key",
    "SAVE_CREDENTIAL": " ".join(["of_key", *(f"new_{name}" for name in CredentialState.__dataclass_fields__)]),
    "RECORD_POLL": " ".join(["source", "new_rung_poll_at", *(f"new_{name}" for name in statements.POLLED)]),
    "RUNG_SOURCES": "names",
    "RING": "names new_rung_at new_next_poll_at",
    "RING_AS_PLANNED": "names new_rung_at",
    "TASKS": "",
    "FINGERPRINTS": "source",
    "RECORDED_TASKS": "source ids",
    "RUNNING_TASKS": "source",
    "RECORD_TASK": COLUMNS["tasks"].replace(" events_pruned", "").replace(" started_by", ""),
    "RECORD_MISSING": "of_source of_job_id new_missing new_unlisted",
    "FAILURES_BY_ID": "source instances apart_from since",
    "FAILURES_BY_NAME": "source instances apart_from since",
    "RECOVERIES_BY_ID": "source instances apart_from operations",
    "RECOVERIES_BY_NAME": "source instances apart_from operations",
    "LOCK_SOURCE": "of_source",
    "KNOWN_EVENTS": "ids",
    "RECORD_EVENT": COLUMNS["events"],
    "OCCURRENCES": "source ids",
    "EVENTS_OF_DELIVERIES": "ids",
    "CHANNEL": "of_name",
    "SAVE_HEALTH": " ".join(["of_name", *(f"new_{name}" for name in ChannelHealth.__dataclass_fields__)]),
    "EDIT_BUDGET": "of_name",
    "LOCK_CHANNELS": "",
    "PARKED_NAMES": "",
    "PARKED_CHANNELS": "",
    "RECORD_DELIVERY": " ".join(sorted(set(COLUMNS["deliveries"].split()) - SET_LATER)),
    "RECORD_DELIVERED_EVENT": COLUMNS["delivery_events"],
    "RECORD_ATTEMPT": COLUMNS["attempts"],
    "DIRECT_CHANNELS": "",
    "REPORT_REPLICA": COLUMNS["replicas"],
    "DUE_PROBES": "now",
    "DUE_DELIVERIES": "channel now limit",
    "BLOCKING_RECIPIENTS": "ids",
    "HOLDING_BACK": "channel subjects",
    "RANK_AS_FAILURES": "seqs",
    "UNSENT_PARTS": "ids",
    "NEWER_UNSETTLED": "channel subjects seq",
    "LOCK_UNSENT": "id",
    "CLAIM_DELIVERIES": "seqs sent_at_once until owner",
    "MARK_BEGUN": "ids number has_begun",
    "SAVE_BODY": "delivery_id new_body new_content_type queued_number",
    "LOCK_DELIVERIES": "ids",
    "BODIES": "ids",
    "SETTLE_DELIVERED": "delivery_id number new_ref now",
    "SETTLE": SETTLED,
    "SETTLE_WITH_RECIPIENTS": f"{SETTLED} new_recipients",
    "WAITING_PROGRESS": "channel subjects",
    "SUPERSEDE": "delivery_id new_reason now",
    "LASTING_STORMS": "source",
    "STORMS": "ids",
    "LOCK_STORM": "id",
    "UNCLAIMED_FAILURES": "storm",
    "TICKETS": "operations",
    "LOCK_TICKETS": "channel operations",
    "HOLD_TICKETS": "operations",
    "HELD_ATTEMPTS": "ids",
    "TICKET_FAILED": "of_channel of_operation of_generation new_failed_at",
    "TICKET_ATTEMPTED": "of_channel of_operation of_generation now",
    "RECORD_TICKET": COLUMNS["tickets"],
    "WANT_TICKET": COLUMNS["tickets"],
    "THREAD_REFS": "channel subjects",
    "COPIES": "channel subject",
    "LOUD_THREADS": "channel subjects",
    "SUBJECTS_WITH_THREADS": "subjects",
    "DUE_EDITS": "channel now progress_before limit",
    "CLAIM_EDITS": "of_channel subjects until",
    "SUBSCRIBERS": "source ids",
    "POP_SUBSCRIBERS": "source ids",
    "EVENT_SUBSCRIPTIONS": "",
    "RECORD_EVENT_SUBSCRIPTION": COLUMNS["event_subscriptions"],
    "END_EVENT_SUBSCRIPTIONS": "ids",
    "SAVE_MUTE": COLUMNS["mutes"],
    "LOCK_MUTE": "id",
    "HOLD_MUTES": "ids now",
    "DUE_MUTES": "now",
    "INSTANCE_SOURCES": "instance",
    "CONFIGURED_MUTES": "",
    "MUTE_IDS": "",
    "DROP_MUTES": "before",
    "SHOWN_SINCE": "after limit",
    "RECENT_THREADS": "instance after limit",
    "ANY_DUE_FAILURE": "before",
    "ANY_DUE_ORIGIN": "before ahead",
    "ANY_DUE_MAINTENANCE": "now",
    "SAVE_MAINTENANCE": COLUMNS["maintenances"],
    "DELETE_EMPTIED": "ids",
    "DUE_FAILURES": "before limit",
    "DUE_UNRULED": "channel limit now",
    "HELD_ABOUT": "channel subjects",
    "HELD_BY_RULE": "channel limit rule",
    "HOLDING_RULES": "",
    "HOLDS_OF_EVENTS": "ids",
    "LASTING_HOLDS": "rules",
    "LOCK_FAILURES": "operations",
    "LOCK_FAILURES_OF_STORM": "storm",
    "LOCK_HELD_ABOUT": "channels subjects",
    "MOVE_EVENT": "new_delivery_id new_position of_channel of_event_id",
    "NEXT_DUE_FAILURE": "",
    "NEXT_DUE_MUTE": "",
    "NEXT_PENDING": "now",
    "PENDING_CHANNELS": "now",
    "PRUNE_FAILURES": "before",
    "RECENT_MESSAGES": "channel limit",
    "RELEASE_HELD": "new_state now seqs",
    "RESULTS_OF_INSTANCES": "instances since",
    "SAVE_FAILURE": COLUMNS["failures"],
    "RECORD_ACTION": "at by detail name target verb",
    "RECORD_REQUEST": "key seen_at",
    "DROP_REQUESTS": "before",
    "IDEMPOTENCY_KEY": "key",
    "RECORD_IDEMPOTENCY_KEY": "body created_at fingerprint key status",
    "DROP_IDEMPOTENCY_KEYS": "before",
    "LOCK_IDEMPOTENCY_KEY": "number",
    "NUMBERED_EVENTS": "after limit until",
    "LATEST_NUMBER": "",
    "OLD_EVENTS": "before limit",
    "OLD_EVENTS_AFTER": "before after after_seq limit",
    "DELIVERIES_OF_EVENTS": "ids",
    "CLOSED_DELIVERIES": "ids before dead_before",
    "MARK_EVENTS_PRUNED": "of_source ids",
    "DELETE_DELIVERY_RECORDS": "ids",
    "DELETE_EMPTY_DELIVERIES": "ids",
    "DELETE_EVENTS": "ids",
    "OLD_TASKS": "source before limit",
    "DELETE_TASKS": "source ids",
}


DIALECTS: Sequence[Dialect] = [registry.load(name)() for name in ("sqlite", "postgresql")]


def built() -> Mapping[str, Any]:
    kinds = (Select, CompoundSelect, Insert, Update, Delete)
    return {name: one for name, one in vars(statements).items() if isinstance(one, kinds) and not name.startswith("_")}


def test_every_statement_is_listed_here() -> None:
    assert set(built()) == set(PARAMETERS)


@pytest.mark.parametrize("dialect", DIALECTS, ids=["sqlite", "postgresql"])
@pytest.mark.parametrize("name", PARAMETERS)
def test_a_statement_takes_these_parameters(name: str, dialect: Dialect) -> None:
    compiled = built()[name].compile(dialect=dialect)
    assert str(compiled)
    named = {key for key, parameter in compiled.binds.items() if not parameter.unique}
    assert named == set(PARAMETERS[name].split())


@pytest.mark.parametrize("name", PARAMETERS)
def test_sqlite_prepares_no_statement_again_for_its_limit(name: str) -> None:
    assert "LIMIT ?" not in str(built()[name].compile(dialect=DIALECTS[0])), "see statements.LIMIT"


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
async def test_due_deliveries_are_found_by_indexes(store: SqlStore) -> None:
    with store.writer.connect() as connection:
        compiled = statements.DUE_DELIVERIES.compile(connection)
        values = compiled.construct_params({"channel": "dba", "now": T0.isoformat(), "limit": 10})
        plan = connection.exec_driver_sql(
            f"EXPLAIN QUERY PLAN {compiled}", tuple(values[name] for name in compiled.positiontup or ())
        )
        steps = [row.detail for row in plan]
    assert any("SEARCH deliveries USING INDEX ix_deliveries_channel_state_rank_seq" in step for step in steps), steps
    assert any("ix_delivery_events_channel_subject" in step for step in steps), steps
    assert any("ix_deliveries_storm_seq" in step for step in steps), steps
    assert not any("SCAN" in step or "TEMP B-TREE" in step for step in steps), steps


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
async def test_claims_are_found_by_their_ids_whatever_else_waits(store: SqlStore) -> None:
    with store.writer.connect() as connection:
        compiled = statements.MARK_BEGUN.compile(connection)
        values = (None,) * len(compiled.positiontup or ())
        steps = [row.detail for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", values)]
    assert any("sqlite_autoindex_deliveries_1 (id=?)" in step for step in steps), steps
    assert not any("state" in step for step in steps), steps


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("name", "indexes"),
    [
        ("FAILURES_BY_ID", ["ix_tasks_instance_id_status_changed_at (instance_id=? AND status=? AND changed_at>?)"]),
        ("FAILURES_BY_NAME", ["ix_tasks_"]),
        ("RECOVERIES_BY_ID", ["ix_tasks_instance_id_status_changed_at (instance_id=? AND status=? AND changed_at>?)"]),
        ("RECOVERIES_BY_NAME", ["ix_tasks_"]),
        ("TASK_NAMES", ["ix_tasks_name_status_changed_at_seconds_source (name>?)"]),
    ],
)
async def test_histories_and_statistics_are_read_by_indexes(store: SqlStore, name: str, indexes: Sequence[str]) -> None:
    values = {"source": "prod", "since": T0, "name": "ResizeFlavor", "status": "failed"}
    lists = {
        "instances": ["in-1", "in-2"],
        "apart_from": ["job-1"],
        "operations": [("in-1", "ResizeFlavor")],
    }
    with store.writer.connect() as connection:
        named = {key: value for key, value in (values | lists).items() if key in PARAMETERS[name].split()}
        literal = {"literal_binds": True}
        compiled = built()[name].params(**named).compile(connection, compile_kwargs=literal)
        steps = [row.detail for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}")]
    for index in indexes:
        assert any(index in step for step in steps), steps
    assert not any(step.startswith("SCAN tasks") for step in steps), steps
