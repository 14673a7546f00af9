"""What autograd keeps for the gradient, counted and not measured, so that a busy machine changes nothing."""

from __future__ import annotations

import weakref
from typing import Self

import torch
from torch import Tensor


class _Held:
    """A tensor that autograd keeps."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


class KeptMemory(torch.autograd.graph.saved_tensors_hooks):
    """Counts while inside, also in passes that compute again during the backward pass."""

    def __init__(self) -> None:
        self.most = 0  # bytes kept at once
        self._users: dict[int, list[int]] = {}  # of each storage by its address: its bytes and how often it is kept
        super().__init__(self._pack, lambda held: held.tensor)

    def __enter__(self) -> Self:
        super().__enter__()
        return self

    def _pack(self, tensor: Tensor) -> _Held:
        storage = tensor.untyped_storage()
        self._users.setdefault(storage.data_ptr(), [storage.nbytes(), 0])[1] += 1
        self.most = max(self.most, sum(size for size, _ in self._users.values()))
        held = _Held(tensor)
        weakref.finalize(held, self._free, storage.data_ptr())
        return held

    def _free(self, address: int) -> None:
        self._users[address][1] -= 1
        if not self._users[address][1]:
            del self._users[address]
