"""Named dimensions: maps and kernels under `xarray.apply_ufunc`, in memory and on Dask."""

import numpy as np
import pytest

import oracle
import revnorm as rn
import tolerances

xr = pytest.importorskip("xarray")
dask = pytest.importorskip("dask")

X = (np.random.default_rng(0).standard_normal((2, 24, 3)) * 4 + 1e3).astype(np.float32)
MASK = np.random.default_rng(1).random(X.shape) < 0.7
MAP = [["one"]] * 6
WAYS = pytest.mark.parametrize(
    ("way", "chunks"),
    [
        ("forbidden", None),
        ("allowed", {"time": 7, "place": 1}),
        ("allowed", {"place": 2}),
        ("parallelized", {"run": 1, "place": 2}),
    ],
    ids=str,
)


def data(chunks, values=X):
    names = {"run": [10, 20], "time": np.arange(24) * 0.5, "place": ["a", "b", "c"]}
    named = xr.DataArray(values, names, tuple(names), name="level", attrs={"unit": "m"})
    return named if chunks is None else named.chunk(chunks)


def fit(x, where=None):
    return rn.standardizer(x, axis=-1, where=where)


def normalize(x, *fields):
    return rn.AffineMap(*fields)(x)


def undo(y, *fields):
    return rn.AffineMap(*fields).inv(y)


def refuse(*_, **__):
    raise AssertionError("computed")


def fitted(way, *given):
    """The fields of the map along time."""
    told = {}
    if way == "parallelized":
        told["output_dtypes"] = [np.float64] * 6
        told["dask_gufunc_kwargs"] = {"output_sizes": {"one": 1}}
    dims = {"input_core_dims": [["time"]] * len(given), "output_core_dims": MAP}
    with dask.config.set(scheduler=refuse):
        return xr.apply_ufunc(fit, *given, dask=way, **told, **dims)


def carried(way, function, x, fields):
    told = {"output_dtypes": [np.float32]} if way == "parallelized" else {}
    dims = {"input_core_dims": [["time"], *MAP], "output_core_dims": [["time"]]}
    with dask.config.set(scheduler=refuse):
        return xr.apply_ufunc(function, x, *fields, dask=way, keep_attrs=True, **told, **dims)


@WAYS
@pytest.mark.parametrize("masked", [False, True])
def test_values_coordinates_and_the_way_back(way, chunks, masked):
    x = data(chunks)
    fields = fitted(way, x, *([data(chunks, MASK)] if masked else []))
    y = carried(way, normalize, x, fields)
    back = carried(way, undo, y, fields)
    assert all(field.dims == ("run", "place", "one") for field in fields)
    assert fields[0].coords["place"].equals(x.coords["place"])
    assert all((one.chunks is None) == (chunks is None) for one in (*fields, y, back))
    exact = oracle.standardizer(X, axis=1, where=MASK if masked else None)
    for one, expected, of, bound in (
        (y, exact(X), None, tolerances.WIDER_FORWARD),
        (back, oracle.exact(X), oracle.reach(X, 1), tolerances.WIDER_ROUND_TRIP),
    ):
        one = one.transpose(*x.dims)
        assert (one.dtype, one.attrs) == (np.float32, x.attrs)
        assert one.coords.equals(x.coords)
        assert oracle.ulp_error(one.values, expected, "float32", of=of) <= bound


@WAYS
def test_a_forecast_of_another_length(way, chunks):
    x = data(chunks)
    fields = fitted(way, x)
    y = carried(way, normalize, x, fields)
    forecast = y.isel(time=slice(0, 5)).assign_coords(time=np.arange(12, 14.5, 0.5))
    back = carried(way, undo, forecast, fields).transpose(*x.dims)
    assert back.coords["time"].equals(forecast.coords["time"])
    of = oracle.reach(X, 1)
    error = oracle.ulp_error(back.values, oracle.exact(X[:, :5]), "float32", of=of)
    assert error <= tolerances.WIDER_ROUND_TRIP


def test_a_map_is_a_data_set_that_comes_back_from_a_file(tmp_path):
    pytest.importorskip("scipy")
    fields = fitted("forbidden", data(None))
    kept = xr.Dataset(dict(zip(rn.AffineMap._fields, fields, strict=True)))
    kept.to_netcdf(tmp_path / "map.nc", engine="scipy")
    with xr.open_dataset(tmp_path / "map.nc", engine="scipy") as file:
        read = file.load()
    assert read.identical(kept)
    one = read.sel(place="b")
    y = carried("forbidden", normalize, data(None).sel(place="b"), one.values())
    exact = oracle.standardizer(X, axis=1)(X)[..., 1]
    assert oracle.ulp_error(y.values, exact, "float32") <= tolerances.WIDER_FORWARD


def test_every_variable_of_a_data_set():
    """Whatever the order of its dimensions."""
    x = data(None)
    both = xr.Dataset({"one": x, "other": x.transpose("place", "time", "run")})
    dims = {"input_core_dims": [["time"]], "output_core_dims": [["time"]]}
    y = xr.apply_ufunc(lambda x: rn.instance_norm(x, axis=-1), both, **dims)
    expected = rn.instance_norm(X, axis=1)
    for name in both:
        np.testing.assert_array_equal(y[name].transpose(*x.dims).values, expected)
