"""Moving objects: injected ones are found as one track each, kept, and nothing else is."""

from dataclasses import dataclass

import numpy as np
import pytest

from glue_cleanset.core.clean import clean_image_set, learn_model
from glue_cleanset.core.detect import Detector, Outliers
from glue_cleanset.core.events import find_events
from glue_cleanset.core.imageset import ImageSet
from glue_cleanset.core.psf import find_psf
from glue_cleanset.core.settings import CleanSettings
from glue_cleanset.core.simulate import Mover, simulate_set
from glue_cleanset.core.tracks import find_tracks
from glue_cleanset.io.demo import demo_set

NOISE = 12.2  # of a sky pixel of the simulated frames [ADU]
SHAPE = (256, 280)


@dataclass
class Injected:
    frames: np.ndarray
    light: np.ndarray
    places: np.ndarray
    simulated: object


def inject(movers, n=9, seed=0, times=None, streak=0.0, **options):
    """A simulated set with objects (y, x, rate along y, along x, peak in sigma); `streak`: share of the step that the
    shutter was open."""
    simulated = simulate_set(n, SHAPE, seed=seed, **options)
    rng = np.random.default_rng(seed)
    t = np.arange(n) if times is None else np.asarray(times, float)
    alpha = 3 / (2 * np.sqrt(2 ** (1 / 3) - 1))
    grid = np.mgrid[: SHAPE[0], : SHAPE[1]]
    light = np.zeros((n, *SHAPE))
    places = np.array([[(y + vy * d, x + vx * d) for d in t] for y, x, vy, vx, _ in movers])
    parts = np.linspace(-0.5, 0.5, 9) * streak if streak else np.zeros(1)
    for (*_, vy, vx, peak), path in zip(movers, places, strict=True):
        for i, (y, x) in enumerate(path):
            for part in parts:
                away = (grid[0] - y - part * vy) ** 2 + (grid[1] - x - part * vx) ** 2
                light[i] += simulated.scales[i] * peak * NOISE / parts.size * (1 + away / alpha**2) ** -3
    frames = simulated.frames + rng.poisson(light * simulated.gain) / simulated.gain
    return Injected(frames.astype(np.float32), light, places, simulated)


def look(frames, times=None, mask=None, settings=CleanSettings()):
    """(objects, outliers) of a set."""
    image_set = ImageSet(frames, mask)
    detector = Detector(image_set, learn_model(image_set, settings), settings)
    outliers = detector.find()
    events, numbers = find_events(outliers.index, outliers.residual, outliers.significance, image_set.shape)
    model = detector.model
    psf = find_psf(detector.surroundings[0], model.sky, model.sky_variance, model.full)
    return find_tracks(detector, outliers, events, numbers, psf, times), outliers


def flags_of(objects, outliers):
    """What is flagged, (N, ny, nx)."""
    flags = np.zeros(outliers.shape, bool)
    flags.reshape(-1)[objects.flags] = True
    return flags


def found(objects, injected):
    """For each injected object the row of its track; fails where it is not exactly one, or where others are found."""
    apart = np.hypot(*np.moveaxis(objects.positions[:, None] - injected.places, -1, 0)).max(axis=-1)
    assert len(objects.table) == len(injected.places)
    assert (np.sort(apart, axis=0)[0] < 1.5).all()
    return [objects.table[int(k)] for k in apart.argmin(axis=0)]


@pytest.mark.parametrize(("n", "options"), [(5, {}), (9, {"seeing": 0.05, "jitter": 0.1})])
def test_objects_become_one_track_each(n, options):
    movers = [(40, 30, 12, 8, 30), (200, 240, -3, -20, 12), (120, 60, 0.3, 5, 60), (230, 40, -6, 1, 9)]
    movers = [(y, x, vy * 5 / n, vx * 5 / n, peak) for y, x, vy, vx, peak in movers]
    injected = inject(movers, n, seed=3, **options)
    objects, outliers = look(injected.frames)
    for row, (y, x, vy, vx, peak) in zip(found(objects, injected), movers, strict=True):
        assert row["rate"] == pytest.approx(np.hypot(vy, vx), rel=0.02)
        angle = np.rad2deg(np.arctan2(-vx, vy))
        assert abs((row["position_angle"] - angle + 180) % 360 - 180) < 1
        assert (row["y"], row["x"]) == (pytest.approx(y, abs=0.5), pytest.approx(x, abs=0.5))
        assert row["peak_significance"] == pytest.approx(peak, rel=0.4)
        assert row["frames"] >= n - 1
        assert (row["first"], row["last"]) == (1, n)
    own = (injected.light > injected.simulated.sigma) & (injected.simulated.deposits == 0)
    assert (own & flags_of(objects, outliers)).sum() < 0.05 * own.sum()


