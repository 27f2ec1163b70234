"""Cubes with hits whose truth is known, results made by hand, and glue without Qt."""

from dataclasses import replace

import matplotlib
import numpy as np
from astropy.table import Table
from glue.core.application_base import Application

from glue_cleanset import CleanSettings, ImageSet, clean_image_set
from glue_cleanset.core.clean import CleanResult
from glue_cleanset.core.noise import NoiseModel
from glue_cleanset.core.overrule import Compared, apply, work_out
from glue_cleanset.core.settings import KINDS
from glue_cleanset.core.simulate import VARIANTS, simulate_set
from glue_cleanset.viewer.attach import OUTPUTS, AttachResult

matplotlib.use("Agg")

SHAPE = (5, 12, 16)
# the pixels (frame, y, x) of each event, event 1 first; pixel (3, 4) is hit in two frames
HITS = (
    ((0, 3, 4),),
    ((1, 6, 6), (1, 6, 7), (1, 7, 8)),
    ((2, 3, 4), (2, 3, 5)),
    ((4, 10, 14),),
)


class ViewerApplication(Application):
    """glue's Qt-free application that knows its viewers, as those with a window do."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.shown = []

    def add_widget(self, viewer):
        self.shown.append(viewer)

    @property
    def viewers(self):
        return [self.shown]


def make_frames(shape=SHAPE, seed=1):
    return np.random.default_rng(seed).normal(100, 5, shape).astype(np.float32)


def make_result(frames, hits=HITS):
    """A CleanResult for `frames` that rejects exactly `hits`: per event its (frame, y, x) pixels."""
    n, ny, nx = frames.shape
    numbers = np.zeros(frames.shape, np.int32)
    significance = np.zeros(frames.shape, np.float32)
    rows = []
    for number, pixels in enumerate(hits, start=1):
        for rank, pixel in enumerate(pixels):
            numbers[pixel] = number
            significance[pixel] = 10 * number - rank
        frame, y, x = np.array(pixels).T
        rows.append((number, frame[0] + 1, y.mean(), x.mean(), y[0], x[0], len(y), 10.0 * number, "bright"))
    rejected = numbers > 0
    reference = np.median(frames, axis=0).astype(np.float32)
    names = ("event", "frame", "y", "x", "y_peak", "x_peak", "pixels", "peak_significance", "polarity")
    dtypes = ("i4", "i4", "f8", "f8", "i4", "i4", "i4", "f4", "U6")
    counts = rejected.sum((1, 2))
    summary = Table(
        {
            "frame": np.arange(1, n + 1),
            "name": [f"f{i}.fits" for i in range(1, n + 1)],
            "pixels": counts,
            "percent": 100 * counts / (ny * nx),
        }
    )
    pixels = np.flatnonzero(rejected)
    return CleanResult(
        cleaned=np.where(rejected, reference, frames),
        rejected=rejected,
        rejection_map=np.where(rejected.any(0), significance.argmax(0) + 1, 0).astype(np.uint16),
        rejection_count=rejected.sum(0).astype(np.uint16),
        peak_significance=significance.max(0),
        reference=reference,
        events=Table(rows=rows or None, names=names, dtype=dtypes),
        summary=summary,
        noise=NoiseModel(
            np.full(n, 1.5), np.full(n, 6.0), "given", "fitted", np.full(n, 16.0), np.full(n, 2 / 3), np.zeros(n)
        ),
        scales=np.ones(n),
        offsets=np.zeros(n),
        gradients=np.zeros((n, 2)),
        settings=CleanSettings(),
        event_pixels=pixels,
        event_numbers=numbers.reshape(-1)[pixels],
    )


def make_tracks(n_frames, *places):
    """The tables of two or more objects that move by (1.5, -2) pixels from frame to frame: of their tracks, and where
    they are in each frame. `places` are (y, x) in the first one."""
    n = len(places)
    step = np.array([1.5, -2.0])
    positions = np.array(places, float)[:, None] + np.arange(n_frames)[:, None] * step
    tracks = Table(
        {
            "track": np.arange(1, n + 1, dtype=np.int32),
            "frames": np.full(n, 3, np.int32),
            "events": np.full(n, 3, np.int32),
            "first": np.full(n, 1, np.int32),
            "last": np.full(n, 3, np.int32),
            "y": positions[:, 0, 0],
            "x": positions[:, 0, 1],
            "rate": np.full(n, 2.5),
            "y_rate": np.full(n, step[0]),
            "x_rate": np.full(n, step[1]),
            "position_angle": np.full(n, 53.13),
            "flux": np.linspace(500, 900, n),
            "peak_significance": np.linspace(9, 12, n),
        }
    )
    return tracks, positions


def clean_with_kinds(shape=(6, 40, 50)):
    """Frames with hits, and their result, in which by hand every kind occurs and two objects move: each is the
    strongest event that is left in three frames. Moving objects and variable stars are kept."""
    frames = simulate_set(shape[0], shape[1:], seed=3, **VARIANTS["hard"]).frames
    result = replace(clean_image_set(frames, CleanSettings(kinds=False)), settings=CleanSettings())
    events = result.events
    order = np.argsort(-np.asarray(events["peak_significance"]), kind="stable")
    table = events["event", "confidence", "track"].copy()
    table["kind"] = np.array(list(KINDS))[np.arange(len(events)) % len(KINDS)]
    table["kind"][table["kind"] == "moving object"] = "other"
    table["confidence"] = np.round(np.linspace(0.5, 0.95, len(events)), 3)
    for track, frames_of_it in ((1, (1, 2, 3)), (2, (3, 4, 6))):
        for frame in frames_of_it:
            row = next(k for k in order if events["frame"][k] == frame and not table["track"][k])
            table["kind"][row], table["track"][row] = "moving object", track
    kept = np.isin(table["kind"], result.settings.keep)
    change = work_out(
        Compared(ImageSet(frames), result.settings, result.model), np.flatnonzero(result.rejected), result.reference,
        (result.event_pixels, result.event_numbers), table,
        keep=np.isin(result.event_labels(), table["event"][kept]),
    )  # fmt: skip
    tracks, positions = make_tracks(shape[0], (5.0, 40.0), (12.0, 30.0))
    cleaned = result.cleaned.copy()
    cleaned.reshape(-1)[change.index] = change.values
    result = replace(apply(result, change), cleaned=cleaned, rejected=change.outliers.flags())
    return frames, replace(result, tracks=tracks, track_positions=positions, overrules=())


def attach(app, data, attribute="flux", *, result=None, axis=0, outputs=tuple(OUTPUTS), images=None):
    """Attach `result`, by default the one of `HITS`, through the command stack."""
    if result is None:
        result = make_result(np.moveaxis(data[attribute], axis, 0))
    command = AttachResult(data=data, attribute=attribute, result=result, axis=axis, outputs=outputs, images=images)
    app.session.command_stack.do(command)
    return command.attached


def event_mask(*numbers, shape=SHAPE, hits=HITS):
    """True at the pixels of these events."""
    mask = np.zeros(shape, bool)
    for number in numbers:
        for pixel in hits[number - 1]:
            mask[pixel] = True
    return mask


def subset_of(data, group):
    """The mask of a subset group in one data set."""
    (subset,) = [s for s in data.subsets if s.subset_state is group.subset_state]
    return subset.to_mask()
