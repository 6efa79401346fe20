"""The diagrams: what is drawn, read back from matplotlib, and that nothing leaks or overlaps."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from tigerdiff.notebook.plots import FONT, plot_curves, plot_histograms, plot_points


def axes_of(figure):
    (axes,) = figure.axes
    return axes


def texts(axes):
    """Every text of a figure that has been drawn."""
    axes.figure.draw_without_rendering()
    found = [*axes.get_xticklabels(), *axes.get_yticklabels()]
    found += [axes.title, axes.xaxis.label, axes.yaxis.label]
    found += axes.get_legend().get_texts() if axes.get_legend() else []
    return [text for text in found if text.get_text()]


def offsets(axes):
    """The clouds of points in the order they were drawn."""
    return [np.asarray(c.get_offsets()) for c in axes.collections if len(c.get_offsets())]


CLOUD = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
PATHS = torch.randn(6, 3, 2, generator=torch.Generator().manual_seed(1)).cumsum(0)


@pytest.mark.parametrize(
    "figure",
    [
        lambda: plot_curves({"a": [1, 2], "b": [2, 1]}, ylabel="y"),
        lambda: plot_histograms({"a": CLOUD}),
        lambda: plot_points(CLOUD),
    ],
)
def test_a_figure_is_for_the_caller_alone_and_its_texts_are_large(figure):
    before = plt.get_fignums()
    axes = axes_of(figure())
    assert plt.get_fignums() == before, "pyplot would show it a second time"
    assert len(texts(axes)) >= 5
    assert {text.get_size() for text in texts(axes)} == {FONT}
    assert not axes.spines["top"].get_visible()


# ---------------------------------------------------------------- curves


def test_curves_hold_their_values_over_their_index():
    y = torch.tensor([1.0, math.nan, 3.0])
    axes = axes_of(plot_curves({"a": y, "b": [4, 5, 6]}, ylabel="height"))
    first, second = axes.get_lines()
    np.testing.assert_array_equal(first.get_ydata(), y.numpy())
    np.testing.assert_array_equal(first.get_xdata(), [0, 1, 2])
    np.testing.assert_array_equal(second.get_ydata(), [4, 5, 6])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("t", "height")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b"]
    assert to_hex(first.get_color()) != to_hex(second.get_color())


def test_float64_is_kept():
    y = torch.tensor([1 + 2**-40, 1], dtype=torch.float64)
    (line,) = axes_of(plot_curves({"a": y})).get_lines()
    assert line.get_ydata()[0] != line.get_ydata()[1]


def test_curves_over_an_axis_of_their_own_and_logarithms():
    axes = axes_of(
        plot_curves({"a": [1, 10]}, range(5, 7), xlabel="k", log=True, logx=True, marker="o")
    )
    (line,) = axes.get_lines()
    np.testing.assert_array_equal(line.get_xdata(), [5, 6])
    assert (axes.get_xscale(), axes.get_yscale(), axes.get_xlabel()) == ("log", "log", "k")
    assert line.get_marker() == "o"
    assert axes.get_legend() is None, "one curve needs no legend"


def test_there_are_enough_colours_for_any_number_of_curves():
    lines = axes_of(plot_curves({str(k): [k, k] for k in range(20)})).get_lines()
    assert len(lines) == 20
    assert len({to_hex(line.get_color()) for line in lines[:7]}) == 7


@pytest.mark.parametrize(
    "names",
    [
        ["linear", "cosine", "own"],
        ["the tiger", *(f"noise at t = {t}" for t in (10, 100, 300, 500))],
        ["with the shrinking factor", "without it"],
    ],
)
def test_the_legend_stays_inside_the_figure_and_off_the_curves(names):
    figure = plot_curves({name: [1, 2, 3] for name in names}, ylabel="variance per coordinate")
    figure.draw_without_rendering()
    legend = axes_of(figure).get_legend().get_window_extent()
    assert legend.x0 >= 0 and legend.x1 <= figure.bbox.x1 and legend.y1 <= figure.bbox.y1
    assert legend.y0 >= axes_of(figure).get_window_extent().y1 - 1


def test_a_curve_of_another_length_is_named():
    with pytest.raises(ValueError, match="curve 'b' has 3 values for 2 of x"):
        plot_curves({"a": [1, 2], "b": [1, 2, 3]}, [0, 1])


def test_each_curve_may_have_an_axis_and_errors_of_its_own():
    axes = axes_of(
        plot_curves(
            {"a": [1, 2], "b": [4, 5, 6]}, {"a": [7, 9], "b": [1, 2, 3]}, errors={"b": [1, 2, 3]}
        )
    )
    lines = [line for line in axes.get_lines() if line.get_linestyle() == "-"]
    np.testing.assert_array_equal(lines[0].get_xydata(), [[7, 1], [9, 2]])
    np.testing.assert_array_equal(lines[1].get_xydata(), [[1, 4], [2, 5], [3, 6]])
    (bars,) = axes.collections
    ends = [[[1, 3], [1, 5]], [[2, 3], [2, 7]], [[3, 3], [3, 9]]]
    np.testing.assert_array_equal(bars.get_segments(), ends)
    with pytest.raises(ValueError, match="curve 'b' has 2 values for 1 of errors"):
        plot_curves({"b": [1, 2]}, errors={"b": [1]})


def test_a_level_is_a_line_with_its_name_inside_the_figure():
    figure = plot_curves({"a": [1, 10]}, levels={"the floor": 2.0}, log=True)
    figure.draw_without_rendering()
    (name,) = axes_of(figure).texts
    assert name.get_text() == "the floor" and name.get_position()[1] == 2
    box = name.get_window_extent()
    assert axes_of(figure).get_window_extent().x1 <= box.x0 and box.x1 <= figure.bbox.x1
    np.testing.assert_array_equal(axes_of(figure).get_lines()[-1].get_ydata(), [2, 2])


# ---------------------------------------------------------------- histograms


def test_bars_have_area_one_and_stand_where_the_values_are():
    values = torch.tensor([[0.1, 0.2], [0.3, 1.5]])
    axes = axes_of(plot_histograms({"a": values}, limits=(0.0, 2.0), bins=2, top=1.0))
    assert [bar.get_x() for bar in axes.patches] == [0.0, 1.0]
    assert [bar.get_width() for bar in axes.patches] == [1.0, 1.0]
    assert [bar.get_height() for bar in axes.patches] == [0.75, 0.25]
    assert axes.get_xlim() == (0, 2) and axes.get_ylim() == (0, 1)


def test_values_outside_are_not_drawn_but_counted():
    axes = axes_of(plot_histograms({"a": torch.tensor([0.5, 9.0])}, limits=(0.0, 1.0), bins=1))
    assert axes.patches[0].get_height() == 0.5


def test_the_density_is_a_line_over_the_bars():
    values = torch.randn(50_000, generator=torch.Generator().manual_seed(0), requires_grad=True)

    def bell(x):
        return torch.exp(-x.square() / 2) / (2 * math.pi) ** 0.5

    axes = axes_of(plot_histograms({"a": values, "b": values * 2}, density=bell, xlabel="x"))
    (line,) = axes.get_lines()
    assert line.get_ydata().max() == pytest.approx((2 * math.pi) ** -0.5, abs=1e-3)
    for bar in axes.patches[:80]:  # those of "a"
        middle = torch.tensor(bar.get_x() + bar.get_width() / 2)
        assert bar.get_height() == pytest.approx(bell(middle).item(), abs=0.02)
    assert axes.get_xlabel() == "x"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b"]


# ---------------------------------------------------------------- points


def test_points_lie_on_a_plane_with_equal_axes():
    axes = axes_of(plot_points(CLOUD, limit=3.0, behind=2 * CLOUD))
    behind, cloud = offsets(axes)
    np.testing.assert_allclose(cloud, CLOUD, rtol=1e-6)
    np.testing.assert_allclose(behind, 2 * CLOUD, rtol=1e-6)
    assert axes.get_xlim() == axes.get_ylim() == (-3, 3)
    assert axes.get_aspect() == 1


def test_without_a_limit_everything_is_shown():
    for options in ({}, {"behind": 5 * CLOUD}, {"paths": 7 * PATHS}):
        axes = axes_of(plot_points(CLOUD, **options))
        farthest = max(x.abs().max().item() for x in (CLOUD, *options.values()))
        assert axes.get_xlim() == pytest.approx((-1.05 * farthest, 1.05 * farthest))


def test_a_path_runs_from_a_hollow_circle_to_its_point():
    axes = axes_of(plot_points(PATHS[-1], paths=PATHS))
    for k, line in enumerate(axes.get_lines()):
        np.testing.assert_allclose(line.get_xydata(), PATHS[:, k], rtol=1e-6)
    starts, ends = axes.collections
    np.testing.assert_allclose(starts.get_offsets(), PATHS[0], rtol=1e-6)
    np.testing.assert_allclose(ends.get_offsets(), PATHS[-1], rtol=1e-6)
    assert to_hex(starts.get_facecolor()[0]) == "#ffffff"
    edges = [to_hex(colour) for colour in starts.get_edgecolor()]
    assert edges == [to_hex(line.get_color()) for line in axes.get_lines()]
    assert len(set(edges)) == 3


def test_a_path_that_leaves_the_plane_is_not_cut():
    axes = axes_of(plot_points(PATHS[-1], paths=PATHS, limit=0.5))
    assert axes.get_xlim() == (-0.5, 0.5), "the limit is the caller's choice"
    assert not any(artist.get_clip_on() for artist in [*axes.get_lines(), *axes.collections])
    assert axes_of(plot_points(CLOUD, limit=0.5)).collections[0].get_clip_on()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"points": torch.zeros(3, 3)}, r"points must be \(N, 2\), not \(3, 3\)"),
        ({"points": torch.zeros(2)}, r"points must be \(N, 2\), not \(2,\)"),
        ({"points": torch.zeros(0, 2)}, r"points must be \(N, 2\), not \(0, 2\)"),
        ({"points": CLOUD, "behind": torch.zeros(1, 3)}, r"behind must be \(M, 2\)"),
        ({"points": CLOUD, "paths": torch.zeros(4, 2)}, r"paths must be \(steps, K, 2\)"),
    ],
)
def test_a_wrong_shape_is_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        plot_points(**arguments)


def test_a_curve_keeps_the_colour_it_is_given():
    axes = axes_of(plot_curves({"a": [1, 2], "b": [2, 1]}, colours={"b": "#123456"}))
    default = axes_of(plot_curves({"a": [1, 2], "b": [2, 1]}))
    assert [to_hex(line.get_color()) for line in axes.lines] == [
        to_hex(default.lines[0].get_color()),
        "#123456",
    ]
