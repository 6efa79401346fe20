"""Move each live slider to where nothing may have been computed beforehand: runs in a check."""

import os

if os.environ.get("TIGERDIFF_CHECK"):
    from tigerdiff.notebook import widgets

    build = widgets.slider_widget

    def moved(render, **kwargs):
        """Render the second value, the middle one and the last but one, then build the slider."""
        values = [value for _, value in kwargs["options"]]
        for value in {values[1], values[len(values) // 2], values[-2]}:
            render(value, None)
        return build(render, **kwargs)

    widgets.slider_widget = moved
