"""The section `store`: the database."""

from typing import Annotated

from pydantic import AfterValidator, Field, PrivateAttr, SecretStr, ValidationInfo

from notifier.config.database_place import DatabasePlace
from notifier.settings.base import Origin, Settings
from notifier.settings.types import Secret


def _database_url(secret: SecretStr, info: ValidationInfo) -> SecretStr:
    DatabasePlace.of(secret.get_secret_value(), (info.context or Origin()).directory)
    return secret


DatabaseUrl = Annotated[Secret, AfterValidator(_database_url)]


class StoreSettings(Settings):
    """The database."""

    database: DatabaseUrl = Field(default=SecretStr(DatabasePlace.DEFAULT), alias="url")
    """`sqlite:///notifier.db`, relative to this file, or `postgresql://user:password@host/database`."""
    migrate: bool = False
    """Whether `run` may upgrade a PostgreSQL database. SQLite always upgrades itself."""

    _place: DatabasePlace = PrivateAttr()

    def model_post_init(self, context: object) -> None:
        """Resolve a relative path against the folder of the configuration file, like all paths in it."""
        written = self.database.get_secret_value()
        if isinstance(context, Origin):
            self._place = DatabasePlace.of(written, context.directory)
            self.__dict__["database"] = SecretStr(self._place.url)  # the model is frozen once it is made
        else:
            self._place = DatabasePlace(written)

    @property
    def place(self) -> DatabasePlace:
        """The database, its path resolved."""
        return self._place

    @property
    def url(self) -> str:
        """URL of the database, password included; a relative path starts at the working directory."""
        return self._place.url

    @property
    def left_behind_note(self) -> str | None:
        """How to move a database that an earlier version created in the working directory; None without one."""
        return self._place.left_behind_note
