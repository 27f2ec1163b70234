"""The settings of a cleaning: the only home of every default."""

from dataclasses import dataclass, fields
from math import isfinite, isnan
from numbers import Integral, Real

__all__ = ["DETECTIONS", "NORMALIZATIONS", "REPAIRS", "CleanSettings"]

# option -> what it does, in the words the dialog and the command line show
DETECTIONS = {
    "noise": "CCD noise model with local inflation (untuned, keeps star cores)",
    "sigma": "sigma clip: median and standard deviation of the stack",
    "mad": "sigma clip: median and median absolute deviation of the stack",
    "minmax": "the highest and the lowest sample of every pixel",
}
NORMALIZATIONS = {
    "auto": "scale and offset where the set can tell them apart, else the one that fits",
    "none": "the frames are compared as they are",
    "scale": "frames differ by a factor (flats, transparency)",
    "offset": "frames differ by a constant (sky, bias)",
    "both": "frames differ by a factor and a constant",
    "exptime": "frames differ by their exposure times and a constant sky",
}
REPAIRS = {
    "median": "median of the frames that survive at that pixel, on the frame's own scale",
    "mean": "noise-weighted mean of the frames that survive at that pixel, on the frame's own scale",
    "neighbours": "median of the good pixels around it in the same frame",
    "zero": "0, for a later mean that leaves zeros out",
    "nan": "NaN",
    "constant": "a value you give",
    "none": "detect only, leave the pixels as they are",
}
# (high, low) in sigma; None where a method has no such threshold
_THRESHOLDS = {"noise": (4.5, 2.5), "sigma": (3.0, 3.0), "mad": (10.0, 10.0), "minmax": (None, None)}


@dataclass(frozen=True)
class CleanSettings:
    """How a set is cleaned. Every default works without tuning.

    Parameters
    ----------
    detection : str
        One of `DETECTIONS`.
    high : float or (float, float), optional
        Threshold [sigma] above which a pixel is rejected on its own; one number, or
        (bright, dark). *Raise* it when noise is rejected, *lower* it when faint hits stay.
        ``inf`` switches one side off. None = the default of the detection.
    low : float or (float, float), optional
        Threshold [sigma] above which a pixel can be rejected beside a stronger one of the same frame
        (the tails of a track). *Raise* it when events grow into their surroundings, *lower*
        it when tails stay. Never above `high`. Used by ``detection='noise'`` only.
    grow : int
        Reject also the pixels within this distance [pixels] of an event, in the same frame.
    normalize : str
        One of `NORMALIZATIONS`.
    repair : str
        One of `REPAIRS`.
    constant : float
        The value that ``repair='constant'`` writes.
    max_rejected : int, optional
        The most frames in which one pixel may be rejected; where more deviate only the most
        significant are. None = a minority: fewer than half of the frames, at least one.

    Raises
    ------
    ValueError, TypeError
        Where a value is out of range; the message names the field, the value and the choices.
    """

    detection: str = "noise"
    high: float | tuple[float, float] | None = None
    low: float | tuple[float, float] | None = None
    grow: int = 0
    normalize: str = "auto"
    repair: str = "median"
    constant: float = 0.0
    max_rejected: int | None = None

    def __post_init__(self):
        for name, choices in (("detection", DETECTIONS), ("normalize", NORMALIZATIONS), ("repair", REPAIRS)):
            value = getattr(self, name)
            if not isinstance(value, str) or value not in choices:
                raise ValueError(f"{name} is {value!r}; choose one of {', '.join(map(repr, choices))}")
        default_high, default_low = _THRESHOLDS[self.detection]
        high = _threshold("high", default_high if self.high is None else self.high)
        if self.low is None and default_low is not None and high is not None:
            # a high below the default low takes the low down with it
            low = _threshold("low", default_low)
            low = tuple(min(pair) for pair in zip(_pair(low), _pair(high), strict=True))
            low = low[0] if low[0] == low[1] else low
        else:
            low = _threshold("low", self.low)
        if high is not None and low is not None:
            for side, h, v in zip(("bright", "dark"), _pair(high), _pair(low), strict=True):
                if v > h:
                    raise ValueError(f"low ({v:g}) is above high ({h:g}) for {side} outliers; lower low or raise high")
        object.__setattr__(self, "high", high)
        object.__setattr__(self, "low", low)
        _whole("grow", self.grow, least=0)
        if self.max_rejected is not None:
            _whole("max_rejected", self.max_rejected, least=1)
        if isinstance(self.constant, bool) or not isinstance(self.constant, Real) or not isfinite(self.constant):
            raise ValueError(f"constant is {self.constant!r}; give a finite number (for NaN use repair='nan')")

    @property
    def high_pair(self):
        """(bright, dark) thresholds [sigma]."""
        return _pair(self.high)

    @property
    def low_pair(self):
        """(bright, dark) thresholds beside a stronger pixel [sigma]."""
        return _pair(self.low)

    def describe(self):
        """The settings as ``name=value`` texts, for HISTORY cards and logs."""
        return [f"{f.name}={getattr(self, f.name)}" for f in fields(self)]


def _pair(value):
    return value if isinstance(value, tuple) else (value, value)


def _threshold(name, value):
    if value is None:
        return None
    pair = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if len(pair) not in (1, 2):
        raise ValueError(f"{name} is {value!r}; give one number or a pair (bright, dark)")
    for v in pair:
        if isinstance(v, bool) or not isinstance(v, Real) or isnan(v) or v <= 0:
            raise ValueError(f"{name} is {value!r}; thresholds are positive numbers of sigma")
    pair = tuple(float(v) for v in pair)
    return pair[0] if len(set(pair)) == 1 else pair


def _whole(name, value, least):
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name} is {value!r}; give a whole number, {least} or more")
