"""The one way out: every request to a cloud, a chat or a webhook goes through `HttpClient.exchange`."""

from notifier.http.addresses import AddressRule, IPNetwork
from notifier.http.client import HttpClient, Reply, default_tls
from notifier.http.errors import AddressRefused, HttpError, NoAnswer, NotSent, ReplyTooLarge

__all__ = [
    "AddressRefused",
    "AddressRule",
    "HttpClient",
    "HttpError",
    "IPNetwork",
    "NoAnswer",
    "NotSent",
    "Reply",
    "ReplyTooLarge",
    "default_tls",
]
