"""What a library's tracer is told."""

import numpy as np
import pytest

from revnorm._tracing import constant


@pytest.mark.backends("torch", "jax", "mlx")
def test_no_gradient_flows_through_a_constant(backend):
    x = backend.asarray(np.asarray([3.0, 5.0], np.float32))
    if backend.library == "torch":
        x.requires_grad_()
        (constant(x) * x).sum().backward()
        slope = x.grad
    else:
        grad = pytest.importorskip({"jax": "jax", "mlx": "mlx.core"}[backend.library]).grad
        slope = grad(lambda x: (constant(x) * x).sum())(x)
    np.testing.assert_array_equal(backend.to_numpy(slope), [3.0, 5.0])
