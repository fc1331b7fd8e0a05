"""Features that are constant but for what rounding did to them."""

import numpy as np

from revnorm._moments import Moments


def flattened(found: Moments) -> Moments:
    """The same moments, of NumPy, with no variance at all where it may be one of rounding.

    That is where the deviation is at most what the mean itself may be off by.
    """
    with np.errstate(all="ignore"):
        # The root of the bound, as the square of a mean may overflow.
        off = (1 + np.log2(np.maximum(found.count, 1))) * 2.0**-52 * abs(found.mean)
        flat = np.sqrt(found.variance) <= off
    return found._replace(variance=np.where(flat, 0.0, found.variance))
