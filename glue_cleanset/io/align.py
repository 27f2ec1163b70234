"""Register a set: bring its frames onto the pixel grid of one of them, by their WCS or by their stars.

Interpolation is by cubic splines, which leave the noise nearly as white as it was, at the price that a hit rings by a
tenth of its height two pixels away. Simulated frames moved by up to 10 pixels and turned by up to 0.5 deg are cleaned
with 0.5 to 0.8 times the false alarms of frames that were registered from the start (3 to 20 frames; 1.5 times are
allowed); after bilinear interpolation, which blurs each pixel by its own phase, it is 5 times, after reproject's
adaptive one 3 to 7 times. Whole pixels leave every value and its noise as they are: 0.9 to 1.1 times.
"""

from dataclasses import dataclass, replace

import numpy as np
from astropy.coordinates import ConvertError
from astropy.table import Column, Table
from astropy.wcs import NoConvergence
from astropy.wcs.utils import pixel_to_pixel
from scipy import ndimage

from .. import __version__
from ..core.names import listed
from ..core.threads import CleanCancelled
from .headers import moved_header
from .read import FitsImageSet, read_wcs
from .registration import measure_shifts
from .stars import confirm_shift, find_stars, match_stars

__all__ = ["align_by_stars", "align_by_wcs", "describe_alignment", "noise_after_alignment"]

# up to this distance of any pixel from its place a frame counts as shifted, not turned [pixels]
_PURE = 0.5
# a step this close to whole pixels everywhere needs no interpolation [pixels]
_WHOLE = 0.01
# what is not measured by more than this at the corners is no rotation [pixels]
_ROTATION_MATTERS = 0.1
# a pixel to which a bad one contributes more than this share is bad
_WEIGHT = 0.1
_SAMPLES = 65  # points along each axis at which a mapping is looked at
_BLOCK = 256  # rows that are interpolated at once


@dataclass(frozen=True)
class _Placed:
    """Where a frame lies.

    `to_frame(y, x)` tells where in the frame the pixels of the grid are; `resample(planes)` interpolates (K, ny, nx)
    planes of the frame there. The rest describes it: `shift` (dy, dx) = place on the grid - place in the frame, its
    mean [pixels]; `matrix`, (2, 2), and `offset`: place in the frame = matrix @ place on the grid + offset, the best
    fit; `departure`: how far it is from a mere shift, at most [pixels]; `noise`: variance of the noise after
    interpolation in units of that before.
    """

    to_frame: object
    resample: object
    shift: np.ndarray
    matrix: np.ndarray
    offset: np.ndarray
    departure: float
    noise: float

    @property
    def whole(self):
        """Whether its pixels fall on those of the grid."""
        return self.departure + np.abs(self.shift - np.rint(self.shift)).max() <= _WHOLE

    @property
    def rotation(self):
        """Of the sky in the frame against the sky on the grid, from x to y [deg]."""
        (yy, yx), (xy, xx) = self.matrix
        return float(np.degrees(np.arctan2(yx - xy, yy + xx)))


