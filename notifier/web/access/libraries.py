"""Whether the libraries of OpenID Connect are there: an extra of the package, imported when somebody signs in."""

from importlib.util import find_spec
from typing import Final

OIDC_EXTRA: Final = "install the extra oidc: make extras, or pip install 'gaussdb-notifier[oidc]'"


def oidc_is_installed() -> bool:
    """Return whether they are there."""
    return all(map(find_spec, ("authlib", "joserfc")))
