"""The sections `foresight` and `expect`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from notifier.config.foresight import ExpectEntry, ForesightSettings, missing_rules
from notifier.core.expectations import ExpectedRuns
from notifier.core.matchers import parse_matcher
from notifier.core.overdue import FixedLimit, OverdueRules

BACKUP = "BackupSnapshotGaussDBV5InInstance"
HOUR = timedelta(hours=1)


def expected(value: object) -> ExpectedRuns:
    found: ExpectedRuns = TypeAdapter(ExpectEntry).validate_python(value)
    return found


def refusal(value: object) -> str:
    with pytest.raises(ValidationError) as refused:
        expected(value)
    return str(refused.value.errors()[0]["msg"])


def test_nothing_is_reported_by_default() -> None:
    settings = ForesightSettings()
    assert settings.overdue.rules is None
    assert not missing_rules(settings, ()).any


def test_limits_are_matchers() -> None:
    given = {"enabled": True, "limits": {"operation=backup": "2h"}, "ignore": ["instance=dev-*"], "factor": 3}
    assert ForesightSettings.model_validate({"overdue": given}).overdue.rules == OverdueRules(
        limits=(FixedLimit(match=parse_matcher("operation=backup"), limit=2 * HOUR),),
        factor=3,
        ignore=(parse_matcher("instance=dev-*"),),
    )


@pytest.mark.parametrize(
    ("section", "why"),
    [
        ({"limits": {"backup": "2h"}}, "'backup' is not a matcher"),
        ({"limits": {"operation=backup": "soon"}}, "is not a duration"),
        ({"limits": {"instanc=a": "2h"}}, "did you mean 'instance'"),
        ({"factor": 1}, "1.1"),
        ({"usual": "perhaps"}, "true or false"),
    ],
)
def test_a_mistake_gets_one_clear_error(section: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why.replace("(", r"\(")):
        ForesightSettings.model_validate({"overdue": section})


@pytest.mark.parametrize("operation", ["manual backup", "Manual Backup", "backup", BACKUP, "手动创建备份"])
def test_a_sentence_names_operation_instances_and_interval(operation: str) -> None:
    text = f"{operation} of prod-* every 26h"
    assert expected(text) == ExpectedRuns(
        text=text, name=BACKUP, every=26 * HOUR, match=(parse_matcher("instance=prod-*"),)
    )


def test_a_sentence_may_have_grace_and_want_a_success() -> None:
    found = expected("manual backup of prod-* every 24h grace 2h succeeded")
    assert (found.every, found.grace, found.succeeded) == (24 * HOUR, 2 * HOUR, True)


def test_a_mapping_says_more() -> None:
    found = expected(
        {"operation": "flavor change", "match": ["environment=production", "label.team=dba"], "every": "7d"}
    )
    assert found == ExpectedRuns(
        text="flavor change of environment=production and label.team=dba every 7d",
        name="ResizeGaussDBV5Flavor",
        every=timedelta(days=7),
        match=(parse_matcher("environment=production"), parse_matcher("label.team=dba")),
    )
    assert expected({"operation": "backup", "every": "1d", "grace": "1h", "succeeded": True}).text == (
        "backup of every instance every 1d grace 1h succeeded"
    )
    assert expected({"operation": "UpgradeGaussDBV5InPlace", "every": "1d"}).name == "UpgradeGaussDBV5InPlace"


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("manual backup every 26h", "write for example 'manual backup of prod-* every 26h'"),
        ("manual backups of prod-* every 26h", "Did you mean manual backup?"),
        ("restore of prod-* every 26h", "is the kind of several operations"),
        ("manual backup of prod-* every day", "'day' is not a duration"),
        ("manual backup of prod-* every 40d", "at most 28 days"),
        ("manual backup of prod-* every 1m", "at least 10 minutes"),
        ({"operation": "backup"}, "is missing"),
        (7, "must be text such as"),
    ],
)
def test_a_wrong_expectation_gets_one_clear_error(value: object, why: str) -> None:
    assert why in refusal(value)
