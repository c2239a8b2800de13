"""The one way out: every request to a cloud, a chat or a webhook goes through `HttpClient.exchange`.

A connection that stays, as Slack's Socket Mode has it, goes by `HttpClient.session`, under the same rules.
"""

from notifier.http.addresses import AddressRule, IPNetwork
from notifier.http.client import HttpClient, Reply, arrived
from notifier.http.errors import (
    AddressRefused,
    HttpError,
    NoAnswer,
    NotSent,
    ReplyTooLarge,
    what_happened,
    what_was_answered,
)
from notifier.http.proxies import ProxyException
from notifier.http.trust import default_tls

__all__ = [
    "AddressRefused",
    "AddressRule",
    "HttpClient",
    "HttpError",
    "IPNetwork",
    "NoAnswer",
    "NotSent",
    "ProxyException",
    "Reply",
    "ReplyTooLarge",
    "arrived",
    "default_tls",
    "what_happened",
    "what_was_answered",
]
