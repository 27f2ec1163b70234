"""The detector's pattern: simulated sets, made sets, and a real one where it is present."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from scipy import ndimage

from glue_cleanset.core.clean import learn_model
from glue_cleanset.core.detect import Detector
from glue_cleanset.core.events import find_events
from glue_cleanset.core.imageset import ImageSet
from glue_cleanset.core.pattern import find_pattern, hot_pixel_map
from glue_cleanset.core.settings import CleanSettings
from glue_cleanset.core.simulate import VARIANTS, simulate_set

MICROOBS = Path(__file__).parents[2].parent / "shared" / "data" / "microobs_hatp32"


class Found:
    """A set that was searched: its events, where their peaks are, and its pattern."""

    def __init__(self, frames, shifts=None):
        image_set = frames if isinstance(frames, ImageSet) else ImageSet(frames)
        settings = CleanSettings()
        self.shape = image_set.shape
        self.detector = Detector(image_set, learn_model(image_set, settings), settings)
        self.outliers = self.detector.find()
        one = self.outliers
        self.events, _ = find_events(one.index, one.residual, one.significance, image_set.shape)
        self.pattern = find_pattern(self.detector, one, self.events, shifts)
        columns = (np.asarray(self.events[name]).astype(int) for name in ("frame", "y_peak", "x_peak"))
        frame, y, x = columns
        self.peaks = frame - 1, y, x

    @property
    def hot(self):
        return self.pattern.likeness > 0.5


def make(offsets, shape=(256, 256), hot=60, cold=0, hits=250, level=200.0, seed=0):
    """Noise, hot pixels that walk, and hits of one or two pixels; what falls on detector pixel p is at p + offset.

    Returns frames, and where (N, ny, nx) the hot pixels are (1), the hits (2).
    """
    rng = np.random.default_rng(seed)
    n = len(offsets)
    frames = rng.normal(1000, 10, (n, *shape)).astype("f4")
    what = np.zeros(frames.shape, int)
    margin = 1 + int(np.abs(offsets).max())
    y, x = (rng.integers(-margin, size + margin, hot + cold) for size in shape)
    light = np.where(np.arange(hot + cold) < hot, 1, -1) * level * rng.uniform(0.5, 2, hot + cold)
    for i, (dy, dx) in enumerate(offsets):
        a, b = rng.integers(0, shape[0], hits), rng.integers(0, shape[1] - 1, hits)
        frames[i, a, b] += rng.exponential(400, hits) + 60
        frames[i, a[::2], b[::2] + 1] += 100
        what[i, a, b] = 2
        what[i, a[::2], b[::2] + 1] = 2
        p, q = y + dy, x + dx
        inside = (p >= 0) & (p < shape[0]) & (q >= 0) & (q < shape[1])
        frames[i, p[inside], q[inside]] += light[inside]
        what[i, p[inside], q[inside]] = 1
    return frames, what


def dithers(n, most=15, seed=0):
    return np.random.default_rng(seed).integers(-most, most + 1, (n, 2))


def relative(shifts):
    return shifts - shifts[0]


# --- shifts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("variant", "n"), [("base", 2), ("base", 5), ("hard", 9), ("trail", 5)])
def test_measured_shifts_are_the_dithers(variant, n):
    simulated = simulate_set(n, (384, 384), seed=3, **VARIANTS[variant])
    pattern = Found(simulated.frames).pattern
    assert pattern.source == "measured"
    np.testing.assert_array_equal(relative(pattern.shifts), relative(-simulated.dithers))


def test_measured_shifts_of_resampled_frames_are_within_a_pixel():
    simulated = simulate_set(6, (384, 384), seed=3, resample=True)
    assert np.abs(relative(Found(simulated.frames).pattern.shifts) - relative(-simulated.dithers)).max() < 1.6


def test_shifts_among_many_more_hits():
    offsets = dithers(4)
    found = Found(make(offsets, (512, 512), hot=80, hits=1200)[0])
    np.testing.assert_array_equal(relative(found.pattern.shifts), relative(offsets))


def test_large_drift():
    offsets = np.array([(0, 0), (150, 40), (290, 90), (420, 130), (560, 180)])[[3, 0, 4, 2, 1]]
    found = Found(make(offsets, (600, 500), hot=500)[0])
    np.testing.assert_array_equal(relative(found.pattern.shifts), relative(offsets))


def test_frame_that_shares_nothing_is_not_known():
    frames, _ = make(dithers(6))
    frames[3] = make([(0, 0)], seed=9)[0][0]
    pattern = Found(frames).pattern
    assert np.isnan(pattern.shifts[3]).all()
    assert np.isfinite(np.delete(pattern.shifts, 3, axis=0)).all()


def test_first_frame_may_be_the_one_that_shares_nothing():
    offsets = dithers(5)
    frames, _ = make(offsets)
    frames[0] = make([(0, 0)], seed=9)[0][0]
    shifts = Found(frames).pattern.shifts
    assert np.isnan(shifts[0]).all()
    np.testing.assert_array_equal(relative(shifts[1:]), relative(offsets[1:]))


@pytest.mark.parametrize("offsets", [np.zeros((5, 2), int), np.array([(0, 0), (1, 0), (0, 1), (1, 1), (0, 0)])])
def test_no_dither_no_pattern(offsets):
    assert Found(make(offsets)[0]).pattern is None


@pytest.mark.parametrize("seed", range(3))
def test_no_hot_pixels_no_pattern(seed):
    assert Found(make(dithers(5), hot=0, hits=800, seed=seed)[0]).pattern is None


def test_frames_that_differ_everywhere_have_no_pattern():
    found = Found(simulate_set(5, (256, 256), seed=1, hot_fraction=0, cold_fraction=0, variable=0.4).frames)
    assert found.pattern is None


# --- which events are hot --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["f4", ">f4", "u2", ">i2"])
def test_hot_pixels_and_hits_are_told_apart(dtype):
    frames, what = make(dithers(5))
    found = Found(np.rint(frames).astype(dtype))
    kind = what[found.peaks]
    assert found.hot[kind == 1].mean() > 0.97
    assert found.hot[kind == 2].mean() < 0.01
    assert (kind == 1).sum() > 150
    assert (kind == 2).sum() > 500


def test_cold_pixels_and_their_level():
    found = Found(make(dithers(6), hot=0, cold=60)[0])
    dark = np.asarray(found.events["polarity"]) == "dark"
    assert dark.sum() > 150
    assert found.hot[dark].mean() > 0.95
    assert (found.pattern.level[dark & found.hot] < -80).all()


def test_masked_frames():
    frames, what = make(dithers(5))
    mask = np.random.default_rng(1).uniform(size=frames.shape) < 0.1
    mask[2, 100:150] = True
    found = Found(ImageSet(frames, mask=mask))
    plain = Found(np.where(mask, np.nan, frames))
    np.testing.assert_array_equal(found.pattern.likeness, plain.pattern.likeness)
    np.testing.assert_array_equal(found.pattern.visible, plain.pattern.visible)
    assert found.hot[what[found.peaks] == 1].mean() > 0.95
    assert found.hot[what[found.peaks] == 2].mean() < 0.02
    assert found.pattern.visible.max() == 4


def test_counts_of_a_pixel_that_all_frames_show():
    offsets = np.array([(0, 0), (5, -3), (-4, 6), (9, 2)])
    rng = np.random.default_rng(4)
    frames = rng.normal(100, 3, (4, 100, 100)).astype("f4")
    for i, (dy, dx) in enumerate(offsets):
        frames[i, 50 + dy, 50 + dx] += 200
        frames[i, 2 + dy : 3 + dy, 30 + dx] += 200  # out of the field in the third frame
    frames[1, 80, 80] += 200
    found = Found(frames, shifts=offsets)
    pattern = found.pattern
    assert pattern.source == "given"
    at = {p: k for k, p in enumerate(zip(*found.peaks, strict=True))}
    for i, (dy, dx) in enumerate(offsets):
        k = at[(i, 50 + dy, 50 + dx)]
        assert (pattern.seen[k], pattern.visible[k], pattern.y[k], pattern.x[k]) == (3, 3, 50, 50)
        assert pattern.level[k] == pytest.approx(200, abs=8)
        assert pattern.likeness[k] > 0.99
    k = at[(0, 2, 30)]
    assert (pattern.seen[k], pattern.visible[k]) == (2, 2)
    k = at[(1, 80, 80)]
    assert (pattern.seen[k], pattern.visible[k]) == (0, 3)
    assert pattern.likeness[k] < 0.01
    found = hot_pixel_map(pattern, frames.shape)
    assert (found.hot, found.cold) == (2, 0)


def test_faint_repeats_count():
    offsets = dithers(9)
    frames, _ = make(offsets, hot=80)
    rng = np.random.default_rng(2)
    y, x = rng.integers(20, 230, (2, 60))
    for i, (dy, dx) in enumerate(offsets):
        frames[i, y + dy, x + dx] += 35  # 3.5 sigma: most frames flag none of it
    found = Found(frames)
    i, p, q = found.peaks
    faint = np.isin((p - offsets[i, 0]) * 1000 + q - offsets[i, 1], y * 1000 + x)
    assert 20 < faint.sum() < 0.5 * 9 * 60
    assert found.hot[faint].mean() > 0.8


def test_chance_coincidences_of_many_frames_are_no_hot_pixels():
    frames, what = make(dithers(40), (128, 128), hot=30, hits=120)
    found = Found(frames)
    kind = what[found.peaks]
    # a detector pixel is hit in another frame for one event in five
    assert (kind == 2).sum() > 2000
    assert found.hot[kind == 2].mean() < 0.01
    assert found.hot[kind == 1].mean() > 0.95


def test_stars_that_vary_and_what_stays_on_the_sky_is_not_hot():
    simulated = simulate_set(9, (512, 512), seed=2, variable=0.6, hot_fraction=0.001, star_density=2e-3)
    frames = simulated.frames.copy()
    # sharp and variable, at one place on the sky: in two frames of three
    rng = np.random.default_rng(0)
    y, x = rng.integers(30, 350, (2, 80))
    for i in (0, 4, 8):
        frames[i, y, x] += 300
    found = Found(frames)
    i, p, q = found.peaks
    sky = np.isin(p * 1000 + q, y * 1000 + x) & np.isin(i, (0, 4, 8))
    assert sky.sum() > 100
    assert found.hot[sky].mean() < 0.02
    near = np.zeros(frames.shape[1:], bool)
    for a, b, _ in simulated.stars:
        near[max(int(a) - 2, 0) : int(a) + 4, max(int(b) - 2, 0) : int(b) + 4] = True
    on_star = near[p, q] & (np.abs(simulated.deposits[found.peaks]) == 0) & ~sky
    assert on_star.sum() > 10
    assert found.hot[on_star].mean() < 0.05


def test_a_mover_that_the_telescope_followed_is_not_hot():
    offsets = np.column_stack([np.arange(7) * 4, np.arange(7) * -6])
    frames, what = make(offsets)
    y, x = np.mgrid[:256, :256]
    for i, (dy, dx) in enumerate(offsets):
        frames[i] += 500 * np.exp(-0.5 * ((y - 120 - dy) ** 2 + (x - 130 - dx) ** 2) / 1.3**2)
    found = Found(frames)
    i, p, q = found.peaks
    mover = np.hypot(p - 120 - offsets[i, 0], q - 130 - offsets[i, 1]) < 3
    assert mover.sum() >= 7
    assert not found.hot[mover].any()
    assert found.hot[what[found.peaks] == 1].mean() > 0.95


def test_hit_that_outshines_a_hot_pixel_is_a_hit():
    offsets = dithers(6)
    frames, _ = make(offsets, hot=60, hits=0)
    found = Found(frames)
    i, p, q = (values[found.hot][0] for values in found.peaks)
    frames[i, p, q + 1] += 4000
    again = Found(frames)
    k = np.flatnonzero((again.peaks[0] == i) & (again.peaks[1] == p) & (again.peaks[2] == q + 1))
    assert len(k) == 1
    assert not again.hot[k[0]]


def test_given_shifts_with_fractions():
    simulated = simulate_set(6, (256, 256), seed=5)
    shifts = -simulated.dithers + np.random.default_rng(0).uniform(-0.4, 0.4, (6, 2))
    found, measured = Found(ImageSet(simulated.frames, shifts=shifts)), Found(simulated.frames)
    np.testing.assert_array_equal(found.pattern.shifts, shifts)
    assert (found.hot & measured.hot).sum() > 0.95 * measured.hot.sum()


def test_shifts_of_a_file_may_have_either_sign():
    simulated = simulate_set(4, (256, 256), seed=5)
    shifts = -simulated.dithers
    for sign in (1, -1):
        image_set = ImageSet(simulated.frames, shifts=sign * shifts, shifts_source="file")
        pattern = Found(image_set).pattern
        assert pattern.source == "file"
        np.testing.assert_array_equal(pattern.shifts, shifts)


def test_shifts_that_will_not_do():
    with pytest.raises(ValueError, match=r"shifts has shape \(4, 2\) for 5 frames"):
        Found(make(dithers(5))[0], dithers(4))


def test_unknown_shifts_among_the_given():
    simulated = simulate_set(5, (256, 256), seed=5)
    shifts = (-simulated.dithers).astype(float)
    shifts[2] = np.nan
    found = Found(ImageSet(simulated.frames, shifts=shifts))
    third = found.peaks[0] == 2
    assert not found.pattern.visible[third].any()
    assert not found.pattern.likeness[third].any()
    assert found.hot[~third].sum() > 60


def test_order_of_the_frames_does_not_matter():
    simulated = simulate_set(5, (256, 256), seed=8)
    order = np.array([3, 1, 4, 0, 2])
    one, two = Found(simulated.frames), Found(simulated.frames[order])
    np.testing.assert_array_equal(relative(one.pattern.shifts[order]), relative(two.pattern.shifts))
    assert abs(one.hot.sum() - two.hot.sum()) <= 2


def test_no_events():
    frames = np.random.default_rng(0).normal(100, 3, (4, 64, 64)).astype("f4")
    detector = Found(frames).detector
    outliers = replace(detector.find(), index=np.empty(0, int))
    events, _ = find_events(np.empty(0, int), np.empty(0), np.empty(0), frames.shape)
    assert find_pattern(detector, outliers, events) is None
    pattern = find_pattern(detector, outliers, events, [(0, 0), (3, 0), (6, 0), (9, 0)])
    assert len(pattern.likeness) == 0
    found = hot_pixel_map(pattern, frames.shape)
    assert (found.image.shape, found.hot, found.cold) == ((73, 64), 0, 0)


@pytest.mark.parametrize("shape", [(1, 300), (3, 200), (5, 90), (200, 2)])
def test_frames_of_few_rows(shape):
    rng = np.random.default_rng(1)
    frames = rng.normal(100, 3, (5, *shape)).astype("f4")
    for frame in frames:
        frame[rng.integers(0, shape[0], 8), rng.integers(0, shape[1], 8)] += 500
    assert Found(frames).pattern is None
    shifts = np.column_stack([np.zeros(5), np.arange(5) * 7])
    assert Found(frames, shifts).hot.sum() < 5


# --- the map ---------------------------------------------------------------------------------------------------------


def test_map_of_the_detector():
    offsets = np.array([(0, 0), (10, -20), (-15, 5), (30, 8)])
    frames, what = make(offsets, (200, 150), hot=60, cold=20, hits=100)
    found = Found(frames, offsets)
    hot = hot_pixel_map(found.pattern, frames.shape)
    assert hot.origin == (-30, -8)
    assert hot.image.shape == (200 + 45, 150 + 28)
    assert hot.image.dtype == np.float32
    visible = np.zeros(hot.image.shape, int)
    truth = np.zeros(hot.image.shape, int)
    for i, (dy, dx) in enumerate(offsets):
        window = slice(30 - dy, 230 - dy), slice(8 - dx, 158 - dx)
        visible[window] += 1
        truth[window] += what[i] == 1
    np.testing.assert_array_equal(hot.visible, visible)
    np.testing.assert_array_equal(np.isnan(hot.image), visible == 0)
    called = np.nan_to_num(hot.image) != 0
    # in two frames at least: one alone tells nothing
    assert called[truth >= 3].mean() > 0.95
    assert called[truth == 0].sum() <= 1
    assert ((hot.seen > 0) == called).all()
    assert (hot.seen <= hot.visible).all()
    assert hot.hot == (hot.image[called] > 0).sum()
    assert hot.cold == (hot.image[called] < 0).sum() > 10


def test_map_of_what_a_person_says_is_hot():
    found = Found(make(dithers(4))[0])
    one = np.zeros(len(found.events), bool)
    one[np.flatnonzero(found.hot)[0]] = True
    assert hot_pixel_map(found.pattern, found.shape, one).hot == 1


def test_map_keeps_neighbours_apart():
    offsets = np.array([(0, 0), (7, -4), (-5, 9), (12, 3)])
    frames = np.random.default_rng(0).normal(100, 3, (4, 80, 80)).astype("f4")
    for i, (dy, dx) in enumerate(offsets):
        frames[i, 40 + dy, 40 + dx], frames[i, 41 + dy, 40 + dx] = (300, 290) if i % 2 else (290, 300)
    hot = hot_pixel_map(Found(frames, offsets).pattern, frames.shape)
    where = np.argwhere(hot.seen > 0) + hot.origin
    np.testing.assert_array_equal(where, [(40, 40), (41, 40)])


def test_map_of_resampled_frames_counts_a_pixel_once():
    simulated = simulate_set(9, (256, 256), seed=3, resample=True, hit_fraction=0.0, cold_fraction=0.0)
    found = Found(simulated.frames)
    hot = hot_pixel_map(found.pattern, found.shape)
    # 0.05 % of the pixels, of which the faintest are not seen; none touch by chance
    assert hot.hot > 0.5 * 0.0005 * hot.image.size
    assert ndimage.label(hot.seen > 0, np.ones((3, 3)))[1] == hot.hot


# --- a real set ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def microobs():
    if not MICROOBS.is_dir():
        pytest.skip("microobs_hatp32 is not here")
    with open(MICROOBS / "frames.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    frames = np.stack([fits.getdata(MICROOBS / "aligned" / row["file"]) for row in rows])
    truth = np.stack([fits.getdata(MICROOBS / "truth" / f"aligned_hotmap_{row['file']}.gz") for row in rows])
    shifts = np.array([(int(row["int_dy"]), int(row["int_dx"])) for row in rows])
    return frames, truth, shifts


def test_microobs_shifts(microobs):
    frames, _, moved = microobs
    pattern = Found(frames).pattern
    # the file tells where the field was: the frames were moved by as much in the other direction
    np.testing.assert_array_equal(relative(pattern.shifts), relative(-moved))


def test_microobs_hot_pixels_and_injected_hits(microobs):
    inject_footprints = pytest.importorskip("benchmarks.real").inject_footprints
    frames, truth, _ = microobs
    injected, deposits = inject_footprints(frames, 20.0)
    found = Found(injected)
    at = found.peaks
    assert found.hot[truth[at] == 2].mean() > 0.98
    hits = deposits[at] > 0.5 * np.asarray(found.events["peak"])
    assert hits.sum() > 500
    assert found.hot[hits].mean() < 0.02


def test_microobs_map(microobs):
    frames, _, _ = microobs
    found = Found(frames)
    hot = hot_pixel_map(found.pattern, frames.shape)
    detector = fits.getdata(MICROOBS / "truth" / "detector_hotmap.fits.gz")
    # the second row and the last columns of the detector: where the cut-out begins is known from the README's shifts
    assert hot.image.shape[1] == detector.shape[1]
    best = max(
        (np.mean(hot.image[:, : detector.shape[1]][window] > 0), y0)
        for y0 in range(detector.shape[0] - hot.image.shape[0] + 1)
        for window in [detector[y0 : y0 + hot.image.shape[0]] == 2]
    )
    assert best[0] > 0.9
