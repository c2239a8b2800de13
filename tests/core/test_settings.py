from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError, model_validator

from notifier.config.loading import load
from notifier.core.durations import format_duration, parse_duration
from notifier.core.errors import ConfigurationError
from notifier.settings.base import Origin, Settings, settings_digest
from notifier.settings.explain import setting_error
from notifier.settings.secrets import SECRET_FILE_LIMIT, is_exposed, read_secret
from notifier.settings.types import Duration, Secret


class Key(Settings):
    kind: Literal["key"]
    secret: Secret
    backup: Secret | None = None


class Agency(Settings):
    kind: Literal["agency"]
    name: str


class Sample(Settings):
    auth: Annotated[Key | Agency, Field(discriminator="kind")]
    every: Duration = Field(default=timedelta(seconds=30), ge=timedelta(seconds=5), le=timedelta(hours=1))
    size: int = Field(default=1, ge=1, le=100)
    tags: tuple[str, ...] = Field(default=(), max_length=2)
    sender: str | None = Field(default=None, alias="from")

    @model_validator(mode="after")
    def _no_pair(self) -> Sample:
        if self.tags and self.sender:
            raise setting_error("tags", "does not go with a sender.")
        return self


KEY = {"kind": "key", "secret": "s3cr3t-value"}


def problems_of(data: object, directory: Path = Path()) -> list[tuple[str, str]]:
    with pytest.raises(ValidationError) as caught:
        Sample.model_validate(data, context=Origin(directory=directory))
    return [(".".join(map(str, found["loc"])), found["msg"]) for found in caught.value.errors()]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("30s", 30), ("5m", 300), ("2h", 7200), ("1h30m", 5400), ("8d", 691200)],
)
def test_a_duration_reads_as_it_is_written(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)
    assert format_duration(timedelta(seconds=seconds)) == text


def test_a_week_is_seven_days() -> None:
    assert parse_duration("2w") == parse_duration("14d")


@pytest.mark.parametrize("text", ["", "30", "s", "-5s", "5 s", "1h 30m", "1e3s", "٣s", "5S", "1y", "9" * 400 + "w"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="for example 30s"):
        parse_duration(text)


@given(st.integers(min_value=0, max_value=10**12))
def test_a_formatted_duration_reads_back(milliseconds: int) -> None:
    length = timedelta(milliseconds=milliseconds)
    assert parse_duration(format_duration(length)) == length


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"auth": KEY, "sise": 2}, [("sise", "unknown key. Did you mean size?")]),
        ({"auth": KEY, "zzz": 2}, [("zzz", "unknown key. Known keys: auth, every, size, tags, from.")]),
        ({"auth": {**KEY, "backup_fil": "x"}}, [("auth.key.backup_fil", "unknown key. Did you mean backup_file?")]),
        ({}, [("auth", "is missing.")]),
        ({"auth": {}}, [("auth.kind", "is missing.")]),
        ({"auth": {"kind": "agncy"}}, [("auth.kind", "must be one of key, agency. Did you mean agency?")]),
        (
            {"auth": {"kind": "key", "secret": " "}},
            [("auth.key.secret", "is missing or empty. Give secret, or secret_file with the path of a file.")],
        ),
        (
            {"auth": KEY, "every": "1s", "size": "many", "tags": ["a", "b", "c"]},
            [
                ("every", "must be at least 5 seconds."),
                ("size", "must be a whole number."),
                ("tags", "must have at most 2 entries."),
            ],
        ),
        ({"auth": KEY, "every": 30}, [("every", "a duration needs a unit, for example 30s, 5m, 2h or 7d")]),
        ({"auth": KEY, "size": None}, [("size", "must be a whole number; here it is empty.")]),
        ({"auth": KEY, "from": []}, [("from", "must be text; here it is a list.")]),
        ({"auth": KEY, "from": "x", "tags": ["a"]}, [("tags", "does not go with a sender.")]),
        ([], [("", "must be a mapping: lines of key: value; here it is a list.")]),
    ],
)
def test_errors_are_in_plain_words_and_all_at_once(data: object, expected: list[tuple[str, str]]) -> None:
    assert problems_of(data) == expected


