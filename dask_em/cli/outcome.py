"""How a command ends: its exit code, and one line where a library would show a traceback."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

import typer

from dask_em.errors import DaskEmError

__all__ = [
    "FAILED",
    "INTERRUPTED",
    "WRONG",
    "in_words_of_the_command",
    "reported",
    "say",
    "wrong_usage",
]

FAILED = 1
WRONG = 2
INTERRUPTED = 130

Q = ParamSpec("Q")


def reported(command: Callable[Q, None]) -> Callable[Q, None]:
    """The command, its errors and its interruption told in one line on stderr."""

    @wraps(command)
    def run(*args: Q.args, **kwargs: Q.kwargs) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("default", module=r"dask_em(\..*)?")
            warnings.showwarning = _show_warning
            try:
                command(*args, **kwargs)
            except (DaskEmError, ValueError) as error:
                # a ValueError of its own is scikit-learn's about a parameter
                say(f"error: {in_words_of_the_command(str(error))}")
                raise typer.Exit(FAILED) from error
            except KeyboardInterrupt as error:
                say("interrupted; nothing was left half-written")
                raise typer.Exit(INTERRUPTED) from error

    return run


def in_words_of_the_command(text: str) -> str:
    """A message of the library with ``missing="drop"`` spelled ``--missing drop``."""
    text = text.replace("overwrite=True (--overwrite)", "--overwrite")
    text = re.sub(r"\bn_components=('?)([\w.]+)\1 (?=latent|is decided)", r"-q \2 ", text)
    text = re.sub(r'\b(missing|on_bad_chunk|degenerate|solver|algorithm)="(\w+)"', _choice, text)
    return re.sub(r"\b(features|sample_dims)=\[([^]]*)\]", _names, text)


def _choice(found: re.Match[str]) -> str:
    return f"{_option(found[1])} {found[2]}"


def _names(found: re.Match[str]) -> str:
    names = re.findall(r"[^' \",.]+", found[2]) or ["X", "Y"]
    return f"{_option(found[1])} {','.join(names)}"


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    # an unfinished fit is told in the summary
    if category.__name__ != "ConvergenceWarning":
        say(f"warning: {in_words_of_the_command(str(message))}")


def wrong_usage(text: str) -> typer.Exit:
    """To be raised where a command cannot be meant as it is; the reason is told in one line."""
    say(f"error: {in_words_of_the_command(text)}")
    return typer.Exit(WRONG)


def say(text: str) -> None:
    """A line on stderr."""
    print(text, file=sys.stderr, flush=True)
