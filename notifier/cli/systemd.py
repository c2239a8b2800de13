"""State changes of the service for systemd: ready, reloading, stopping, alive. See sd_notify(3).

Each is one datagram to the socket that the environment names. Without a socket nothing is sent.
"""

import os
import socket
import time
from collections.abc import Mapping

import structlog

log = structlog.get_logger("notifier")


class Systemd:
    """The service manager that started this process, where it requests notifications."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Read the socket and the watchdog interval from the environment."""
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._watchdog_timeout = _watchdog_seconds(environ)
        self.interval = self._watchdog_timeout / 3 if self._watchdog_timeout else float("inf")

    def ready(self) -> None:
        """Report that the service runs, for the first time or after a reload."""
        self._send("READY=1", "STATUS=running")

    def alive(self) -> None:
        """Report that the service is alive, where a watchdog is configured."""
        if self._watchdog_timeout:
            self._send("WATCHDOG=1")

    def reloading(self) -> None:
        """Report that the configuration is being reloaded; `ready` ends this state."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={now}", "STATUS=reloading")

    def stopping(self) -> None:
        """Report that the service is about to end."""
        self._send("STOPPING=1", "STATUS=stopping")

    def _send(self, *lines: str) -> None:
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.settimeout(0)  # a manager that does not read must not hold up the loop
                sender.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            log.warning("systemd.notify_failed", state=lines[0], error=error.strerror or str(error))


def _address(name: str) -> bytes | None:
    """Return the address of a socket: a path, or the name of an abstract socket, which begins with @."""
    if name.startswith("@"):
        return b"\0" + os.fsencode(name[1:])
    return os.fsencode(name) if name.startswith("/") else None


def _watchdog_seconds(environ: Mapping[str, str]) -> float | None:
    """Return the watchdog timeout in seconds; None without a watchdog, or where it watches another process."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    text = environ.get("WATCHDOG_USEC", "")
    return int(text) / 1_000_000 if text.isascii() and text.isdigit() and int(text) else None
