"""The last step: a result rounded to the dtype of the data, and once.

PyTorch converts float64 to float16 and bfloat16 by way of float32. A number that is rounded to odd
on the way, to the neighbour with the last bit set, is rounded the second time as if it had not been
the first [1]_.

.. [1] S. Boldo, G. Melquiond, "Emulation of FMA and correctly rounded sums: proved algorithms using
   rounding to odd", IEEE Transactions on Computers 57 (2008).
"""

import sys
from typing import Any

from revnorm._libraries import array_namespace, is_torch
from revnorm._trees import Array


def rounded(y: Array, dtype: Any) -> Array:
    """The values in a dtype that is not wider than their own."""
    if is_torch(y):
        torch = sys.modules["torch"]
        if y.dtype == torch.float64 and dtype in (torch.float16, torch.bfloat16):
            y = _to_odd(torch, y)
    return array_namespace(y).astype(y, dtype, copy=False)


def _to_odd(torch: Any, y: Array) -> Array:
    """The values in float32, those that are not numbers of it with their last bit set."""
    single = y.to(torch.float32)
    near = single.detach()
    missed = y.detach() - near
    beyond = torch.nextafter(near, torch.inf * torch.sign(missed).to(torch.float32))
    even = near.view(torch.int32) % 2 == 0
    wrong = (missed != 0) & even & torch.isfinite(near)
    return torch.where(wrong, single + (beyond - near), single)
