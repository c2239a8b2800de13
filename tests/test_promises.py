"""The promises of the program and the tests that prove them, one table; the README prints the same promises."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What is promised, and which tests would fail if it were broken."""

    id: str
    words: str
    proven_by: tuple[str, ...]
    """Tests as `path::name` or `path::class::name`, the path from the folder of the tests."""
    so_far: str = ""
    """Where the promise reaches further than the program: what these tests prove of it."""


PROMISES = (
    Promise(
        id="P1",
        words="every state that the API shows at a poll becomes exactly one event",
        proven_by=(
            "invariants/test_invariants.py::test_a01_every_visible_change_reaches_every_channel_once",
            "acceptance/test_main_job.py::test_the_same_list_again_notifies_nobody",
            "acceptance/test_reading.py::test_tasks_that_run_are_followed_to_their_end",
            "acceptance/test_reading.py::test_a_list_of_any_size_is_read_whole_and_notified_once",
            "acceptance/test_any_content.py::test_every_row_with_a_status_is_notified_whatever_its_page_holds",
            "usecases/test_poll.py::test_a_start_and_end_between_two_polls_is_notified",
            "usecases/test_poll.py::test_two_replicas_make_one_event",
            "usecases/test_poll.py::test_an_event_found_again_after_a_restore_has_the_same_id",
            "core/test_diff.py::test_every_visible_change_of_a_flapping_task_has_its_own_id",
        ),
    ),
    Promise(
        id="P2",
        words="events and deliveries are written with the snapshot they come from, whenever it is killed",
        proven_by=(
            "usecases/test_crash_points.py::test_a_death_at_any_step_loses_nothing_and_repeats_at_most_one",
            "acceptance/test_kill.py::test_a_kill_loses_nothing_and_repeats_at_most_one_message",
            "usecases/test_poll.py::test_events_and_deliveries_are_there_when_the_snapshot_is",
            "usecases/test_poll.py::test_a_poll_that_lost_its_claim_records_nothing",
            "usecases/test_deliver.py::test_a_killed_sender_costs_one_lease_and_nothing_else",
            "usecases/test_deliver.py::test_a_message_that_kills_its_renderer_is_given_up",
            "chaos/test_chaos_short.py::test_the_short_chaos",
            "contract/test_store.py::test_a_transaction_that_fails_leaves_nothing_behind",
            "adapters/test_store_engine.py::test_a_commit_on_sqlite_survives_a_power_cut",
            "adapters/test_store_engine.py::test_a_commit_on_postgresql_survives_a_power_cut",
        ),
    ),
    Promise(
        id="P3",
        words="every event has exactly one delivery record on each of its channels, and the audit proves it",
        proven_by=(
            "usecases/test_deliver.py::test_every_delivery_ends_in_exactly_one_account",
            "usecases/test_every_account.py::test_every_event_has_one_account_on_each_channel",
            "acceptance/test_on_call_month.py::test_a_month_of_a_team_of_ten",
            "usecases/test_lookup.py::test_an_audit_holds_when_every_pair_is_accounted_for",
            "contract/test_store.py::test_the_ledger_finds_a_pair_without_an_account",
            "contract/test_store.py::test_a_digest_accounts_for_every_event_it_names",
            "acceptance/test_cli_lookups.py::test_audit_accounts_for_every_pair",
            "acceptance/test_cli_service.py::test_the_demo_shows_the_main_job_and_accounts_for_it",
        ),
    ),
    Promise(
        id="P4",
        words="at least once, in order and failures first; a repeat has the same id and the same bytes",
        proven_by=(
            "usecases/test_storm_deliveries.py::test_failures_go_out_before_everything_that_waits",
            "invariants/test_scenarios.py::test_a_life_on_sqlite",
            "invariants/test_scenarios.py::test_a_life_on_postgresql",
            "acceptance/test_kill.py::test_a_backlog_goes_out_in_order_after_a_kill",
            "acceptance/test_kill_streams.py::test_a_stream_of_nats_has_each_event_once",
            "acceptance/test_kill_streams.py::test_a_queue_of_rabbitmq_has_a_repeat_with_the_same_id_and_bytes",
            "usecases/test_deliver.py::test_a_repeat_has_the_same_id_and_the_same_bytes",
            "usecases/test_deliver.py::test_the_body_is_stored_before_it_is_sent",
            "usecases/test_deliver.py::test_order_is_kept_within_a_subject_and_no_other_waits",
            "contract/test_store.py::test_only_the_oldest_unsettled_delivery_of_a_subject_is_due",
            "contract/test_store.py::test_a_digest_waits_for_older_and_holds_back_newer_deliveries",
            "contract/test_channels.py::TestOverHttp::test_a_repeat_sends_the_identical_body",
            "adapters/test_slack.py::test_a_message_that_may_have_arrived_is_unknown_not_repeated",
            "usecases/test_deliver.py::test_what_the_service_has_is_not_sent_again",
            "usecases/test_deliver.py::test_while_the_service_cannot_be_asked_nothing_is_sent",
            "usecases/test_deliver.py::test_an_unknowable_outcome_is_held_on_request_for_a_person",
            "usecases/test_deliver.py::test_a_late_release_does_not_undo_a_newer_claim",
            "simulation/test_simulation.py::test_nothing_is_lost_repeated_or_out_of_order",
            "simulation/test_simulation.py::test_a_mistake_is_noticed_for_the_right_reason",
        ),
    ),
    Promise(
        id="P5",
        words="pages that shift, repeat or end early lose no task and raise no false event",
        proven_by=(
            "acceptance/test_reading.py::test_one_fault_at_any_call_loses_no_task_and_doubles_none",
            ("acceptance/test_reading.py::test_random_faults_lose_double_and_overstate_nothing"),
            ("acceptance/test_reading.py::test_a_list_in_changing_order_is_whole_only_when_it_is"),
            "acceptance/test_reading.py::test_a_list_that_is_never_whole_never_reports_a_task_gone",
            "adapters/test_source_paging.py::test_by_records_a_complete_list_lacks_no_staying_row",
            "core/test_diff.py::test_absence_in_an_incomplete_poll_proves_nothing",
            "usecases/test_poll.py::test_a_running_task_that_is_gone_is_unlisted_once",
            "core/test_event_messages.py::test_a_vanished_task_is_neither_a_success_nor_a_failure",
        ),
    ),
    Promise(
        id="P6",
        words="after downtime it catches up, marks what is late and names the gap",
        proven_by=(
            "usecases/test_poll.py::test_changes_during_our_absence_are_notified_as_late",
            "usecases/test_poll.py::test_an_absence_longer_than_the_api_remembers_is_notified",
            "core/test_diff.py::test_what_happened_while_we_were_away_is_late",
            "core/test_event_messages.py::test_a_gap_has_its_bounds",
        ),
    ),
    Promise(
        id="P7",
        words="the first poll of a source is a quiet baseline",
        proven_by=(
            "acceptance/test_main_job.py::test_a_first_poll_is_a_quiet_baseline",
            "usecases/test_poll.py::test_the_first_poll_is_a_quiet_baseline",
            "usecases/test_poll.py::test_a_baseline_waits_for_a_poll_that_is_whole",
            "contract/test_store.py::test_only_a_complete_full_poll_makes_the_baseline",
        ),
    ),
    Promise(
        id="P8",
        words="no channel delays another; waits are honoured; dead deliveries are kept and can be sent again",
        proven_by=(
            "acceptance/test_main_job.py::test_a_receiver_that_hangs_delays_nobody_else",
            "contract/test_store.py::test_subjects_on_different_channels_do_not_wait_for_each_other",
            "contract/test_channels.py::TestOverHttp::test_a_wait_that_is_asked_for_is_passed_on",
            "contract/test_channels.py::TestOverHttp::test_the_deadline_holds",
            "usecases/test_deliver.py::test_retry_after_is_honoured",
            "usecases/test_deliver.py::test_a_used_up_schedule_ends_in_the_dead_letters",
            "usecases/test_deliver.py::test_what_is_given_up_on_can_be_sent_again_by_hand",
            "usecases/test_deliver.py::test_a_broken_channel_parks_all_its_deliveries",
            "usecases/test_deliver.py::test_a_hanging_message_holds_up_only_its_subject",
            "usecases/test_deliver.py::test_a_requested_pause_holds_for_all_messages_of_a_channel",
            "usecases/test_deliver.py::test_a_dead_channel_is_probed_and_messages_keep_their_attempts",
            "usecases/test_deliver.py::test_waiting_messages_go_out_at_once_when_a_probe_arrives",
            "core/test_pacing.py::test_never_more_than_the_burst_and_the_rate_together",
            "contract/test_store.py::test_parking_parks_the_channel_and_unparking_keeps_the_order",
            "adapters/test_source_gaussdb.py::test_a_short_wait_that_is_asked_for_is_sat_out_in_full",
        ),
    ),
    Promise(
        id="P9",
        words="many failures are one storm, many other events are digests, and every task is named once",
        proven_by=(
            "acceptance/test_storm.py::test_a_storm_reaches_every_channel_and_every_task_is_named_once",
            "core/test_storms.py::test_each_failure_is_in_exactly_one_delivery_of_any_polls",
            "usecases/test_storm_deliveries.py::test_two_thousand_failures_are_one_message_and_a_list",
            "usecases/test_storm_deliveries.py::test_a_poll_that_is_killed_between_batches_loses_and_repeats_nothing",
            "core/test_outbox.py::test_too_many_events_become_digests_that_name_all_of_them",
            "usecases/test_poll.py::test_many_events_for_one_channel_make_few_messages",
            "contract/test_channels.py::TestRoom::test_a_digest_names_every_job",
        ),
    ),
    Promise(
        id="P10",
        words="replicas on one PostgreSQL share the work, and one takes over from another",
        proven_by=(
            "usecases/test_poll.py::test_two_replicas_make_one_event",
            "usecases/test_deliver.py::test_two_replicas_never_send_the_same_delivery",
            "usecases/test_deliver.py::test_a_rate_is_kept_by_all_replicas_together",
            "contract/test_store.py::test_a_source_is_polled_by_one_owner_at_a_time",
            "contract/test_store.py::test_a_claim_passes_on_when_its_lease_ends_and_the_old_is_fenced",
            "contract/test_store.py::test_releasing_an_owner_makes_its_claims_due_at_once",
            "acceptance/test_kill.py::test_a_stop_settles_in_flight_work_and_the_next_process_continues",
            "usecases/test_sharing.py::test_replicas_with_different_clocks_poll_as_often_as_one_would",
            "usecases/test_sharing.py::test_replicas_with_different_clocks_send_once_and_nothing_is_late",
            "usecases/test_sharing.py::test_transactions_of_many_replicas_never_deadlock",
            "acceptance/test_replicas.py::test_replicas_notify_everything_exactly_once",
            "acceptance/test_replicas.py::test_a_killed_programs_poll_is_taken_over_within_the_lease",
            "acceptance/test_replicas.py::test_a_killed_programs_message_is_sent_by_another_within_the_lease",
            "acceptance/test_replicas.py::test_a_stopped_programs_poll_is_taken_over_at_once",
            "acceptance/test_replicas.py::test_a_poll_from_before_a_suspension_is_not_recorded",
            "acceptance/test_replicas.py::test_a_message_sent_before_a_suspension_is_not_settled",
            "acceptance/test_replicas.py::test_a_database_that_drops_connections_loses_and_repeats_nothing",
        ),
    ),
    Promise(
        id="P11",
        words="it reports that it cannot poll or cannot deliver",
        proven_by=(
            "usecases/test_poll.py::test_a_failing_source_is_recorded_and_paused",
            "core/test_health.py::test_a_source_is_red_after_five_polls_and_failing_after",
            "core/test_health.py::test_dead_messages_are_red_until_somebody_handles_them",
            "acceptance/test_cli_lookups.py::test_health_is_red_until_what_died_is_retried_or_dismissed",
            "acceptance/test_cli_lookups.py::test_health_follows_the_last_good_poll",
            "acceptance/test_bad_inputs.py::test_a_reply_that_is_no_task_list_is_reported_in_one_sentence",
            "acceptance/test_bad_inputs.py::test_a_list_that_cannot_be_proven_whole_is_a_warning",
            "core/test_alerts.py::test_silence_is_loud_even_when_no_poll_fails",
            "core/test_alerts.py::test_a_source_alternates_between_failing_and_recovered",
            "core/test_alerts.py::test_a_channel_alternates_between_failing_and_recovered",
            "usecases/test_monitor.py::test_a_source_failure_and_its_recovery_are_notified_once_each",
            "usecases/test_monitor.py::test_a_parked_channel_is_announced_at_once_on_the_others",
            "usecases/test_monitor.py::test_dead_letters_are_notified_together_at_most_once_an_hour",
            "usecases/test_monitor.py::test_a_dead_alert_about_a_channel_makes_no_other",
            "usecases/test_monitor.py::test_of_simultaneous_replicas_one_announces",
            "usecases/test_service.py::test_every_good_poll_gives_a_sign_of_life_and_no_other_does",
            "usecases/test_service.py::test_a_misconfigured_channel_is_announced_on_another",
            "usecases/test_service.py::test_a_service_that_runs_watches_and_gives_signs_of_life",
        ),
    ),
    Promise(
        id="P12",
        words="no secret is shown or stored; text from the API stays text",
        proven_by=(
            "acceptance/test_main_job.py::test_no_secret_reaches_the_database",
            "contract/test_channels.py::TestEveryKind::test_no_secret_is_shown_or_written",
            "contract/test_channels.py::TestEveryKind::test_hostile_text_is_put_into_words_without_controls",
            "contract/test_channels.py::TestOverHttp::test_hostile_text_changes_no_header_and_no_address",
            "adapters/test_slack.py::test_known_attacks_become_no_mention_link_or_markup",
            "adapters/test_chat_replies.py::test_no_reply_mentions_anybody_or_links_anywhere",
            "adapters/test_webhook_chats.py::test_nothing_from_outside_is_a_mention_a_link_or_markup",
            "adapters/test_source_failures.py::test_no_credential_that_a_body_echoes_reaches_the_message",
            "core/test_logs.py::test_a_secret_inside_a_text_is_masked",
            "core/test_config.py::test_no_secret_shows_in_a_configuration",
            "acceptance/test_cli_views.py::test_outside_text_is_neither_markup_nor_a_terminal_sequence",
        ),
    ),
    Promise(
        id="P13",
        words="queries are answered from its own store; forged, replayed or broken requests change nothing",
        proven_by=(
            "acceptance/test_slack_chat.py::test_commands_are_answered_over_socket_mode",
            "acceptance/test_hostile_requests.py::test_an_unproven_request_gets_no_information",
            "usecases/test_chat_responder.py::test_a_request_that_is_replayed_does_nothing",
            "acceptance/test_cli_lookups.py::test_tasks_lists_what_is_recorded",
            "acceptance/test_cli_service.py::test_run_notifies_changes_and_stops_gracefully",
            "acceptance/test_kill.py::test_a_second_service_on_one_file_is_refused_queries_work",
        ),
    ),
    Promise(
        id="P14",
        words="bad input gets one clear error and changes nothing",
        proven_by=(
            "acceptance/test_bad_inputs.py::test_a_reply_that_is_no_task_list_is_reported_in_one_sentence",
            "acceptance/test_bad_inputs.py::test_what_the_first_poll_could_not_read_is_not_half_recorded",
            "acceptance/test_bad_inputs.py::test_a_database_that_cannot_be_used_is_reported_in_one_sentence",
            "acceptance/test_bad_inputs.py::test_an_unset_variable_is_named_and_nothing_begins",
            "acceptance/test_bad_inputs.py::test_an_impossible_command_is_reported_in_one_sentence",
            "core/test_config.py::test_a_mistake_is_reported_with_its_place_and_its_remedy",
            "core/test_config.py::test_no_text_gets_anything_but_an_answer",
            "acceptance/test_kill.py::test_an_unusable_configuration_is_refused_and_the_old_one_stays",
            "acceptance/test_cli.py::test_a_defect_is_one_line_without_its_details",
        ),
    ),
)


