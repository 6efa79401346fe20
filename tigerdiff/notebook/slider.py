"""Pictures that move with a handle: one piece of HTML that works with a kernel and without one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any, Literal

import torch

from tigerdiff.checks import in_short, real_number
from tigerdiff.notebook.pictures import (
    MOVING_DPI,
    Picture,
    checked_texts,
    figure_html,
    grid_html,
    picture_list,
    png_sheet,
    same_enlargement,
    scripts_html,
    to_picture,
)

if TYPE_CHECKING:
    import ipywidgets

Number = int | float
Frames = Sequence[Any] | torch.Tensor | Callable[[Any], Any]
# A row of pictures; a row of which one can be shown alone; two in one place with a divider between
# them; one at a time, which plays once by itself.
Kind = Literal["row", "choose", "wipe", "player"]


@dataclass(eq=False, repr=False)
class Slider:
    """Pictures that change with a value: moving HTML, or a still where HTML is not shown."""

    row: Callable[[Any], Any]
    values: list[Number]
    argument: str
    alt: str | Sequence[str]
    label: str = "t"
    of: int | None = None
    titles: Sequence[str] | None = None
    text: Sequence[str] | Callable[[Any], str] | None = None
    caption: str | None = None
    start: Number | None = None
    width: int | None = None
    interval: float = 0.5
    pixelated: bool | None = None
    kind: Kind = "row"
    recompute: bool = False

    def __post_init__(self) -> None:
        if self.start is not None and self.start not in self.values:
            raise ValueError(f"start must be one of values, got {self.start}")
        real_number("interval", self.interval, "a positive number of seconds", lambda s: s > 0)
        if self.recompute and self.text is not None and not callable(self.text):
            raise ValueError("text must be a function too when the frames come from a function")
        self._text = None if self.text is None else lookup(self.text, self.values, "text")
        self._first = 0 if self.start is None else self.values.index(self.start)
        # Everything is computed here, so that an error appears in the reader's own cell.
        frames = [self._pictures(value) for value in self.values]
        sizes = [" + ".join(f"{p.image.height}x{p.image.width}" for p in frame) for frame in frames]
        for value, size in zip(self.values, sizes):
            if size != sizes[0]:
                need = (
                    f"{self.argument} must have pictures of the same number and size in every frame"
                )
                raise ValueError(f"{need}: {sizes[0]} at {self.values[0]} but {size} at {value}")
        self._frames = frames if self.kind == "player" else same_enlargement(frames)
        # Noise and small pictures are kept exactly; of others, and in films, a JPEG costs a third.
        still = self.kind != "player"
        self._frames = [
            [replace(p, exact=still and (p.hard or p.image.width <= 32)) for p in row]
            for row in self._frames
        ]
        several = len(self.values) > 1
        self._readouts = [self._readout(value) for value in self.values] if several else [[]]
        self._alts, self._titles = checked_texts(self.alt, self.titles, len(frames[0]))

    def __repr__(self) -> str:
        first, last, n = self.values[0], self.values[-1], len(self.values)
        return self._alts[0] + (f" ({self.label} from {first} to {last}, {n} frames)" * (n > 1))

    def _pictures(self, value: Number) -> list[Picture]:
        images = picture_list(self.row(value), self.argument)
        look = self.width, self.pixelated, MOVING_DPI
        return [to_picture(x, self.argument, *look) for x in images]

    def _readout(self, value: Number) -> list[str]:
        of = "" if self.of is None else f" of {self.of}"
        words = f"{self.label} = {_number(value)}{of}"
        return [words] if self._text is None else [words, str(self._text(value))]

    def _body(self, frame: list[Picture], words: list[str]) -> str:
        """Return the pictures and the readout of one frame."""
        alts = [", ".join([alt, *words[:1]]) for alt in self._alts]
        alone = self.kind == "player"  # whose buttons are the titles
        titles, columns = ([""] * len(frame), 1) if alone else (self._titles, len(frame))
        grid = grid_html(frame, alts, titles, columns, alone)
        if not words:
            return grid
        longest = escape(max((" · ".join(words) for words in self._readouts), key=len))
        shown = f"<span>{escape(' · '.join(words))}</span>"
        return f'{grid}<p class="tigerdiff-readout" data-longest="{longest}">{shown}</p>'

    @cached_property
    def _html(self) -> str:
        """Self-contained HTML; without scripts it is the picture it starts with."""
        ids: dict[tuple[str, bool], int] = {}  # each distinct picture is stored once
        frames = [[ids.setdefault((p.uri, p.hard), len(ids)) for p in row] for row in self._frames]
        in_page = set(frames[self._first])
        data = {
            "kind": self.kind,
            "label": self.label,
            "alts": self._alts,
            "readouts": self._readouts,
            "start": self._first,
            "interval": round(1000 * self.interval),
            "choices": self._titles,
            "frames": frames,
            "pictures": [None if k in in_page else uri for (uri, _), k in ids.items()],
            "pixelated": [k for (_, hard), k in ids.items() if hard],
        }
        body = self._body(self._frames[self._first], self._readouts[self._first])
        return figure_html(body, self.caption, scripts_html(data, "viewers.js"), "slider")

    def live(self) -> ipywidgets.Widget:
        """Return the slider as ipywidgets: it computes what lies between the values.

        It moves over every whole number between the smallest and the largest value, if the values
        are whole and the frames come from a function; else over the values. It needs a running
        kernel; everything else is done by the slider itself, which needs none.

        Raises:
            ImportError: if ipywidgets is not installed.
        """
        try:
            import ipywidgets
            from IPython.display import HTML, display
        except ImportError:
            remedy = "pip install ipywidgets, or show the slider itself"
            raise ImportError(f"live() needs ipywidgets: {remedy}") from None
        known = dict(zip(self.values, self._frames))
        stops = sorted(known)
        if self.recompute and all(isinstance(value, int) for value in stops):
            stops = list(range(int(stops[0]), int(stops[-1]) + 1))

        def show(value: Number) -> None:
            frame = known.get(value) or self._pictures(value)
            display(HTML(figure_html(self._body(frame, self._readout(value)))))

        handle = ipywidgets.SelectionSlider(
            options=[(_number(value), value) for value in stops],
            value=self.values[self._first],
            description=self.label,
            style={"description_width": "initial"},
        )
        picture = ipywidgets.interactive_output(show, {"value": handle})
        return ipywidgets.VBox([picture, handle])

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        last, n = len(self.values) - 1, len(self._titles)
        four = sorted({round(k * last / 3) for k in range(4)})
        sheet = [picture for k in four for picture in self._frames[k]]
        png = png_sheet(sheet, len(four) if n == 1 else n)
        return {"text/html": self._html, "image/png": png, "text/plain": repr(self)}


def checked_values(values: Iterable[Number]) -> list[Number]:
    """Return the values of a slider as plain numbers."""
    if not isinstance(values, Iterable) or isinstance(values, (str, bytes)):
        raise ValueError(f"values must be a list of numbers (got {in_short(values)})")
    numbers = [v.item() if hasattr(v, "item") else v for v in values]
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in numbers):
        raise ValueError("values must be numbers")
    if len(numbers) < 2 or len(set(numbers)) != len(numbers):
        raise ValueError(f"values must be at least two different numbers, got {numbers}")
    return numbers


def side_by_side(
    tracks: Mapping[str, Frames], values: list[Number], argument: str
) -> Callable[[Any], Any]:
    """Return a function from a value to the row of the tracks' pictures at it."""
    rows = [lookup(frames, values, f"{argument}[{name!r}]") for name, frames in tracks.items()]
    return lambda value: [row(value) for row in rows]


def lookup(items: Any, values: list[Number], argument: str) -> Callable[[Any], Any]:
    """Return a function from a value to its item."""
    if callable(items):
        return items
    if isinstance(items, str) or not hasattr(items, "__len__"):
        raise ValueError(f"{argument} must be a function or one item per value")
    if len(items) != len(values):
        raise ValueError(f"{argument} has {len(items)} items for {len(values)} values")
    return dict(zip(values, items)).__getitem__


def _number(value: Number) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"
