"""The slider that `timestep_slider` and `compare_slider` return, in all its forms."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any

import torch

from tigerdiff.notebook import widgets as _widgets
from tigerdiff.notebook.pictures import (
    Picture,
    asset,
    checked_alts,
    checked_titles,
    figure_html,
    grid_html,
    png_sheet,
    to_picture,
)
from tigerdiff.notebook.widgets import Number

if TYPE_CHECKING:
    import ipywidgets

Frames = Sequence[Any] | torch.Tensor | Callable[[Any], Any]
Text = Sequence[str] | Callable[[Any], str] | None


class Slider:
    """Pictures that change with a value: HTML, ipywidgets, or a still, as the front-end knows."""

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
        self._text = None if text is None else lookup(text, values, "text")[0]
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
        self._titles = checked_titles(titles, len(first))
        self._alts = checked_alts(alt, self._titles, len(first))

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
        """The slider as ipywidgets, recomputing what was not precomputed."""
        stops = _widgets.every_whole_number(self._values) if self._recompute else self._values
        return _widgets.slider_widget(
            self._live_html,
            options=[(_number(value), value) for value in stops],
            frames=self._values,
            start=self._start,
            label=self._label,
            interval=self._interval,
            choices=self._titles if self._choose else [],
            caption=self._caption,
        )

    def _live_html(self, value: Number, chosen: int | None) -> str:
        frame = self._frames.get(value) or self._pictures(value)
        return figure_html(self._body(frame, value, chosen))

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        bundle: dict[str, Any] = {
            "text/html": self._html,
            "image/png": png_sheet(self._frames[self._values[self._start]], len(self._titles)),
            "text/plain": repr(self),
        }
        if _widgets.kernel_is_live():
            bundle["application/vnd.jupyter.widget-view+json"] = {
                "version_major": 2,
                "version_minor": 0,
                "model_id": self._widget.model_id,
            }
        return bundle


def checked_values(values: Iterable[Number]) -> list[Number]:
    """Return the values of a slider as plain numbers."""
    raw = [v.item() if hasattr(v, "item") else v for v in values]
    numbers = [v for v in raw if isinstance(v, (int, float)) and not isinstance(v, bool)]
    if len(numbers) != len(raw):
        raise ValueError("values must be numbers")
    if len(numbers) < 2 or len(set(numbers)) != len(numbers):
        raise ValueError(f"values must be at least two different numbers, got {numbers}")
    return numbers


def lookup(items: Any, values: list[Number], argument: str) -> tuple[Callable[[Any], Any], bool]:
    """A function from a value to its item, and whether it can be asked for other values too."""
    if callable(items):
        return items, True
    if isinstance(items, str) or not hasattr(items, "__len__"):
        raise ValueError(f"{argument} must be a function or one item per value")
    if len(items) != len(values):
        raise ValueError(f"{argument} has {len(items)} items for {len(values)} values")
    return dict(zip(values, items, strict=True)).__getitem__, False


def _describe(frame: list[Picture]) -> str:
    return " + ".join(f"{p.size[1]}x{p.size[0]}" for p in frame)


def _number(value: Number) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"