@pytest.mark.parametrize("n", [5, 9])
def test_slow_objects_that_spoil_their_own_median(n):
    movers = [(60, 60, 0.8, 0.7, 40), (180, 80, -1.5, 1.5, 25), (100, 200, 0.2, -2.6, 50)]
    injected = inject(movers, n, seed=4)
    objects, _ = look(injected.frames)
    for row, (_, _, vy, vx, _) in zip(found(objects, injected), movers, strict=True):
        assert row["rate"] == pytest.approx(np.hypot(vy, vx), rel=0.06)  # photon noise: 0.017


def test_nothing_moves():
    simulated = simulate_set(5, SHAPE, seed=6, seeing=0.05, jitter=0.1, variable=0.3, trail=True)
    objects, outliers = look(simulated.frames)
    assert len(objects.table) == 0
    assert objects.flags is outliers.index
    assert objects.positions.shape == (0, 5, 2)
    assert objects.index.size == objects.track.size == 0


def test_hot_pixels_under_a_steady_drift_are_no_objects():
    simulated = simulate_set(9, SHAPE, seed=7, hot_fraction=0)
    frames = simulated.frames.copy()
    rng = np.random.default_rng(7)
    hot = rng.integers(-30, 300, (2, 400)), rng.exponential(600, 400) + 100
    for i, frame in enumerate(frames):
        y, x = hot[0] + np.array([[2 * i], [3 * i]])
        inside = (y >= 0) & (y < SHAPE[0]) & (x >= 0) & (x < SHAPE[1])
        frame[y[inside], x[inside]] += hot[1][inside]
    assert len(look(frames)[0].table) == 0


def test_an_object_is_kept_and_ordinary_hits_beside_it_are_not():
    injected = inject([(60, 60, 1.6, 1.2, 80)], 7, seed=8)
    objects, outliers = look(injected.frames)
    found(objects, injected)
    negative = (injected.simulated.deposits == 0) & (injected.light.max(axis=0) > 0.5 * NOISE)
    # as it was, the object was taken for a defect
    assert (outliers.flags() & negative).sum() > 40
    assert not (flags_of(objects, outliers) & negative).any()
    strong = np.abs(injected.simulated.deposits) > 6 * np.hypot(injected.simulated.sigma, 0.2 * injected.light)
    assert flags_of(objects, outliers)[strong].mean() > 0.95
    # far from it nothing changes
    far = np.ones(SHAPE, bool)
    far[30:110, 30:110] = False
    assert (flags_of(objects, outliers) == outliers.flags())[:, far].all()


def test_footprint_lists_each_pixel_of_the_object_in_every_frame():
    injected = inject([(60, 60, 9, 4, 40), (200, 200, -7, 3, 20)], 7, seed=9)
    objects, _ = look(injected.frames)
    found(objects, injected)
    assert (np.diff(objects.index) > 0).all()
    own = np.zeros(injected.frames.shape, bool)
    own.reshape(-1)[objects.index] = True
    assert own[injected.light > 1.5 * NOISE].all()
    assert not own[injected.light < 0.5 * NOISE].any()
    first = np.zeros(own.shape, np.int32)
    first.reshape(-1)[objects.index] = objects.track
    for k, path in enumerate(objects.positions, start=1):
        y, x = np.rint(path).astype(int).T
        assert (first[np.arange(7), y, x] == k).all()


def test_a_hit_on_an_object_is_told_apart():
    injected = inject([(60, 60, 9, 4, 40)], 7, seed=10)
    frames = injected.frames.copy()
    y, x = 60 + 9 * 3 + 1, 60 + 4 * 3
    frames[3, y, x] += 60 * NOISE
    objects, outliers = look(frames)
    found(objects, injected)
    assert flags_of(objects, outliers)[3, y, x]
    index, light = objects.light
    at = np.flatnonzero(index == np.ravel_multi_index((3, y, x), frames.shape))
    assert light[at] == pytest.approx(injected.light[3, y, x], rel=0.2)
    assert np.isin(index, objects.flags).all()


