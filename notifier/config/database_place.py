"""Where the database is: a relative path starts at the folder of the configuration file."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from notifier.settings.database_url import SqliteAddress, parse_address
from notifier.settings.words import FixedMessageError


@dataclass(frozen=True, slots=True)
class DatabasePlace:
    """The database of a configuration."""

    DEFAULT: ClassVar[str] = "sqlite:///notifier.db"

    url: str
    """URL of the database, password included; a relative path starts at the working directory."""
    left_behind: Path | None = None
    """Where it should be; None unless an earlier version created it in the working directory."""

    @classmethod
    def of(cls, url: str, directory: Path) -> Self:
        """Resolve a URL. Raises ValueError.

        Earlier versions resolved a path against the working directory. A database that exists only there stays in use.
        """
        address = parse_address(url)
        if not isinstance(address, SqliteAddress):
            return cls(url)
        here = directory / address.path
        if here.is_dir():
            raise FixedMessageError("names a folder. Name a file in it, for example sqlite:////var/lib/notifier.db.")
        if here != address.path and address.path.is_file() and not here.exists():
            return cls(url, left_behind=here)
        return cls(f"sqlite:///{here}")

    @property
    def left_behind_note(self) -> str | None:
        """How to move a database that an earlier version created in the working directory; None without one."""
        if self.left_behind is None:
            return None
        place = Path(self.url.removeprefix("sqlite:///")).absolute()
        return (
            f"the database is {place}, where an earlier version created it; a relative store.url now starts at the"
            f" configuration file. Stop the service and move it to {self.left_behind}, or write its full path:"
            f" store.url: sqlite:///{place}"
        )
