"""Numbers as people read them, and consoles to print them on."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["count", "fixed", "plural", "print_json", "progress_console", "result_console", "size"]


def count(number: float) -> str:
    """A number in the unit that reads best, e.g. ``"28.8 M"``."""
    for unit in ("", " k", " M", " G"):
        if abs(number) < 1000:
            return f"{number:.0f}" if not unit else f"{number:.3g}{unit}"
        number /= 1000
    return f"{number:.3g} T"


def plural(number: int, noun: str, more: str | None = None) -> str:
    """How many of something, e.g. ``"1 chunk"`` or ``"1,200 chunks"``; or as `more` says."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {more or noun + 's'}"


def fixed(number: float | None, width: int, form: str) -> str:
    """A number in a format and of a width, or as many blanks."""
    return " " * width if number is None else format(number, form).rjust(width)


def size(nbytes: int | None) -> str:
    """Bytes in words."""
    from dask_em.engine.plan import readable_bytes

    return "unknown" if nbytes is None else readable_bytes(nbytes)


def progress_console() -> Console:
    """Where progress goes: stderr."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def result_console() -> Console:
    """Where results go: stdout."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True)


def print_json(document: dict[str, Any]) -> None:
    """One strict JSON document on stdout; what is not finite becomes null."""
    print(json.dumps(_strict(document), indent=2, allow_nan=False))


def _strict(value: Any) -> Any:
    if hasattr(value, "tolist"):  # NumPy
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
