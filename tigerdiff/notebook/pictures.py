"""One picture on its way to a page: from a tensor or a matplotlib figure to bytes and markup."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import torch

from tigerdiff.checks import whole_number
from tigerdiff.data.tensors import to_uint8

if TYPE_CHECKING:
    from PIL.Image import Image

SMALL = 96  # pixels: up to a square of this side, or a strip of as many, a picture is kept exactly
TINY = 16  # pixels: up to this side the pixels themselves are the subject
NOISE = 0.5  # roughness from which a picture counts as noise: white noise has 1, a tiger about 0.1
BYTES_PER_PIXEL = 0.65  # budget of a larger one: 12 frames of 256 px are about 0.5 MB
DPI = 192  # a matplotlib figure is drawn at twice the 96 dots per inch it is shown at
COLOURS = 32  # of a diagram, shades of its edges included
MOVING_DPI = 144  # as a frame of a slider, of which a page holds dozens


@dataclass(frozen=True)
class Picture:
    """One picture and how wide it is on the page, in CSS pixels."""

    image: Image
    width: int
    drawn: bool = False  # a matplotlib figure: flat colours and thin lines
    inverts: bool = False  # in dark mode: a figure that contains no picture
    rough: bool = False  # noise, or so small that its pixels are the subject
    pixelated: bool | None = None  # enlarge in hard pixels; None: if it is rough
    exact: bool = True  # keep a small picture exactly

    @property
    def hard(self) -> bool:
        """Whether the browser enlarges it in hard pixels."""
        enlarged = not self.drawn and self.width >= 1.5 * self.image.width
        return enlarged and (self.rough if self.pixelated is None else self.pixelated)

    @cached_property
    def uri(self) -> str:
        """The picture as a data URI: exact if it is small or drawn, else within the budget.

        JPEG without chroma subsampling, because noise is what this course is about: lossy WebP
        always halves the colour resolution and leaves a third of the colour noise.
        """
        if self.drawn or (self.exact and math.prod(self.image.size) <= SMALL**2):
            return _data_uri(self.image, "WEBP", lossless=True)
        budget = BYTES_PER_PIXEL * self.image.width * self.image.height * 4 / 3
        for quality in range(90, 20, -10):
            uri = _data_uri(self.image, "JPEG", quality=quality, subsampling=0)
            if len(uri) <= budget:
                break
        return uri


def to_picture(
    image: Any, argument: str, width: int | None, pixelated: bool | None = None, dpi: int = DPI
) -> Picture:
    """Make a picture of a tensor (3,H,W), uint8 or float in [-1, 1], or a figure at so many dpi.

    It is ``width`` CSS pixels wide, by default about 160, or a figure's own size; ``argument``
    names it in messages.
    """
    from PIL.Image import Dither, fromarray

    if width is not None:
        width = whole_number("width", width, 1)
    if hasattr(image, "savefig"):
        drawing, inverts = _draw(image, dpi), not any(axes.images for axes in image.axes)
        if inverts:  # lines and areas of few colours: a fifth fewer bytes
            drawing = drawing.quantize(COLOURS, dither=Dither.NONE).convert("RGB")
        return Picture(drawing, width or round(drawing.width * 96 / dpi), True, inverts)
    x = _tensor(image, argument)
    if x.ndim != 3 or x.shape[0] != 3 or 0 in x.shape:
        shapes = f"(3,H,W) or (N,3,H,W), got {tuple(x.shape)}"
        raise ValueError(f"{argument} must be pictures of shape {shapes}")
    if x.is_floating_point():
        # Noise reaches beyond 1 and is clamped, but never this far beyond.
        if not bool((x.abs() <= 20).all()):
            found = f"found values from {x.min().item():g} to {x.max().item():g}"
            raise ValueError(f"{argument} must be float in [-1, 1] or uint8 in 0..255: {found}")
        x = to_uint8(x)
    elif x.dtype != torch.uint8:
        raise ValueError(f"{argument} must be uint8 or float in [-1, 1], got {x.dtype}")
    bitmap = fromarray(x.permute(1, 2, 0).contiguous().numpy())
    width = width or bitmap.width * math.ceil(160 / bitmap.width)
    rough = max(bitmap.size) <= TINY or roughness(x) > NOISE
    return Picture(bitmap, width, rough=rough, pixelated=pixelated)


def roughness(x: torch.Tensor) -> float:
    """Return half the mean squared difference of neighbours over the variance: 1 for noise."""
    x = x.double()
    steps = torch.cat([x.diff(dim=1).flatten(), x.diff(dim=2).flatten()])
    variance = x.var(dim=(1, 2)).mean().item()
    return steps.square().mean().item() / (2 * variance) if variance else 0.0


def same_enlargement(rows: Sequence[list[Picture]]) -> list[list[Picture]]:
    """Enlarge all pictures of a column alike, in hard pixels if one of them is rough."""
    rough = [any(picture.rough for picture in column) for column in zip(*rows)]
    return [[replace(picture, rough=hard) for picture, hard in zip(row, rough)] for row in rows]


def _tensor(image: Any, argument: str) -> torch.Tensor:
    try:
        return torch.as_tensor(image).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        kinds = f"tensors (3,H,W) or matplotlib figures, got {type(image).__name__}"
        raise ValueError(f"{argument} must hold {kinds}") from error


def _draw(figure: Any, dpi: int) -> Image:
    """Turn a matplotlib figure into a picture, and close it."""
    import matplotlib.pyplot as plt
    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    plt.close(figure)
    return Image.open(buffer).convert("RGB")


def picture_list(images: Any, argument: str) -> list[Any]:
    """Return the pictures of a row: of a list or a tensor (N,3,H,W), or one picture alone."""
    if isinstance(images, (list, tuple)):
        return list(images)
    if hasattr(images, "savefig"):
        return [images]
    x = _tensor(images, argument)
    return list(x) if x.ndim == 4 else [x]


def checked_texts(
    alt: str | Sequence[str], titles: Sequence[str] | None, n: int
) -> tuple[list[str], list[str]]:
    """Return alt texts, a shared one completed by the title or the number, and titles or ""."""
    if titles is not None and (isinstance(titles, str) or len(titles) != n):
        raise ValueError(f"titles must be a list of {n}, one per picture, got {titles!r}")
    if not isinstance(alt, str) and (not isinstance(alt, Sequence) or len(alt) != n):
        raise ValueError(f"alt must be one text, or a list of {n}, one per picture")
    names = [""] * n if titles is None else [str(title) for title in titles]
    alts = [alt] * n if isinstance(alt, str) else list(alt)
    if not all(isinstance(text, str) and text.strip() for text in alts):
        raise ValueError("alt must say what the picture shows, for readers who cannot see it")
    if isinstance(alt, str) and n > 1:
        alts = [f"{alt}: {name or f'{k} of {n}'}" for k, name in enumerate(names, start=1)]
    return alts, names


def _data_uri(image: Image, kind: str, **options: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def png_sheet(pictures: list[Picture], columns: int) -> str:
    """Return the pictures in a white grid as base64 PNG: for paper and front-ends without HTML."""
    from PIL import Image

    gap, width = 8, max(picture.width for picture in pictures)
    heights = [round(p.image.height * width / p.image.width) for p in pictures]
    high, rows = max(heights), math.ceil(len(pictures) / columns)
    size = (columns * (width + gap) - gap, rows * (high + gap) - gap)
    sheet = Image.new("RGB", size, "white")
    for k, (picture, height) in enumerate(zip(pictures, heights)):
        row, column = divmod(k, columns)
        smooth = Image.Resampling.NEAREST if picture.hard else Image.Resampling.LANCZOS
        bitmap = picture.image.resize((width, height), smooth)
        sheet.paste(bitmap, (column * (width + gap), row * (high + gap)))
    return _data_uri(sheet, "PNG").partition(",")[2]


def fewer(columns: int) -> int:
    """Return how many columns a grid has when so many do not fit: half, so that pairs stay."""
    return 1 if columns == 3 else math.ceil(columns / 2)


def grid_html(
    pictures: list[Picture], alts: list[str], titles: list[str], columns: int, alone: bool = False,
    length: int = 1,
) -> str:  # fmt: skip
    """Return pictures with titles as a grid in HTML, all but the first hidden if ``alone``.

    Each alt text and title belongs to a row of ``length`` pictures.
    """
    widest = max(picture.width for picture in pictures)
    drawn = any(picture.drawn for picture in pictures)
    aspect = max(picture.image.width / picture.image.height for picture in pictures)
    least = 5.25 if length > 1 else 6 if any(titles) else 4.5
    narrowest = 16 if drawn else least * max(1, aspect)  # strips need more
    cells = []
    for k, picture in enumerate(pictures):
        row, place = divmod(k, length)
        alt = alts[row] if place == 0 else f"{place + 1} of {length}"
        title = titles[row] if place == length - 1 else ""
        name = "pixels" if picture.hard else "drawn" if picture.inverts else ""
        kind = f' class="tigerdiff-{name}"' if name else ""
        under = f'<p class="tigerdiff-title">{escape(title)}</p>' if title else ""
        width, height = picture.image.size
        own = f' style="--own:{picture.width}px"' if picture.width < widest else ""
        hidden = " hidden" if alone and k > 0 else ""
        ends = f"</div>{under}" if length > 1 else f"{under}</div>"
        cells.append(
            f'<div class="tigerdiff-cell"{own}{hidden}><img{kind} src="{picture.uri}" '
            f'alt="{escape(alt)}" width="{width}" height="{height}" decoding="sync">{ends}'
        )
    half = fewer(columns)
    style = f"--n:{columns};--half:{half};--quarter:{fewer(half)};--w:{widest}px"
    style += f";--min:min({narrowest:.1f}rem,var(--w))"
    return f'<div class="tigerdiff-grid" style="{style}">{"".join(cells)}</div>'


@dataclass(frozen=True)
class Shown:
    """What a notebook shows: HTML, or a PNG where HTML is not shown, or text."""

    html: str
    text: str
    png: str | None = None

    def __repr__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        png = {} if self.png is None else {"image/png": self.png}
        return {"text/html": self.html, "text/plain": self.text, **png}


def figure_html(body: str, caption: str | None = None, scripts: str = "", kind: str = "") -> str:
    """Return a figure in HTML with its caption, style and scripts; scripts find it by its kind."""
    style = f"<style>{asset('viewers.css')}</style>"
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    name = f" data-tigerdiff-{kind}" if kind else ""
    return f'<figure class="tigerdiff"{name}>{style}{body}{below}{scripts}</figure>'


def scripts_html(data: Any, name: str) -> str:
    """Return data and the script that reads it; no text in the data can end its element early."""
    packed = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json">{packed}</script><script>{asset(name)}</script>'


@cache
def asset(name: str) -> str:
    """Return the text of a file that lies beside this module."""
    return (files("tigerdiff.notebook") / name).read_text(encoding="utf-8")