def defined(path: Path) -> frozenset[str]:
    """Return the tests that a file defines, as `name` or `class::name`; none for a file that is not there."""
    if not path.is_file():
        return frozenset()
    return frozenset(_tests(ast.parse(path.read_text(encoding="utf-8")).body))


def _tests(body: list[ast.stmt], inside: str = "") -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            yield from _tests(node.body, f"{node.name}::")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield inside + node.name


def missing(tests: tuple[str, ...]) -> list[str]:
    """Return those of the tests that do not exist."""
    split = [(test, *test.split("::", 1)) for test in tests]
    return [test for test, file, name in split if name not in defined(ROOT / "tests" / file)]


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.id)
def test_every_test_that_a_promise_names_exists(promise: Promise) -> None:
    assert promise.proven_by
    assert len(set(promise.proven_by)) == len(promise.proven_by)
    assert missing(promise.proven_by) == []


@pytest.mark.parametrize(
    "test",
    [
        "test_promises.py::test_of_another_name",
        "test_promises.py::Promise::test_every_promise_is_in_the_table_once",
        "test_nowhere.py::test_every_promise_is_in_the_table_once",
        "contract/test_channels.py::test_a_digest_names_every_job",
    ],
)
def test_a_test_that_does_not_exist_is_noticed(test: str) -> None:
    assert missing((test, "test_promises.py::test_every_promise_is_in_the_table_once")) == [test]


def test_every_promise_is_in_the_table_once() -> None:
    assert [promise.id for promise in PROMISES] == [f"P{number}" for number in range(1, 15)]


def test_the_readme_prints_every_promise_and_its_proofs() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    printed = re.findall(r"^\| (P\d+) \| (\S.*\S) \|$", readme, re.MULTILINE)
    assert [id_ for id_, _ in printed] == [promise.id for promise in PROMISES]
    assert "tests/test_promises.py" in readme
