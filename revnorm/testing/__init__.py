"""What a normalization should give, and how far an implementation is from it."""

from revnorm.testing._reference import reference

__all__ = ["reference"]
