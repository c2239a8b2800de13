"""The header `Authorization` of HTTP."""

from base64 import b64encode


def basic_authorization(user: str, password: str) -> str:
    """Return the value of the header for a user and a password, in UTF-8. It is a secret."""
    return f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"
