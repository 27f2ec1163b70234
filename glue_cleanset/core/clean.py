"""clean_image_set(): the stages in their order, and CleanResult."""

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from astropy.table import Table

from .detect import Detector
from .events import add_facts, map_kinds, summarize
from .imageset import ImageSet, as_mask
from .kernels_flag import judge
from .kinds import tell_kinds
from .model import SetModel
from .names import listed
from .noise import NoiseModel, fit_noise
from .normalize import normalize
from .overrule import apply, plan
from .pattern import Pattern, hot_pixel_map
from .repair import copied_dtype, copy_frames, light_of_kept, repaired_values
from .settings import CleanSettings
from .simulate import simulate_set
from .threads import CleanCancelled, at_once, in_threads, pieces, return_memory

__all__ = [
    "BAD_MISMATCH",
    "MANY_PERCENT",
    "CleanCancelled",
    "CleanResult",
    "Judged",
    "checked_set",
    "clean_image_set",
    "compile_loops",
    "judge_image_set",
    "learn_model",
    "must_compile",
]

_log = logging.getLogger(__name__)

# a frame that lost more than this share of its pixels is reported
MANY_PERCENT = 2.0
# and one whose stars differ from the others' by more than this share of their local range
BAD_MISMATCH = 30.0


@dataclass(frozen=True, eq=False)
class CleanResult:
    """What a cleaning found, and the repaired frames.

    Attributes
    ----------
    cleaned : ndarray, (N, ny, nx), float
        The repaired frames [ADU], native byte order; equal to the input outside `rejected`.
    rejected : ndarray, (N, ny, nx), bool
        True = this pixel of this frame is an outlier, and not kept.
    rejection_map : ndarray, (ny, nx), uint16
        Number (1 ... N) of the frame rejected there, the most significant where several are; 0 = none.
    rejection_count : ndarray, (ny, nx), uint16
        In how many frames the pixel was rejected.
    peak_significance : ndarray, (ny, nx), float32
        Greatest significance [sigma] among the frames rejected there; 0 where none.
    reference : ndarray, (ny, nx), float32
        The expected image, on the mean scale and offset of the set [ADU]; NaN where no frame is good.
    events : astropy.table.Table
        One row per event: ``event`` (1 ...), ``frame`` (1 ...), ``y``, ``x`` (centre, 0-based), ``y_peak``, ``x_peak``,
        ``pixels``, ``total`` and ``peak`` [ADU above the reference], ``peak_significance`` [sigma],
        ``polarity`` ('bright' or 'dark'), ``kind`` (of `glue_cleanset.core.settings.KINDS`), ``confidence`` (0 ... 1),
        ``track`` (of ``tracks``; 0 = none), ``kept`` (True = is not rejected).
    summary : astropy.table.Table
        One row per frame: ``frame``, ``name``, ``events``, ``pixels``, ``percent``, ``scale``, ``offset`` [ADU],
        ``mismatch`` (by which share of the local range the frame differs from the others on stars), the number of
        events of each kind, kept ones included (``cosmic_ray`` ...), ``remark``. Events that are kept, and their
        pixels, do not count as ``events`` and ``pixels``.
    noise : NoiseModel
        Gain and read noise used, and where they come from.
    scales, offsets : ndarray, (N,)
        frame = scale * reference + offset [ADU].
    gradients : ndarray, (N, 2)
        Slope of the offset along y and x about the centre of the frame [ADU / pixel]; 0 where the skies do not differ.
    settings : CleanSettings
        As they were used.
    warnings : tuple of str
        What a person should know before trusting the result: frames that lost many pixels, a noise
        model that could not be fitted.
    event_pixels, event_numbers : ndarray, 1-D
        Flat index into (N, ny, nx) of the pixels of all events, kept ones included, ascending; the number of its event.
    model : SetModel
        What was learned of the whole set, with which any part of it can be judged again.
    overrules : tuple of str
        What a person restored or rejected by hand, in words.
    mask : ndarray, (N, ny, nx), bool, or None
        Of the frames: True = was ignored.
    kind_map : ndarray, (ny, nx), uint8
        1 + the place in `glue_cleanset.core.settings.KINDS` of the kind of the most significant event there, kept ones
        included; 0 = none.
    tracks : astropy.table.Table
        One row per moving object: ``track`` (1 ...), ``frames`` (in how many it is seen), ``events``, ``first``,
        ``last`` (frames), ``y``, ``x`` (in the first frame of the set), ``rate``, ``y_rate``, ``x_rate``
        [pixel / frame], ``position_angle`` (of the motion [deg], from +y through -x), ``flux`` [ADU],
        ``peak_significance`` [sigma].
    track_positions : ndarray, (T, N, 2)
        y, x of each moving object in each frame.
    light : (ndarray, ndarray), (L,)
        Flat index into (N, ny, nx) of each hit on a moving object, ascending, and the light of the object there [ADU].
    pattern : glue_cleanset.core.pattern.Pattern or None
        Where the events of the cleaning lie on the detector; None where the frames are not shifted against each other,
        or no pattern is seen.
    """

    cleaned: np.ndarray
    rejected: np.ndarray
    rejection_map: np.ndarray
    rejection_count: np.ndarray
    peak_significance: np.ndarray
    reference: np.ndarray
    events: Table
    summary: Table
    noise: NoiseModel
    scales: np.ndarray
    offsets: np.ndarray
    gradients: np.ndarray
    settings: CleanSettings
    warnings: tuple[str, ...] = ()
    event_pixels: np.ndarray = field(repr=False, default=None)
    event_numbers: np.ndarray = field(repr=False, default=None)
    model: SetModel = field(repr=False, default=None)
    overrules: tuple[str, ...] = ()
    mask: np.ndarray | None = field(repr=False, default=None)
    kind_map: np.ndarray = field(repr=False, default=None)
    tracks: Table = field(repr=False, default=None)
    track_positions: np.ndarray = field(repr=False, default=None)
    light: tuple[np.ndarray, np.ndarray] | None = field(repr=False, default=None)
    pattern: Pattern | None = field(repr=False, default=None)

    @property
    def shape(self):
        """N, ny, nx."""
        return (len(self.summary), *self.reference.shape)

    @cached_property
    def hot_pixels(self):
        """The hot and cold pixels in the frame of the detector: `glue_cleanset.core.pattern.HotPixels`, or None."""
        return None if self.pattern is None else hot_pixel_map(self.pattern, self.shape)

    def event_labels(self):
        """The number of the event every pixel belongs to, kept ones included: (N, ny, nx) int32, 0 = none."""
        labels = np.zeros(self.shape, np.int32)
        labels.reshape(-1)[self.event_pixels] = self.event_numbers
        return labels