def align_by_wcs(image_set, *, reference=0, whole_pixels=False, progress=None):
    """Bring the frames of a set onto the grid of one of them, each by the celestial WCS of its own header.

    By `reproject.reproject_interp`, bicubic; whole pixels need no more than astropy. The values are not changed for
    the area of the pixels: what is interpolated is the light per pixel of the frame.

    Parameters
    ----------
    image_set : FitsImageSet
        Not changed. The WCS are read from its files, with their distortions.
    reference : int
        Index of the frame whose grid and WCS the others get. It is not interpolated.
    whole_pixels : bool
        Move whole pixels, up to half a pixel off, so that the noise stays white and no pixel is interpolated: for
        undersampled frames, and where hot pixels matter. A frame that is turned or distorted by more than half a
        pixel takes the nearest pixel everywhere.
    progress : callable, optional
        ``progress(done, total)`` is called as the work goes on; it may return False or raise to stop.

    Returns
    -------
    FitsImageSet
        Frames in floating point, NaN outside of the frame's own field, and, interpolated, where a masked pixel has
        more than a tenth of the weight; mask and data quality come along. `alignment` tells what was done to each
        frame, as HISTORY does in `headers`, where the WCS is that of the reference. `shifts` are those of frames that
        are not turned or distorted by more than half a pixel (NaN for the others), so that hot pixels are known. `gain`
        and `readnoise` are those of the interpolated noise, see `noise_after_alignment`.

    Raises
    ------
    ValueError
        Names all frames without WCS, or that do not overlap the reference; before any frame is moved.
    TypeError
        Where the set is not from FITS files.
    ImportError
        Where reproject is missing.
    glue_cleanset.core.clean.CleanCancelled
        Where `progress` returned False.
    """
    if not isinstance(image_set, FitsImageSet):
        raise TypeError(f"image_set is a {type(image_set).__name__}; a set of FITS files is needed for its WCS")
    _check_reference(image_set, reference)
    if not whole_pixels:
        _import_reproject()
    report = _reporter(progress, 2 * len(image_set))
    found = read_wcs(image_set.sources)
    missing = [name for name, wcs in zip(image_set.names, found, strict=True) if wcs is None]
    if missing:
        raise ValueError(
            f"no celestial WCS in the header of {listed(missing, most=10)}; align by stars, or leave them out"
        )
    target, shape = found[reference], image_set.shape[1:]
    places, lost = [], []
    for i, wcs in enumerate(found):
        report(i)
        place = None if i == reference else _placed(_wcs_mapping(target, wcs), _wcs_resampler(target, wcs), shape)
        if i != reference and not _overlaps(place, shape):
            lost.append(image_set.names[i])
        places.append(place)
    if lost:
        raise ValueError(
            f"{listed(lost, most=10)}: no part of the field of {image_set.names[reference]} by the WCS; leave them out"
        )
    return _move(image_set, reference, places, "wcs", whole_pixels, report)


def align_by_stars(image_set, *, reference=0, whole_pixels=False, progress=None):
    """Bring the frames of a set onto the grid of one of them, by the stars that they show.

    Stars are matched by the distances between them (`glue_cleanset.io.stars`), so that frames may be shifted and
    turned in any way, also by 180 deg after a meridian flip, but have the same scale (within 0.3 %). Hot pixels are
    taken out first. Where too few stars agree the shift of the whole structure counts (`measure_shifts`), unless the
    stars that there are contradict it.

    Parameters
    ----------
    image_set : ImageSet
        Not changed.
    reference, whole_pixels, progress
        As for `align_by_wcs`.

    Returns
    -------
    FitsImageSet or ImageSet
        What `image_set` is; as for `align_by_wcs`.

    Raises
    ------
    ValueError
        Names all frames that show nothing in common with the reference; before any frame is moved.
    glue_cleanset.core.clean.CleanCancelled
        Where `progress` returned False.
    """
    _check_reference(image_set, reference)
    n, shape = len(image_set), image_set.shape[1:]
    report = _reporter(progress, 2 * n)
    reference_stars = find_stars(image_set, reference)
    stars, ways = [None] * n, [None] * n
    for i in range(n):
        report(i)
        if i != reference:
            stars[i] = find_stars(image_set, i)
            ways[i] = match_stars(reference_stars, stars[i], shape, _ROTATION_MATTERS)
    unmatched = [i for i in range(n) if i != reference and ways[i] is None]
    if unmatched:
        table = measure_shifts(image_set, reference=reference)
        for i in unmatched:
            shift = complex(table["dx"][i], table["dy"][i])
            if not np.isnan(shift):
                ways[i] = confirm_shift(reference_stars, stars[i], shift, shape, _ROTATION_MATTERS)
    places, lost = [], []
    for i, way in enumerate(ways):
        place = None if way is None else _placed(_similarity(*way), _spline_resampler(_similarity(*way)), shape)
        if i != reference and (place is None or not _overlaps(place, shape)):
            lost.append(image_set.names[i])
        places.append(place)
    if lost:
        raise ValueError(
            f"{listed(lost, most=10)}: no stars in common with {image_set.names[reference]}; leave out what is no part "
            "of its field"
        )
    return _move(image_set, reference, places, "stars", whole_pixels, report)


