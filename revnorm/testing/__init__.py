"""What a normalization should give, and how far an implementation is from it.

`check` runs a function over a battery of named cases and gives a verdict for each tier;
`conformance` makes a pytest test of the same, `adapt` a function with the kernel's signature, and
`shrink` finds the smallest input that fails.
`reference`, `reference_gradients`, `ulp_error` and `cases` are what they are made of.
"""

from revnorm.testing._adapters import adapt
from revnorm.testing._arrays import from_numpy, to_numpy
from revnorm.testing._cases import Case, cases
from revnorm.testing._check import Bounds, bounds, check, conformance, shrink
from revnorm.testing._gradients import reference_gradients
from revnorm.testing._reference import reference
from revnorm.testing._report import Outcome, Report
from revnorm.testing._ulp import ulp_error

__all__ = [
    "Bounds",
    "Case",
    "Outcome",
    "Report",
    "adapt",
    "bounds",
    "cases",
    "check",
    "conformance",
    "from_numpy",
    "reference",
    "reference_gradients",
    "shrink",
    "to_numpy",
    "ulp_error",
]
