"""Names that are not there, and those that were perhaps meant."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

__all__ = ["abridged", "nearest"]


def nearest(name: str, known: Sequence[str]) -> str:
    """What was perhaps meant, as the end of a sentence: the nearest names, or all."""
    close = get_close_matches(str(name), known, n=3, cutoff=0.6)
    close = close or [one for one in known if one.lower() == str(name).lower()]
    if close:
        return f"did you mean {' or '.join(map(repr, close))}?"
    return f"there are {abridged(known)}" if known else "there are none"


def abridged(names: Sequence[object], limit: int = 6) -> str:
    """The first names of a list, and how many there are."""
    text = ", ".join(str(name) for name in names[:limit])
    return text if len(names) <= limit else f"{text}, ... ({len(names)} in all)"
