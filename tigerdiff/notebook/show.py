"""Pictures in notebooks: grids, sliders, a divider between two pictures, and a player.

Each function returns an object that a notebook shows when it is the last line of a cell (or through
`display`): one piece of HTML that needs no kernel and no network, or a PNG where HTML is not shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tigerdiff.checks import check_kind, whole_number
from tigerdiff.notebook.pictures import (
    Shown,
    checked_texts,
    figure_html,
    grid_html,
    picture_list,
    png_sheet,
    to_picture,
)
from tigerdiff.notebook.slider import Frames, Number, Slider, checked_values, lookup, side_by_side


def show_images(
    images: Any,
    *,
    alt: str | Sequence[str],
    titles: Sequence[str] | None = None,
    columns: int | None = None,
    width: int | None = None,
    caption: str | None = None,
    pixelated: bool | None = None,
) -> Shown:
    """Show pictures in a grid that wraps on narrow screens.

    Args:
        images: uint8 (N,3,H,W) or (3,H,W), or float in [-1, 1] (what lies outside is clamped), or a
            list of pictures (3,H,W) or matplotlib figures, sizes may differ; or a list of rows
            (K,3,H,W), all of one length.
        alt: what the picture shows, for readers who cannot see it; or one text per picture or row.
        titles: a short text under each picture or row.
        columns: pictures per row on a wide screen; by default up to five in one row, more in a
            square. Rows keep their length.
        width: width of each picture on the page in CSS pixels; by default its own, small ones
            enlarged to about 160.
        caption: a sentence under the whole grid.
        pixelated: whether enlarged pictures keep hard pixels; by default noise and pictures of at
            most 16 pixels do, others are enlarged smoothly.

    Raises:
        ValueError: for a wrong shape, dtype, length or an empty `alt`, naming the argument.
    """
    rows = [picture_list(image, "images") for image in picture_list(images, "images")]
    pictures = [to_picture(image, "images", width, pixelated) for row in rows for image in row]
    if not pictures:
        raise ValueError("images is empty: give at least one picture")
    length = len(rows[0])
    if any(len(row) != length for row in rows):
        raise ValueError(f"images must be rows of one length, got {[len(row) for row in rows]}")
    if length > 1:
        columns = length
    elif columns is None:
        columns = len(pictures) if len(pictures) <= 5 else math.ceil(math.sqrt(len(pictures)))
    whole_number("columns", columns, 1)
    alts, names = checked_texts(alt, titles, len(rows))
    columns, text = min(columns, len(pictures)), f"{len(pictures)} pictures: {alts[0]}"
    html = figure_html(grid_html(pictures, alts, names, columns, length=length), caption)
    return Shown(html, text, png_sheet(pictures, columns))


def timestep_slider(
    frames: Frames,
    *,
    values: Iterable[Number],
    alt: str | Sequence[str],
    label: str = "t",
    **options: Any,
) -> Slider:
    """Show pictures that change with a slider; the reader can also drag on the picture itself.

    In a running kernel, ``timestep_slider(...).live()`` also computes what lies between `values`.

    Args:
        frames: one frame per value, or a function from a value to its frame. A frame is a picture
            as in `show_images`, a matplotlib figure, or a row of them: a list, or a tensor
            (K,3,H,W).
        values: what the slider moves over, at least two numbers, in the order shown; 24 or more
            where the lesson is the motion.
        alt: what the pictures show; or one text per picture of the row. The value is added to it.
        label: name of the value.
        options: ``of``, the most that the value can be, as a rule T: the readout says "t = 250 of
            1000", without it "t = 250"; ``titles``, a short text under each picture of the row;
            ``text``, more to read for each frame, a function from the value to a string or one
            string per value; ``caption``, a sentence under the figure; ``start``, the value to
            begin with, the most telling one, by default the first; ``width`` of each picture in
            CSS pixels; ``interval``, seconds per frame while it plays, by default 0.5;
            ``pixelated``, whether enlarged pictures keep hard pixels: by default a picture does in
            all frames if it is noise in one of them, or has at most 16 pixels a side.

    Raises:
        ValueError: for a wrong shape, dtype, length or value, naming the argument.
    """
    steps = checked_values(values)
    slots: dict[str, Any] = {"alt": alt, "label": label, "recompute": callable(frames)}
    return Slider(lookup(frames, steps, "frames"), steps, argument="frames", **slots, **options)


def compare_slider(
    tracks: Mapping[str, Frames],
    *,
    values: Iterable[Number],
    alt: str | Sequence[str],
    wipe: bool = False,
    **options: Any,
) -> Slider:
    """Show several tracks side by side, moved together by one slider.

    A second control shows one track alone in the same place, or is a divider between two.

    Args:
        tracks: name -> frames, one picture per value, or a function from a value to a picture.
        values: what the slider moves over, as in `timestep_slider`.
        alt: what the pictures show; the name of the track and the value are added to it.
        wipe: lay two tracks over each other, with a divider that is dragged on the picture.
        options: as of `timestep_slider`, except ``titles``.

    Raises:
        ValueError: for a wrong shape, dtype, length or value, naming the argument.
    """
    check_kind("tracks", tracks, Mapping)
    if len(tracks) < 2:
        raise ValueError(f"tracks needs at least two entries to compare, got {len(tracks)}")
    if wipe and len(tracks) != 2:
        raise ValueError(f"wipe compares two tracks, got {len(tracks)}")
    steps = checked_values(values)
    row, live = side_by_side(tracks, steps, "tracks"), all(map(callable, tracks.values()))
    slots: dict[str, Any] = {"titles": list(tracks), "kind": "wipe" if wipe else "choose"}
    return Slider(row, steps, argument="tracks", alt=alt, recompute=live, **slots, **options)


def wipe(
    left: Any,
    right: Any,
    *,
    alt: str | Sequence[str],
    titles: Sequence[str] = ("left", "right"),
    **options: Any,
) -> Slider:
    """Show two pictures in one place, with a divider that is dragged on them or moved by keyboard.

    Without scripts and on paper they are side by side.

    Args:
        left: the picture left of the divider, as in `show_images`.
        right: the one right of it, of the same size.
        alt: what they show; or a text for each.
        titles: a short name for each.
        options: ``caption``, ``width`` and ``pixelated``, as of `show_images`.

    Raises:
        ValueError: for a wrong shape, dtype or length, or two sizes.
    """
    a, b = to_picture(left, "left", None).image, to_picture(right, "right", None).image
    if a.size != b.size:
        raise ValueError(f"left and right must have one size, got {a.size} and {b.size}")
    slots: dict[str, Any] = {"argument": "left", "alt": alt, "titles": titles, "kind": "wipe"}
    return Slider(lambda _: [left, right], [0], **slots, **options)


def player(
    films: Mapping[str, Sequence[Any]],
    *,
    alt: str,
    values: Iterable[Number] | None = None,
    **options: Any,
) -> Slider:
    """Show films of which one is seen at a time: it plays once by itself, and can be dragged.

    It begins with its last frame, and plays when it is first seen, unless the reader has asked
    for reduced motion.

    Args:
        films: name -> frames, equally many in each; a button for each name chooses the film.
        alt: what the films show; the name and the value are added to it.
        values: the value of each frame; by default 1, 2, 3, ...
        options: as of `timestep_slider`, except ``titles`` and ``start``.

    Raises:
        ValueError: for a wrong shape, dtype or length, naming the argument.
    """
    check_kind("films", films, Mapping)
    if not films:
        raise ValueError("films is empty: give at least one film")
    length = len(next(iter(films.values())))
    steps = checked_values(range(1, length + 1) if values is None else values)
    row = side_by_side({name: list(film) for name, film in films.items()}, steps, "films")
    slots: dict[str, Any] = {"label": "frame", "interval": 0.12} | options
    slots |= {"alt": [f"{alt}: {name}" for name in films], "titles": list(films)}
    return Slider(row, steps, argument="films", start=steps[-1], kind="player", **slots)