def test_leaves_the_field_crosses_a_star_and_is_missed_once():
    injected = inject([(40, 140, -9, 1, 20), (60, 100, 8, 0, 30)], 9, seed=11)
    star = inject([(60 + 8 * 4, 100, 0, 0, 400)], 9, seed=12)
    frames = injected.frames + star.light.astype(np.float32)
    frames[6, 95:120, 80:120] = np.nan
    mask = np.zeros(frames.shape, bool)
    mask[1, 20:45] = True
    objects, _ = look(frames, mask=mask)
    leaves, crosses = found(objects, injected)
    assert (leaves["first"], leaves["last"], leaves["frames"]) == (1, 5, 4)
    assert crosses["frames"] >= 6


def test_uneven_times_in_any_order():
    times = np.array([5.0, 0.0, 1.0, 9.5, 3.0, 2.0, 7.0])
    injected = inject([(60, 60, 8, 5, 30), (180, 60, -2, 9, 15)], 7, seed=13, times=times)
    objects, _ = look(injected.frames, times)
    rows = found(objects, injected)
    # the median step is 1.5
    assert rows[0]["rate"] == pytest.approx(1.5 * np.hypot(8, 5), rel=0.02)
    assert (rows[0]["first"], rows[0]["last"]) == (2, 4)
    assert (rows[0]["y"], rows[0]["x"]) == (pytest.approx(60 + 40, abs=0.3), pytest.approx(60 + 25, abs=0.3))


def test_the_demo_set():
    simulated = demo_set()
    objects, _ = look(simulated.frames)
    assert len(objects.table) == 1
    assert objects.table["frames"][0] == 9
    np.testing.assert_allclose(objects.positions[0], simulated.mover, atol=0.3)


def test_none_without_stars():
    rng = np.random.default_rng(0)
    objects, outliers = look(rng.normal(100, 5, (5, 64, 64)).astype(np.float32))
    assert isinstance(outliers, Outliers)
    assert len(objects.table) == 0


def test_an_object_that_trails_while_the_shutter_is_open():
    injected = inject([(60, 40, 4, 16, 90), (220, 250, -15, -12, 120)], 7, seed=14, streak=0.8)
    objects, outliers = look(injected.frames)
    rows = found(objects, injected)
    assert [row["rate"] for row in rows] == pytest.approx([np.hypot(4, 16), np.hypot(15, 12)], rel=0.02)
    own = (injected.light > injected.simulated.sigma) & (injected.simulated.deposits == 0)
    listed = np.zeros(own.shape, bool)
    listed.reshape(-1)[objects.index] = True
    assert listed[own].mean() > 0.9
    assert flags_of(objects, outliers)[own].mean() < 0.05


def test_of_three_frames_only_the_clear_case():
    injected = inject([(60, 60, 9, 12, 40)], 3, seed=15)
    found(look(injected.frames)[0], injected)
    # in one of three it is missing
    injected.frames[1] -= injected.light[1].astype(np.float32)
    assert len(look(injected.frames)[0].table) == 0


def test_a_frame_that_is_blind_around_an_object():
    injected = inject([(60, 60, 3, 2, 40)], 7, seed=16)
    injected.frames[3, 20:110, 20:110] = np.nan
    objects, outliers = look(injected.frames)
    (row,) = found(objects, injected)
    assert row["frames"] == 6
    assert not flags_of(objects, outliers)[3, 20:110, 20:110].any()


def test_masked_pixels_are_no_part_of_an_object_even_where_a_frame_is_masked_around_it():
    movers = [Mover(60, 40, 4.0, 300, 40), Mover(120, 150, 2.5, 80, 30)]
    s = simulate_set(9, (200, 200), movers=movers, star_density=5e-4, seed=3)
    y, x = s.mover_positions[0, 4].astype(int)
    mask = np.random.default_rng(1).random(s.frames.shape) < 0.02
    mask[4, max(y - 60, 0) : y + 60, max(x - 60, 0) : x + 60] = True
    result = clean_image_set(s.frames, CleanSettings(keep=()), mask=mask)
    assert len(result.tracks) == 2
    assert not result.event_labels()[mask].any()
    assert not result.rejected[mask].any()
