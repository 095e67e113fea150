"""The warning that ends work in which chunks were skipped."""

from __future__ import annotations

import warnings

__all__ = ["UNANSWERED", "UNSCORED", "warn_of_skipped"]

#: what becomes of the rows that were not read
UNANSWERED = "the rows there have no answer (-1 for a label, NaN otherwise)"
UNSCORED = "the score knows nothing of the rows there"


def warn_of_skipped(bad_chunks: int, consequence: str, verb: str) -> None:
    """Say how many chunks were skipped, if any, to who called the caller's caller.

    Parameters
    ----------
    bad_chunks : int
        That could not be read.
    consequence : str
        What that means for the result.
    verb : str
        What to do again when the store is repaired.
    """
    if bad_chunks:
        warnings.warn(
            f"{bad_chunks} {'chunk' if bad_chunks == 1 else 'chunks'} could not be read, so "
            f"{consequence}; repair the store and {verb} again",
            UserWarning,
            stacklevel=4,
        )
