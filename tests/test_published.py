"""The published formula of every system in the field, against the call that stands in for it.

Each formula is written as its authors have it, in a few lines of float64 NumPy. Where theirs has
a known defect, a test shows both: agreement where they are right, and who is right elsewhere.
"""

import numpy as np
import pytest

import revnorm as rn

pytestmark = pytest.mark.backends("numpy", "torch")

# Both sides are float64 on data of magnitudes near 1 and no more than a few thousand elements:
# naive sums of so many lose at most some 1e-13.
CLOSE = {"rtol": 1e-12, "atol": 1e-12}


def sample(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape) * 1.5 + 0.3


class Checker:
    """Calls of the package on one library, from NumPy arrays to NumPy arrays."""

    def __init__(self, backend):
        self.backend, self.numpy = backend, backend.to_numpy

    def array(self, array):
        return self.backend.asarray(array, array.dtype.name)

    def close(self, actual, expected):
        np.testing.assert_allclose(self.numpy(actual), expected, **CLOSE)


@pytest.fixture
def on(backend):
    return Checker(backend)


class TestRevIN:
    """ts-kim: (B, T, C), sqrt(var + eps); back through a division by weight + eps * eps."""

    eps = 1e-5

    def published(self, x, weight, bias):
        mean = x.mean(1, keepdims=True)
        std = np.sqrt(x.var(1, keepdims=True) + self.eps)

        def denorm(y):
            return (y - bias) / (weight + self.eps * self.eps) * std + mean

        return (x - mean) / std * weight + bias, denorm

    def ours(self, on, x, weight, bias):
        keywords = {"axis": 1, "channel_axis": -1, "eps": self.eps}
        return rn.revin(on.array(x), on.array(weight), on.array(bias), **keywords)

    def test_there_and_back(self, on):
        x, weight, bias = sample(4, 24, 3), sample(3, seed=1), sample(3, seed=2)
        expected, denorm = self.published(x, weight, bias)
        y, map = self.ours(on, x, weight, bias)
        on.close(y, expected)
        forecast = sample(4, 7, 3, seed=3)
        # Their divisor is off by eps² = 1e-10, of weights no smaller than 0.4.
        theirs = denorm(forecast)
        np.testing.assert_allclose(on.numpy(map.inv(on.array(forecast))), theirs, rtol=1e-8)
        on.close(map.inv(y), x)

    def test_small_weight(self, on):
        x, weight, bias = sample(4, 24, 3), np.full(3, 1e-9), np.zeros(3)
        y, denorm = self.published(x, weight, bias)
        centred = x - x.mean(1, keepdims=True)
        shrunk = (denorm(y) - x.mean(1, keepdims=True)) / centred
        np.testing.assert_allclose(shrunk, 1 / 1.1, rtol=1e-9)
        y, map = self.ours(on, x, weight, bias)
        on.close(map.inv(y), x)

    def test_small_weight_in_half_precision(self, on):
        x, weight = sample(4, 24, 3).astype(np.float16), np.full(3, 1e-3, np.float16)
        y, map = rn.revin(on.array(x), on.array(weight), axis=1, channel_axis=-1, eps=self.eps)
        back = on.numpy(map.inv(y)).astype(np.float64)
        reach = np.abs(x).astype(np.float64).max(1, keepdims=True)
        assert (np.abs(back - x) <= np.spacing(reach.astype(np.float16))).all()


class TestRevINOfITransformer:
    """lucidrains: (B, C, T), rsqrt(clamp(var, eps)); back by sqrt(var), unclamped."""

    eps = 1e-5

    def published(self, x):
        mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        y = (x - mean) / np.sqrt(var.clip(self.eps))
        return y, lambda y: y * np.sqrt(var) + mean

    def test_there_and_back(self, on):
        x = sample(4, 3, 24)
        expected, reverse = self.published(x)
        y, map = rn.revin(on.array(x), axis=-1, eps=self.eps, eps_mode="clamp")
        on.close(y, expected)
        forecast = sample(4, 3, 7, seed=1)
        on.close(map.inv(on.array(forecast)), reverse(forecast))

    def test_flat_series(self, on):
        x = sample(4, 3, 24)
        x = (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True) * 1e-4
        expected, reverse = self.published(x)
        flattened = x / reverse(expected)
        np.testing.assert_allclose(flattened, np.sqrt(self.eps) / 1e-4, rtol=1e-9)
        y, map = rn.revin(on.array(x), axis=-1, eps=self.eps, eps_mode="clamp")
        on.close(y, expected)
        np.testing.assert_allclose(on.numpy(map.inv(y)), x, rtol=1e-12, atol=1e-18)