def test_a_secret_is_in_no_repr_and_no_error() -> None:
    settings = Sample.model_validate({"auth": KEY})
    with pytest.raises(ValidationError) as caught:
        Sample.model_validate({"auth": {**KEY, "backup": ["s3cr3t-value"]}, "nope": "s3cr3t-value"})
    assert "s3cr3t" not in f"{settings!r} {settings} {caught.value} {caught.value!r} {caught.value.errors()}"


# ---- secrets in files ----


def secret_file(directory: Path, content: bytes = b"from-the-file\n", mode: int = 0o600) -> Path:
    path = directory / "secret"
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_a_secret_is_read_from_its_file_beside_the_configuration(tmp_path: Path) -> None:
    secret_file(tmp_path, b"  from the file \r\n")
    auth = {"kind": "key", "secret_file": "secret"}
    settings = Sample.model_validate({"auth": auth}, context=Origin(directory=tmp_path))
    assert isinstance(settings.auth, Key)
    assert settings.auth.secret.get_secret_value() == "  from the file "


def test_a_blank_secret_gives_way_to_its_file(tmp_path: Path) -> None:
    path = secret_file(tmp_path)
    key = Key.model_validate({"kind": "key", "secret": "", "secret_file": str(path), "backup": "", "backup_file": ""})
    assert key.secret.get_secret_value() == "from-the-file"
    assert key.backup is None


@pytest.mark.parametrize(
    ("content", "mode", "complaint"),
    [
        (b"x", 0o644, "{path} can be read by other users. Run: chmod 600 {path}"),
        (b"x", 0o640, "{path} can be read by other users. Run: chmod 600 {path}"),
        (b"", 0o600, "{path} is empty."),
        (b" \n", 0o600, "{path} is empty."),
        (b"\xff\xfe", 0o600, "{path} is not UTF-8 text."),
        (b"x" * (SECRET_FILE_LIMIT + 1), 0o600, "{path} is larger than 65536 bytes; that cannot be a secret."),
    ],
)
def test_an_unfit_secret_file_is_refused_with_the_remedy(
    tmp_path: Path, content: bytes, mode: int, complaint: str
) -> None:
    path = secret_file(tmp_path, content, mode)
    data = {"auth": {"kind": "key", "secret_file": "secret"}}
    assert problems_of(data, tmp_path) == [("auth.key.secret_file", complaint.format(path=path))]


def test_a_missing_secret_file_and_a_directory_are_refused(tmp_path: Path) -> None:
    data = {"auth": {"kind": "key", "secret_file": "nowhere", "backup_file": "."}}
    assert problems_of(data, tmp_path) == [
        ("auth.key.secret_file", f"cannot read {tmp_path}/nowhere: No such file or directory."),
        ("auth.key.backup_file", f"{tmp_path} is not a file."),
    ]


@pytest.mark.skipif(os.name != "posix", reason="modes are a matter of POSIX")
@pytest.mark.parametrize(
    ("path", "mode", "ours", "exposed"),
    [
        ("/etc/notifier/smtp", 0o600, True, False),
        ("/etc/notifier/smtp", 0o640, True, True),
        ("/etc/notifier/smtp", 0o640, False, False),
        ("/etc/notifier/smtp", 0o644, False, False),
        ("/run/secrets/smtp", 0o444, True, False),
        ("/var/run/secrets/smtp", 0o644, True, False),
        ("/var/run/secrets/kubernetes.io/serviceaccount/token", 0o644, True, False),
        ("/run/secrets/../../etc/smtp", 0o444, True, True),
        ("/etc/run/secrets/smtp", 0o444, True, True),
    ],
)
def test_other_readers_of_a_secret_file_are_found(path: str, mode: int, *, ours: bool, exposed: bool) -> None:
    owner = os.geteuid() if ours else os.geteuid() + 1
    status = os.stat_result((stat.S_IFREG | mode, 0, 0, 1, owner, 0, 1, 0, 0, 0))
    assert is_exposed(status, Path(path)) is exposed


