"""How measured figures are summed up and written."""

from collections.abc import Sequence
from statistics import median


def at(values: Sequence[float], share: float) -> float:
    """The value that so large a share of all lies below or at: 0.99 is the 99th percentile."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def ms(seconds: float, digits: int = 1) -> str:
    """Seconds as milliseconds."""
    return f"{seconds * 1000:,.{digits}f} ms"


def ratios(ours: Sequence[float], yardstick: Sequence[float]) -> str:
    """The median of the ratios round by round, the lowest and the highest."""
    found = [one / other for one, other in zip(ours, yardstick, strict=True)]
    return f"{median(found):.2f} ({min(found):.2f} to {max(found):.2f})"
