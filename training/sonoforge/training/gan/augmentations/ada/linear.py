"""Linear operations that can be differentiated any number of times.

R1 and the path length differentiate gradients, which not every version of torch supports for every operation used
here.  The gradient of a linear operation is its transpose, and the gradient of that is the operation again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Operation = Callable[[Tensor], Tensor]


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, operation: Operation, transpose: Operation) -> Tensor:
        ctx.operation, ctx.transpose = operation, transpose
        return operation(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return apply_linear(gradient, ctx.transpose, ctx.operation), None, None


def apply_linear(values: Tensor, operation: Operation, transpose: Operation) -> Tensor:
    """Return ``operation(values)``.

    Args:
        values: Input, to differentiate with respect to.
        operation: Linear, and free to change its own intermediate results in place.
        transpose: Its transpose.
    """
    result: Tensor = _Linear.apply(values, operation, transpose)  # type: ignore[no-untyped-call]
    return result