class TestReversibleInstanceNorm:
    """KerasFactory: (B, T, C), with the mean or the last step as the center."""

    @pytest.mark.parametrize("subtract_last", [False, True])
    def test_there_and_back(self, on, subtract_last):
        x, weight, bias = sample(4, 24, 3), sample(3, seed=1), sample(3, seed=2)
        center = x[:, -1:, :] if subtract_last else x.mean(1, keepdims=True)
        std = np.sqrt(x.var(1, keepdims=True) + 1e-5)
        y, map = rn.revin(
            on.array(x),
            on.array(weight),
            on.array(bias),
            axis=1,
            channel_axis=2,
            center="last" if subtract_last else "mean",
        )
        on.close(y, (x - center) / std * weight + bias)
        forecast = sample(4, 7, 3, seed=3)
        expected = (forecast - bias) / weight * std + center
        on.close(map.inv(on.array(forecast)), expected)

    def test_two_inputs_in_flight(self, on):
        first, second = on.array(sample(2, 24, 3)), on.array(sample(2, 24, 3, seed=1) * 100)
        y, undo = rn.revin(first, axis=1)
        rn.revin(second, axis=1)
        on.close(undo.inv(y), on.numpy(first))


class TestInstanceNormalizationLayer:
    """MATLAB: statistics over S, T and U for each observation and channel, whatever the order."""

    @pytest.mark.parametrize("letters", ["SSCB", "CBT", "SSSCB", "SCBT", "BCT", "CBU"])
    def test_formats(self, on, letters):
        layout = rn.Layout(letters)
        sizes = {"B": 2, "C": 3}
        x = sample(*[sizes.get(letter, 4 + i) for i, letter in enumerate(letters)])
        scale, offset = sample(3, seed=1), sample(3, seed=2)
        expected = np.empty_like(x)
        front = np.moveaxis(x, (letters.index("B"), letters.index("C")), (0, 1))
        into = np.moveaxis(expected, (letters.index("B"), letters.index("C")), (0, 1))
        for observation in range(2):
            for channel in range(3):
                one = front[observation, channel]
                z = (one - one.mean()) / np.sqrt(one.var() + 1e-5)
                into[observation, channel] = scale[channel] * z + offset[channel]
        y = rn.instance_norm(
            on.array(x),
            on.array(scale),
            on.array(offset),
            axis=layout.axis,
            channel_axis=layout.channel_axis,
        )
        on.close(y, expected)


class TestKerasNormalization:
    """keras.layers.Normalization: `axis` is what is kept; var floored at 1e-7 of its root."""

    @pytest.mark.parametrize("kept", [(-1,), (1, 2), ()])
    def test_adapt(self, on, kept):
        data, x = sample(50, 4, 3), sample(2, 4, 3, seed=1)
        kept = tuple(axis % 3 for axis in kept)
        reduced = tuple(axis for axis in range(3) if axis not in kept)
        mean = data.mean(reduced, keepdims=True)
        std = np.maximum(data.std(reduced, keepdims=True), 1e-7)
        map = rn.standardizer(on.array(data), axis=reduced, eps=0.0)
        on.close(map(on.array(x)), (x - mean) / std)
        on.close(map.inv(on.array(x)), mean + x * std)

    def test_given_mean_and_variance(self, on):
        x, mean, variance = sample(5, 3), sample(1, 3, seed=1), sample(1, 3, seed=2) ** 2
        moments = rn.Moments(*map(on.array, (mean, 0 * mean, variance, np.ones((1, 3)))))
        normalization = rn.standardizer(moments, eps=0.0)
        on.close(normalization(on.array(x)), (x - mean) / np.sqrt(variance))

    def test_constant_feature(self, on):
        seen, unseen = np.full((50, 1), 3.0), np.full((1, 1), 3.5)
        multiplied = (unseen - seen.mean(0)) / np.maximum(seen.std(0), 1e-7)
        assert multiplied.item() == pytest.approx(0.5e7)
        on.close(rn.standardizer(on.array(seen), axis=0, eps=0.0)(on.array(unseen)), 0.5)


