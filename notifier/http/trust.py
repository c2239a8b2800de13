"""TLS: whom we believe, the authorities of the operating system and configured ones; and who we are to a server."""

import ssl
import sys
from dataclasses import dataclass, field
from pathlib import Path

import certifi
import truststore

_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/cert.pem",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
)
"""Files that truststore reads besides those that OpenSSL names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCertificate:
    """A certificate that a client shows to a server that asks for one, and its key. All files are PEM."""

    cert_file: Path
    """The certificate, and the certificates between it and its authority."""
    key_file: Path | None = None
    """None where the key is in `cert_file` too."""
    key_password: str | None = field(default=None, repr=False)

    def load_into(self, context: ssl.SSLContext) -> None:
        """Show it from now on. Raises OSError or ssl.SSLError, also for a key of another certificate."""
        # Without a password OpenSSL would ask at the terminal for that of an encrypted key.
        context.load_cert_chain(self.cert_file, self.key_file, password=lambda: self.key_password or "")


def create_tls_context(*ca_files: Path | None, certificate: ClientCertificate | None = None) -> ssl.SSLContext:
    """Return a context that verifies names and certificates and requires TLS 1.2 or later.

    It trusts the authorities of the operating system (`SSL_CERT_FILE` and `SSL_CERT_DIR` name them as for any program
    on OpenSSL), those of certifi when the system has none, and those in `ca_files` (PEM). It shows `certificate` to
    a server that asks for one.
    Raises OSError or ssl.SSLError for a file that cannot be read.
    """
    context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    files = [path for path in ca_files if path]
    for path in files if _system_has_authorities() else [Path(certifi.where()), *files]:
        context.load_verify_locations(cafile=path)
    if certificate:
        certificate.load_into(context)
    return context


def _system_has_authorities() -> bool:
    if sys.platform in ("darwin", "win32"):
        return True
    places = ssl.get_default_verify_paths()
    folder = Path(places.capath) if places.capath else None
    return (
        bool(places.cafile)
        or bool(folder and any(folder.iterdir()))
        or any(Path(bundle).is_file() for bundle in _BUNDLES)
    )
