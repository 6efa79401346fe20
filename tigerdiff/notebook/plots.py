"""The three kinds of diagram that the chapters draw, so that their cells can stay short.

Each returns a matplotlib figure, for :func:`.show_images` or as a slider's frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tigerdiff.checks import check_kind, in_short, whole_number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, distinct also for colour-blind readers; orange comes first.
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
FONT = 12  # points: still read when a phone shows the figure at two thirds of its size

_LEGEND: dict[str, Any] = dict(frameon=False, fontsize=FONT, handlelength=1.3, columnspacing=1.2)


def plot_curves(
    curves: Mapping[str, Tensor | Sequence[float]],
    x: Tensor | Sequence[float] | Mapping[str, Tensor | Sequence[float]] | None = None,
    *,
    errors: Mapping[str, Tensor | Sequence[float]] | None = None,
    levels: Mapping[str, float] | None = None,
    xlabel: str = "t",
    ylabel: str = "",
    log: bool = False,
    logx: bool = False,
    marker: str = "",
    colours: Mapping[str, str] | None = None,
) -> Figure:
    """Draw named curves over a common axis.

    Args:
        curves: name to values (N,); NaN leaves a gap.
        x: where the values lie, (N,), or name of a curve to where its own lie; by default 0, 1, ...
        errors: name of a curve to the length of the bar above and below each of its values, (N,).
        levels: name to height of a dashed line, named at the right end.
        xlabel: name of the horizontal axis.
        ylabel: name of the vertical axis.
        log: logarithmic vertical axis.
        logx: logarithmic horizontal axis.
        marker: matplotlib's marker at each value, for few values.
        colours: name of a curve to its colour, to keep it through a page; by default in turn.

    Raises:
        ValueError: if a curve's length differs from that of x or of its errors, or x leaves it out.
    """
    check_kind("curves", curves, Mapping)
    if (x is not None and not hasattr(x, "__len__")) or isinstance(x, str):
        raise ValueError(f"x must be values, or name of a curve to values (got {in_short(x)})")
    figure, axes = _axes(5.6, 3.4)
    for colour, (name, values) in zip(COLOURS * len(curves), curves.items()):
        y = torch.as_tensor(_on_cpu(values), dtype=torch.float64)
        colour = (colours or {}).get(name, colour)
        if isinstance(x, Mapping) and name not in x:
            raise ValueError(f"x must say where curve {name!r} lies")
        places = x[name] if isinstance(x, Mapping) else x
        positions = torch.arange(len(y)) if places is None else torch.as_tensor(_on_cpu(places))
        error = (errors or {}).get(name)
        error = None if error is None else torch.as_tensor(_on_cpu(error))
        for what, given in (("x", positions), ("errors", error)):
            if given is not None and len(given) != len(y):
                raise ValueError(f"curve {name!r} has {len(y)} values for {len(given)} of {what}")
        axes.plot(positions, y, label=name, color=colour, marker=marker, linewidth=2)
        if error is not None:
            axes.errorbar(positions, y, error, fmt="none", ecolor=colour, capsize=3)
    right = {"transform": axes.get_yaxis_transform(), "va": "center", "fontsize": FONT}
    for name, height in (levels or {}).items():
        axes.axhline(height, color="0.45", linestyle="--", linewidth=1.2)
        axes.text(1.01, height, name, **right)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.set(xscale="log" if logx else "linear", yscale="log" if log else "linear")
    if len(curves) > 1:  # above the axes, where no curve can run through it
        columns = 3 if max(map(len, curves)) <= 12 else 2
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, **_LEGEND)
    return figure


def plot_histograms(
    samples: Mapping[str, Tensor],
    *,
    density: Any = None,
    limits: tuple[float, float] = (-4.0, 4.0),
    bins: int = 80,
    top: float | None = None,
    xlabel: str = "value",
) -> Figure:
    """Draw how values are distributed, normalised to area 1.

    Args:
        samples: name to values, of any shape.
        density: a function from points (N,) to density (N,), drawn as a line over the bars.
        limits: left and right end of the axis; values outside are not drawn.
        bins: number of bars.
        top: height of the axis, to keep it the same over several figures.
        xlabel: name of the horizontal axis.

    Raises:
        ValueError: if samples are no mapping, or there is no bar.
    """
    check_kind("samples", samples, Mapping)
    whole_number("bins", bins, 1)
    figure, axes = _axes(5.6, 3.1)
    for colour, (name, values) in zip(COLOURS * len(samples), samples.items()):
        flat = torch.as_tensor(_on_cpu(values)).flatten().double()
        width = (limits[1] - limits[0]) / bins
        heights = torch.histc(flat, bins, *limits) / (flat.numel() * width)
        left = torch.linspace(*limits, bins + 1)[:-1]
        style = {"align": "edge", "alpha": 0.55, "color": colour, "label": name}
        axes.bar(left.numpy(), heights.numpy(), width, **style)
    if density is not None:
        points = torch.linspace(*limits, 400)
        axes.plot(points, density(points), color="black", linewidth=1.5)
    axes.set(xlabel=xlabel, ylabel="density", xlim=limits, ylim=(0, top))
    axes.legend(loc="upper left", **_LEGEND)
    return figure


def plot_points(
    points: Tensor,
    *,
    limit: float | None = None,
    paths: Tensor | None = None,
    behind: Tensor | None = None,
) -> Figure:
    """Draw a cloud of points in the plane.

    Args:
        points: (N, 2).
        limit: the plane is shown from -limit to limit on both axes, and paths run on over the edge;
            by default as much as everything drawn needs.
        paths: (steps, K, 2): K lines that the points went along, each from a hollow circle.
        behind: (M, 2): a second cloud, in grey behind the first.

    Raises:
        ValueError: if a tensor is not of the shape above, naming the argument.
    """
    points, behind, paths = _on_cpu(points), _on_cpu(behind), _on_cpu(paths)
    shapes = dict(points="(N, 2)", behind="(M, 2)", paths="(steps, K, 2)")
    given = {"points": points, "behind": behind, "paths": paths}
    drawn = {name: x for name, x in given.items() if x is not None}
    for name, x in drawn.items():
        check_kind(name, x, Tensor)
        if x.ndim != 2 + (name == "paths") or x.shape[-1] != 2 or not x.numel():
            raise ValueError(f"{name} must be {shapes[name]}, not {tuple(x.shape)}")
    check_kind("points", points, Tensor)
    if limit is None:
        limit = 1.05 * max(x.abs().max().item() for x in drawn.values())
    figure, axes = _axes(4.2, 4.2)
    if behind is not None:
        axes.scatter(*behind.T, s=2, color="0.6")
    if paths is not None:
        colours = (COLOURS[1:] * paths.shape[1])[: paths.shape[1]]
        for path, colour in zip(paths.transpose(0, 1), colours):
            axes.plot(*path.T, color=colour, linewidth=1, clip_on=False)
        hollow = dict(facecolors="white", edgecolors=colours, linewidths=1.5)
        axes.scatter(*paths[0].T, s=36, clip_on=False, zorder=3, **hollow)
    size, clipped = (3, True) if paths is None else (24, False)
    axes.scatter(*points.T, s=size, color=COLOURS[0], zorder=4, clip_on=clipped)
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit))
    axes.set_aspect("equal")
    return figure


def _on_cpu(values: Any) -> Any:
    """Return a tensor on the CPU, where it can be cast: not every device has float64."""
    return values.detach().cpu() if isinstance(values, Tensor) else values


def _axes(width: float, height: float) -> tuple[Figure, Any]:
    """Make a figure outside pyplot, so that a notebook does not also show it by itself."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=FONT)
    for text in (axes.title, axes.xaxis.label, axes.yaxis.label):
        text.set_fontsize(FONT)
    return figure, axes
