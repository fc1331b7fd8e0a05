"""The standardizer as one of scikit-learn's transformers."""

import pickle
import warnings

import numpy as np
import pytest

import revnorm as rn

sklearn = pytest.importorskip("sklearn")

from sklearn.base import clone  # noqa: E402
from sklearn.exceptions import NotFittedError  # noqa: E402
from sklearn.linear_model import Ridge  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402

X = np.random.default_rng(0).normal(10, [1, 5, 0.1], (200, 3))
GAPS = np.where(np.random.default_rng(1).random(X.shape) < 0.2, np.nan, X)
WEIGHTS = np.random.default_rng(2).integers(0, 4, 200).astype(float)
# Sums of 200 numbers in another order, and the root and quotient after them.
CLOSE = dict(rtol=1e-12, atol=1e-12)

# It says that estimators had better inherit from its BaseEstimator, which revnorm does not import.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    estimator_checks = parametrize_with_checks(
        [rn.Standardizer(), rn.Standardizer(axis=0), rn.Standardizer(keep=-1, eps=1e-3)]
    )


@estimator_checks
# Some feed it integers, infinities and data of another length, and look for warnings themselves.
@pytest.mark.filterwarnings("default")
def test_checks_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.mark.parametrize("x", [X, GAPS, X.astype(np.float32)], ids=["full", "gaps", "float32"])
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["", "weights"])
def test_scales_as_standard_scaler_does(x, weights):
    theirs = StandardScaler().fit(x, sample_weight=weights)
    ours = rn.Standardizer().fit(x, sample_weight=weights)
    close = CLOSE if x.dtype == np.float64 else dict(rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours.transform(x), theirs.transform(x), **close)
    np.testing.assert_allclose(ours.inverse_transform(X), theirs.inverse_transform(X), **close)
    assert ours.transform(x).dtype == x.dtype


@pytest.mark.parametrize("x", [X, GAPS], ids=["full", "gaps"])
def test_partial_fits_are_one_fit(x):
    parts = rn.Standardizer()
    for start in range(0, 200, 30):
        parts.partial_fit(x[start : start + 30], sample_weight=WEIGHTS[start : start + 30])
    whole = rn.Standardizer().fit(x, sample_weight=WEIGHTS)
    np.testing.assert_allclose(parts.transform(X), whole.transform(X), **CLOSE)


def test_a_second_fit_starts_over():
    again = rn.Standardizer().fit(X + 5).fit(X)
    np.testing.assert_array_equal(again.transform(X), rn.Standardizer().fit(X).transform(X))


def test_in_a_pipeline():
    y = X @ [1.0, -2.0, 3.0]
    ours = make_pipeline(rn.Standardizer(), Ridge()).fit(X, y)
    theirs = make_pipeline(StandardScaler(), Ridge()).fit(X, y)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), **CLOSE)
    scaled = pickle.loads(pickle.dumps(ours)).predict(X)
    np.testing.assert_array_equal(scaled, ours.predict(X))
    given = make_pipeline(rn.Standardizer(mean=10.0, variance=4.0), Ridge()).fit(X, y)
    assert np.isfinite(given.predict(X)).all()


def test_clone_forgets_the_data_and_keeps_the_arguments():
    fitted = rn.Standardizer(keep=(-1,), eps=0.5).fit(X)
    cloned = clone(fitted)
    assert cloned.get_params() == fitted.get_params()
    with pytest.raises(NotFittedError):
        cloned.transform(X)


def test_data_frames():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=["a", "b", "c"], index=np.arange(200) * 2)
    scaler = rn.Standardizer().set_output(transform="pandas").fit(frame)
    y = clone(scaler).fit_transform(frame)
    assert list(y.columns) == ["a", "b", "c"]
    np.testing.assert_array_equal(y.index, frame.index)
    np.testing.assert_array_equal(y, rn.Standardizer().fit(X).transform(X))
    assert list(scaler.feature_names_in_) == list(scaler.get_feature_names_out())
    with sklearn.config_context(transform_output="pandas"):
        assert list(rn.Standardizer().fit_transform(frame)) == ["a", "b", "c"]
    with pytest.raises(ValueError, match="feature names"):
        scaler.transform(frame[["b", "a", "c"]])
    again = rn.Standardizer.from_state_dict(scaler.state_dict())
    assert list(again.get_feature_names_out()) == ["a", "b", "c"]
    np.testing.assert_array_equal(again.transform(frame), y)


def test_arrays_of_other_libraries_and_more_axes():
    torch = pytest.importorskip("torch")
    x = torch.tensor(np.stack([GAPS, GAPS + 1], axis=1))
    scaler = rn.Standardizer(keep=-1).fit(x)
    y = scaler.transform(x)
    assert type(y) is torch.Tensor
    np.testing.assert_allclose(np.nanmean(y.numpy(), axis=(0, 1)), 0, atol=1e-13)
    np.testing.assert_allclose(np.nanstd(y.numpy(), axis=(0, 1)), 1, rtol=1e-13)
    np.testing.assert_array_equal(scaler.transform(x.numpy()), y.numpy())
    # To the rounding of data of this size.
    np.testing.assert_allclose(scaler.inverse_transform(y).numpy(), x.numpy(), rtol=1e-14)


def test_nothing_is_stretched_that_only_roundings_tell_apart():
    """scikit-learn#19788: variance 0 but for rounding."""
    x = np.full((1000, 2), 0.1)
    x[::2, 0] = np.nextafter(0.1, 1)
    y = rn.Standardizer().fit(x).transform(x + 1)
    np.testing.assert_allclose(y, 1, rtol=1e-15)


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda s: s.set_params(axes=0), ValueError, "`params` must be among axis, keep.*'axes'"),
        (lambda s: s.fit(X, sample_weight=[1.0]), ValueError, r"`sample_weight`.*\(200,\).*\(1,\)"),
        (lambda s: s.fit(X, sample_weight=np.zeros(200)), ValueError, "must not be zero for all"),
        (lambda s: s.fit(np.ones(3)), ValueError, "2D array"),
        (lambda s: s.set_params(keep=0, axis=0).fit(X), ValueError, "`keep` must be None where"),
        (lambda s: s.set_params(eps=-1).fit(X), ValueError, "`eps` must be finite and not neg"),
        (lambda s: s.transform(X), NotFittedError, "not fitted"),
    ],
)
def test_what_does_not_fit_is_refused(call, kind, text):
    with pytest.raises(kind, match=text):
        call(rn.Standardizer())
