"""`notifier hash-password`: a password as the configuration can hold it."""

import sys

import typer

from notifier.cli.output import print_note, print_text
from notifier.core.errors import ConfigurationError
from notifier.settings.explain import find_invisible
from notifier.web.access.passwords import MAX_PASSWORD, HashedPassword

MIN_PASSWORD = 8
"""Shortest password that is hashed, in characters."""


def hash_password() -> None:
    """Hash a password for web.password or web.users[].password_hash.

    It is asked for twice, and shown nowhere; from a pipe the first line is read. The hash (scrypt) cannot be turned
    back. In YAML write it in single quotes.
    """
    password = _asked() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    if problem := find_invisible(password):
        raise ConfigurationError(f"the password {problem}")
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise ConfigurationError(f"a password has {MIN_PASSWORD} to {MAX_PASSWORD} characters")
    print_text(str(HashedPassword.of(password)))
    if sys.stdout.isatty():
        print_note("Put it in single quotes: password_hash: '$scrypt$…'")


def _asked() -> str:
    answer: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return answer
