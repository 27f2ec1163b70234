"""Trails: injected ones are found whole, what looks like one is left alone."""

import numpy as np
import pytest

from glue_cleanset.core import kernels_trails
from glue_cleanset.core.clean import learn_model
from glue_cleanset.core.detect import Detector
from glue_cleanset.core.imageset import ImageSet
from glue_cleanset.core.settings import CleanSettings
from glue_cleanset.core.simulate import VARIANTS, simulate_set
from glue_cleanset.core.trails import find_trails

SHAPE = (320, 300)
Y, X = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(float)
NOISE = 12.0  # ADU, of the sky


def trails_in(frames, mask=None, **options):
    image_set = ImageSet(frames, mask=mask)
    settings = CleanSettings()
    detector = Detector(image_set, learn_model(image_set, settings), settings)
    return find_trails(detector, detector.find(), **options)


def light_of(angle, peak, sigma, length=np.inf, centre=(160.3, 148.8)):
    """A trail of Gaussian cross section, `angle` [deg] from the x axis towards the y axis."""
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    along = (X - centre[1]) * c + (Y - centre[0]) * s
    across = (Y - centre[0]) * c - (X - centre[1]) * s
    return peak * np.exp(-0.5 * (across / sigma) ** 2) * (np.abs(along) <= length / 2)


def scores(trails, frame, light, sigma):
    """Share of the pixels above the noise that are flagged, and of the flagged ones that are beyond."""
    got = np.zeros(sigma.shape, bool)
    got.reshape(-1)[trails.index] = True
    true = np.zeros(sigma.shape, bool)
    true[frame] = light > sigma[frame]
    return got[true].mean(), (got & ~true).sum() / max(got.sum(), 1)


@pytest.fixture(scope="module")
def plain():
    """Six frames without trails. Not to be written to."""
    simulated = simulate_set(6, SHAPE, seed=21, seeing=0.03, jitter=0.05)
    simulated.frames.flags.writeable = False
    return simulated


def with_light(simulated, *lights):
    frames = simulated.frames.copy()
    for frame, light in lights:
        frames[frame] += light.astype(np.float32)
    return frames


@pytest.mark.parametrize("n", [2, 3, 9])
def test_the_whole_trail_and_no_more_is_found(n):
    simulated = simulate_set(n, SHAPE, seed=n)
    light = light_of(33, 150, 1.5)
    trails = trails_in(with_light(simulated, (1, light)))
    complete, beyond = scores(trails, 1, light, simulated.sigma)
    assert complete >= 0.95
    assert beyond <= 0.01
    assert list(trails.table["frame"]) == [2]


@pytest.mark.parametrize("angle", [0, 0.5, 44, 45, 90, 91, 118, 179.6])
def test_place_angle_width_and_peak_at_all_angles(plain, angle):
    light = light_of(angle, 80, 2)
    trails = trails_in(with_light(plain, (4, light)))
    assert len(trails.table) == 1
    row = trails.table[0]
    assert (row["angle"] - angle + 90) % 180 - 90 == pytest.approx(0, abs=0.1)
    assert row["width"] == pytest.approx(2 * 2.355, rel=0.06)
    # (the frame is on a scale of its own, the light is not)
    assert row["peak"] == pytest.approx(80, rel=0.08)
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    for end in ("first", "last"):
        across = (row[f"y_{end}"] - 160.3) * c - (row[f"x_{end}"] - 148.8) * s
        assert across == pytest.approx(0, abs=0.25)
    complete, beyond = scores(trails, 4, light, plain.sigma)
    # (at 45 and 90 degrees whole lines of pixels are just above the noise, or below)
    assert complete >= 0.84
    assert beyond <= 0.015


