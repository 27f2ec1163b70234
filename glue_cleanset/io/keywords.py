"""What the headers of observatories call gain, read noise, exposure time, date and filter."""

import re
from datetime import UTC, datetime

import numpy as np
from astropy.io import fits
from astropy.time import Time

__all__ = ["EXPTIME", "GAIN", "READNOISE", "frame_facts", "frame_times", "parse_dates"]

# In the order of trust. EGAIN before GAIN: many cameras write their gain *setting* as GAIN and e-/ADU as EGAIN;
# ESO writes e-/ADU as CONAD, its own GAIN is the inverse.
GAIN = ("EGAIN", "E-GAIN", "ATODGAIN", "ESO DET OUT1 CONAD", "GAIN", "CCDGAIN", "GAIN1", "GAINEFF", "DETGAIN")
READNOISE = (
    "RDNOISE",
    "READNOIS",
    "READNOISE",
    "READNSE",
    "RON",
    "ESO DET OUT1 RON",
    "RONOISE",
    "RO_NOISE",
    "RDNOIS",
    "RNOISE",
    "RDNOISE1",
    "ENOISE",
    "DETRON",
)
EXPTIME = ("EXPTIME", "EXPOSURE", "TEXPTIME", "EXP_TIME", "EXPOSED", "EXP-TIME", "XPOSURE", "EFFEXPTM", "ITIME")
_DATES = ("UT-OBS", "DATE-OBS", "DATE_OBS", "DATE-BEG")
_TIMES = ("TIME-OBS", "UT-OBS", "UTC-OBS", "UT", "UTC", "UTSTART", "TIME_OBS", "TIME-BEG", "UTSHUT")
_MJDS = ("MJD-OBS", "MJD", "MJD-BEG", "EXPSTART", "MJD_OBS")
_FILTERS = ("FILTER", "FILTNAM", "FILTERS", "FILTNAM1", "INSFILTE", "FILTERID", "ESO INS FILT1 NAME", "OPT_ELEM")
_WHEELS = ("FILTER1", "FILTER2", "FILTER3")
_OPEN = {"", "CLEAR", "OPEN", "NONE", "AIR", "EMPTY", "CLEAR1S", "CLEAR2S", "CLEAR1L", "CLEAR2L", "N/A"}

_NUMBER = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[EeDd][-+]?\d+)?)")


def frame_facts(header):
    """Read what a header tells of its frame.

    Parameters
    ----------
    header : astropy.io.fits.Header
        Of the frame, with what it inherits from the primary header.

    Returns
    -------
    dict
        ``gain`` [e-/ADU], ``readnoise`` [e-], ``exptime`` [s]: float, NaN where the header is silent or the value
        is impossible (gain and read noise not positive, exposure time negative); ``date`` (UTC, ISO
        8601) and ``filter``: str, empty where the header is silent.
    """
    return {
        "gain": _number(header, GAIN, lambda v: v > 0),
        "readnoise": _number(header, READNOISE, lambda v: v > 0),
        "exptime": _number(header, EXPTIME, lambda v: v >= 0),
        "date": _date(header),
        "filter": _filter(header),
    }


def parse_dates(dates):
    """The dates of the frames (UTC, ISO 8601) as an `astropy.time.Time`, or None where one is missing or none."""
    if dates is None or not len(dates) or not all(isinstance(date, str) and date for date in dates):
        return None
    try:
        return Time(list(map(str, dates)), format="isot", scale="utc")
    except ValueError:
        return None


def frame_times(dates, exptimes=None):
    """When the frames were taken.

    Parameters
    ----------
    dates : sequence of N str
        Of the beginning of the exposures (UTC, ISO 8601).
    exptimes : sequence of N floats, optional
        Exposure times [s]; NaN = not known.

    Returns
    -------
    ndarray, (N,), float64, or None
        Of the middle of the exposures, since the first began [h]; None where a date is missing, or all are the same.
    """
    moments = parse_dates(dates)
    if moments is None:
        return None
    hours = (moments - moments.min()).to_value("hour")
    if not hours.max() > 0:
        return None
    return hours if exptimes is None else hours + np.nan_to_num(np.asarray(exptimes, float)) / 7200


def _value(header, key):
    try:
        value = header.get(key)
    except (fits.VerifyError, ValueError):  # a card that cannot be parsed says nothing
        return None
    if isinstance(value, str):
        value = value.strip()
    return None if value == "" or isinstance(value, (bool, fits.card.Undefined)) else value


def _number(header, keys, possible):
    for key in keys:
        value = _value(header, key)
        if isinstance(value, str):  # '60.0 s', '1.5D0'
            found = _NUMBER.match(value)
            value = float(found[1].upper().replace("D", "E")) if found else None
        if isinstance(value, (int, float)) and np.isfinite(value) and possible(value):
            return float(value)
    return np.nan


def _date(header):
    times = [t for key in _TIMES if isinstance(t := _value(header, key), str) and _is_time(t)]
    written = ""
    for key in _DATES:
        text = _value(header, key)
        if not isinstance(text, str) or _is_time(text):
            continue
        date = _iso(text, times)
        if date:
            return date
        written = written or text
    for key in _MJDS:
        value = _value(header, key)
        if isinstance(value, (int, float)) and np.isfinite(value) and value > 0:
            return Time(value, format="mjd").isot
    return written


def _is_time(text):
    return re.match(r"\d{1,2}:\d{2}", text) is not None


def _iso(text, times):
    old = re.fullmatch(r"(\d{1,2})/(\d{1,2})/(\d{2})", text)  # day/month/year of the last century
    if old:
        text = f"19{old[3]}-{int(old[2]):02d}-{int(old[1]):02d}"
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        if not times:
            return text
        time = times[0].split()[0]
        text = f"{text}T{'0' if time[1] == ':' else ''}{time}"
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        return ""
    if date.tzinfo is not None:  # some write local time with its offset
        date = date.astimezone(UTC).replace(tzinfo=None)
    return date.isoformat(timespec="milliseconds")


def _filter(header):
    for key in _FILTERS:
        value = _value(header, key)
        if value is not None:
            return str(value)
    wheels = [str(v) for key in _WHEELS if (v := _value(header, key)) is not None]
    return "+".join([w for w in wheels if w.upper() not in _OPEN] or wheels[:1])
