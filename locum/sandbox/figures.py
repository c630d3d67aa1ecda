"""A matplotlib backend without a window: `plt.show()` saves each open figure as an image of the cell and closes it."""

from __future__ import annotations

import io
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.backend_bases import FigureManagerBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from locum.sandbox.notebook import save_image

FigureCanvas = FigureCanvasAgg
FigureManager = FigureManagerBase


def show(*args: Any, **kwargs: Any) -> None:
    try:
        for number in plt.get_fignums():
            figure = plt.figure(number)
            if figure.get_children()[1:]:  # more than its background
                save_image(take(figure))
    finally:
        plt.close("all")


def take(figure: Figure) -> bytes:
    """The figure as PNG. It is closed, so that a cell that ends in `fig` does not show it twice."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight")
    plt.close(figure)
    return buffer.getvalue()
