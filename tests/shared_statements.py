"""Engines that share what they compiled, for tests: each opens a database of its own, and asks it the same things.

SQLAlchemy keeps compiled statements by engine and dialect. The first engine of a kind that has connected gives both to
those that are made after it. Its dialect knows the library or the server by then, which are the same for all tests, and
the schema that connections begin with, which their options may name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, event

from notifier.store import memory, postgres, sqlite

CreateEngine = Callable[..., Engine]


@contextmanager
def shared_statements() -> Iterator[None]:
    """Let all stores that are opened share the statements that one of them has compiled."""
    known: dict[object, Engine] = {}
    with pytest.MonkeyPatch.context() as patch:
        for module in (memory, postgres, sqlite):
            patch.setattr(module, "create_engine", _sharing(known, vars(module)["create_engine"]))
        yield


def _sharing(known: dict[object, Engine], create: CreateEngine) -> CreateEngine:
    def create_sharing(url: Any, **options: Any) -> Engine:
        engine = create(url, **options)
        given = options.get("connect_args", {}).get("options")
        kind = type(engine.dialect), options.get("paramstyle"), given
        first = known.get(kind)
        if first is None:
            event.listen(engine.pool, "connect", lambda *_: known.setdefault(kind, engine))
        else:
            engine.dialect = engine.pool._dialect = first.dialect
            engine._compiled_cache = first._compiled_cache
        return engine

    return create_sharing
