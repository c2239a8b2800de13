"""Whatever the rows of a task list hold: nothing crashes, and every row with a status is told on every channel."""

from __future__ import annotations

import copy
import io
import itertools
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from factories import HOSTILE
from fakes import FakeClock
from hypothesis import example, given, settings
from hypothesis import strategies as st
from listeners import CHANNELS, NAMES, Listeners, listening
from servers.http import HttpServer, reply

from notifier.config import loading as configuration
from notifier.core.delivery import DeliveryState
from notifier.ports import TaskFilter
from notifier.service.service import Service
from notifier.wiring.app import App, open_app

GOOD_ID = "9f2d5c1e-0000-4000-8000-00000000600d"
GOOD = (
    b'{"job_id": "%b", "name": "CreateGaussDBV5Instance", "status": "Failed", "fail_reason": "no quota"}'
    % GOOD_ID.encode()
)

SOURCE = """
sources:
  - {name: s, kind: gaussdb, region: cn-north-4, endpoint: "${CLOUD}", project_id: p1, first_poll: notify,
     auth: {kind: aksk, access_key: AKAKAK, secret_key: obviously-fake}, calls_per_minute: 6000}
"""

# ---- rows ----

Pairs = Sequence[tuple[str, Any]]
"""The fields of a JSON object, in order; a name may come twice."""

texts = st.one_of(
    st.text(st.characters(exclude_categories=()), max_size=40),  # lone surrogates, controls and direction marks too
    st.sampled_from(HOSTILE),
    st.sampled_from(["\x00", "\ud800", "\udfff\ud800", "\u202e", "x" * 20_000, "值" * 20_000]),
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**400, -1, 60, 1e308, float("nan"), float("inf")]),
    texts,
)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2), max_leaves=4
)
times = st.sampled_from(
    ["2022-08-05T08:15:07+0800", "9999-12-31T23:59:59+0000", "0001-01-01T00:00:00+1400", "yesterday", ""]
)
USUAL: Mapping[str, st.SearchStrategy[Any]] = {
    "job_id": texts | st.integers() | st.just("03bc055a-135c-4245-8bd8-b0bc6d3350b3"),
    "name": texts | st.sampled_from(["CreateGaussDBV5Instance", "GaussDBV5ExpandClusterDN"]),
    "status": st.sampled_from(["Running", "Completed", "Failed", "FAILED", "Canceled"]) | texts,
    "process": st.sampled_from([None, "", "60", "60%", 60, 60.5, "-1", "101"]) | scalars,
    "fail_reason": texts | st.none(),
    "created_at": times | scalars,
    "ended_at": times | scalars,
    "instance_info": st.dictionaries(
        st.sampled_from(["instance_id", "instance_name", "instance_status"]) | texts, scalars, max_size=4
    ),
}
pair = st.sampled_from(list(USUAL)).flatmap(lambda name: st.tuples(st.just(name), USUAL[name] | anything))
rows = st.lists(pair | st.tuples(texts, anything), max_size=12) | anything


@st.composite
def pages(draw: st.DrawFn) -> bytes:
    """Draw a page with one good row somewhere between others that may hold anything."""
    written = [write(row, ascii_only=draw(st.booleans())) for row in draw(st.lists(rows, max_size=4))]
    written.insert(draw(st.integers(0, len(written))), GOOD)
    total = draw(st.just(len(written)) | anything)
    return b'{"tasks": [%b], "total_count": %b}' % (b", ".join(written), write(total, ascii_only=True))


def write(value: Any, *, ascii_only: bool) -> bytes:
    """Write a value as JSON. Text stands either escaped or as its bytes, be they UTF-8 or not."""
    if isinstance(value, list) and value and all(isinstance(item, tuple) for item in value):
        fields = (
            write(name, ascii_only=ascii_only) + b": " + write(inner, ascii_only=ascii_only) for name, inner in value
        )
        return b"{" + b", ".join(fields) + b"}"
    return json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")


# ---- the house ----


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """A notifier that tells everything to everybody, and the cloud whose page is being tried."""

    app: App
    cloud: HttpServer
    told: Listeners
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    def service(self) -> Service:
        """Return a service whose one source has a new name and project, so that it takes over nothing from another."""
        (old,) = self.app.sources.values()
        source = copy.copy(old)
        number = next(self.numbers)
        source.name, source.project_id = f"s{number}", f"p{number}"
        settings = self.app.config.sources[0].model_copy(update={"name": source.name})
        config = self.app.config.model_copy(update={"sources": (settings,)})
        return Service(replace(self.app, config=config, sources={source.name: source}))


async def deliver(service: Service) -> None:
    await service.delivering.drain()


@pytest.fixture
async def house(store_url: str, records: io.StringIO) -> AsyncIterator[House]:
    clock = FakeClock(datetime.now(UTC).replace(microsecond=0))
    async with listening() as told, HttpServer() as cloud:
        document = f"{SOURCE}\nstore: {{url: '${{STORE}}'}}\n{CHANNELS}"
        config = configuration.loads(document, told.environ | {"STORE": store_url, "CLOUD": cloud.url("")})
        async with open_app(config, exclusive=True, clock=clock) as app:
            yield House(app=app, cloud=cloud, told=told)
    assert "crashed" not in records.getvalue()


@given(page=pages())
@example(
    page=b'{"tasks": [%b, {"job_id": "a", "job_id": "b", "status": "Failed"}, null, 7, "x", []], "total_count": "6"}'
    % GOOD
)
@example(page=b'{"tasks": [{"job_id": "a\xff\xfeb", "name": "\xed\xa0\x80", "status": "Failed"}, %b]}' % GOOD)
@example(
    page=b'{"tasks": [{"job_id": "raw\x00control\x1b[2J", "fail_reason": "a\nb\x07"}, %b], "total_count": 2}' % GOOD
)
@settings(max_examples=settings().max_examples // 4)
@pytest.mark.filterwarnings("default:Generating overly large repr")  # of what failed, which is large
async def test_every_row_with_a_status_is_notified_whatever_its_page_holds(
    house: House, capsys: pytest.CaptureFixture[str], page: bytes
) -> None:
    service = house.service()
    (source,) = service.app.sources.values()
    house.cloud.answers = [reply(200, page)]
    mails, chats, hooks = len(house.told.smtp.mails), len(house.told.slack.messages), len(house.told.receiver.requests)

    report = await service.polling.poll(source, force=True)
    assert report is not None
    assert (report.error, report.refused) == (None, ())
    tasks = await house.app.store.read(lambda q: q.tasks(TaskFilter(source=source.name)))
    told = sum(bool(row.task.raw_status) for row in tasks)  # a missing status is no news: its row is kept, not told
    assert (len(tasks), len(report.events), len(report.without_status)) == (report.listed, told, report.listed - told)
    assert GOOD_ID in {row.task.job_id for row in tasks}

    await deliver(service)
    ledger = await house.app.store.read(lambda q: q.ledger())
    assert ledger.unaccounted == ()
    assert ledger.by_state[DeliveryState.DELIVERED] == ledger.pairs
    assert len(house.told.smtp.mails) - mails == told
    assert len(house.told.slack.messages) - chats == 2 * told
    assert len(house.told.receiver.requests) - hooks == told
    assert report.deliveries == len(NAMES) * told
    assert GOOD_ID[:8] in capsys.readouterr().out
    assert any(GOOD_ID.encode() in request.body for request in house.told.receiver.requests[hooks:])

    again = await service.polling.poll(source, force=True)
    assert again is not None
    assert (again.changed, again.events) == (report.listed - told, ())
