"""All outgoing network traffic: every request to a cloud, a chat or a webhook goes through `HttpClient.exchange`.

Long-lived connections, such as Slack's Socket Mode, use `HttpClient.session` under the same rules.
"""

from notifier.http.addresses import AddressRule, IPNetwork
from notifier.http.client import HttpClient, partial_reply
from notifier.http.errors import (
    AddressRefused,
    HttpError,
    NoAnswer,
    NotSent,
    ReplyTooLarge,
    describe_handshake_reply,
)
from notifier.http.proxies import ProxyException
from notifier.http.replies import Headers, Reply
from notifier.http.targets import parse_target
from notifier.http.trust import ClientCertificate, create_tls_context

__all__ = [
    "AddressRefused",
    "AddressRule",
    "ClientCertificate",
    "Headers",
    "HttpClient",
    "HttpError",
    "IPNetwork",
    "NoAnswer",
    "NotSent",
    "ProxyException",
    "Reply",
    "ReplyTooLarge",
    "create_tls_context",
    "describe_handshake_reply",
    "parse_target",
    "partial_reply",
]
