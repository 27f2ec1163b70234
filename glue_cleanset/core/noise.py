"""The noise model: gain and read noise, given or fitted to the set."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class NoiseModel:
    """What gain and read noise a cleaning used, and where they come from.

    Attributes
    ----------
    gain, readnoise : ndarray, (N,)
        Gain [e-/ADU] and read noise [e- rms] of each frame.
    gain_source, readnoise_source : str
        ``'given'``, ``'fitted'``, or ``'assumed'`` where the set holds too little to fit one.
    message : str
        What a person should know about the fit; empty where all is well.
    """

    gain: np.ndarray
    readnoise: np.ndarray
    gain_source: str
    readnoise_source: str
    message: str = ""
