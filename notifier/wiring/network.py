"""The HTTP client that sources, channels and the chat share."""

from __future__ import annotations

from notifier.config import Config
from notifier.http import HttpClient


def http_client(config: Config) -> HttpClient:
    """Return a client with the configured proxy, addresses and certificates. The caller closes it."""
    network = config.network
    return HttpClient(
        proxy=network.proxy_url,
        no_proxy=network.no_proxy,
        allow=network.allow,
        deny=network.deny,
        ca_file=network.ca_file,
    )
