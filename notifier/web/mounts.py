"""Applications within the application."""

import re

from starlette.routing import Mount
from starlette.types import ASGIApp


class WholeMount(Mount):
    """An application that gets every path below its own.

    Starlette's gets none with a line break (`%0A`): nobody would answer it with the headers of security.
    """

    def __init__(self, path: str, app: ASGIApp) -> None:
        super().__init__(path, app)
        self.path_regex = re.compile(self.path_regex.pattern, re.DOTALL)
