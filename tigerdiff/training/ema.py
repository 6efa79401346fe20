"""An average of the weights over training, which draws better pictures than the last weights do."""

import copy

import torch
from torch import nn

from tigerdiff.checks import check_kind, fraction


class EMA:
    """Exponential moving average of a model's weights (Ho et al. 2020, appendix B).

    ``average = d * average + (1 - d) * weights`` with ``d = min(decay, (1 + k) / (10 + k))`` at the
    k-th update: the first weights, which are noise, are forgotten quickly. (This warm-up is that of
    TensorFlow's ``ExponentialMovingAverage``.)

    Args:
        model: the model to follow.
        decay: limit of d, in [0, 1). Half of the average comes from the last
            ``log(0.5) / log(decay)`` updates.

    Attributes:
        model: the averaged copy, in eval mode and without gradients.
        step: number of updates so far.

    Raises:
        ValueError: if decay is out of range.
    """

    def __init__(self, model: nn.Module, decay: float = 0.9995) -> None:
        check_kind("model", model, nn.Module)
        self.decay = fraction("decay", decay)
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.step = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the model's present weights. Buffers are copied, not averaged."""
        self.step += 1
        decay = min(self.decay, (1 + self.step) / (10 + self.step))
        for average, weights in zip(self.model.parameters(), model.parameters()):
            average.lerp_(weights, 1 - decay)  # decay * average + (1 - decay) * weights
        for ours, theirs in zip(self.model.buffers(), model.buffers()):
            ours.copy_(theirs)
