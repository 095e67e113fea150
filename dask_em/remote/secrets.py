"""What must not be shown of URLs and options."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["unless_secret", "without_secrets"]

#: names whose values are secret, wherever they occur in the name of a parameter or an option
TELLING = "key|secret|token|sig|signature|credential|password|passwd|pwd|connection_string"
USER = re.compile(r"(?<=://)[^/@\s?#]+@")
PARAMETER = re.compile(rf"([?&;][^=&\s]*(?:{TELLING})[^=&\s]*)=[^&\s\"'<>)]+", re.IGNORECASE)
#: of errors that a later try meets again
KINDS: tuple[type[Exception], ...] = (FileNotFoundError, ImportError, TypeError, ValueError)
#: shorter ones are words, such as a profile named "prod"
SHORTEST = 6


def without_secrets(text: str, options: Mapping[str, Any] | None = None) -> str:
    """A text as it may be shown.

    Parameters
    ----------
    text : str
        A URL, or a message that may hold some: user, password and the values of parameters such
        as signatures and tokens are left out.
    options : mapping, optional
        What fsspec was given; the values of its secret entries are left out too.
    """
    for value in _secrets(options or {}):
        text = text.replace(value, "***")
    return PARAMETER.sub(r"\1=***", USER.sub("***@", text))


def unless_secret(error: BaseException) -> BaseException:
    """An error as it may be the cause of another.

    Where a traceback would show a secret, it is one that says the same without it, of a kind that
    tells as much to those who ask whether a later try may do better.
    """
    seen: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in seen:
        if without_secrets(str(one)) != str(one):
            kind = next((kind for kind in KINDS if isinstance(error, kind)), OSError)
            return kind(without_secrets(f"{type(error).__name__}: {error}"))
        seen.append(one)
        one = one.__cause__ or one.__context__
    return error


def _secrets(options: Mapping[Any, Any]) -> Iterator[str]:
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield from _secrets(value)
        elif isinstance(value, str) and len(value) >= SHORTEST and re.search(TELLING, str(name)):
            yield value
