"""Pictures in notebooks: grids, and sliders that move with a kernel and without one.

Each function returns an object that a notebook shows when it is the last line of a cell (or through
`display`). The object offers several forms of itself and every front-end takes the best it knows:
self-contained HTML, in a live kernel also real ipywidgets, and a PNG still for paper.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any

import torch

from tigerdiff._pictures import (
    Picture,
    asset,
    figure_html,
    grid_html,
    picture_list,
    png_sheet,
    to_picture,
)

if TYPE_CHECKING:
    import ipywidgets

__all__ = ["compare_slider", "show_images", "timestep_slider"]

Number = int | float
Frames = Sequence[Any] | torch.Tensor | Callable[[Any], Any]
Text = Sequence[str] | Callable[[Any], str] | None


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
    names = _titles(titles, len(pictures))
    alts = _alts(alt, names, len(pictures))
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
        label: name of the value; the readout says for example "t = 250 of 1000".
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
    steps = _values(values)
    rows, recompute = _lookup(frames, steps, "frames")
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
    steps = _values(values)
    lookups = [_lookup(frames, steps, f"tracks[{name!r}]") for name, frames in tracks.items()]
    return Slider(
        row=lambda value: [lookup(value) for lookup, _ in lookups],
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


class Slider:
    """What `timestep_slider` and `compare_slider` return."""

    def __init__(
        self,
        *,
        row: Callable[[Any], list[Any]],
        recompute: bool,
        argument: str,
        values: list[Number],
        alt: str | Sequence[str],
        label: str,
        titles: Sequence[str] | None,
        text: Text,
        caption: str | None,
        start: Number | None,
        width: int | None,
        interval: float,
        choose: bool = False,
    ) -> None:
        if start is not None and start not in values:
            raise ValueError(f"start must be one of values, got {start}")
        if interval <= 0:
            raise ValueError(f"interval must be a positive number of seconds, got {interval}")
        if recompute and text is not None and not callable(text):
            raise ValueError("text must be a function too when the frames come from a function")
        self._text = None if text is None else _lookup(text, values, "text")[0]
        self._row, self._recompute, self._argument, self._width = row, recompute, argument, width
        self._values, self._label, self._caption = values, label, caption
        self._start = values.index(values[0] if start is None else start)
        self._interval, self._choose = interval, choose
        # Everything is computed here, so that what goes wrong goes wrong in the reader's own cell.
        self._frames = {value: self._pictures(value) for value in values}
        self._readouts = {value: self._readout(value) for value in values}

        first = self._frames[values[0]]
        for value, frame in self._frames.items():
            if [p.size for p in frame] != [p.size for p in first]:
                raise ValueError(
                    f"{argument} must have pictures of the same number and size in every frame: "
                    f"{_describe(first)} at {values[0]} but {_describe(frame)} at {value}"
                )
        self._titles = _titles(titles, len(first))
        self._alts = _alts(alt, self._titles, len(first))

    def __repr__(self) -> str:
        first, last = self._values[0], self._values[-1]
        return f"{self._alts[0]} ({self._label} from {first} to {last}, {len(self._values)} frames)"

    def _pictures(self, value: Number) -> list[Picture]:
        return [to_picture(image, self._argument, self._width) for image in self._row(value)]

    def _readout(self, value: Number) -> list[str]:
        words = f"{self._label} = {_number(value)}"
        if all(isinstance(v, int) for v in self._values):
            words += f" of {max(self._values)}"
        return [words] if self._text is None else [words, str(self._text(value))]

    def _body(self, frame: list[Picture], value: Number, chosen: int | None = None) -> str:
        """Pictures and readout of one frame; only the picture `chosen` if it is given."""
        words = self._readout(value)
        alts = [f"{alt}, {words[0]}" for alt in self._alts]
        grid = grid_html(frame, alts, self._titles, len(frame), chosen)
        longest = max((" · ".join(words) for words in self._readouts.values()), key=len)
        return (
            f'{grid}<p class="tigerdiff-readout" data-longest="{escape(longest)}">'
            f"<span>{escape(' · '.join(words))}</span></p>"
        )

    @cached_property
    def _html(self) -> str:
        """The slider as self-contained HTML; without scripts it is the picture it starts with."""
        start = self._values[self._start]
        ids: dict[str, int] = {}  # each distinct picture is stored once
        frames = [
            [ids.setdefault(picture.uri, len(ids)) for picture in frame]
            for frame in self._frames.values()
        ]
        in_page = set(frames[self._start])
        data = {
            "label": self._label,
            "alts": self._alts,
            "readouts": list(self._readouts.values()),
            "start": self._start,
            "interval": round(1000 * self._interval),
            "choices": self._titles if self._choose else None,
            "frames": frames,
            "pictures": [None if k in in_page else uri for uri, k in ids.items()],
        }
        # "<" is escaped so that no text can end the script element early.
        packed = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
        scripts = (
            f'<script type="application/json">{packed}</script>'
            f"<script>{asset('viewers.js')}</script>"
        )
        return figure_html(self._body(self._frames[start], start), self._caption, scripts)

    @cached_property
    def _widget(self) -> ipywidgets.Widget:
        """The slider as ipywidgets (7 or 8), recomputing what was not precomputed."""
        import ipywidgets as widgets

        values = _between(self._values) if self._recompute else self._values
        start = self._values[self._start]
        slider = widgets.SelectionSlider(
            options=[(_number(value), value) for value in values],
            value=start,
            description=self._label,
            readout=False,  # the line under the picture says it
            style={"description_width": "initial"},
            layout=widgets.Layout(flex="1 1 auto", width="auto"),
        )
        play = widgets.Play(
            min=0,
            max=len(self._values) - 1,
            value=self._start,
            interval=round(1000 * self._interval),
        )
        names = ["both" if len(self._titles) == 2 else "all", *self._titles]
        choice = widgets.ToggleButtons(
            options=[(name, k) for k, name in enumerate(names)], style={"button_width": "auto"}
        )
        picture = widgets.HTML()
        errors = widgets.Output()

        def render() -> None:
            value = slider.value
            frame = self._frames.get(value) or self._pictures(value)
            chosen = choice.value - 1 if choice.value else None
            picture.value = figure_html(self._body(frame, value, chosen))

        @errors.capture(clear_output=True)  # an error in the reader's function shows below
        def update(_: object) -> None:
            render()

        def advance(_: object) -> None:
            slider.value = self._values[play.value]

        def follow(_: object) -> None:
            """When the reader moves the slider, stop the play; it will go on from there."""
            if slider.value == self._values[play.value]:
                return
            distance = [abs(value - slider.value) for value in self._values]
            play.unobserve(advance, "value")
            play.set_trait("playing" if play.has_trait("playing") else "_playing", False)  # 8 or 7
            play.value = distance.index(min(distance))
            play.observe(advance, "value")

        play.observe(advance, "value")
        slider.observe(follow, "value")
        slider.observe(update, "value")
        choice.observe(update, "value")
        render()
        bar = widgets.HBox([play, slider], layout=widgets.Layout(max_width="36rem"))
        caption = widgets.HTML(escape(self._caption or ""))
        above = [choice] if self._choose else []
        below = [caption] if self._caption else []
        return widgets.VBox([*above, picture, bar, *below, errors])

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        bundle: dict[str, Any] = {
            "text/html": self._html,
            "image/png": png_sheet(self._frames[self._values[self._start]], len(self._titles)),
            "text/plain": repr(self),
        }
        if _kernel_is_live():
            bundle["application/vnd.jupyter.widget-view+json"] = {
                "version_major": 2,
                "version_minor": 0,
                "model_id": self._widget.model_id,
            }
        return bundle


def _values(values: Iterable[Number]) -> list[Number]:
    raw = [v.item() if hasattr(v, "item") else v for v in values]
    numbers = [v for v in raw if isinstance(v, (int, float)) and not isinstance(v, bool)]
    if len(numbers) != len(raw):
        raise ValueError("values must be numbers")
    if len(numbers) < 2 or len(set(numbers)) != len(numbers):
        raise ValueError(f"values must be at least two different numbers, got {numbers}")
    return numbers


def _between(values: list[Number]) -> list[Number]:
    """Every whole number from the first to the last value, if they are whole and rise or fall."""
    if not all(isinstance(value, int) for value in values):
        return values
    whole: list[Number] = list(range(int(min(values)), int(max(values)) + 1))
    if values == sorted(values):
        return whole
    return whole[::-1] if values == sorted(values, reverse=True) else values


def _lookup(items: Any, values: list[Number], argument: str) -> tuple[Callable[[Any], Any], bool]:
    """A function from a value to its item, and whether it can be asked for other values too."""
    if callable(items):
        return items, True
    if isinstance(items, str) or not hasattr(items, "__len__"):
        raise ValueError(f"{argument} must be a function or one item per value")
    if len(items) != len(values):
        raise ValueError(f"{argument} has {len(items)} items for {len(values)} values")
    return dict(zip(values, items, strict=True)).__getitem__, False


def _titles(titles: Sequence[str] | None, n: int) -> list[str]:
    if titles is None:
        return [""] * n
    if isinstance(titles, str) or len(titles) != n:
        raise ValueError(f"titles must be a list of {n}, one per picture, got {titles!r}")
    return [str(title) for title in titles]


def _alts(alt: str | Sequence[str], titles: list[str], n: int) -> list[str]:
    """One text per picture; a shared text is completed by the picture's title or number."""
    if not isinstance(alt, str) and len(alt) != n:
        raise ValueError(f"alt must be one text, or a list of {n}, one per picture")
    texts = [alt] * n if isinstance(alt, str) else list(alt)
    if not all(isinstance(text, str) and text.strip() for text in texts):
        raise ValueError("alt must say what the picture shows, for readers who cannot see it")
    if not isinstance(alt, str) or n == 1:
        return texts
    return [f"{alt}: {title or f'{k} of {n}'}" for k, title in enumerate(titles, start=1)]


def _describe(frame: list[Picture]) -> str:
    return " + ".join(f"{p.size[1]}x{p.size[0]}" for p in frame)


def _number(value: Number) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def _kernel_is_live() -> bool:
    """Whether this runs in a notebook kernel, where ipywidgets have someone to talk to."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return getattr(shell, "kernel", None) is not None
