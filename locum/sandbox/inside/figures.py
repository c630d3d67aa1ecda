"""A matplotlib backend without a window: `plt.show()` saves each open figure as an image of the cell and closes it."""

from __future__ import annotations

import io
from math import ceil
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.backend_bases import FigureManagerBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from locum.sandbox.inside import fonts
from locum.sandbox.inside.shell import save_image

FigureCanvas = FigureCanvasAgg
FigureManager = FigureManagerBase


def prepare() -> None:
    """Make this the backend, with letters for every language the machine has a font for."""
    mpl.use("module://locum.sandbox.inside.figures")
    mpl.rcParams["animation.writer"] = "pillow"  # the default, ffmpeg, is not there, and says so each time
    fonts.prepare()


def show(*args: Any, **kwargs: Any) -> None:
    try:
        for number in plt.get_fignums():
            figure = plt.figure(number)
            if figure.get_children()[1:]:  # more than its background
                save_image(take(figure))
    finally:
        plt.close("all")


def take(figure: Figure) -> bytes:
    """The figure as PNG, cut to what is drawn. It is closed: a cell that ends in `fig` does not show it twice."""
    png = _drawn_once(figure)
    if png is None:
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", bbox_inches="tight")
        png = buffer.getvalue()
    plt.close(figure)
    return png


def _drawn_once(figure: Any) -> bytes | None:
    """As `savefig` with `bbox_inches="tight"`, which draws everything twice to learn how far it reaches: 45 ms instead
    of 70. None where something reaches beyond the canvas, or `savefig` was told to do more than to save.
    """
    options = [mpl.rcParams["savefig.dpi"], mpl.rcParams["savefig.facecolor"], mpl.rcParams["savefig.transparent"]]
    if not isinstance(figure.canvas, FigureCanvasAgg) or options != ["figure", "auto", False]:
        return None
    canvas: Any = figure.canvas
    canvas.draw()
    extent = figure.get_tightbbox(canvas.get_renderer())
    left, bottom, right, top = (edge * figure.dpi for edge in extent.extents)
    width, height = canvas.get_width_height()
    if left < 0 or bottom < 0 or right > width or top > height:
        return None
    drawn = Image.frombuffer("RGBA", (width, height), canvas.buffer_rgba(), "raw", "RGBA", 0, 1)
    margin = round(mpl.rcParams["savefig.pad_inches"] * figure.dpi)
    paper = tuple(round(255 * part) for part in figure.get_facecolor())
    size = (ceil(right) - int(left) + 2 * margin, ceil(top) - int(bottom) + 2 * margin)
    image = Image.new("RGBA", size, paper)
    image.paste(drawn, (margin - int(left), margin + ceil(top) - height))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
