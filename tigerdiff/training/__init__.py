"""Training: the loop, the averaged weights, the configuration of a run and its checkpoints.

Everything that decides or writes a run is here. `loop` shows a step; `run` is what is around it:
the folder with its lock, log and checkpoints. The loss is in `loop`,
its target, `to_target`, in `diffusion`.
"""