class TestAdaIN:
    """Content and style of (B, C, H, W), here of other heights and widths."""

    content = sample(2, 3, 6, 5)
    style = sample(2, 3, 4, 7, seed=1) * 2 - 1

    def statistics(self, x, eps, ddof):
        mean = x.mean((2, 3), keepdims=True)
        return mean, np.sqrt(x.var((2, 3), keepdims=True, ddof=ddof) + eps)

    def ours(self, on, **keywords):
        return rn.adain(on.array(self.content), on.array(self.style), axis=(2, 3), **keywords)

    def test_original(self, on):
        """Torch7: batch normalization of the content, the style's statistics with no eps."""
        mean, std = self.statistics(self.content, 1e-5, 0)
        style_mean, style_std = self.statistics(self.style, 0, 0)
        expected = (self.content - mean) / std * style_std + style_mean
        content, style = on.array(self.content), on.array(self.style)
        normalize = rn.standardizer(content, axis=(2, 3), eps=1e-5)
        restyle = rn.standardizer(style, axis=(2, 3), eps=0.0).inv @ normalize
        on.close(restyle(content), expected)
        # `adain` adds eps on both sides: 5e-6 of a variance near 1 or above.
        np.testing.assert_allclose(on.numpy(self.ours(on)), expected, rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("ddof", [0, 1])
    def test_unbiased(self, on, ddof):
        """naoto0804: unbiased variances and eps on both sides; biased ones beside them."""
        mean, std = self.statistics(self.content, 1e-5, ddof)
        style_mean, style_std = self.statistics(self.style, 1e-5, ddof)
        expected = (self.content - mean) / std * style_std + style_mean
        on.close(self.ours(on, correction=ddof), expected)

    @pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
    def test_strength(self, on, alpha):
        mean, std = self.statistics(self.content, 1e-5, 1)
        style_mean, style_std = self.statistics(self.style, 1e-5, 1)
        feature = (self.content - mean) / std * style_std + style_mean
        expected = feature * alpha + self.content * (1 - alpha)
        on.close(self.ours(on, correction=1, strength=alpha), expected)

    def test_interpolation_of_styles(self, on):
        """naoto0804: one content, the results of several styles added up by weights."""
        styles = [self.style, self.style * 0.5 + 3, -self.style]
        weights = [0.5, 0.2, 0.3]
        mean, std = self.statistics(self.content, 1e-5, 1)
        expected = 0
        for style, weight in zip(styles, weights, strict=True):
            style_mean, style_std = self.statistics(style, 1e-5, 1)
            expected += weight * ((self.content - mean) / std * style_std + style_mean)
        content = on.array(self.content)
        keywords = {"axis": (2, 3), "correction": 1}
        normalize = rn.standardizer(content, **keywords)
        maps = [rn.standardizer(on.array(style), **keywords).inv for style in styles]
        on.close((rn.blend(maps, weights) @ normalize)(content), expected)
        on.close(rn.blend([one @ normalize for one in maps], weights)(content), expected)

    def test_single_pixel(self, on):
        content, style = sample(2, 3, 1, 1), sample(2, 3, 4, 4, seed=1)
        y = rn.adain(on.array(content), on.array(style), axis=(2, 3), correction=1)
        on.close(y, style.mean((2, 3), keepdims=True))


class TestBatchInstanceNorm:
    """hyeonseobnam: (gate * BN + (1 - gate) * IN) * gamma + beta, a gate for each channel."""

    x, gate = sample(4, 3, 6, 5), np.asarray([0.0, 0.35, 1.0])
    gamma, beta = sample(3, seed=1), sample(3, seed=2)

    def published(self, mean, var):
        x, rows = self.x, (slice(None), None, None)
        batch = (x - mean) / np.sqrt(var + 1e-5)
        center = x.mean((2, 3), keepdims=True)
        instance = (x - center) / np.sqrt(x.var((2, 3), keepdims=True) + 1e-5)
        gate = self.gate[rows]
        return (gate * batch + (1 - gate) * instance) * self.gamma[rows] + self.beta[rows]

    def ours(self, on, **keywords):
        arrays = map(on.array, (self.x, self.gate, self.gamma, self.beta))
        keywords = {"axis": (2, 3), "batch_axis": 0, "channel_axis": 1} | keywords
        return rn.batch_instance_norm(*arrays, **keywords)

    def test_training(self, on):
        pooled = {"axis": (0, 2, 3), "keepdims": True}
        on.close(self.ours(on), self.published(self.x.mean(**pooled), self.x.var(**pooled)))

    def test_inference(self, on):
        mean, var = sample(1, 3, 1, 1, seed=3), sample(1, 3, 1, 1, seed=4) ** 2
        running = rn.Moments(*map(on.array, (mean, 0 * mean, var, np.ones_like(mean))))
        on.close(self.ours(on, batch_moments=running), self.published(mean, var))

    def test_other_ranks(self, on):
        """Their 1-D and 3-D variants do not run; the formula does."""
        for shape in ((4, 3, 7), (4, 3, 2, 5, 3)):
            x, axis = sample(*shape), tuple(range(2, len(shape)))
            batch, instance = (
                (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)
                for axes in ((0, *axis), axis)
            )
            y = rn.batch_instance_norm(on.array(x), 0.25, axis=axis, batch_axis=0)
            on.close(y, 0.25 * batch + 0.75 * instance)


class TestConditionalInstanceNorm:
    """Dumoulin, Shlens, Kudlur: a row of scales and biases for each style."""

    x, scales, biases = sample(4, 3, 6, 5), sample(7, 3, seed=1), sample(7, 3, seed=2)

    def published(self, scale, bias):
        mean, var = self.x.mean((2, 3), keepdims=True), self.x.var((2, 3), keepdims=True)
        z = (self.x - mean) / np.sqrt(var + 1e-5)
        return z * scale[:, :, None, None] + bias[:, :, None, None]

    def ours(self, on, labels):
        arrays = map(on.array, (self.x, self.scales, self.biases, labels))
        keywords = {"axis": (2, 3), "batch_axis": 0, "channel_axis": 1}
        return rn.conditional_instance_norm(*arrays, **keywords)

    def test_rows(self, on):
        labels = np.asarray([6, 0, 3, 3])
        on.close(self.ours(on, labels), self.published(self.scales[labels], self.biases[labels]))

    def test_mixtures(self, on):
        weights = np.random.default_rng(3).dirichlet(np.ones(7), size=4)
        expected = self.published(weights @ self.scales, weights @ self.biases)
        on.close(self.ours(on, weights), expected)


class TestSpatiallyAdaptiveNorm:
    """SPADE: a batch or instance norm without parameters, then * (1 + gamma) + beta."""

    @pytest.mark.parametrize("axis", [(0, 2, 3), (2, 3)])
    def test_formula(self, on, axis):
        x, gamma, beta = (sample(4, 3, 6, 5, seed=seed) for seed in range(3))
        z = (x - x.mean(axis, keepdims=True)) / np.sqrt(x.var(axis, keepdims=True) + 1e-5)
        arrays = map(on.array, (x, gamma, beta))
        on.close(rn.spatially_adaptive_norm(*arrays, axis=axis), z * (1 + gamma) + beta)


class TestTorchInstanceNorm:
    """torch.nn.InstanceNorm: running statistics are means over the batch of unbiased ones."""

    def test_running_statistics(self, on):
        batches = [sample(4, 3, 6, 5, seed=seed) for seed in range(3)]
        mean, variance, momentum = np.zeros((1, 3, 1, 1)), np.ones((1, 3, 1, 1)), 0.1
        ours = [on.array(mean), on.array(variance)]
        for x in batches:
            batch_mean = x.mean((2, 3), keepdims=True).mean(0, keepdims=True)
            batch_variance = x.var((2, 3), keepdims=True, ddof=1).mean(0, keepdims=True)
            mean = (1 - momentum) * mean + momentum * batch_mean
            variance = (1 - momentum) * variance + momentum * batch_variance
            seen = rn.moments(on.array(x), axis=(2, 3))
            unbiased = seen.variance * seen.count / (seen.count - 1)
            for i, new in enumerate((seen.mean, unbiased)):
                ours[i] = (1 - momentum) * ours[i] + momentum * new.mean(0)[None]
        on.close(ours[0], mean)
        on.close(ours[1], variance)
        running = rn.Moments(ours[0], 0 * ours[0], ours[1], 0 * ours[0] + 1)
        x = sample(2, 3, 4, 4, seed=9)
        y = rn.instance_norm(on.array(x), axis=(2, 3), moments=running)
        on.close(y, (x - mean) / np.sqrt(variance + 1e-5))


class TestFlaxMask:
    """flax InstanceNorm: masked elements leave the statistics, and are normalized all the same."""

    def test_mask(self, on):
        x, mask = sample(4, 6, 5, 3), np.random.default_rng(1).random((4, 6, 5, 1)) < 0.6
        counted = {"axis": (1, 2), "keepdims": True, "where": np.broadcast_to(mask, x.shape)}
        mean = x.mean(**counted)
        variance = (x * x).mean(**counted) - mean * mean
        y = rn.instance_norm(on.array(x), axis=(1, 2), eps=1e-6, where=on.array(mask))
        on.close(y, (x - mean) / np.sqrt(variance + 1e-6))


class TestMaskedScalers:
    """GluonTS and TimesFM: statistics of what was observed, floored; forecasts scaled back."""

    x = sample(4, 24, 3)
    observed = np.random.default_rng(1).random((4, 24, 3)) < 0.7

    def test_standard_scaler(self, on):
        """GluonTS StdScaler: loc and sqrt(var + minimum_scale) over the observed."""
        count = self.observed.sum(1, keepdims=True)
        loc = (self.x * self.observed).sum(1, keepdims=True) / count
        variance = (((self.x - loc) * self.observed) ** 2).sum(1, keepdims=True) / count
        scale = np.sqrt(variance + 1e-5)
        missing = np.where(self.observed, self.x, np.nan)
        y, map = rn.revin(on.array(missing), axis=1, where=on.array(self.observed))
        on.close(y, np.where(self.observed, (self.x - loc) / scale, np.nan))
        forecast = sample(4, 7, 3, seed=2)
        on.close(map.inv(on.array(forecast)), forecast * scale + loc)

    def test_minimum_scale_in_both_directions(self, on):
        """TimesFM floors sigma before it divides; a forecast of a flat series has to be too."""
        tolerance = 1e-2
        x = 5 + 1e-4 * self.x
        mean = x.mean(1, keepdims=True, where=self.observed)
        sigma = np.maximum(x.std(1, keepdims=True, where=self.observed), tolerance)
        keywords = {"axis": 1, "eps": tolerance**2, "eps_mode": "clamp"}
        y, map = rn.revin(on.array(x), where=on.array(self.observed), **keywords)
        on.close(y, (x - mean) / sigma)
        on.close(map.inv(y), x)

    def test_nothing_observed(self, on):
        """GluonTS falls back on a default scale; here an unknown series stays as it is."""
        y, map = rn.revin(on.array(self.x), axis=1, where=on.array(np.zeros((4, 24, 3), bool)))
        on.close(y, self.x)
        on.close(map.inv(y), self.x)


class TestStandardScaler:
    """scikit-learn: partial_fit over batches, ddof 0, scale 1 where a feature is constant."""

    def test_partial_fit(self, on):
        data = sample(60, 3) * [1.0, 100.0, 0.01] + [0.0, 1e3, 5.0]
        batches = np.split(data, [7, 8, 31])
        mean, variance, seen = np.zeros(3), np.zeros(3), 0
        for batch in batches:
            total = seen + len(batch)
            unnormalized = variance * seen + batch.var(0) * len(batch)
            if seen:
                shift = mean - batch.mean(0)
                unnormalized = unnormalized + shift**2 * seen * len(batch) / total
            mean = (mean * seen + batch.sum(0)) / total
            variance, seen = unnormalized / total, total
        merged, *rest = (rn.moments(on.array(batch), axis=0) for batch in batches)
        for moments in rest:
            merged = rn.merge(merged, moments)
        on.close(merged.mean, mean[None])
        on.close(merged.variance, variance[None])
        on.close(merged.count, np.full((1, 3), 60.0))
        map = rn.standardizer(merged, eps=0.0)
        on.close(map(on.array(data)), (data - mean) / np.sqrt(variance))
        on.close(map.inv(map(on.array(data))), data)

    def test_missing_values_and_constant_features(self, on):
        data = np.column_stack([sample(20), np.full(20, 7.0)])
        data[3:6, 0] = np.nan
        mean, scale = np.nanmean(data, 0), np.nanstd(data, 0)
        scale[scale == 0] = 1
        where = on.array(~np.isnan(data))
        map = rn.standardizer(on.array(data), axis=0, eps=0.0, where=where)
        on.close(map(on.array(data)), (data - mean) / scale)