def describe_alignment(alignment):
    """One line that says what an alignment did.

    Parameters
    ----------
    alignment : astropy.table.Table
        Of an aligned `FitsImageSet`.

    Returns
    -------
    str
    """
    meta = alignment.meta
    dy, dx, rotation, names = (alignment[name] for name in ("dy", "dx", "rotation", "name"))
    far = int(np.argmax(np.hypot(dy, dx)))
    return (
        f"aligned by {meta['by']} to {names[meta['reference']]}, {meta['method']}: largest shift dy {dy[far]:+.2f}, "
        f"dx {dx[far]:+.2f} px ({names[far]}), largest rotation {np.max(np.abs(rotation)):.3f} deg; "
        f"{100 * meta['common']:.3g} % of the field is in all frames"
    )


def noise_after_alignment(image_set, gain, readnoise):
    """Gain and read noise that describe the noise of interpolated frames.

    Interpolation lowers the variance by a factor f (the column ``noise`` of `alignment`); the same variance is that of
    a detector with gain / f and read noise / sqrt(f). Where they are not given but found from the set, the set tells
    them like that.

    Parameters
    ----------
    image_set : FitsImageSet
        Aligned or not.
    gain, readnoise : None, float or ndarray, (N,)
        Of the detector [e-/ADU], [e-].

    Returns
    -------
    gain, readnoise : None, float or ndarray, (N,)
        As they are where the set is not aligned.
    """
    alignment = getattr(image_set, "alignment", None)
    if alignment is None:
        return gain, readnoise
    return _effective(gain, readnoise, np.array(alignment["noise"]))


def _effective(gain, readnoise, factor):
    return (
        None if gain is None else np.asarray(gain, float) / factor,
        None if readnoise is None else np.asarray(readnoise, float) / np.sqrt(factor),
    )


def _check_reference(image_set, reference):
    if not 0 <= reference < len(image_set):
        raise ValueError(f"reference is {reference}; the set has the frames 0 to {len(image_set) - 1}")


def _reporter(progress, total):
    def report(done):
        if progress is not None and progress(done, total) is False:
            raise CleanCancelled("cancelled; nothing was changed")

    return report


# --- where a frame lies ----------------------------------------------------------------------------------------------


def _placed(to_frame, resample, shape):
    """The description of a mapping, from points all over the grid."""
    y, x = _sample(shape)
    points, there = np.stack([y, x]), np.stack(to_frame(y, x))
    known = np.isfinite(there).all(axis=0)
    nowhere = np.full(2, np.nan)
    if known.sum() < 3:
        return _Placed(to_frame, resample, nowhere, np.eye(2), nowhere, np.inf, 1.0)
    points, there = points[:, known], there[:, known]
    steps = points - there
    shift = steps.mean(axis=1)
    fit = np.linalg.lstsq(np.vstack([points, np.ones(points.shape[1])]).T, there.T, rcond=None)[0]
    departure = np.hypot(*(steps - shift[:, None])).max() if known.all() else np.inf
    return _Placed(to_frame, resample, shift, fit[:2].T, fit[2], float(departure), _noise_factor(there))


def _sample(shape):
    """y, x of pixels all over the grid, its corners among them."""
    y, x = np.meshgrid(*(np.rint(np.linspace(0, n - 1, min(n, _SAMPLES))) for n in shape), indexing="ij")
    return y.ravel(), x.ravel()


def _overlaps(place, shape):
    return _inside(*place.to_frame(*_sample(shape)), shape).any()


def _inside(y, x, shape):
    """Within the area of the pixels; False where a place is not known."""
    return (np.abs(y - (shape[0] - 1) / 2) <= shape[0] / 2) & (np.abs(x - (shape[1] - 1) / 2) <= shape[1] / 2)


def _noise_factor(there):
    """Mean of the sum of the squared weights of a cubic spline at these places, which is the variance of the
    interpolated noise in units of that before."""
    one = np.zeros(41)
    one[20] = 1
    phases = np.linspace(0, 1, 33)
    weights = ndimage.map_coordinates(one, [np.add.outer(np.arange(5, 35), phases)], order=3)
    y, x = (np.interp(place % 1, phases, np.sum(weights**2, axis=0)) for place in there)
    return float(np.mean(y * x))


def _similarity(turn, offset):
    """to_frame of complex numbers x + iy: place in the frame = turn * place on the grid + offset."""

    def to_frame(y, x):
        return turn.imag * x + turn.real * y + offset.imag, turn.real * x - turn.imag * y + offset.real

    return to_frame


