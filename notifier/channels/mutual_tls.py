"""A client's certificate among the settings of a channel. Light: reading a configuration imports this."""

from __future__ import annotations

import ssl
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import model_validator

from notifier.channels.settings import ChannelSettings
from notifier.settings.explain import setting_error
from notifier.settings.secrets import check_key_file
from notifier.settings.types import PemFile, Secret

if TYPE_CHECKING:
    from notifier.channels.base import ChannelContext


class MutualTlsSettings(ChannelSettings):
    """Settings of a channel that can show a certificate of its own to the server (mutual TLS)."""

    cert_file: PemFile = None
    """PEM file of the certificate to show where the server asks for one, with those between it and its authority."""
    key_file: PemFile = None
    """PEM file of its key. Default: the key is in `cert_file`."""
    key_password: Secret | None = None
    """Password of the key, where it is encrypted."""

    @model_validator(mode="after")
    def _check_certificate(self) -> Self:
        if self.cert_file is None:
            for key in ("key_file", "key_password"):
                if getattr(self, key) is not None:
                    raise setting_error(key, "has no effect without cert_file.")
            return self
        place = "key_file" if self.key_file else "cert_file"
        try:
            check_key_file(self.key_file or self.cert_file)
        except ValueError as error:
            raise setting_error(place, str(error)) from None
        if problem := _chain_problem(self.cert_file, self.key_file, self.key_text):
            raise setting_error(place, problem)
        return self

    @property
    def key_text(self) -> str:
        """The password of the key; the empty string for none."""
        return self.key_password.get_secret_value() if self.key_password else ""


def _chain_problem(cert_file: Path, key_file: Path | None, password: str) -> str | None:
    """Return why a certificate and its key cannot be used together; None where they can."""
    try:
        # Without a password OpenSSL would ask at the terminal for that of an encrypted key.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(cert_file, key_file, password=lambda: password)
    except ssl.SSLError as error:
        key = key_file or cert_file
        if error.reason == "KEY_VALUES_MISMATCH":
            return f"the key in {key} is not that of the certificate in {cert_file}."
        files = f"{cert_file} and {key_file}" if key_file else str(cert_file)
        hint = "check key_password" if password else "give key_password if the key is encrypted"
        return f"no certificate with its key can be read from {files}: both must be PEM; {hint}."
    except OSError as error:
        return f"cannot read {cert_file}: {error.strerror}."
    return None


def with_own_certificate(context: ChannelContext, settings: MutualTlsSettings) -> ChannelContext:
    """Return the context of a channel whose client shows the certificate of the settings, if they have one."""
    if settings.cert_file is None:
        return context
    from notifier.http import ClientCertificate  # noqa: PLC0415 - reading settings must not load the network

    certificate = ClientCertificate(
        cert_file=settings.cert_file, key_file=settings.key_file, key_password=settings.key_text or None
    )
    return replace(context, http=context.http.with_certificate(certificate))
