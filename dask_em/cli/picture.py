"""The picture of the demo: each photograph beside its segmentation, and the components."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dask_em.core.records import Array

__all__ = ["save_picture"]

MARGIN, TITLE, LEGEND = 24, 64, 92
BACKGROUND, INK, FAINT = (250, 250, 248), (32, 32, 32), (110, 110, 110)


def save_picture(
    path: Path, image: Array, labels: Array, colours: Array, weights: Array, caption: str
) -> None:
    """Save a PNG.

    Parameters
    ----------
    image : array (y, x, 3), uint8
        The photographs, side by side.
    labels : array (y, x)
        Component of each pixel.
    colours : array (k, 3), 0 to 255
        Mean colour of each component.
    weights : array (k,)
        Share of each component.
    caption : str
        What is seen.
    """
    from PIL import Image, ImageDraw

    palette = np.clip(np.rint(colours), 0, 255).astype(np.uint8)
    halves = np.split(image, 2, axis=1), np.split(palette[labels], 2, axis=1)
    height, width = halves[0][0].shape[:2]
    canvas = Image.new(
        "RGB",
        (2 * width + 3 * MARGIN, TITLE + 2 * (height + MARGIN) + LEGEND),
        BACKGROUND,
    )
    for column, pictures in enumerate(halves):
        for row, picture in enumerate(pictures):
            corner = (MARGIN + column * (width + MARGIN), TITLE + row * (height + MARGIN))
            canvas.paste(Image.fromarray(np.ascontiguousarray(picture)), corner)
    draw = ImageDraw.Draw(canvas)
    draw.text((MARGIN, TITLE // 2), caption, INK, _font(22), anchor="lm")
    _legend(draw, canvas, palette, weights)
    canvas.save(path, optimize=True)


def _legend(draw: Any, canvas: Any, palette: Array, weights: Array) -> None:
    """A strip of the components' colours, as wide as their weights, heaviest first."""
    top, left = canvas.height - LEGEND, float(MARGIN)
    whole = canvas.width - 2 * MARGIN
    for component in np.argsort(-weights):
        right = left + whole * float(weights[component] / weights.sum())
        draw.rectangle((left, top, right - 2, top + 36), tuple(palette[component].tolist()))
        if right - left > 40:
            text = f"{weights[component]:.0%}"
            draw.text(((left + right) / 2, top + 54), text, FAINT, _font(16), anchor="mm")
        left = right


def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)
