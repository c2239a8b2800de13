"""The process that runs Apprise for one message: JSON on stdin, JSON on stdout.

Apprise reads replies of any length and waits as long as a server likes, and a thread cannot be ended. A process can be,
its memory can be limited, and what its libraries log stays in it.
"""

import json
import logging
import sys
from typing import Any

MAX_MEMORY = 512 << 20
"""Maximum size of the data of the process, in bytes."""
MAX_LINES, MAX_LINE = 200, 500
"""Maximum number of log lines in the result, and maximum length of one in characters."""


def limit_memory() -> None:
    """Limit the memory of this process, where the system can."""
    try:
        import resource  # noqa: PLC0415 - not on every system

        resource.setrlimit(resource.RLIMIT_DATA, (MAX_MEMORY, MAX_MEMORY))
    except (ImportError, ValueError, OSError):
        return


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Load a URL, and send a message to it if there is one in the request.

    Args:
        request: `url`; to send also `title`, `body` and `type`.

    Returns:
        `service`: its name, null where Apprise does not understand the URL. `status`: name of the result.
        `lines`: what Apprise logged, as pairs of level and text. They may contain secrets.
    """
    import truststore  # noqa: PLC0415 - only this process changes how libraries trust
    from apprise import Apprise, AppriseAsset, NotifyFormat, OverflowMode  # noqa: PLC0415 - only here, it takes long to import

    truststore.inject_into_ssl()
    logging.getLogger("apprise").setLevel(logging.DEBUG)
    logging.getLogger().addHandler(logging.NullHandler())
    asset = AppriseAsset(
        app_id="GaussDB notifier",
        async_mode=False,
        http_redirects=False,
        interpret_escapes=False,
        storage_mode="memory",
        service_timeout=0,
        allow_templates=False,
    )
    service = Apprise.instantiate(request["url"], asset=asset)
    if service is None:
        return {"service": None, "status": None, "lines": []}
    known: dict[str, Any] = {"service": str(service.service_name), "status": None, "lines": []}
    if "body" not in request:
        return known
    if "overflow=" not in request["url"]:
        service.overflow_mode = OverflowMode.SPLIT
    sender = Apprise(asset=asset)
    sender.add(service)
    result = sender.notify(
        title=request["title"],
        body=request["body"],
        notify_type=request["type"],
        body_format=NotifyFormat.TEXT,
        log_level=logging.DEBUG,
    )
    entries = [*result.call_logs(), *(entry for one in result.results for entry in one.logs())]
    lines = [(entry.level, entry.message[:MAX_LINE]) for entry in entries[:MAX_LINES]]
    return known | {"status": result.status.name, "lines": lines}


if __name__ == "__main__":
    limit_memory()
    output, sys.stdout = sys.stdout, sys.stderr  # whatever a plugin prints is not the result
    json.dump(run(json.load(sys.stdin)), output)
