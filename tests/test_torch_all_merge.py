"""Moments of the parts that processes have, merged in each."""

from functools import reduce

import numpy as np
import pytest

import revnorm as rn

torch = pytest.importorskip("torch")

from modules import in_two_processes  # noqa: E402
from revnorm.torch import all_merge  # noqa: E402

pytestmark = pytest.mark.usefixtures("torch_asked")


def data(dtype, rank):
    """Of different lengths and ranges in the two processes."""
    values = np.random.default_rng(rank).normal(1e4 * rank, 1 + rank, (3, 50 + 7 * rank))
    return torch.tensor(values).to(dtype)


def part(dtype, kind, rank):
    """What a process knows of its part; of a transposed view, and in an empty part, nothing."""
    x = data(dtype, rank)
    if kind == "nothing in one":
        return rn.moments(x, axis=1, where=torch.full(x.shape, rank == 0))
    if kind == "batches":
        return reduce(rn.merge, (rn.moments(x[:, i : i + 10], axis=1) for i in range(0, 50, 10)))
    return rn.moments(x, axis=1).take([2, 0], axis=0)


KINDS = [
    (torch.float32, "batches"),
    (torch.float64, "batches"),
    (torch.bfloat16, "some rows"),
    (torch.float32, "nothing in one"),
]


# Given moments of these shapes and dtypes, of which only the first is the same in both processes.
DIFFERENT = [
    ((2, 3), torch.float32, (2, 4), torch.float32),
    ((2, 3), torch.float32, (2, 3), torch.float64),
]


def _worked(rank):
    """The merged moments, those merged in a group of one, and what is said of different ones."""
    merged = [tuple(all_merge(part(*kind, rank))) for kind in KINDS]
    groups = [torch.distributed.new_group([one]) for one in range(2)]
    alone = tuple(all_merge(part(*KINDS[0], rank), group=groups[rank]))
    texts = []
    for kinds in DIFFERENT:
        shape, dtype = kinds[2 * rank : 2 * rank + 2]
        known = rn.Moments(*(torch.ones(shape, dtype=dtype) for _ in range(4)))
        with pytest.raises(ValueError, match="`moments` must be of one shape") as error:
            all_merge(known)
        texts.append(str(error.value))
    return merged, alone, texts


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    return in_two_processes(_worked, tmp_path_factory.mktemp("processes"))


def same(moments, wanted):
    for field, other in zip(moments, wanted, strict=True):
        torch.testing.assert_close(field, other, rtol=0, atol=0)


@pytest.mark.parametrize("kind", range(len(KINDS)))
def test_two_processes_give_what_one_gives_of_the_parts(processes, kind):
    expected = rn.merge(part(*KINDS[kind], 0), part(*KINDS[kind], 1))
    for merged, _, _ in processes:
        same(merged[kind], expected)


def test_of_a_group(processes):
    for rank, (_, alone, _) in enumerate(processes):
        same(alone, part(*KINDS[0], rank))


def test_all_processes_are_told_that_their_moments_differ(processes):
    for _, _, texts in processes:
        assert [text.partition(", got ")[2] for text in texts] == [
            "(2, 3) of torch.float32, (2, 4) of torch.float32",
            "(2, 3) of torch.float32, (2, 3) of torch.float64",
        ]


def test_one_process_alone_has_all():
    known = part(*KINDS[0], 0)
    assert all_merge(known) is known


@pytest.mark.parametrize("given", [(1, 2), rn.moments(np.ones(3), axis=0)])
def test_what_is_no_moments_of_tensors_is_refused(given):
    with pytest.raises(TypeError, match="`moments` must be a Moments of tensors"):
        all_merge(given)
