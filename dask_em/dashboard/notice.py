"""What a page says where there is nothing to show."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dask_em.dashboard.watch import Watch

__all__ = ["NOTICE_STYLE", "notice"]

NOTICE_STYLE: dict[str, Any] = {"font-size": "15px", "line-height": "1.5", "padding": "24px"}


def notice(watch: Watch) -> str:
    """Why there is nothing to show, and what to do, as HTML; empty if there is something."""
    address = getattr(watch.scheduler, "address", None) or "tcp://HOST:8786"
    if watch.reporter is None:
        return _told(
            "This scheduler runs no job service.",
            "Start it with the service:",
            "dask scheduler --preload dask_em.preload",
            "or add the service to it as it runs:",
            f"from distributed import Client\n"
            f"from dask_em import install_service\n\n"
            f'install_service(Client("{address}"))',
        )
    if not watch.feed.jobs:
        return _told(
            "No jobs yet.",
            "Submit one with",
            f"dask-em submit job.json --scheduler {address}",
            "or from Python:",
            f'import dask_em\n\ndask_em.submit("job.json", client="{address}")',
        )
    return ""


def _told(title: str, *parts: str) -> str:
    """A title, then sentences and code in turn."""
    told = [f'<div style="font-size: 20px; margin-bottom: 8px">{escape(title)}</div>']
    for sentence, code in zip(parts[::2], parts[1::2], strict=True):
        told.append(
            f"<div>{escape(sentence)}</div>"
            '<pre style="margin: 4px 0 16px; padding: 10px 14px; border-left: 3px solid #eaaa6d;'
            f' background: rgba(128, 128, 128, 0.1); user-select: all">{escape(code)}</pre>'
        )
    return "".join(told)
