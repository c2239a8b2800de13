"""Why a file cannot be read, with a remedy. Light: the standard library alone."""

import os
import stat
from pathlib import Path


def read_problem(path: Path, error: OSError) -> str:
    """Return why a file cannot be read, with a remedy."""
    if not isinstance(error, PermissionError):
        return f"cannot read {path}: {error.strerror}."
    try:
        status = path.stat()
    except OSError:
        return f"cannot read {path}: a directory on the way is closed to uid {os.geteuid()}, which this runs as."
    return permission_problem(path, status, os.geteuid())


def permission_problem(path: Path, status: os.stat_result, user: int) -> str:
    """Return why a user may not read an existing file, with a remedy."""
    mode = f"{stat.S_IMODE(status.st_mode):04o}"
    facts = f"cannot read {path}: it belongs to uid {status.st_uid} and has mode {mode}; this runs as uid {user}."
    if status.st_uid == user:
        return f"{facts} Run: chmod u+r {path}"
    return (
        f"{facts} Start this as uid {status.st_uid}, or let uid {user} read the file: on a host with chown {user},"
        " in Kubernetes with securityContext.fsGroup and the volume's defaultMode: 0440, in Compose with user: or with"
        " the secret's uid and mode."
    )
