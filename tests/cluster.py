"""Two gigabytes on a cluster of two workers that have 600 megabytes each.

A step of its own, ``pytest tests/cluster.py``: the rest of the tests do not collect it.
"""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

import oracle
import revnorm as rn

cloudpickle = pytest.importorskip("cloudpickle")
dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
distributed = pytest.importorskip("distributed")

# Steps of 8 instances of 32 channels each, in float32: 2 GB, and 256 MB to go through every kernel.
MANY, FEWER = 2**21, 2**18
AXES = {"axis": 2, "channel_axis": 1}
# The instance that is looked at, and of its elements every so many.
ONE = (slice(3, 4), slice(5, 6))
SOME = slice(None, None, 1021)

rng = np.random.default_rng(0)
SCALE, BIAS = rng.normal(size=(2, 32)).astype(np.float32)
STYLE = rng.normal(20, 4, size=(8, 32, 100)).astype(np.float32)
TABLES = rng.normal(size=(2, 3, 32)).astype(np.float32)
LABELS = np.asarray([0, 1, 2, 2, 1, 0, 0, 1])


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """Two workers that are killed, and started anew, if they take too much memory."""
    folder = str(tmp_path_factory.mktemp("workers"))
    given = dict(n_workers=2, threads_per_worker=1, memory_limit="600MB", dashboard_address=None)
    with (
        distributed.LocalCluster(**given, local_directory=folder) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture(autouse=True)
def workers_live_on(client):
    before = client.run(os.getpid)
    yield
    assert client.run(os.getpid) == before


def values(instances, channels, times):
    """The data at some indices: each instance of a level and spread of its own."""
    n, c, t = np.ix_(instances, channels, times)
    noise = (t * 2654435761 % 2**32).astype(np.float32) / np.float32(2**32)
    return (100 * n + c).astype(np.float32) + (1 + n * c).astype(np.float32) * noise


def source(folder, way, steps):
    """The data as a lazy array, of which each chunk leaves a byte in a file when it is made."""
    chunks = {
        "along time": (8, 32, (1, 2**14 - 1, 2**13, 3 * 2**13, 2**14) * (steps // 2**16)),
        "across it": (1, 2**22 // steps, steps),
        "of unknown sizes": (1, 2**22 // steps, steps),
    }

    def read(block_info):
        info = block_info[None]
        with open(Path(folder) / "-".join(map(str, info["chunk-location"])), "ab") as file:
            file.write(b"1")
        return values(*(np.arange(*ends) for ends in info["array-location"]))

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    sizes = da.core.normalize_chunks(chunks[way], (8, 32, steps))
    x = da.map_blocks(read, chunks=sizes, dtype=np.float32, meta=np.empty((0, 0, 0), np.float32))
    return x[da.ones(8, chunks=1, dtype=bool)] if way == "of unknown sizes" else x


def reads(folder):
    """How often each chunk was made."""
    return [file.stat().st_size for file in Path(folder).iterdir()]


def computed(client, build):
    """What `build()` gives, which is computed once, on the cluster alone."""
    lazy = build()
    assert client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)) == 0
    return dask.compute(*lazy)


def whole_and_some(y, at):
    """All of a result comes into a number, and a few elements back as they are."""
    return abs(y).max(), y[(*at, SOME)]


def kernels(scale, bias, scales, biases, style, labels, ramp):
    """Every kernel of the data, with parameters of the same library."""
    batch = {**AXES, "batch_axis": 0}
    return {
        "instance_norm": lambda x: rn.instance_norm(x, scale, bias, **AXES),
        "revin": lambda x: rn.revin(x, scale, bias, **AXES)[0],
        "revin, last": lambda x: rn.revin(x, axis=2, center="last")[0],
        "adain": lambda x: rn.adain(x, style, axis=2),
        "batch_instance_norm": lambda x: rn.batch_instance_norm(x, 0.25, scale, bias, **batch),
        "conditional": lambda x: rn.conditional_instance_norm(x, scales, biases, labels, **batch),
        "spatial": lambda x: rn.spatially_adaptive_norm(x, ramp, ramp, axis=2),
    }


def parameters(channels=slice(None)):
    ramp = np.linspace(-1, 1, FEWER, dtype=np.float32)[None, None]
    tables = (table[:, channels] for table in TABLES)
    return SCALE[channels], BIAS[channels], *tables, STYLE[:, channels], LABELS, ramp


@pytest.mark.parametrize("way", ["along time", "across it"])
def test_every_kernel(client, way, tmp_path):
    """All of the data goes through each; a chunk is made once for all of them."""

    def build():
        x = source(tmp_path, way, FEWER)
        named = kernels(*map(da.from_array, parameters()))
        return [whole_and_some(kernel(x), ONE) for kernel in named.values()]

    results = computed(client, build)
    x = values(np.arange(8), np.arange(32)[ONE[1]], np.arange(FEWER))
    for (name, kernel), (largest, some) in zip(
        kernels(*parameters(ONE[1])).items(), results, strict=True
    ):
        expected = oracle.exact(kernel(x)[ONE[0], :, SOME])
        # Both round the same number once, half an ULP each and 0.01.
        assert oracle.ulp_error(some, expected, "float32") <= 1, name
        assert abs(some).max() <= largest < np.inf, name
    assert set(reads(tmp_path)) == {1}


@pytest.mark.parametrize("way", ["along time", "across it"])
def test_two_gigabytes_there_and_back(client, way, tmp_path):
    """The result, its map, and the way back, of data that are made once."""

    def build():
        x = source(tmp_path, way, MANY)
        y, norm_map = rn.revin(x, axis=2)
        return *whole_and_some(y, ONE), norm_map.center[ONE], abs(norm_map.inv(y) - x).max()

    _, some, center, away = computed(client, build)
    x = values(np.arange(8)[ONE[0]], np.arange(32)[ONE[1]], np.arange(MANY))
    y, norm_map = rn.revin(x, axis=2)
    assert oracle.ulp_error(some, oracle.exact(y[..., SOME]), "float32") <= 1
    np.testing.assert_allclose(center, norm_map.center, rtol=2.0**-50)
    # Half an ULP of a number below 2, times a deviation of up to 63, and of the data, below 1024.
    assert away <= 63 * 2.0**-24 + 2.0**-15
    assert set(reads(tmp_path)) == {1}


def test_two_gigabytes_that_share_statistics(client, tmp_path):
    """Of a batch, which are of all chunks."""

    def build():
        x = source(tmp_path, "across it", MANY)
        return rn.moments(x, axis=(0, 2)).take([5], axis=1)

    found = rn.Moments(*computed(client, build))
    x = values(np.arange(8), np.arange(32)[ONE[1]], np.arange(MANY))
    expected = rn.moments(x, axis=(0, 2))
    assert found.count == expected.count == 8 * MANY
    # Means and variances of float32 data in float64, by other sums.
    np.testing.assert_allclose(found.mean, expected.mean, rtol=2.0**-40)
    np.testing.assert_allclose(found.variance, expected.variance, rtol=2.0**-40)
