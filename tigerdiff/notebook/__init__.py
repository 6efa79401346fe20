"""What a chapter shows: pictures, sliders, plots, tables. It decides how large a chapter works."""
