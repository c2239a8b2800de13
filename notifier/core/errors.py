"""What can go wrong, as a tree. The consequence is on the object; the docstring is the default message.

NotifierError                              exit 1   something went wrong
├── ConfigurationError                     exit 2   the file, the environment or the command is wrong
├── SourceError                            exit 1   a task list could not be read
│   ├── SourceUnreachable                  exit 3   no connection, a timeout, a 5xx: try again
│   │   └── CredentialsUnreachable         exit 3   the same of what issues tokens or keys: IAM, the metadata service
│   ├── SourceThrottled                    exit 3   429; carries how long to wait
│   ├── CredentialsRejected                exit 1   401: never tried in a hot loop, an AK locks after five failures
│   ├── PermissionDenied                   exit 1   403: the credential is right, its rights are not
│   ├── RequestRejected                    exit 1   400, 404 …: the request itself is refused
│   ├── SourceConflict                     exit 1   another replica reads something else under the same name
│   └── MalformedReply                     exit 3   the answer is not a task list
└── StoreError                             exit 1   the database cannot be used
    ├── StoreUnreachable                   exit 3   no database at that address
    ├── StoreMissing                       exit 1   the database file has not been created yet
    ├── StoreInUse                         exit 1   another service already runs on this SQLite file
    ├── StoreDamaged                       exit 1   the database file is corrupt
    ├── StoreReplaced                      exit 1   the database file was deleted or replaced under a running service
    └── SchemaMismatch                     exit 1   the database wants `notifier db upgrade`, or a newer program
"""

from datetime import timedelta
from typing import ClassVar


class NotifierError(Exception):
    """Something went wrong."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").splitlines()[0])


class ConfigurationError(NotifierError):
    """The configuration is not valid."""

    exit_code = 2


class SourceError(NotifierError):
    """The task list could not be read."""

    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str | None = None,
        *,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
        retry_after: timedelta | None = None,
    ) -> None:
        """`message` must already be free of secrets: the gateway echoes signed headers in its error texts."""
        super().__init__(message)
        self.status = status
        self.code = code
        self.request_id = request_id
        self.retry_after = retry_after


class SourceUnreachable(SourceError):
    """The service did not answer."""

    exit_code = 3
    retryable = True


class CredentialsUnreachable(SourceUnreachable):
    """IAM or the metadata service, which issue what a request is authorised with, did not answer."""


class SourceThrottled(SourceError):
    """The service asks to slow down."""

    exit_code = 3
    retryable = True


class CredentialsRejected(SourceError):
    """The service does not accept the credentials."""


class PermissionDenied(SourceError):
    """The credentials are valid but may not list tasks."""


class RequestRejected(SourceError):
    """The service refuses the request."""


class SourceConflict(SourceError):
    """Another replica polls something else under the name of this source."""


class MalformedReply(SourceError):
    """The answer is not a task list."""

    exit_code = 3
    retryable = True


class StoreError(NotifierError):
    """The database cannot be used."""


class StoreUnreachable(StoreError):
    """The database does not answer."""

    exit_code = 3


class StoreMissing(StoreError):
    """There is no database file."""


class StoreInUse(StoreError):
    """Another notifier already runs on this database file."""


class StoreDamaged(StoreError):
    """The database file is damaged."""


class StoreReplaced(StoreError):
    """The database file was deleted or replaced while it was in use."""


class SchemaMismatch(StoreError):
    """The database has another schema version than this program needs."""
