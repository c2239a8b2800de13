"""Whom we believe: the certificates of the operating system, and those that the configuration adds."""

import ssl
import sys
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


def create_tls_context(*ca_files: Path | None) -> ssl.SSLContext:
    """Return a context that verifies names and certificates and requires TLS 1.2 or later.

    It trusts the authorities of the operating system (`SSL_CERT_FILE` and `SSL_CERT_DIR` name them as for any program
    on OpenSSL), those of certifi when the system has none, and those in `ca_files` (PEM).
    Raises OSError or ssl.SSLError for a file that cannot be read.
    """
    context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    files = [path for path in ca_files if path]
    for path in files if _system_has_authorities() else [Path(certifi.where()), *files]:
        context.load_verify_locations(cafile=path)
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