def must_compile():
    """Whether the next cleaning compiles its loops first, as the first one on a machine does."""
    place, line = judge.stats.cache_path, judge.py_func.__code__.co_firstlineno
    return not judge.signatures and not any(Path(place).glob(f"*.judge-{line}.*"))


def compile_loops():
    """Compile what a cleaning needs, once on a machine: a small simulated set is cleaned. It takes some 0.3 GB, which
    a process does not give back."""
    clean_image_set(simulate_set(6, (200, 220), seed=2, star_density=1e-3, mover=True, trail=True).frames)


def clean_image_set(
    frames,
    settings=CleanSettings(),
    *,
    mask=None,
    gain=None,
    readnoise=None,
    exptime=None,
    protect=None,
    reject=None,
    progress=None,
):
    """Clean a set of registered frames: find the outliers of every pixel through the set, and repair them.

    Parameters
    ----------
    frames : ImageSet or array-like, (N, ny, nx)
        Any real dtype and byte order [ADU]. Never modified. NaN and infinite values are masked.
    settings : CleanSettings
    mask : array-like, (N, ny, nx) or (ny, nx), optional
        Nonzero = ignore this pixel. It is never an event and never part of a reference.
    gain, readnoise, exptime : float or N floats, optional
        [e-/ADU], [e- rms], [s]. None = what the `ImageSet` knows, else found from the set itself.
    protect, reject : array-like of bool, (N, ny, nx) or (ny, nx), optional
        True = never rejected; rejected whatever its value, as a person does it (`glue_cleanset.overrule`).
    progress : callable, optional
        ``progress(done, total)`` is called as the work goes on; it may return False or raise to stop.

    Returns
    -------
    CleanResult

    Raises
    ------
    ValueError, TypeError
        Where the input cannot be cleaned; before any work.
    CleanCancelled
        Where `progress` returned False.
    """
    image_set = checked_set(frames, settings, mask, gain, readnoise, exptime, protect, reject)
    # the first stages leave a core to the copy
    with ThreadPoolExecutor(1) as pool:
        copy = pool.submit(copy_frames, image_set)
        source = image_set
        if image_set.on_demand or copied_dtype(image_set) == image_set.work_dtype != image_set.frames.dtype:
            # what the copy has read and converted need not be read again
            source = image_set.with_frames(copy.result())
        judged = judge_image_set(source, settings, protect=protect, reject=reject, progress=progress)
        cleaned = copy.result()
    cleaned.reshape(-1)[judged.index] = judged.values
    return_memory()  # before the flags take as much
    return replace(judged.result, cleaned=cleaned, rejected=judged.flags())


