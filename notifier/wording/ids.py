"""Job ids as people read them: short where the rest says nothing."""

import re
from collections.abc import Collection, Mapping

from notifier.wording.sanitize import ID_LIMIT, one_line

SHORT_ID = 8
"""Number of characters that a random id is cut to. Commands take the beginning of an id."""

_RANDOM = re.compile(r"[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}\w{0,4}")
"""A UUID with or without dashes. Its first characters differ from those of other ids."""


def short_id(job_id: str) -> str:
    """Return the first characters of a random id; any other id whole, at most ID_LIMIT characters."""
    return job_id[:SHORT_ID] if _RANDOM.fullmatch(job_id) else one_line(job_id, ID_LIMIT)


def short_ids(job_ids: Collection[str]) -> Mapping[str, str]:
    """Return each id as short as it can be told apart from the others; whole where even SHORT_ID are not enough."""
    short = {job_id: short_id(job_id) for job_id in job_ids}
    taken: dict[str, int] = {}
    for text in short.values():
        taken[text] = taken.get(text, 0) + 1
    return {job_id: text if taken[text] == 1 else one_line(job_id, ID_LIMIT) for job_id, text in short.items()}
