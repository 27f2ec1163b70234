"""Headers of frames that were moved onto the grid of another: coordinates on the sky and on the detector."""

import re

import numpy as np

__all__ = ["moved_header"]

_WCS = re.compile(
    r"WCSAXES[A-Z]?|WCSNAME[A-Z]?|C(TYPE|UNIT|RPIX|RVAL|DELT|RDER|SYER)[12][A-Z]?|CROTA[12]|(CD|PC)[12]_[12][A-Z]?|"
    r"P[VS][12]_\d+[A-Z]?|(LONPOLE|LATPOLE|RADESYS|EQUINOX)[A-Z]?|RADECSYS|[AB]P?_(\d+_\d+|ORDER|DMAX)|WAT\d_\d+"
)


def moved_header(header, reference, matrix, offset):
    """The header of a frame that was moved.

    Parameters
    ----------
    header, reference : astropy.io.fits.Header
        Of the frame, and of the one on whose grid it is now; not changed.
    matrix, offset : ndarray, (2, 2) and (2,)
        y, x in the frame = matrix @ (y, x on the grid) + offset [pixels, 0-based].

    Returns
    -------
    astropy.io.fits.Header
        With the WCS of the reference, and LTM and LTV (image = LTM * physical + LTV), which tell where the pixels of
        the detector went.
    """
    result = header.copy()
    for keyword in dict.fromkeys(header):
        if _WCS.fullmatch(keyword):
            result.remove(keyword, remove_all=True)
    result.extend((card for card in reference.cards if _WCS.fullmatch(card.keyword)), end=True)
    _set_physical(result, matrix, offset)
    return result


def _set_physical(header, matrix, offset):
    if not np.isfinite(offset).all():
        for keyword in ("LTV1", "LTV2", "LTM1_1", "LTM1_2", "LTM2_1", "LTM2_2"):
            header.remove(keyword, ignore_missing=True)
        return
    # x first, and FITS counts from 1
    moved = np.linalg.inv(matrix)[::-1, ::-1]
    step = 1 - moved @ (1 + offset[::-1])
    scale = np.array([[_number(header, f"LTM{i}_{j}", float(i == j)) for j in (1, 2)] for i in (1, 2)])
    place = np.array([_number(header, f"LTV{i}", 0.0) for i in (1, 2)])
    scale, place = moved @ scale, moved @ place + step
    for i in (1, 2):
        header[f"LTV{i}"] = float(place[i - 1])
        for j in (1, 2):
            if f"LTM{i}_{j}" in header or scale[i - 1, j - 1] != (i == j):
                header[f"LTM{i}_{j}"] = float(scale[i - 1, j - 1])


def _number(header, keyword, default):
    value = header.get(keyword, default)
    return float(value) if isinstance(value, (int, float)) else default
