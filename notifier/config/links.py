"""The settings `console_url` and `runbook_url`: templates of the links in messages."""

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from notifier.settings.types import url_rule
from notifier.settings.words import LINK_PATTERN, FixedMessageError, did_you_mean
from notifier.wording.links import RUNBOOK_PLACEHOLDERS

_CONSOLE = "https://console.huaweicloud.com/gaussdb/?{locale}region={{region}}#/gaussdb/management/list"
_LINK = Field(pattern=LINK_PATTERN, max_length=1000)


def default_console_url(values: Mapping[str, Any]) -> str:
    """Return the address of GaussDB's list of instances in the console, in the configured language.

    Huawei's manual links the list with a locale. That the page takes a region is the pattern of its neighbours (RDS,
    TaurusDB) and is not documented for it.
    """
    return _CONSOLE.format(locale="locale=zh-cn&" if values.get("language") == "zh" else "")


def _known_placeholders(url: str) -> str:
    """Refuse a template with unknown or unclosed placeholders, or with any in the host.

    Values such as an error code come from outside: they must not choose the host that people open.
    """
    host = re.match(r"https?://[^/?#]*", url)
    if host and re.search(r"[{}]", host[0]):
        raise FixedMessageError("must have a host without placeholders. Put them behind it.")
    for name in re.findall(r"\{([^{}]*)\}", url):
        if name not in RUNBOOK_PLACEHOLDERS:
            hint = did_you_mean(name, RUNBOOK_PLACEHOLDERS, otherwise="Placeholders")
            raise ValueError(f"has the unknown placeholder {{{name}}}. {hint}")
    if re.search(r"[{}]", re.sub(r"\{[^{}]*\}", "", url)):
        raise FixedMessageError("has a brace without its partner. Write a placeholder as {error_code}.")
    return url


ConsoleUrl = Annotated[str, _LINK]
"""Template of the address of an instance in the cloud's console."""

RunbookUrl = Annotated[
    str, _LINK, url_rule("https://wiki.example.com/gaussdb/{error_code}"), AfterValidator(_known_placeholders)
]
"""Template of the address of instructions for a failure."""
