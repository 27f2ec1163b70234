"""The settings of a cleaning: the only home of every default."""

from dataclasses import dataclass, fields
from math import isfinite, isnan
from numbers import Integral, Real

__all__ = ["CENTRES", "DETECTIONS", "KINDS", "NORMALIZATIONS", "REPAIRS", "CleanSettings"]

# option -> what it does, in the words the dialog and the command line show
DETECTIONS = {
    "noise": "noise model with local inflation: untuned, keeps star cores",
    "ccd": "CCD noise model alone: gain, read noise, scale noise",
    "sigma": "sigma clip: mean or median, and standard deviation of the samples",
    "mad": "sigma clip: median, and median absolute deviation of the samples",
    "winsorized": "sigma clip: median, and winsorized standard deviation of the samples",
    "percentile": "a share of the median of the samples",
    "minmax": "the highest and the lowest sample of every pixel",
    "esd": "generalized extreme Studentized deviate test, at 5 %",
}
CENTRES = {"median": "median of the samples", "mean": "mean of the samples"}
NORMALIZATIONS = {
    "auto": "scale and offset where the set can tell them apart, else the one that fits",
    "none": "the frames are compared as they are",
    "scale": "frames differ by a factor (flats, transparency)",
    "offset": "frames differ by a constant (sky, bias)",
    "both": "frames differ by a factor and a constant",
    "exptime": "frames differ by their exposure times and a constant sky",
}
REPAIRS = {
    "median": "median of the frames that survive at that pixel, on its scale",
    "mean": "noise-weighted mean of the frames that survive at that pixel, on its scale",
    "neighbours": "median of the good pixels around it in the same frame",
    "zero": "0, for a later mean that leaves zeros out",
    "nan": "NaN",
    "constant": "a value you give",
    "none": "detect only, leave the pixels as they are",
}
# what an event can be
KINDS = {
    "cosmic ray": "sharper than a star, or a track",
    "hot pixel": "the same pixel of the detector in frame after frame",
    "cold pixel": "likewise, darker than the rest",
    "moving object": "a source on a straight line at a steady rate through three frames or more",
    "trail": "a line across a good part of one frame: satellite, aircraft, meteor",
    "variable star": "a star whose light differs in several frames",
    "bad frame": "stars in a frame that differs everywhere: trailed, clouded, another filter",
    "other": "none of these, or not to be told",
}
# what stays as it is: of the detections that reproduce an established pipeline, nothing
_KEPT = ("moving object", "variable star")
# (high, low) in sigma; None where a method has no such threshold. Of 'percentile', high is a share of the median.
_THRESHOLDS = {
    "noise": (4.5, 2.0),
    "ccd": (4.5, None),
    "sigma": (3.0, None),
    "mad": (10.0, None),
    "winsorized": (3.0, None),
    "percentile": (0.3, None),
    "minmax": (None, None),
    "esd": (None, None),
}


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
        ``inf`` switches one side off. None = the default of the detection. For ``detection='percentile'``
        a share of the median instead.
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
        significant are. None = a minority, fewer than half of the frames and at least one, with the noise
        models; as many as the test finds with the others. *Lower* it to keep what several frames show.
    min_frames : int
        How many frames must remain at a pixel; the least significant of the rejected are put back. Where none
        remains, `repair` takes the neighbours.
    add_noise : bool
        With ``repair='median'`` or ``'mean'``: add the noise that the frame would have had there, so that its
        statistics stay honest. The same `seed` gives the same noise.
    seed : int
        Of the added noise.
    centre : str
        One of `CENTRES`: about what ``detection='sigma'`` clips.
    maxiters : int, optional
        How often the sigma clips are repeated at most; None = until nothing changes.
    kinds : bool
        Tell what each event is, and find the whole of trails and moving objects with ``detection='noise'``.
    keep : tuple of str, optional
        Which of `KINDS` stay as they are: their events are listed and not rejected. None = moving objects and variable
        stars with ``detection='noise'``, nothing with the others, which reproduce established pipelines.
    scale_noise : float
        Noise proportional to the signal (flat field, shutter), as a share of it; for ``detection='ccd'``.

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
    min_frames: int = 0
    add_noise: bool = False
    seed: int = 0
    centre: str = "median"
    maxiters: int | None = 5
    kinds: bool = True
    keep: tuple[str, ...] | None = None
    scale_noise: float = 0.0

    def __post_init__(self):
        for name, choices in (
            ("detection", DETECTIONS),
            ("normalize", NORMALIZATIONS),
            ("repair", REPAIRS),
            ("centre", CENTRES),
        ):
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
        _whole("min_frames", self.min_frames, least=0)
        _whole("seed", self.seed, least=0)
        for name in ("max_rejected", "maxiters"):
            if getattr(self, name) is not None:
                _whole(name, getattr(self, name), least=1)
        for name in ("add_noise", "kinds"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} is {getattr(self, name)!r}; give True or False")
        object.__setattr__(self, "keep", _kinds_to_keep(self.keep, self.kinds, self.detection))
        if not _is_number(self.scale_noise) or self.scale_noise < 0:
            raise ValueError(f"scale_noise is {self.scale_noise!r}; give a share of the signal, 0 or more")
        if not _is_number(self.constant):
            raise ValueError(f"constant is {self.constant!r}; give a finite number (for NaN use repair='nan')")

    @property
    def by_noise(self):
        """Whether pixels are judged with a noise model, and not by the scatter of their own samples."""
        return self.detection in ("noise", "ccd")

    def most_rejected(self, n):
        """In how many of n frames a pixel may be rejected."""
        if self.max_rejected is not None:
            return self.max_rejected
        return max(1, (n - 1) // 2) if self.by_noise else n

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
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values["keep"] = ",".join(self.keep).replace(" ", "_") or "nothing"
        return [f"{name}={value}" for name, value in values.items()]


def _kinds_to_keep(keep, kinds, detection):
    if keep is None:
        return _KEPT if kinds and detection == "noise" else ()
    if not isinstance(keep, (str, tuple, list, set, frozenset)):
        raise TypeError(f"keep is {keep!r}; give names of kinds, of {', '.join(map(repr, KINDS))}")
    keep = (keep,) if isinstance(keep, str) else tuple(keep)
    for kind in keep:
        if not isinstance(kind, str) or kind not in KINDS:
            raise ValueError(f"keep has {kind!r}; choose from {', '.join(map(repr, KINDS))}")
    keep = tuple(kind for kind in KINDS if kind in keep)
    if keep and not kinds:
        raise ValueError(f"keep is {keep!r} but kinds is False; let the kinds be told, or keep nothing")
    return keep


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


def _is_number(value):
    return not isinstance(value, bool) and isinstance(value, Real) and isfinite(value)


def _whole(name, value, least):
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name} is {value!r}; give a whole number, {least} or more")
