"""What a chapter shows: pictures, sliders, plots and tables, with a kernel and without one.

It also decides how large a chapter works on the machine at hand.
"""
