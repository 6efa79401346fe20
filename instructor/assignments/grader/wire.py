"""Values as bytes and back, between the grader and a submission that it does not trust.

Only data is sent: numbers, words, lists, tuples, dicts, tensors, schedules and generators. Nothing
is unpickled. A function travels as a number, and the other side calls it by that number.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save

import tigerdiff as td

LARGEST = 200_000_000  # bytes in a message


class Channel:
    """A socket that carries values, and the functions that the other side may call.

    Args:
        sock: a connected stream socket.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.functions: list[Callable[..., Any]] = []
        self.call: Callable[[int, tuple, dict], Any] | None = None  # how to call the other side's

    def send(self, value: Any, deadline: float | None = None) -> None:
        """Send a value.

        Raises:
            TimeoutError: the other side does not read before the deadline.
            TypeError: the value holds something that cannot be sent.
        """
        tensors: dict[str, torch.Tensor] = {}
        text = json.dumps(self._pack(value, tensors)).encode()
        blob = save(tensors) if tensors else b""
        self._wait(deadline)
        self.sock.sendall(struct.pack(">QQ", len(text), len(blob)) + text + blob)

    def receive(self, deadline: float | None = None) -> Any:
        """Wait for a value.

        Raises:
            TimeoutError: none comes before the deadline.
            EOFError: the other side has ended.
            ValueError: what comes is no value, or larger than a message may be.
        """
        lengths = struct.unpack(">QQ", self._read(16, deadline))
        if sum(lengths) > LARGEST:
            raise ValueError(f"a value of {sum(lengths) / 1e6:.0f} MB was sent")
        text, blob = (self._read(length, deadline) for length in lengths)
        return self._unpack(json.loads(text), load(blob) if blob else {})

    def _wait(self, deadline: float | None) -> None:
        """Give the next operation the time that is left."""
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise TimeoutError
        self.sock.settimeout(left)

    def _read(self, n: int, deadline: float | None) -> bytes:
        parts = []
        while n:
            self._wait(deadline)
            part = self.sock.recv(min(n, 1 << 20))
            if not part:
                raise EOFError
            parts.append(part)
            n -= len(part)
        return b"".join(parts)

    def _pack(self, value: Any, tensors: dict[str, torch.Tensor]) -> Any:
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, np.ndarray):
            value = torch.from_numpy(value)
        if isinstance(value, torch.Tensor):
            tensors[str(len(tensors))] = value.detach().cpu().contiguous().clone()
            return {"tensor": str(len(tensors) - 1)}
        if isinstance(value, td.NoiseSchedule):
            return {"schedule": self._pack(value.alpha_bar, tensors)}
        if isinstance(value, torch.Generator):
            return {"generator": self._pack(value.get_state(), tensors)}
        if isinstance(value, dict):
            return {"dict": [[self._pack(x, tensors) for x in item] for item in value.items()]}
        if isinstance(value, (list, tuple, set, Iterator)):
            kind = "tuple" if isinstance(value, tuple) else "list"
            return {kind: [self._pack(x, tensors) for x in value]}
        if callable(value):
            self.functions.append(value)
            facts = {"prediction": getattr(value, "prediction", None)}
            return {"function": len(self.functions) - 1, "facts": facts}
        raise TypeError(f"{type(value).__name__} cannot be handed in as an answer")

    def _unpack(self, value: Any, tensors: dict[str, torch.Tensor]) -> Any:
        if not isinstance(value, dict):
            return value
        kind, content = next(iter(value.items()))
        if kind == "tensor":
            return tensors[content]
        if kind == "function":
            return self._stub(content, value["facts"])
        if kind == "schedule":
            return td.NoiseSchedule(self._unpack(content, tensors))
        if kind == "generator":
            generator = torch.Generator()
            generator.set_state(self._unpack(content, tensors))
            return generator
        items = [self._unpack(x, tensors) for x in content if kind != "dict"]
        if kind == "dict":
            return {self._unpack(k, tensors): self._unpack(v, tensors) for k, v in content}
        return tuple(items) if kind == "tuple" else items

    def _stub(self, number: int, facts: dict[str, Any]) -> Callable[..., Any]:
        """A function here that calls the other side's."""

        def stub(*args: Any, **kwargs: Any) -> Any:
            return self.call(number, args, kwargs)

        for name, fact in facts.items():
            if fact is not None:
                setattr(stub, name, fact)
        return stub
