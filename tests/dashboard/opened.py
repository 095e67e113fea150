"""Opened: a document of the page, as a browser's session has it on the scheduler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from bokeh.document import Document
from bokeh.model import Model

from dask_em.dashboard.page import DOCUMENTS
from tests.dashboard.reports import Reports

if TYPE_CHECKING:
    from dask_em.dashboard.board import Board

P = TypeVar("P")
EXTRA = {"prefix": "/", "pages": ["status", "em"], "plots": [], "jupyter": False}


class Host:
    """What the page needs of a scheduler."""

    address = "tcp://10.0.0.1:8786"

    def __init__(self, reports: Reports | None) -> None:
        self.extensions = {} if reports is None else {"em": reports}


class Opened:
    """A page, and what was sent to its browser since it was asked last."""

    def __init__(self, host: Host, path: str = "/em") -> None:
        self.document = Document()
        DOCUMENTS[path](host, EXTRA, self.document)  # type: ignore[arg-type]
        (self.board,) = self.document.components  # type: ignore[attr-defined]
        self._events: list[Any] = []
        self.document.callbacks.on_change(self._events.append)

    def update(self) -> list[Any]:
        """What an update sends."""
        self._events.clear()
        board: Board = self.board
        board.update()
        return list(self._events)

    def panel(self, kind: type[P]) -> P:
        """The panel of a kind."""
        return next(panel for panel in self.board.panels if isinstance(panel, kind))

    def data(self) -> dict[str, Any]:
        """The passes that the plots draw."""
        return dict(self.board.watch.passes.source.data)

    def models(self) -> list[Model]:
        return [model for root in self.document.roots for model in root.references()]
