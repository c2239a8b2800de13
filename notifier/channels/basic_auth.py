"""Basic authentication (RFC 7617)."""

from base64 import b64encode


def basic_authorization(user: str, password: str) -> str:
    """Return the value of the header `Authorization`. What follows `Basic ` in it is as secret as the password."""
    return f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"
