"""How long tests wait for what must happen."""

HANG_TIMEOUT = 300.0
"""Seconds after which a test counts as hung. A limit like this only ends a test that would never end: no test waits
for it, and a machine under any load that it can bear at all is done before. It fits several times into what
continuous integration may take."""
