"""The random generators of the simulator."""

from __future__ import annotations

from random import Random


def seeded(seed: int, purpose: str) -> Random:
    """Return a generator that gives the same numbers for the same seed and purpose, on any machine."""
    return Random(f"{seed}/{purpose}")  # noqa: S311 - a world that can be repeated is the point, nothing is kept secret by it