def _wcs_mapping(target, wcs):
    def to_frame(y, x):
        try:
            x, y = pixel_to_pixel(target, wcs, np.asarray(x, float), np.asarray(y, float))
        except (ConvertError, NoConvergence, ValueError):  # other skies, or far from the field
            return np.full(np.shape(y), np.nan), np.full(np.shape(x), np.nan)
        return y, x

    return to_frame


# --- interpolation ---------------------------------------------------------------------------------------------------


def _import_reproject():
    try:
        from reproject import reproject_interp
    except ImportError as error:
        raise ImportError(
            "aligning by WCS needs reproject, pip install 'glue-cleanset[align]'; whole pixels, and stars, do without"
        ) from error
    return reproject_interp


def _wcs_resampler(target, wcs):
    def resample(planes):
        # the places are good to the inverse of the distortion: there is no second sky to come back from
        how = {"order": "bicubic", "roundtrip_coords": False, "return_footprint": False}
        return _import_reproject()((planes, wcs), target, shape_out=planes.shape, **how)

    return resample


def _spline_resampler(to_frame):
    def resample(planes):
        shape = planes.shape[1:]
        result = np.empty_like(planes)
        splines = [ndimage.spline_filter(plane, 3, output=plane.dtype, mode="mirror") for plane in planes]
        for top in range(0, shape[0], _BLOCK):
            rows = slice(top, min(top + _BLOCK, shape[0]))
            y, x = to_frame(*np.mgrid[rows, : shape[1]].astype(float))
            outside = ~_inside(y, x, shape)
            # the outer half of the outermost pixels has their value, as in reproject
            places = [np.clip(y, 0, shape[0] - 1), np.clip(x, 0, shape[1] - 1)]
            for spline, out in zip(splines, result, strict=True):
                ndimage.map_coordinates(spline, places, out[rows], 3, mode="mirror", prefilter=False)
                out[rows][outside] = np.nan
        return result

    return resample


def _interpolated(image_set, i, place, dq):
    """(values, mask, flags) of frame `i` on the grid."""
    values = image_set.read(frames=slice(i, i + 1))[0]
    bad = np.isnan(values)
    bits = _bits(dq)
    planes = [values, *(flagged for _, flagged in bits)]
    if bad.any():
        planes[0] = _filled(values, bad)
        planes.append(bad)
    planes = place.resample(np.stack(planes).astype(values.dtype))
    values = planes[0].astype(values.dtype, copy=False)
    touched = np.abs(np.nan_to_num(planes[1:])) > _WEIGHT
    mask = touched[-1] if bad.any() else np.zeros(values.shape, bool)
    values[mask] = np.nan
    flags = None if dq is None else np.zeros(dq.shape, dq.dtype)
    for (bit, _), here in zip(bits, touched, strict=False):
        flags[here] |= bit
    return values, mask, flags


def _bits(dq):
    """(value, where it is set) of each bit that data quality uses."""
    if dq is None:
        return []
    bits = np.left_shift(1, np.arange(8 * dq.itemsize, dtype=f"u{dq.itemsize}"), dtype=f"u{dq.itemsize}").view(dq.dtype)
    used = np.bitwise_or.reduce(dq, axis=None)
    return [(bit, (dq & bit) != 0) for bit in bits if used & bit]


