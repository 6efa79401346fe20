"""A device beside the CPU that has no float64, as Apple's MPS has none, played by the CPU.

Within ``far_device()`` a tensor that is moved to "meta" keeps its values and says that it lies
there. What real devices refuse is refused: float64, a mixture of devices, and numpy.
"""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

FAR = torch.device("meta")
make = torch.tensor


def tensor(data, *, device=None, **options):
    """Make a tensor on the CPU and move it."""
    return make(data, **options).to(device)


class Away(torch.Tensor):
    """A tensor on the far device; ``held`` is what it holds, on the CPU."""

    @staticmethod
    def __new__(cls, held):
        options = dict(strides=held.stride(), dtype=held.dtype, device=FAR)
        return torch.Tensor._make_wrapper_subclass(cls, held.shape, **options)

    def __init__(self, held):
        self.held = held

    def tolist(self):
        return self.held.tolist()

    def __format__(self, form):
        return format(self.held, form)

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        return run(operation, args, kwargs or {})


class far_device(TorchDispatchMode):
    """See the module."""

    def __enter__(self):
        torch.tensor = tensor  # this alone makes a true tensor of the meta device
        return super().__enter__()

    def __exit__(self, *error):
        torch.tensor = make
        return super().__exit__(*error)

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        if torch.is_inference_mode_enabled():  # which hands over composed operations whole
            with self:
                result = operation.decompose(*args, **(kwargs or {}))
            torch.tensor = tensor
            if result is not NotImplemented:
                return result
        return run(operation, args, kwargs or {})


def run(operation, args, kwargs):
    """Compute on the CPU; what lies on the far device afterwards is wrapped again."""
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
    name, away = operation.__name__.split(".")[0], any(isinstance(x, Away) for x in tensors)
    if away and name not in ("_to_copy", "copy_", "index", "index_put_"):
        near = [x for x in tensors if not isinstance(x, Away) and x.dim() > 0]
        assert not near, f"{name} was given tensors of two devices"
    if kwargs.get("device") is not None:
        away = torch.device(kwargs["device"]) == FAR
        kwargs = {**kwargs, "device": torch.device("cpu")}
    args, kwargs = tree_map_only(Away, lambda x: x.held, (args, kwargs))
    result = operation(*args, **kwargs)
    return tree_map_only(torch.Tensor, moved, result) if away else result


def moved(x):
    if x.dtype == torch.float64:
        raise TypeError("this device has no float64")
    return Away(x)
