"""What makes a standardizer one of scikit-learn's transformers; that is imported when called."""

from functools import cache
from importlib import import_module
from inspect import signature
from typing import Any, Self

import numpy as np

from revnorm import _checks, _data_checks
from revnorm._libraries import array_namespace, is_array


class Estimator:
    """The methods of a scikit-learn transformer, without its base classes.

    Arrays of NumPy, lists and data frames are checked as scikit-learn does; arrays of other
    libraries go on as they are.
    """

    mean: Any
    _stream: Any

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments, by name."""
        return {name: getattr(self, name) for name in signature(type(self)).parameters}

    def set_params(self, **params: Any) -> Self:
        """Other values for some of the arguments.

        Returns
        -------
        Standardizer
            Itself.
        """
        known = self.get_params()
        for name in params:
            if name not in known:
                raise ValueError(f"`params` must be among {', '.join(known)}, got {name!r}")
        vars(self).update(params)
        return self

    def __repr__(self) -> str:
        """The class with the arguments that are not the default ones."""
        defaults = signature(type(self)).parameters
        told = (
            f"{name}={value!r}"
            for name, value in self.get_params().items()
            if repr(value) != repr(defaults[name].default)
        )
        return f"{type(self).__name__}({', '.join(told)})"

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Learn the moments of features, instead of what was learned before; NaN is left out.

        Parameters
        ----------
        X : array, list or data frame
            Of samples and features, or of more axes.
        y : None
            Not looked at.
        sample_weight : array of one axis, optional
            How much each sample counts.

        Returns
        -------
        Standardizer
            Itself. Where mean and variance were given, only the features are noted.
        """
        x = self._checked(X, reset=True)
        if self.mean is None:
            self._stream = self._learned(None, x, sample_weight)
        return self

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Learn some samples more.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.

        Returns
        -------
        Standardizer
            Itself.
        """
        self._check_learns("partial_fit")
        before = self._stream
        x = self._checked(X, reset=before is None)
        self._keep(before, self._learned(before, x, sample_weight))
        return self

    def transform(self, X: Any) -> Any:
        """The features standardized, in the container that `set_output` chose.

        Parameters
        ----------
        X : array, list or data frame
            With the features that were learned.

        Returns
        -------
        array or data frame
        """
        _validation().check_is_fitted(self)
        y = self(self._checked(X, reset=False))  # type: ignore[operator]
        return y if not isinstance(y, np.ndarray) or y.ndim != 2 else self._contained(y, X)

    def inverse_transform(self, X: Any) -> Any:
        """What was standardized brought back, as an array.

        Parameters
        ----------
        X : array, list or data frame
            With the features that were learned.

        Returns
        -------
        array
        """
        _validation().check_is_fitted(self)
        if not _is_foreign(X):
            X = _validation().check_array(X, **_OPTIONS)
        return self.inv(X)  # type: ignore[attr-defined]

    def fit_transform(self, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """`fit`, then `transform` of the same.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.

        Returns
        -------
        array or data frame
        """
        return self.fit(X, y, sample_weight).transform(X)

    def get_feature_names_out(self, input_features: Any = None) -> Any:
        """The names of the features: those that were learned, or given."""
        mixin = import_module("sklearn.base").OneToOneFeatureMixin
        return mixin.get_feature_names_out(self, input_features)

    def set_output(self, *, transform: str | None = None) -> Self:
        """Choose the container that `transform` gives: "default", "pandas" or "polars".

        Returns
        -------
        Standardizer
            Itself.
        """
        if transform is not None:
            # scikit-learn's `clone` takes over what has this name.
            self._sklearn_output_config = {"transform": transform}
        return self

    def __sklearn_is_fitted__(self) -> bool:
        """Whether there is something to transform by."""
        return self._stream is not None or self.mean is not None

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn asks of its estimators."""
        utils = import_module("sklearn.utils")
        return utils.Tags(
            estimator_type=None,
            target_tags=utils.TargetTags(required=False),
            transformer_tags=utils.TransformerTags(
                preserves_dtype=["float64", "float32", "float16"]
            ),
            input_tags=utils.InputTags(allow_nan=True, three_d_array=True),
        )

    def _checked(self, X: Any, reset: bool) -> Any:
        """The features as scikit-learn checks them: their number, and names if they have some."""
        if _is_foreign(X):
            if X.ndim < 2:
                raise ValueError(f"`X` must have two axes or more, got shape {_checks.shape(X)}")
            if reset:
                self.n_features_in_ = X.shape[1]
            return X
        return _validation().validate_data(self, X, reset=reset, **_OPTIONS)

    def _learned(self, stream: Any, x: Any, weights: Any) -> Any:
        if weights is not None:
            weights = weights if _is_foreign(weights) else np.asarray(weights, np.float64)
            _data_checks.one_a_sample(weights, x)
        xp = array_namespace(x)
        where = x == x if xp.isdtype(x.dtype, "real floating") else None
        if isinstance(x, np.ndarray) and where is not None and where.all():
            where = None
        self._check_learns("fit")
        return self._added(stream, x, where, weights, axis=0)

    def _contained(self, y: np.ndarray, X: Any) -> Any:
        """The result in the container asked for, with the index of the features."""
        config = getattr(self, "_sklearn_output_config", {})
        return _output()(y, self).set_output(**config).transform(X)

    # The standardizer's own part.

    def _added(self, stream: Any, batch: Any, where: Any, weights: Any, axis: Any) -> Any:
        """The stream with one batch more."""
        raise NotImplementedError

    def _keep(self, before: Any, stream: Any) -> None:
        """Holds a stream that was begun."""
        raise NotImplementedError

    def _check_learns(self, method: str) -> None:
        """Raises where the moments were given, and are not to be learned."""
        raise NotImplementedError


_OPTIONS: dict[str, Any] = dict(
    dtype=(np.float64, np.float32, np.float16), ensure_all_finite="allow-nan", allow_nd=True
)


def _is_foreign(X: Any) -> bool:
    """Whether X is an array of another library than NumPy, of which scikit-learn knows little."""
    return is_array(X) and not isinstance(X, np.ndarray)


def _validation() -> Any:
    try:
        return import_module("sklearn.utils.validation")
    except ImportError as error:
        raise ImportError(
            "the methods of scikit-learn need it, and it is not installed: "
            'pip install "revnorm[sklearn]"'
        ) from error


@cache
def _output() -> Any:
    """A transformer of scikit-learn's that has its result by now, and gives it the container."""
    mixin: Any = import_module("sklearn.base").TransformerMixin

    class Output(mixin):
        def __init__(self, y: np.ndarray, estimator: Estimator) -> None:
            self.y, self.estimator = y, estimator

        def get_feature_names_out(self, input_features: Any = None) -> Any:
            return self.estimator.get_feature_names_out(input_features)

        def transform(self, X: Any) -> np.ndarray:
            return self.y

    return Output
