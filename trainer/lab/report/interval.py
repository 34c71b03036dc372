"""A number of the lab as text."""

import math

from trainer.lab.measure.jackknife import ConfidenceInterval
from trainer.report.grid import MISSING, PLUS_MINUS


def with_interval(number: ConfidenceInterval) -> str:
    """A number as "0.51±0.02", "12.3±0.4" or "105±12": three digits or so. An undefined interval is left out."""
    if math.isnan(number.value):
        return MISSING
    parts = [number.value] if math.isnan(number.half) else [number.value, number.half]
    largest = max(map(abs, parts))
    digits = 2 if largest < 9.995 else 1 if largest < 99.95 else 0
    return PLUS_MINUS.join(f"{round(part, digits) + 0.0:.{digits}f}" for part in parts)  # + 0.0: no -0
