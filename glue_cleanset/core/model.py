"""SetModel: what a cleaning learned of the whole set, enough to judge any part of it again."""

from dataclasses import asdict, dataclass

import numpy as np

from .noise import NoiseModel
from .normalize import Normalization

__all__ = ["SetModel"]


@dataclass(frozen=True, eq=False)
class SetModel:
    """What a cleaning learned of the whole set.

    Attributes
    ----------
    normalization : Normalization
    noise : NoiseModel
    largest : ndarray, (N,)
        A level [ADU] that next to no value of the frame exceeds, for the rounding of the values.
    sky, sky_variance : float
        Typical level of the set, on the mean scale and offset [ADU], and the mean variance of the frames there [ADU^2].
    scatter : float
        Scatter of the frames about their median where there is noise alone, in units of the noise model.
    full : float
        From how much light above `sky` the detector was full; inf where it was not.

    What is None is found by the first look at the set (`glue_cleanset.core.detect.Detector`).
    """

    normalization: Normalization
    noise: NoiseModel
    largest: np.ndarray | None = None
    sky: float | None = None
    sky_variance: float | None = None
    scatter: float | None = None
    full: float = np.inf

    def to_record(self):
        """Plain values, which a session file keeps."""
        return _plain(asdict(self))

    @classmethod
    def from_record(cls, record):
        """The model that `to_record` wrote down."""
        record = dict(record)
        normalization = dict(record.pop("normalization"))
        tuples = {name: tuple(normalization.pop(name)) for name in ("shape", "alone")}
        return cls(
            Normalization(**_arrays(normalization), **tuples),
            NoiseModel(**_arrays(record.pop("noise"))),
            **_arrays(record),
        )


def _plain(value):
    if isinstance(value, dict):
        return {name: _plain(v) for name, v in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, tuple):
        return list(value)
    return value.item() if isinstance(value, np.generic) else value


def _arrays(record):
    return {name: np.array(v, float) if isinstance(v, list) else v for name, v in record.items()}