def _filled(values, bad):
    """The mean of the good pixels around in place of the bad ones, which a spline would spread."""
    values = np.where(bad, 0, values)
    good = ndimage.uniform_filter((~bad).astype(values.dtype), 5)
    around = ndimage.uniform_filter(values, 5)
    near = bad & (good > 0.5 / 25)
    values[near] = around[near] / good[near]
    far = bad & ~near
    values[far] = np.median(values[~bad][:: max(1, bad.size // 100_000)])
    return values


# --- whole pixels ----------------------------------------------------------------------------------------------------


def _whole(image_set, i, place, dq):
    """(values, mask, flags) of frame `i` on the grid, no value changed."""
    shape = image_set.shape[1:]
    if place.departure <= _PURE:
        step = np.rint(place.shift)
        y, x = np.arange(shape[0])[:, None] - step[0], np.arange(shape[1])[None, :] - step[1]
    else:
        y, x = place.to_frame(*np.mgrid[: shape[0], : shape[1]].astype(float))
    inside = _inside(y, x, shape)
    y, x = (
        np.clip(np.rint(np.nan_to_num(axis)), 0, n - 1).astype(np.intp) for axis, n in zip((y, x), shape, strict=True)
    )
    values = image_set.frames[i][y, x].astype(image_set.work_dtype)
    values[~inside] = np.nan
    mask = np.zeros(shape, bool) if image_set.mask is None else image_set.mask[i][y, x] & inside
    return values, mask, None if dq is None else np.where(inside, dq[y, x], dq.dtype.type(0))


# --- the set ---------------------------------------------------------------------------------------------------------


def _move(image_set, reference, places, by, whole_pixels, report):
    """The set on the grid of the reference."""
    n = len(image_set)
    dq = getattr(image_set, "dq", None)
    frames = np.empty(image_set.shape, image_set.work_dtype)
    mask = None if image_set.mask is None else np.zeros(image_set.shape, bool)
    flags = None if dq is None else np.zeros(dq.shape, dq.dtype)
    common = np.ones(image_set.shape[1:], bool)
    shifts = np.zeros((n, 2))
    table = Table(meta={"by": by, "reference": reference, "method": "whole pixels" if whole_pixels else "cubic spline"})
    rows = []
    for i, place in enumerate(places):
        report(n + i)
        if place is None:
            frames[i] = image_set.frames[i]
            if mask is not None:
                mask[i] = image_set.mask[i]
            if dq is not None:
                flags[i] = dq[i]
            rows.append((0.0, 0.0, 0.0, 1.0))
            continue
        whole = whole_pixels or place.whole
        move = _whole if whole else _interpolated
        frames[i], moved, quality = move(image_set, i, place, None if dq is None else dq[i])
        if mask is not None:
            mask[i] = moved
        if dq is not None:
            flags[i] = quality
        common &= np.isfinite(frames[i]) | moved
        shift = np.rint(place.shift) if whole else place.shift
        shifts[i] = shift if place.departure <= _PURE else np.nan
        rows.append((*shift, place.rotation, 1.0 if whole else place.noise))
    report(2 * n)
    table["frame"] = np.arange(1, n + 1)
    table["name"] = list(image_set.names)
    columns = {"dy": "pix", "dx": "pix", "rotation": "deg", "noise": None}
    for (name, unit), values in zip(columns.items(), np.array(rows).T, strict=True):
        table[name] = Column(values, unit=unit)
    table.meta["common"] = float(common.mean())
    if image_set.shifts is not None:
        shifts = shifts + image_set.shifts
    gain, readnoise = _effective(image_set.gain, image_set.readnoise, np.array(table["noise"]))
    changed = {
        "frames": frames,
        "mask": mask,
        "gain": gain,
        "readnoise": readnoise,
        "shifts": shifts if np.isfinite(shifts).any() else None,
        "shifts_source": "alignment",
    }
    if isinstance(image_set, FitsImageSet):
        wcs = image_set.wcs if reference == 0 else read_wcs(image_set.sources[reference : reference + 1])[0]
        headers = tuple(_header(image_set, i, reference, places[i], table) for i in range(n))
        changed |= {"dq": flags, "alignment": table, "wcs": wcs, "headers": headers}
    return replace(image_set, **changed)


def _header(image_set, i, reference, place, table):
    """The header of frame `i`, moved, with what was done to it."""
    matrix, offset = np.eye(2), np.zeros(2)
    if place is not None:
        matrix, offset = place.matrix, place.offset
        if place.departure <= _PURE:
            matrix, offset = np.eye(2), -np.array([table["dy"][i], table["dx"][i]])
    header = moved_header(image_set.headers[i], image_set.headers[reference], matrix, offset)
    name = image_set.names[reference].encode("ascii", "replace").decode()  # FITS knows ASCII only
    done = (
        "the reference"
        if place is None
        else (
            f"{table.meta['method']}, dy {table['dy'][i]:+.2f} dx {table['dx'][i]:+.2f} px, "
            f"rotation {table['rotation'][i]:+.3f} deg"
        )
    )
    header.add_history(f"glue_cleanset {__version__}: aligned by {table.meta['by']} to {name}: {done}")
    return header
