"""The built-in causes: `causes.toml`, and the official words of error codes in `codes.tsv`."""

import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from notifier.core.causes import Cause, CauseCatalogue, Retryable

__all__ = ["builtin_catalogue"]


@cache
def builtin_catalogue() -> CauseCatalogue:
    """Return the built-in causes. Read at the first call; the expressions are compiled when a reason is explained."""
    return CauseCatalogue(_causes(), dict(_code_texts()))


def _causes() -> Iterator[Cause]:
    for entry in tomllib.loads(_text("causes.toml"))["causes"]:
        yield Cause(
            id=entry["id"],
            match=tuple(entry["match"]),
            codes=tuple(entry.get("codes", ())),
            means=entry["means"],
            do=entry["do"],
            short=entry["short"],
            retry=Retryable(entry["retry"]),
            inferred=entry["evidence"] == "inferred",
        )


def _code_texts() -> Iterator[tuple[str, Mapping[str, str]]]:
    _, *rows = _text("codes.tsv").splitlines()
    for row in rows:
        code, en, zh = row.split("\t")
        yield code, {"en": en, "zh": zh}


def _text(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
