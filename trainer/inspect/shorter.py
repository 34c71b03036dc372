"""Numbers as few digits, so that the page stays small."""

import numpy as np
from numpy.typing import NDArray

DIGITS = 5


def shorter(values: NDArray[np.floating]) -> list[float]:
    """The numbers with five significant digits.

    >>> shorter(np.array([1 / 3, 2.0]))
    [0.33333, 2.0]
    """
    return [float(f"{value:.{DIGITS}g}") for value in values.tolist()]
