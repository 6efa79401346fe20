"""Pictures in notebooks: grids, and sliders that move with a kernel and without one.

Each function returns an object that a notebook shows when it is the last line of a cell (or through
`display`). The object offers several forms of itself and every front-end takes the best it knows:
self-contained HTML, in a live kernel also real ipywidgets, and a PNG still for paper.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tigerdiff.notebook.pictures import (
    Picture,
    checked_alts,
    checked_titles,
    figure_html,
    grid_html,
    picture_list,
    png_sheet,
    to_picture,
)
from tigerdiff.notebook.slider import Frames, Slider, Text, checked_values, lookup
from tigerdiff.notebook.widgets import Number

__all__ = ["compare_slider", "show_images", "timestep_slider"]


def show_images(
    images: Any,
    *,
    alt: str | Sequence[str],
    titles: Sequence[str] | None = None,
    columns: int | None = None,
    width: int | None = None,
    caption: str | None = None,
) -> PictureGrid:
    """Show pictures in a grid that wraps on narrow screens.

    Small pictures are enlarged in crisp pixels.

    Args:
        images: uint8 (N,3,H,W) or (3,H,W), or float in [-1, 1] (what lies outside is clamped), or a
            list of pictures (3,H,W) or matplotlib figures, sizes may differ.
        alt: what the picture shows, for readers who cannot see it; or one text per picture.
        titles: a short text under each picture.
        columns: pictures per row on a wide screen; by default up to five in one row, more in a
            square.
        width: width of each picture on the page in CSS pixels; by default its own, small ones
            enlarged to about 160.
        caption: a sentence under the whole grid.

    Returns:
        An object that the notebook shows.

    Raises:
        ValueError: for a wrong shape, dtype, length or an empty `alt`, naming the argument.
    """
    pictures = [to_picture(image, "images", width) for image in picture_list(images, "images")]
    if not pictures:
        raise ValueError("images is empty: give at least one picture")
    if columns is None:
        columns = len(pictures) if len(pictures) <= 5 else math.ceil(math.sqrt(len(pictures)))
    if columns < 1:
        raise ValueError(f"columns must be at least 1, got {columns}")
    names = checked_titles(titles, len(pictures))
    alts = checked_alts(alt, names, len(pictures))
    return PictureGrid(pictures, alts, names, min(columns, len(pictures)), caption)


def timestep_slider(
    frames: Frames,
    *,
    values: Iterable[Number],
    alt: str | Sequence[str],
    label: str = "t",
    titles: Sequence[str] | None = None,
    text: Text = None,
    caption: str | None = None,
    start: Number | None = None,
    width: int | None = None,
    interval: float = 0.5,
) -> Slider:
    """Show pictures that change with a slider, on a static page and in a live notebook.

    On a static page the slider moves over `values`. In a live kernel, if `frames` is a function and
    `values` are whole numbers that rise or fall, it moves over every whole number between the first
    and the last and calls the function for what was not computed beforehand.

    Args:
        frames: one frame per value, or a function from a value to its frame. A frame is a picture
            as in `show_images`, a matplotlib figure, or a row of them: a list, or a tensor
            (K,3,H,W).
        values: what the slider moves over, at least two numbers, in the order shown.
        alt: what the pictures show; or one text per picture of the row. The value is added to it.
        label: name of the value; the readout says for example "t = 250 of 1000", where 1000 is the
            largest of `values`, if they are whole numbers, and "eta = 0.5" if not.
        titles: a short text under each picture of the row.
        text: more to read for each frame: a function from the value to a string, or one string per
            value.
        caption: a sentence under the figure.
        start: the value to begin with; by default the first.
        width: width of each picture in CSS pixels.
        interval: seconds per frame while it plays.

    Returns:
        An object that the notebook shows.

    Raises:
        ValueError: for a wrong shape, dtype, length or value, naming the argument.
    """
    steps = checked_values(values)
    rows, recompute = lookup(frames, steps, "frames")
    return Slider(
        row=lambda value: picture_list(rows(value), "frames"),
        recompute=recompute,
        argument="frames",
        values=steps,
        alt=alt,
        label=label,
        titles=titles,
        text=text,
        caption=caption,
        start=start,
        width=width,
        interval=interval,
    )


def compare_slider(
    tracks: Mapping[str, Frames],
    *,
    values: Iterable[Number],
    alt: str | Sequence[str],
    label: str = "t",
    text: Text = None,
    caption: str | None = None,
    start: Number | None = None,
    width: int | None = None,
    interval: float = 0.5,
) -> Slider:
    """Show several tracks side by side, moved together by one slider.

    A second control shows one track alone in the same place, so that it can be flipped against
    another at the same value.

    Args:
        tracks: name of each track -> its frames, one picture per value, or a function from a value
            to a picture; for example ``{"linear": ..., "cosine": ...}``.
        values: what the slider moves over, as in `timestep_slider`.
        alt: what the pictures show; the name of the track and the value are added to it.
        label: name of the value.
        text: more to read for each value, as in `timestep_slider`.
        caption: a sentence under the figure.
        start: the value to begin with; by default the first.
        width: width of each picture in CSS pixels.
        interval: seconds per frame while it plays.

    Returns:
        An object that the notebook shows.

    Raises:
        ValueError: for a wrong shape, dtype, length or value, naming the argument.
    """
    if len(tracks) < 2:
        raise ValueError(f"tracks needs at least two entries to compare, got {len(tracks)}")
    steps = checked_values(values)
    lookups = [lookup(frames, steps, f"tracks[{name!r}]") for name, frames in tracks.items()]
    return Slider(
        row=lambda value: [frame(value) for frame, _ in lookups],
        recompute=all(recompute for _, recompute in lookups),
        argument="tracks",
        values=steps,
        alt=alt,
        label=label,
        titles=list(tracks),
        text=text,
        caption=caption,
        start=start,
        width=width,
        interval=interval,
        choose=True,
    )


class PictureGrid:
    """What `show_images` returns."""

    def __init__(
        self,
        pictures: list[Picture],
        alts: list[str],
        titles: list[str],
        columns: int,
        caption: str | None,
    ) -> None:
        self._pictures, self._alts, self._titles = pictures, alts, titles
        self._columns, self._caption = columns, caption

    def __repr__(self) -> str:
        return f"{len(self._pictures)} pictures: {self._alts[0]}"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        grid = grid_html(self._pictures, self._alts, self._titles, self._columns)
        return {
            "text/html": figure_html(grid, self._caption),
            "image/png": png_sheet(self._pictures, self._columns),
            "text/plain": repr(self),
        }
