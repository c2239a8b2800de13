"""Who started a task, in words."""

from notifier.core.started_by import StartedBy, StartedVia
from notifier.wording.localizer import Localizer
from notifier.wording.marks import quoted
from notifier.wording.sanitize import one_line


def starter(value: StartedBy, localizer: Localizer, *, marked: bool = False, address: bool = False) -> str:
    """Return who started a task, and the way: `li.wei, console`; `the system` where nobody is named.

    `marked` quotes names, which are from outside. `address` adds where the request came from, if that is recorded.
    """

    def shown(text: str) -> str:
        return quoted(one_line(text)) if marked else one_line(text)

    if not value.name:
        return localizer.text("started_by.nobody")
    key = "agency_named" if value.via is StartedVia.AGENCY and value.agency else value.via
    via = localizer.text(f"started_by.via.{key}", agency=shown(value.agency))
    if address and value.address:
        return localizer.text("started_by.address", who=shown(value.name), via=via, address=shown(value.address))
    return localizer.text("started_by.person", who=shown(value.name), via=via)


def started_by_condition(value: StartedBy, localizer: Localizer, *, marked: bool = False) -> str:
    """Return the same as a part of a message: `by li.wei, console`."""
    return localizer.text("condition.started_by", starter=starter(value, localizer, marked=marked))
