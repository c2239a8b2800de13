"""Settings of the page that are valid and probably not intended."""

from __future__ import annotations

import pytest

from notifier.config.advice import suspicious_values
from notifier.config.loading import loads
from notifier.web.access.passwords import HashedPassword, ScryptCost

HASH = str(HashedPassword.of("short", salt=bytes(16), cost=ScryptCost(ln=2, r=1, p=1)))
BASE = """
sources:
  - name: prod
    kind: gaussdb
    region: cn-north-4
    project_id: 0611f1bd8b00d5d32f17c017f15b599f
    auth: {kind: aksk, access_key: a, secret_key: s}
"""


@pytest.mark.parametrize(
    ("web", "said"),
    [
        ("", []),
        ("web: {}", []),
        ("web: {listen: '0.0.0.0:80', password: correct horse battery}", ["TLS"]),
        ("web: {listen: '0.0.0.0:80', url: 'http://n.example', password: correct horse battery}", ["TLS"]),
        ("web: {listen: '0.0.0.0:80', url: 'https://n.example', password: correct horse battery}", []),
        ("web: {password: short}", ["web.password"]),
        ("web: {url: 'http://localhost:8080'}", []),
        ("web: {url: 'https://n.example'}", ["nothing asks people who they are"]),
        ("web: {url: 'https://n.example', password: correct horse battery}", []),
        (f"web: {{password: '{HASH}'}}", []),
    ],
)
def test_a_page_that_others_can_listen_to_is_remarked(web: str, said: list[str]) -> None:
    found = list(suspicious_values(loads(BASE + web, {})))
    assert len(found) == len(said), found
    assert all(word in line for word, line in zip(said, found, strict=True))
    assert not any("battery" in line for line in found)
