"""Training: the loop, the averaged weights, the configuration of a run and its checkpoints.

Everything that decides or writes a run is here; the mathematics of its loss is in `diffusion`.
"""
