"""Job ids as people read them: short where the rest says nothing. Commands take the beginning of an id."""

import re
from collections import Counter
from collections.abc import Collection, Mapping

SHORT_ID = 8
"""Number of characters that a random id is cut to."""

_RANDOM = re.compile(r"[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}\w{0,4}")
"""A UUID with or without dashes. Its first characters mostly differ from those of other ids."""


def shorten_id(job_id: str) -> str:
    """Return the first characters of a random id, any other id whole."""
    return job_id[:SHORT_ID] if _RANDOM.fullmatch(job_id) else job_id


def shorten_ids(job_ids: Collection[str]) -> Mapping[str, str]:
    """Return each id as short as it can be told apart from the others; whole where SHORT_ID characters are not enough.

    Ids that are made from the time share their beginning.
    """
    short = {job_id: shorten_id(job_id) for job_id in job_ids}
    taken = Counter(short.values())
    return {job_id: text if taken[text] == 1 else job_id for job_id, text in short.items()}
