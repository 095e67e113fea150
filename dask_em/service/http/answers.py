"""Answers over HTTP, and JSON that any reader takes."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

__all__ = ["JSON", "Answer", "as_json", "as_json_list", "in_json"]

T = TypeVar("T")

JSON = "application/json"
#: records that are written before others have their turn on the event loop
AT_ONCE = 100


@dataclass(frozen=True)
class Answer:
    """What a request is answered with.

    Parameters
    ----------
    status : int
    body : bytes
    content : str
        Its media type.
    headers : mapping
        Beside those that every answer has.
    stream : asynchronous generator of bytes, or None
        What follows the body, piece by piece, until it ends or the client leaves.
    """

    status: int = 200
    body: bytes = b""
    content: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    stream: AsyncGenerator[bytes, None] | None = None


def in_json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """An answer of one JSON value."""
    return Answer(status, as_json(value), headers=headers or {})


def as_json(value: Any) -> bytes:
    """JSON in UTF-8, where what is no finite number is null."""
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")  # half a surrogate pair has no bytes


async def as_json_list(records: Sequence[T], told: Callable[[T], Any]) -> bytes:
    """A JSON list of many records, between which the event loop serves others."""
    pieces: list[bytes] = []
    for start in range(0, len(records), AT_ONCE):
        if start:
            await asyncio.sleep(0)
        pieces.extend(as_json(told(record)) for record in records[start : start + AT_ONCE])
    return b"[" + b",\n".join(pieces) + b"]"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return value