def checked_set(frames, settings, mask=None, gain=None, readnoise=None, exptime=None, protect=None, reject=None):
    """The set to be cleaned, with what is given; parameters and errors as those of `clean_image_set`."""
    if not isinstance(settings, CleanSettings):
        raise TypeError(f"settings is {settings!r}; give a CleanSettings")
    given = {"mask": mask, "gain": gain, "readnoise": readnoise, "exptime": exptime}
    given = {name: value for name, value in given.items() if value is not None}
    if not isinstance(frames, ImageSet):
        image_set = ImageSet(frames, **given)
    elif given:
        image_set = replace(frames, **given)
    else:
        image_set = frames
    for name, words in (("protect", protect), ("reject", reject)):
        if words is not None:
            as_mask(name, words, image_set.shape)
    return image_set


@dataclass(frozen=True, eq=False)
class Judged:
    """What a cleaning found, before any frame is repaired.

    Attributes
    ----------
    result : CleanResult
        Without `cleaned` and `rejected`.
    rejected : ndarray, (K,), int64
        Flat index into (N, ny, nx) of the pixels that are rejected, ascending.
    index : ndarray, (R,), int64
        Of the pixels whose value changes, ascending.
    values : ndarray, (R,)
        What they have from then on [ADU].
    """

    result: CleanResult
    rejected: np.ndarray
    index: np.ndarray
    values: np.ndarray

    def flags(self):
        """What is rejected: (N, ny, nx), bool."""
        flags = np.zeros(self.result.shape, bool)

        def mark(first, last):
            flags.reshape(-1)[self.rejected[first:last]] = True

        # (memory that is new takes its time)
        in_threads(mark, pieces(self.rejected.size))
        return flags


def judge_image_set(image_set, settings=CleanSettings(), *, protect=None, reject=None, progress=None, work=None):
    """Find what is wrong with a set, and what should stand there; repairs nothing.

    Parameters
    ----------
    image_set : ImageSet
    settings : CleanSettings
    protect, reject, progress
        As for `clean_image_set`.
    work : Work, optional
        Where, and in which pieces, the work is done.

    Returns
    -------
    Judged
    """
    report = _reporter(progress)
    report(0.0)
    if must_compile():
        _log.warning("the loops are compiled, once on this machine: some ten seconds")
    model = _compare_frames(image_set, settings, report)
    normalization, noise = model.normalization, model.noise
    report(0.1)
    detector = Detector(image_set, model, settings, progress=report, work=work)
    told, model = tell_kinds(detector, detector.find(), report), detector.model
    outliers, events, numbers = told.outliers, told.events, told.numbers
    del detector  # its images are large
    add_facts(events, told.kinds, told.confidence, told.track, settings.keep)
    report(0.95)

    def repair():
        if settings.repair == "none":
            return np.zeros(0, np.int64), np.zeros(0)
        light = light_of_kept(told.light, outliers)
        values = repaired_values(image_set, outliers, ~outliers.kept, normalization, settings, light)
        return outliers.rejected, values

    about_frames = image_set.names, normalization, noise.mismatch, told.remarks
    (index, values), summary, kind_map = at_once(
        repair,
        lambda: summarize(outliers, image_set.shape, events, told.kinds, *about_frames),
        lambda: map_kinds(outliers, events, numbers, told.kinds),
    )
    result = CleanResult(
        cleaned=None,
        rejected=None,
        **outliers.images(),
        events=events,
        summary=summary,
        noise=noise,
        scales=normalization.scales,
        offsets=normalization.offsets,
        gradients=normalization.gradients,
        settings=settings,
        warnings=_warnings(summary, noise, normalization.alone),
        event_pixels=outliers.index,
        event_numbers=numbers,
        model=model,
        mask=image_set.mask,
        kind_map=kind_map,
        tracks=told.tracks,
        track_positions=told.track_positions,
        light=told.light,
        pattern=told.pattern,
    )
    rejected = outliers.rejected
    values = np.broadcast_to(np.asarray(values, copied_dtype(image_set)), index.shape)
    if protect is not None or reject is not None:
        change = plan(result, image_set, restore=protect, reject=reject)
        result, rejected = apply(result, change), change.outliers.rejected
        result = replace(result, warnings=_warnings(result.summary, noise, normalization.alone))
        others = ~np.isin(index, change.index, assume_unique=True)
        index, values = np.append(index[others], change.index), np.append(values[others], change.values)
        order = np.argsort(index, kind="stable")
        index, values = index[order], values[order]
    report(1.0)
    return Judged(result, rejected, index, values)


