"""The modules that layers of `revnorm.torch` stand in for, made anew from their formulas.

Each says where the formula is from, and what is known to be wrong with it.
"""

import torch
from torch import nn


class AuthorsRevIN(nn.Module):
    """RevIN of its authors: https://github.com/ts-kim/RevIN.

    The way back divides by weight + eps², and the statistics, which have no gradient, stay on the
    module.
    """

    def __init__(self, num_features, eps=1e-5, affine=True, subtract_last=False):
        super().__init__()
        self.eps, self.subtract_last = eps, subtract_last
        self.affine_weight = nn.Parameter(torch.ones(num_features)) if affine else None
        self.affine_bias = nn.Parameter(torch.zeros(num_features)) if affine else None

    def forward(self, x, mode):
        if mode == "norm":
            self.center = (x[:, -1:] if self.subtract_last else x.mean(1, keepdim=True)).detach()
            variance = x.var(1, keepdim=True, unbiased=False)
            self.deviation = torch.sqrt(variance + self.eps).detach()
            y = (x - self.center) / self.deviation
            if self.affine_weight is None:
                return y
            return y * self.affine_weight + self.affine_bias
        if self.affine_weight is not None:
            x = (x - self.affine_bias) / (self.affine_weight + self.eps * self.eps)
        return x * self.deviation + self.center


class IterativeRevIN(nn.Module):
    """RevIN of lucidrains' iTransformer 0.8.1, of (batch, channels, time).

    The way back multiplies by sqrt(variance), also where the way there divided by sqrt(eps).
    """

    def __init__(self, num_variates, eps=1e-5):
        super().__init__()
        self.eps = eps
        self.gamma = nn.Parameter(torch.ones(num_variates, 1))
        self.beta = nn.Parameter(torch.zeros(num_variates, 1))

    def forward(self, x):
        mean = x.mean(-1, keepdim=True)
        variance = x.var(-1, keepdim=True, unbiased=False)
        y = (x - mean) * variance.clamp(min=self.eps).rsqrt() * self.gamma + self.beta

        def reverse(y):
            gamma = self.gamma.sign() * self.gamma.abs().clamp(min=self.eps)
            return (y - self.beta) / gamma * variance.sqrt() + mean

        return y, reverse


class DartsRINorm(nn.Module):
    """RINorm of darts 0.48.1: the authors' formula, and a way back of (batch, time, targets, n).

    The last axis holds the parameters of a distribution, all of which are brought back as values.
    """

    def __init__(self, input_dim, eps=1e-5, affine=True):
        super().__init__()
        self.eps = eps
        self.affine_weight = nn.Parameter(torch.ones(input_dim)) if affine else None
        self.affine_bias = nn.Parameter(torch.zeros(input_dim)) if affine else None

    def forward(self, x):
        self.mean = x.mean(1, keepdim=True).detach()
        self.stdev = torch.sqrt(x.var(1, keepdim=True, unbiased=False) + self.eps).detach()
        y = (x - self.mean) / self.stdev
        if self.affine_weight is None:
            return y
        return y * self.affine_weight + self.affine_bias

    def inverse(self, x):
        if self.affine_weight is not None:
            x = x - self.affine_bias[:, None]
            x = x / (self.affine_weight[:, None] + self.eps * self.eps)
        return x * self.stdev[..., None] + self.mean[..., None]


class SpadeInstance(nn.Module):
    """SPADE's "spadeinstance3x3": https://github.com/NVlabs/SPADE."""

    def __init__(self, num_channels, label_channels, hidden=128):
        super().__init__()
        self.param_free_norm = nn.InstanceNorm2d(num_channels, affine=False)
        self.mlp_shared = nn.Sequential(nn.Conv2d(label_channels, hidden, 3, padding=1), nn.ReLU())
        self.mlp_gamma = nn.Conv2d(hidden, num_channels, 3, padding=1)
        self.mlp_beta = nn.Conv2d(hidden, num_channels, 3, padding=1)

    def forward(self, x, segmentation):
        resized = nn.functional.interpolate(segmentation, size=x.shape[2:], mode="nearest")
        hidden = self.mlp_shared(resized)
        return self.param_free_norm(x) * (1 + self.mlp_gamma(hidden)) + self.mlp_beta(hidden)


class Conditional(nn.Module):
    """Conditional instance norm as Dumoulin et al. (ICLR 2017) have it: rows looked up by style."""

    def __init__(self, num_channels, num_styles):
        super().__init__()
        self.norm = nn.InstanceNorm2d(num_channels, affine=False)
        self.weight = nn.Parameter(torch.ones(num_styles, num_channels))
        self.bias = nn.Parameter(torch.zeros(num_styles, num_channels))

    def forward(self, x, labels):
        weight, bias = self.weight[labels], self.bias[labels]
        return self.norm(x) * weight[:, :, None, None] + bias[:, :, None, None]


class TorchAdaIN(nn.Module):
    """AdaIN of naoto0804's pytorch-AdaIN: unbiased variances, eps added to both.

    One element has no unbiased variance: the result is NaN.
    """

    def forward(self, content, style, alpha=1.0):
        def statistics(x):
            std = torch.sqrt(x.flatten(2).var(2) + 1e-5)[:, :, None, None]
            return x.mean((2, 3), keepdim=True), std

        (mean, std), (style_mean, style_std) = statistics(content), statistics(style)
        y = (content - mean) / std * style_std + style_mean
        return alpha * y + (1 - alpha) * content