def test_a_kubernetes_projected_volume_may_be_readable_by_all(tmp_path: Path) -> None:
    data = tmp_path / "..2026_01_15_08_30_00.123"
    data.mkdir()
    secret_file(data, mode=0o644)
    (tmp_path / "..data").symlink_to(data.name)
    (tmp_path / "key").symlink_to("..data/secret")
    assert read_secret(tmp_path / "key") == "from-the-file"


def test_a_secret_on_a_read_only_mount_may_be_readable_by_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = secret_file(tmp_path, mode=0o444)
    with pytest.raises(ValueError, match="chmod 600"):
        read_secret(path)
    real = os.statvfs(path)
    read_only = os.statvfs_result([*real[:8], real.f_flag | os.ST_RDONLY, real.f_namemax])
    monkeypatch.setattr(os, "statvfs", lambda _path: read_only)
    assert read_secret(path) == "from-the-file"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("read", [read_secret, load])
def test_another_users_file_is_refused_with_advice_for_containers(read: Callable[[Path], object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = secret_file(Path(folder))
        Path(folder).chmod(0o755)
        os.seteuid(4711)
        try:
            with pytest.raises((ValueError, ConfigurationError)) as caught:
                read(path)
        finally:
            os.seteuid(0)
    assert str(caught.value) == (
        f"cannot read {path}: it belongs to uid 0 and has mode 0600; this runs as uid 4711. Start this as uid 0, or let"
        " uid 4711 read the file: on a host with chown 4711, in Kubernetes with securityContext.fsGroup and the"
        " volume's defaultMode: 0440, in Compose with user: or with the secret's uid and mode."
    )


def test_a_secret_and_its_file_together_are_refused(tmp_path: Path) -> None:
    secret_file(tmp_path)
    data = {"auth": {**KEY, "secret_file": "secret"}}
    assert problems_of(data, tmp_path) == [
        ("auth.key.secret_file", "give either secret or secret_file, not both."),
    ]


# ---- digest ----


def test_a_digest_changes_with_every_setting_and_nothing_else(tmp_path: Path) -> None:
    base = {"auth": KEY}
    variants = [
        base,
        {"auth": {**KEY, "secret": "another"}},
        {"auth": {**KEY, "backup": "s3cr3t-value"}},
        {"auth": KEY, "size": 2},
        {"auth": KEY, "every": "31s"},
    ]
    digests = {settings_digest(Sample.model_validate(data)) for data in variants}
    assert len(digests) == len(variants)
    from_file = {"auth": {"kind": "key", "secret_file": str(secret_file(tmp_path, b"s3cr3t-value\n"))}, "every": "30s"}
    assert settings_digest(Sample.model_validate(from_file)) == settings_digest(Sample.model_validate(base))


def test_a_digest_is_the_same_in_every_process() -> None:
    pinned = "46ccaf395620c94cf1b31b9c4edaead3e688b518e4192b6ae9100f569552ebbc"
    assert settings_digest(Sample.model_validate({"auth": KEY})) == pinned


# ---- JSON Schema ----


def test_the_schema_has_the_twins_and_asks_for_one_of_two() -> None:
    schema = Key.model_json_schema()
    assert {"secret", "secret_file", "backup", "backup_file"} <= schema["properties"].keys()
    assert schema["required"] == ["kind"]
    assert schema["allOf"] == [{"anyOf": [{"required": ["secret"]}, {"required": ["secret_file"]}]}]


def test_the_schema_writes_durations_as_people_do() -> None:
    assert Sample.model_json_schema()["properties"]["every"]["default"] == "30s"