def learn_model(image_set, settings=CleanSettings(), gain=None, readnoise=None, progress=None):
    """What a cleaning would learn of the whole set, without cleaning it.

    Parameters
    ----------
    image_set : ImageSet
    settings : CleanSettings
        Only its `normalize` has a part in this.
    gain, readnoise : float or N floats, optional
        [e-/ADU], [e- rms]. None = what the `ImageSet` knows, else found from the set itself.
    progress : callable, optional
        As for `clean_image_set`.

    Returns
    -------
    SetModel
        Equal to the `CleanResult.model` of a cleaning.

    Raises
    ------
    ValueError
        Where the set cannot be normalised.
    CleanCancelled
        Where `progress` returned False.
    """
    given = {"gain": gain, "readnoise": readnoise}
    image_set = replace(image_set, **{name: value for name, value in given.items() if value is not None})
    report = _reporter(progress)
    report(0.0)
    model = _compare_frames(image_set, settings, report)
    report(0.1)
    model = Detector(image_set, model, settings, progress=report).model
    report(1.0)
    return model


def _reporter(progress):
    """report(share): tells how much is done, 0 to 1, and raises where it is to stop."""

    def report(share):
        if progress is not None and progress(round(1000 * share), 1000) is False:
            raise CleanCancelled("cancelled; nothing was changed")

    return report


def _compare_frames(image_set, settings, report):
    """The first part of what is learned of a set: normalisation and noise."""
    normalization, sample = normalize(image_set, settings.normalize, image_set.exptime)
    report(0.05)
    noise = fit_noise(sample, normalization.scales, normalization.offsets, image_set.gain, image_set.readnoise)
    return SetModel(normalization, noise)


def _warnings(summary, noise, alone):
    found = [noise.message] if noise.message else []
    if alone:
        frames = listed(summary["name"][list(alone)])
        found.append(f"no good pixel is shared with the others by {frames}: it was compared with nothing")
    for column, limit, text in (
        (
            "percent",
            MANY_PERCENT,
            "more than {limit:g} % of the pixels were rejected in {frames}: it was hit that often, something varies "
            "there, or the frame is not registered; look at it before you use it",
        ),
        (
            "mismatch",
            BAD_MISMATCH,
            "stars differ from the rest of the set by more than {limit:g} % of their local range in {frames}: such a "
            "frame is blurred, trailed or not registered, and hits on its stars stay; think of leaving it out",
        ),
    ):
        frames = listed([f"{row['name']} ({row[column]:.1f} %)" for row in summary[summary[column] > limit]])
        if frames:
            found.append(text.format(limit=limit, frames=frames))
    # the others are named above
    clouded = summary[(np.char.str_len(summary["remark"]) > 0) & (summary["mismatch"] <= BAD_MISMATCH)]
    if len(clouded):
        frames = listed([f"{row['name']} ({row['remark'].removeprefix('bad frame: ')})" for row in clouded])
        found.append(f"something is wrong with the whole of {frames}; think of leaving it out")
    return tuple(found)
