"""One write transaction: the parts of the store on one connection."""

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Connection

from notifier.store.access import AccessRecord
from notifier.store.calendars import Calendars
from notifier.store.channels import Channels
from notifier.store.credentials import CredentialStates
from notifier.store.deliveries import Deliveries
from notifier.store.doorbell import Doorbell
from notifier.store.events import Events
from notifier.store.histories import Histories
from notifier.store.holds import Holds
from notifier.store.idempotency import IdempotencyKeys
from notifier.store.maintenances import Maintenances
from notifier.store.mutes import RecordedMutes
from notifier.store.open_failures import Failures
from notifier.store.origins import Origins
from notifier.store.people import People
from notifier.store.planned_events import UnclaimedDeliveries
from notifier.store.polls import FingerprintCache, Polls
from notifier.store.projects import Projects
from notifier.store.queries import Queries
from notifier.store.replicas import Replicas
from notifier.store.retention import Retention
from notifier.store.rights import MissingRights
from notifier.store.schedules import Schedules
from notifier.store.session import Session
from notifier.store.storms import Storms
from notifier.store.threads import Threads
from notifier.store.tickets import Tickets


class Transaction:
    """All of it happens or none of it. `queries` see what the transaction has written."""

    def __init__(
        self,
        connection: Connection,
        time: Callable[[Session], datetime],
        cache: FingerprintCache,
        planned: UnclaimedDeliveries,
    ) -> None:
        """Compose the parts. The transaction of `connection` belongs to the caller, as do `cache` and `planned`."""
        session = Session(connection, time)
        self.now = session.now
        self.after_commit = session.after_commit
        self.close = session.close
        self.queries = Queries(session)
        self.polls = Polls(session, cache)
        self.credentials = CredentialStates(session)
        self.events = Events(session)
        self.histories = Histories(session)
        self.channels = Channels(session)
        self.holds = Holds(session)
        self.deliveries = Deliveries(session, self.channels, self.holds, planned)
        self.threads = Threads(session, self.queries)
        self.tickets = Tickets(session)
        self.storms = Storms(session, self.queries, self.threads)
        self.failures = Failures(session)
        self.people = People(session, self.queries, self.threads)
        self.mutes = RecordedMutes(session, self.threads)
        self.access = AccessRecord(session)
        aging = (self.threads, self.storms, self.tickets, self.failures, self.mutes, self.access)
        self.retention = Retention(session, cache, self.queries, aging)
        self.replicas = Replicas(session)
        self.idempotency = IdempotencyKeys(session)
        self.calendars = Calendars(session)
        self.projects = Projects(session)
        self.doorbell = Doorbell(session)
        self.schedules = Schedules(session)
        self.rights = MissingRights(session)
        self.origins = Origins(session)
        self.maintenance = Maintenances(session)