@pytest.mark.parametrize("sigma", [1.2, 5])
def test_a_trail_that_is_below_the_threshold_is_found(plain, sigma):
    light = light_of(64, 2.5 * NOISE, sigma)
    trails = trails_in(with_light(plain, (0, light)))
    assert list(trails.table["frame"]) == [1]
    assert scores(trails, 0, light, plain.sigma)[0] > 0.8
    assert trails.table["width"][0] == pytest.approx(2.355 * sigma, rel=0.15)


def test_a_trail_ends_where_its_light_ends(plain):
    light = light_of(70, 60, 1.5, length=150)
    trails = trails_in(with_light(plain, (2, light)))
    row = trails.table[0]
    assert np.hypot(row["y_last"] - row["y_first"], row["x_last"] - row["x_first"]) == pytest.approx(150, abs=8)
    assert scores(trails, 2, light, plain.sigma)[1] < 0.05


def test_a_blinking_trail_is_one_and_its_dark_parts_are_kept(plain):
    light = light_of(70, 120, 1.5)
    dark = np.broadcast_to((Y // 40) % 2 == 1, SHAPE)
    light[dark] = 0
    trails = trails_in(with_light(plain, (2, light)))
    assert len(trails.table) == 1
    _, y, _ = np.unravel_index(trails.index, (6, *SHAPE))
    assert ((y // 40) % 2 == 1).mean() < 0.2
    assert scores(trails, 2, light, plain.sigma)[0] > 0.85


def test_several_trails(plain):
    lights = (1, light_of(30, 90, 1.5)), (1, light_of(120, 60, 2)), (3, light_of(80, 90, 1.5, centre=(100, 60)))
    trails = trails_in(with_light(plain, *lights))
    assert list(trails.table["frame"]) == [2, 2, 4]
    assert sorted(np.round(trails.table["angle"])) == [30, 80, 120]
    assert (np.diff(trails.index) > 0).all()
    assert trails.index.dtype == np.int64
    assert trails.trail.dtype == np.int32
    frame = trails.index // (SHAPE[0] * SHAPE[1])
    for row in trails.table:
        assert set(frame[trails.trail == row["trail"]]) == {row["frame"] - 1}


def test_frames_in_another_order_give_the_same_trails(plain):
    frames = with_light(plain, (1, light_of(30, 90, 1.5)), (4, light_of(120, 60, 2)))
    order = np.array([4, 2, 0, 5, 3, 1])
    one, other = trails_in(frames), trails_in(frames[order])
    size = SHAPE[0] * SHAPE[1]
    back = order[other.index // size] * size + other.index % size
    np.testing.assert_array_equal(np.sort(back), one.index)


def test_masked_pixels_are_in_no_trail(plain):
    light = light_of(30, 150, 2)
    frames = with_light(plain, (1, light))
    mask = np.zeros(frames.shape, bool)
    mask[:, :, 100:110] = True
    frames[:, 150:155] = np.nan
    trails = trails_in(frames, mask)
    assert len(trails.table) == 1
    _, y, x = np.unravel_index(trails.index, frames.shape)
    assert not ((x >= 100) & (x < 110)).any()
    assert not ((y >= 150) & (y < 155)).any()
    assert x.min() < 10
    assert x.max() > 280


def test_whole_numbers(plain):
    light = light_of(30, 150, 1.5)
    frames = np.rint(np.clip(with_light(plain, (1, light)), 0, 65535)).astype(">u2")
    trails = trails_in(frames)
    assert scores(trails, 1, light, plain.sigma)[0] > 0.95


@pytest.mark.parametrize("name", [name for name in VARIANTS if name != "trail"])
def test_no_trail_where_there_is_none(name):
    for n in (2, 5):
        trails = trails_in(simulate_set(n, (256, 256), seed=n, **VARIANTS[name]).frames)
        assert len(trails.table) == 0
        assert trails.index.size == trails.trail.size == 0
        assert trails.table.colnames[:3] == ["trail", "frame", "y_first"]


def spike(strength):
    """Light in a line through a star, as of a diffraction spike."""
    return light_of(45, strength, 1.5, length=220) + 3 * strength * np.exp(-0.05 * np.hypot(Y - 160, X - 149))


def not_trails():
    rng = np.random.default_rng(3)
    plain = np.zeros(SHAPE)
    column, step = plain.copy(), plain.copy()
    column[:, 140:142] = 60
    step[:, 140:] = 25
    yield "track of a cosmic ray", [plain, light_of(20, 900, 0.6, length=60)]
    yield "two bad columns", [plain, column]
    yield "step", [plain, step]
    yield "slope of the sky", [plain, 0.3 * X + 0.1 * Y]
    yield "spikes that vary", [spike(300 * factor) for factor in (1, 1.2, 0.9, 1.1, 1.3, 0.8)]
    ridge = light_of(45, 100, 1.5, length=220)
    yield "ridge of all frames, stronger in one", [ridge * factor for factor in (1, 1, 1, 1.5, 1, 1)]
    yield "halo", [plain, 200 * np.exp(-0.5 * ((Y - 200) ** 2 + (X - 90) ** 2) / 30**2)]
    blobs = sum(60 * np.exp(-0.5 * ((Y - 30 - 60 * k) ** 2 + (X - 40 - 50 * k) ** 2) / 7**2) for k in (0, 2, 4))
    yield "blobs in a row", [plain, blobs]
    hits = sum(light_of(rng.uniform(0, 180), 400, 0.6, 40, (160 + 45 * k, 150 + 45 * k)) for k in range(-3, 4))
    yield "tracks in a row", [plain, hits]


@pytest.mark.parametrize(
    ("name", "lights"), list(not_trails()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_what_is_not_a_trail(plain, name, lights):
    frames = with_light(plain, *enumerate(lights))
    assert len(trails_in(frames, psf_fwhm=3.0).table) == 0


def test_a_frame_with_doubled_stars_holds_no_trail():
    simulated = simulate_set(6, SHAPE, seed=8, star_density=4e-3)
    frames = simulated.frames.copy()
    frames[3] = (frames[3] + np.roll(frames[3], (4, 9), (0, 1))) / 2
    assert len(trails_in(frames).table) == 0


def test_no_trail_is_looked_for_in_tiny_frames():
    frames = np.random.default_rng(0).normal(100, 5, (5, 11, 10)).astype("f4")
    frames[2, 5] += 100
    assert len(trails_in(frames).table) == 0


def line_sums(image, first, last):
    rows, columns = image.shape
    buffers = np.full((last - first + 2, 2**last, 2**last + columns), np.nan, np.float32)
    full = np.zeros((2**last, columns), np.float32)
    full[:rows] = image
    kernels_trails.sum_lines(full, first, last, rows, buffers)
    return buffers[1:]


@pytest.mark.parametrize("rows", [16, 11])
def test_each_pixel_is_in_one_line_of_each_slope(rows):
    image = np.random.default_rng(1).normal(size=(rows, 20)).astype("f4")
    for k, sums in enumerate(line_sums(image, 1, 4)):
        height = 2 ** (1 + k)
        for begin in range(0, rows, height):
            part = sums[begin : begin + height].sum(axis=1)
            np.testing.assert_allclose(part, image[begin : begin + height].sum(), rtol=1e-4)


@pytest.mark.parametrize("shift", [0, 3, 8, 15])
def test_a_line_adds_up(shift):
    image = np.zeros((16, 40), "f4")
    image[np.arange(16), 10 + np.rint(np.arange(16) * shift / 15).astype(int)] = 1
    image[:, 9:-1] += 1e-3 * image[:, 10:]  # which of two columns a line takes may differ by one
    sums = line_sums(image, 2, 4)[-1]
    near = sums[shift, 16 + 9 : 16 + 12].sum()
    assert near >= 15.9
    assert sums[shift].sum() == pytest.approx(image.sum(), rel=1e-5)
