"""The live form of a slider: ipywidgets 7 or 8, in a notebook whose kernel can recompute."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ipywidgets

Number = int | float


def slider_widget(
    render: Callable[[Number, int | None], str],
    *,
    options: Sequence[tuple[str, Number]],
    frames: list[Number],
    start: int,
    label: str,
    interval: float,
    choices: Sequence[str],
    caption: str | None,
) -> ipywidgets.Widget:
    """Builds the widget.

    Args:
        render: HTML for a value and the chosen picture, None for all of them.
        options: names and values that the handle can stand on.
        frames: the values that play steps over.
        start: index in ``frames`` of the value to begin with.
        label: name of the value.
        interval: seconds per frame while it plays.
        choices: names of the pictures that can be shown alone; empty for no such control.
        caption: a sentence below.
    """
    import ipywidgets as widgets

    slider = widgets.SelectionSlider(
        options=options,
        value=frames[start],
        description=label,
        readout=False,  # the line under the picture says it
        style={"description_width": "initial"},
        layout=widgets.Layout(flex="1 1 auto", width="auto"),
    )
    play = widgets.Play(min=0, max=len(frames) - 1, value=start, interval=round(1000 * interval))
    names = ["both" if len(choices) == 2 else "all", *choices]
    choice = widgets.ToggleButtons(
        options=[(name, k) for k, name in enumerate(names)], style={"button_width": "auto"}
    )
    picture = widgets.HTML()
    errors = widgets.Output()

    def show() -> None:
        picture.value = render(slider.value, choice.value - 1 if choice.value else None)

    @errors.capture(clear_output=True)  # an error in the reader's function shows below
    def update(_: object) -> None:
        show()

    def advance(_: object) -> None:
        slider.value = frames[play.value]

    def follow(_: object) -> None:
        """When the reader moves the slider, stop the play; it will go on from there."""
        if slider.value == frames[play.value]:
            return
        distance = [abs(value - slider.value) for value in frames]
        play.unobserve(advance, "value")
        play.set_trait("playing" if play.has_trait("playing") else "_playing", False)  # 8 or 7
        play.value = distance.index(min(distance))
        play.observe(advance, "value")

    play.observe(advance, "value")
    slider.observe(follow, "value")
    slider.observe(update, "value")
    choice.observe(update, "value")
    show()
    bar = widgets.HBox([play, slider], layout=widgets.Layout(max_width="36rem"))
    above = [choice] if choices else []
    below = [widgets.HTML(escape(caption))] if caption else []
    return widgets.VBox([*above, picture, bar, *below, errors])


def every_whole_number(values: list[Number]) -> list[Number]:
    """Every whole number from the first to the last value, if they are whole and rise or fall."""
    if not all(isinstance(value, int) for value in values):
        return values
    whole: list[Number] = list(range(int(min(values)), int(max(values)) + 1))
    if values == sorted(values):
        return whole
    return whole[::-1] if values == sorted(values, reverse=True) else values


def kernel_is_live() -> bool:
    """Whether this runs in a notebook kernel, where ipywidgets have someone to talk to."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return getattr(shell, "kernel", None) is not None
