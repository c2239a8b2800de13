"""The section `store`: the database."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, PrivateAttr, SecretStr, ValidationInfo

from notifier.settings.base import Origin, Settings
from notifier.settings.database_url import SqliteAddress, parse_address
from notifier.settings.types import Secret
from notifier.settings.words import FixedMessageError


def _database_url(secret: SecretStr, info: ValidationInfo) -> SecretStr:
    address = parse_address(secret.get_secret_value())
    if isinstance(address, SqliteAddress) and ((info.context or Origin()).directory / address.path).is_dir():
        raise FixedMessageError("names a folder. Name a file in it, for example sqlite:////var/lib/notifier.db.")
    return secret


DatabaseUrl = Annotated[Secret, AfterValidator(_database_url)]


class StoreSettings(Settings):
    """The database."""

    database: DatabaseUrl = Field(default=SecretStr("sqlite:///notifier.db"), alias="url")
    """`sqlite:///notifier.db`, relative to this file, or `postgresql://user:password@host/database`."""
    migrate: bool = False
    """Whether `run` may upgrade a PostgreSQL database. SQLite always upgrades itself."""

    _left_behind: Path | None = PrivateAttr(default=None)

    def model_post_init(self, context: object) -> None:
        """Resolve a relative path against the folder of the configuration file, like all paths in it.

        Earlier versions resolved it against the working directory. A database that exists only there stays in use.
        """
        address = parse_address(self.url)
        if not isinstance(context, Origin) or not isinstance(address, SqliteAddress):
            return
        here = context.directory / address.path
        if here != address.path and address.path.is_file() and not here.exists():
            self._left_behind = here
        else:
            self.__dict__["database"] = SecretStr(f"sqlite:///{here}")  # the model is frozen once it is made

    @property
    def url(self) -> str:
        """URL of the database, password included; a relative path starts at the working directory."""
        return self.database.get_secret_value()

    @property
    def left_behind_note(self) -> str | None:
        """How to move a database that an earlier version created in the working directory; None without one."""
        if self._left_behind is None:
            return None
        place = Path(self.url.removeprefix("sqlite:///")).absolute()
        return (
            f"the database is {place}, where an earlier version created it; a relative store.url now starts at the"
            f" configuration file. Stop the service and move it to {self._left_behind}, or write its full path:"
            f" store.url: sqlite:///{place}"
        )
