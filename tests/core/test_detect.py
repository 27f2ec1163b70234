"""What is rejected and what is not, with injected truth."""

import numpy as np
import pytest
from astropy.stats import sigma_clip
from core_oracles import add_hits, compare, noise_frames
from scipy import ndimage

from glue_cleanset.core import kernels
from glue_cleanset.core.clean import clean_image_set
from glue_cleanset.core.settings import DETECTIONS, CleanSettings
from glue_cleanset.core.simulate import simulate_set

NO_HITS = {"hit_fraction": 0.0, "hot_fraction": 0.0, "cold_fraction": 0.0}
STARS = {"shape": (160, 160), "star_density": 1e-3, "seed": 11}


@pytest.mark.parametrize(("n", "recall"), [(3, 0.9), (5, 0.97), (9, 0.98), (20, 0.98)])
def test_hits_are_found(n, recall):
    simulated = simulate_set(n, **STARS)
    result = clean_image_set(simulated.frames)
    strong = simulated.deposits > 8 * simulated.sigma
    nothing = np.abs(simulated.deposits) < 0.3 * simulated.sigma
    assert strong.sum() > 40 * n
    assert result.rejected[strong].mean() > recall
    assert (result.rejected & nothing).mean() < 3e-4


def test_two_frames():
    simulated = simulate_set(2, **STARS)
    result = clean_image_set(simulated.frames)
    strong = simulated.deposits > 8 * simulated.sigma
    assert result.rejected[strong].mean() > 0.85
    assert (result.rejected & (np.abs(simulated.deposits) < 0.3 * simulated.sigma)).mean() < 3e-4
    assert result.rejection_count.max() == 1


def test_two_frames_tell_who_was_hit():
    frames = noise_frames(2, (30, 30))
    frames[0, 10, 10] += 500
    frames[1, 20, 20] += 500
    rejected = clean_image_set(frames).rejected
    assert [tuple(p) for p in np.argwhere(rejected).tolist()] == [(0, 10, 10), (1, 20, 20)]


@pytest.mark.parametrize("n", [2, 3, 5, 9])
def test_stars_are_no_events(n):
    simulated = simulate_set(n, **STARS, **NO_HITS)
    rejected = clean_image_set(simulated.frames).rejected
    core = np.zeros(rejected.shape[1:], bool)
    y, x = np.rint(simulated.stars[simulated.stars[:, 2] > 3000, :2]).astype(int).T
    core[y, x] = True
    core = ndimage.binary_dilation(core, np.ones((3, 3)))
    assert core.sum() > 30
    assert not rejected[:, core].any()
    assert rejected.mean() < 3e-5


def test_stars_under_another_seeing_and_a_registration_error():
    simulated = simulate_set(9, **STARS, **NO_HITS, seeing=0.05, jitter=0.1)
    rejected = clean_image_set(simulated.frames).rejected
    peak = simulated.frames.mean(axis=0) > 400
    assert peak.sum() > 50
    assert rejected[:, peak].mean() < 0.01
    assert rejected.mean() < 1e-4


@pytest.mark.parametrize("flare", [1.4, 1.6])
def test_faint_stars_that_flare_once_are_no_events_and_hits_on_such_stars_are(flare):
    """Stars whose single pixels hardly tell of the change: ten sigma at the peak."""
    rng = np.random.default_rng(3)
    n, side = 9, 240
    y, x = (centre + rng.uniform(-0.5, 0.5, centre.shape) for centre in np.mgrid[15:230:20, 15:230:20].reshape(2, -1))
    pixel = np.mgrid[:side, :side]
    distance = (pixel[0] - y[:, None, None]) ** 2 + (pixel[1] - x[:, None, None]) ** 2
    stars = 1500 / (2 * np.pi * 1.3**2) * np.exp(-distance / (2 * 1.3**2))
    light = np.repeat(200 + stars.sum(axis=0)[None], n, axis=0)
    deposits = np.zeros_like(light)
    where = [(k % n, *np.rint([y[k], x[k]]).astype(int)) for k in range(len(stars))]
    for k, (i, row, column) in enumerate(where):
        if k % 2:
            light[i] += (flare - 1) * stars[k]
        else:  # points, and short tracks
            along = np.arange(-1, 2) if k % 4 else np.zeros(1, int)
            deposits[i, row + along, column + along] = 150
    frames = rng.normal(light, np.sqrt(light / 1.5 + 16)) + deposits
    rejected = clean_image_set(frames.astype("f4")).rejected
    assert rejected[deposits > 0].all()
    flagged = [rejected[i, row - 3 : row + 4, column - 3 : column + 4].any() for i, row, column in where[1::2]]
    assert np.mean(flagged) < 0.15  # a third where each pixel is looked at for itself


@pytest.mark.parametrize("n", [5, 12])
def test_where_the_detector_was_full_frames_of_other_scale_are_no_events(n):
    full = 3000.0
    simulated = simulate_set(n, (384, 384), seed=n, star_density=2e-3, saturation=full)
    rejected = clean_image_set(simulated.frames).rejected
    saturated = (simulated.frames >= full) & (simulated.deposits == 0)
    assert saturated.sum() > 100
    assert not (rejected & saturated).any()
    hits = (simulated.deposits > 10 * simulated.sigma) & (simulated.frames < full / 2)
    assert (rejected & hits).sum() > 0.97 * hits.sum()


def test_cold_pixels_are_found():
    simulated = simulate_set(7, **STARS, **(NO_HITS | {"cold_fraction": 1e-3}))
    result = clean_image_set(simulated.frames)
    cold = simulated.deposits < -8 * simulated.sigma
    assert cold.sum() > 60
    assert result.rejected[cold].mean() > 0.98
    assert np.mean(result.events["polarity"] == "dark") > 0.9


def test_pixels_hot_in_all_frames_are_no_events():
    simulated = simulate_set(9, **STARS, **NO_HITS)
    rng = np.random.default_rng(1)
    frames = simulated.frames.reshape(9, -1).copy()
    hot = rng.permutation(frames.shape[1])[:200]
    charge = rng.uniform(100, 5000, hot.size)
    frames[:, hot] += charge + rng.normal(0, 1, (9, hot.size)) * np.sqrt(charge / simulated.gain)
    rejected = clean_image_set(frames.reshape(simulated.frames.shape)).rejected
    assert rejected.reshape(9, -1)[:, hot].mean() < 0.002
    assert rejected.mean() < 5e-5


def test_hot_pixels_that_walk_are_found():
    simulated = simulate_set(9, **STARS, **(NO_HITS | {"hot_fraction": 2e-3}))
    hot = simulated.deposits > 8 * simulated.sigma
    assert hot.sum() > 200
    assert clean_image_set(simulated.frames).rejected[hot].mean() > 0.98


@pytest.mark.parametrize(("n", "share"), [(3, 0.6), (5, 0.9), (9, 0.9)])
def test_a_moving_object_is_found_in_every_frame(n, share):
    simulated = simulate_set(n, **STARS, **NO_HITS, mover=True)
    # before anybody asks what it is
    rejected = clean_image_set(simulated.frames, CleanSettings(kinds=False)).rejected
    for i, (y, x) in enumerate(simulated.mover):
        assert rejected[i, round(y), round(x)]
        light = simulated.mover_light[i] > 5 * simulated.sigma[i]
        assert rejected[i][light].mean() > share
        assert rejected[i][simulated.mover_light[i] < 0.05].mean() < 1e-4


def test_a_trail_is_found():
    simulated = simulate_set(5, **STARS, **NO_HITS, trail=True)
    trail = simulated.deposits > 5 * simulated.sigma
    result = clean_image_set(simulated.frames)
    assert trail.sum() > 300
    assert result.rejected[trail].mean() > 0.95
    (frame,) = np.unique(np.nonzero(trail)[0])
    assert np.delete(result.rejected, frame, axis=0).mean() < 1e-4


def test_flats_of_different_level():
    simulated = simulate_set(7, (150, 200), seed=2, flat=True, hot_fraction=0.0, cold_fraction=0.0)
    assert simulated.scales.max() > 1.5 * simulated.scales.min()
    result = clean_image_set(simulated.frames)
    strong = simulated.deposits > 8 * simulated.sigma
    assert result.rejected[strong].mean() > 0.98
    assert (result.rejected & (np.abs(simulated.deposits) < 0.3 * simulated.sigma)).mean() < 1e-4


@pytest.mark.parametrize("n", [3, 5, 9, 20])
@pytest.mark.parametrize("noise", [0.35, 0.5, 1.0])
def test_coarsely_quantised_data(n, noise):
    rng = np.random.default_rng(n)
    frames = np.rint(350 + rng.normal(0, noise, (n, 80, 90))).astype("i2")
    if noise < 0.6:
        assert np.median(np.abs(frames - np.median(frames, axis=0))) == 0
    frames, hits = add_hits(frames, fraction=0.002, amplitude=15)
    rejected = clean_image_set(frames.astype("i2")).rejected
    assert rejected[hits].mean() > 0.95
    assert rejected[~hits].mean() < 2e-3


# --- the noise model's options --------------------------------------------------------------------------------

SIGMA = 5.0


def single_pixels(significance, n=9, shape=(90, 90), beside=0.0):
    """Flat noise, with pixels that stand `significance` sigma above what is expected, 100 of them, and where; to
    their right a pixel that stands out by `beside` sigma."""
    frames = noise_frames(n, shape, level=1000, sigma=SIGMA, seed=3)
    expected = frames.copy()
    chosen = []
    for k, (y, x) in enumerate((y, x) for y in range(5, 85, 8) for x in range(5, 85, 8)):
        i = k % n
        for dx, height in ((0, significance), (1, beside)):
            if height:
                others = np.delete(expected[:, y, x + dx], i).mean()
                frames[i, y, x + dx] = others + height * SIGMA * np.sqrt(1 + 1 / (n - 1))
        chosen.append((i, y, x))
    return frames, tuple(np.array(chosen).T)


@pytest.mark.parametrize(
    ("significance", "beside", "settings", "least", "most"),
    [
        (5.2, 0, {}, 0.95, 1.0),
        (3.6, 0, {}, 0.0, 0.1),
        (4.2, 30, {}, 0.95, 1.0),
        (2.4, 30, {}, 0.0, 0.1),
        (3.6, 30, {"low": 4.4}, 0.0, 0.05),
        (1.5, 30, {}, 0.0, 0.05),
        (5.2, 0, {"high": 7}, 0.0, 0.1),
        (5.2, 0, {"high": (7, 4)}, 0.0, 0.1),
        (5.2, 0, {"high": (4, 7)}, 0.95, 1.0),
        (50, 0, {"high": (np.inf, 4)}, 0.0, 0.0),
        (-5.2, 0, {}, 0.95, 1.0),
        (-5.2, 0, {"high": (4, 7)}, 0.0, 0.1),
        (-50, 0, {"high": (4, np.inf)}, 0.0, 0.0),
        (3.6, 0, {"high": 3, "low": 2.5}, 0.95, 1.0),
    ],
)
def test_thresholds(significance, beside, settings, least, most):
    frames, where = single_pixels(significance, beside=beside)
    share = clean_image_set(frames, CleanSettings(**settings)).rejected[where].mean()
    assert least <= share <= most


def test_significance_is_in_sigma():
    frames, where = single_pixels(12)
    result = clean_image_set(frames)
    assert result.rejected[where].all()
    y, x = where[1:]
    np.testing.assert_allclose(np.median(result.peak_significance[y, x]), 12, rtol=0.05)
    np.testing.assert_array_equal(result.rejection_map[y, x], where[0] + 1)


# --- the clips ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("detection", "stdfunc"), [("sigma", "std"), ("mad", "mad_std")])
@pytest.mark.parametrize("high", [None, 2.0, (4.0, 2.5)])
@pytest.mark.parametrize("n", [2, 3, 9, 12])
def test_clips_agree_with_astropy(n, high, detection, stdfunc):
    frames, _ = add_hits(noise_frames(n, (20, 30)))
    frames[1, 5:8, 5:8] = np.nan
    settings = CleanSettings(detection=detection, high=high, normalize="none", max_rejected=n)
    bright, dark = settings.high_pair
    with np.errstate(all="ignore"):
        clipped = sigma_clip(
            np.ma.masked_invalid(frames),
            sigma_upper=bright,
            sigma_lower=dark,
            cenfunc="median",
            stdfunc=stdfunc,
            axis=0,
        ).mask
    result = clean_image_set(frames, settings)
    np.testing.assert_array_equal(result.rejected, clipped & np.isfinite(frames))
    np.testing.assert_array_equal(result.scales, 1)
    np.testing.assert_array_equal(result.offsets, 0)


@pytest.mark.parametrize("n", [3, 6])
def test_minmax_takes_the_highest_and_the_lowest(n):
    frames = noise_frames(n, (10, 12))
    frames[0, :3] = np.nan
    result = clean_image_set(frames, CleanSettings(detection="minmax", normalize="none", max_rejected=2))
    expected = (frames == np.nanmin(frames, axis=0)) | (frames == np.nanmax(frames, axis=0))
    np.testing.assert_array_equal(result.rejected, expected)


@pytest.mark.parametrize("detection", ["sigma", "mad", "minmax"])
def test_clips_look_at_frames_on_one_scale(detection):
    rng = np.random.default_rng(0)
    scene = 300 + 200 * np.sin(np.arange(40) / 6.0) * np.ones((30, 1))
    levels = np.linspace(0.5, 2, 12)
    frames, hits = add_hits(levels[:, None, None] * (scene + rng.normal(0, 3, (12, 30, 40))))
    rejected = clean_image_set(frames, CleanSettings(detection=detection, normalize="scale")).rejected
    assert rejected[hits].mean() > 0.95
    if detection != "minmax":
        assert rejected[~hits].mean() < 0.02


# --- what all detections have in common --------------------------------------------------------------------------


@pytest.mark.parametrize("detection", DETECTIONS)
@pytest.mark.parametrize("grow", [1, 2, 3])
def test_grow_within_the_frame(detection, grow):
    frames, _ = add_hits(noise_frames(9, (40, 50)), fraction=0.002)
    frames[:, 20:23, 10:14] = np.nan
    frames[3, 21, 9] += 900
    if detection == "minmax":
        frames = frames[:3]
    settings = {"detection": detection, "max_rejected": 9}
    seed = clean_image_set(frames, CleanSettings(**settings)).rejected
    grown = clean_image_set(frames, CleanSettings(**settings, grow=grow)).rejected
    y, x = np.mgrid[-grow : grow + 1, -grow : grow + 1]
    disk = y**2 + x**2 <= grow**2
    expected = np.stack([ndimage.binary_dilation(frame, disk) for frame in seed]) & np.isfinite(frames)
    assert expected.sum() > seed.sum()
    np.testing.assert_array_equal(grown, expected)


@pytest.mark.parametrize("detection", DETECTIONS)
@pytest.mark.parametrize("limit", [1, 2, 3])
def test_no_pixel_is_rejected_in_more_frames_than_allowed(detection, limit):
    simulated = simulate_set(6, (60, 60), seed=3, hit_fraction=0.08)
    high = 1.2 if detection == "sigma" else None  # one of six samples reaches 2.2 times their deviation at most
    settings = CleanSettings(detection=detection, high=high, max_rejected=limit, grow=1)
    result = clean_image_set(simulated.frames, settings)
    assert result.rejection_count.max() == limit


@pytest.mark.parametrize("n", [2, 3, 4, 5, 8])
def test_a_majority_is_right_unless_told_otherwise(n):
    frames = noise_frames(n, (30, 30), sigma=3)
    half = n // 2
    frames[:half, 10, 10] += 200 + 100 * np.arange(half)
    count = clean_image_set(frames, CleanSettings(grow=2)).rejection_count
    assert count.max() <= max(1, (n - 1) // 2)
    assert count[10, 10] >= 1 or n % 2 == 0


def test_where_too_many_deviate_the_most_significant_are_kept():
    frames = noise_frames(11, (30, 30), sigma=3)
    frames[[2, 5, 7], 12, 13] += [300, 900, 600]
    rejected = clean_image_set(frames, CleanSettings(max_rejected=2)).rejected
    assert np.flatnonzero(rejected[:, 12, 13]).tolist() == [5, 7]


@pytest.mark.parametrize("detection", ["noise", "mad"])
def test_nothing_above_the_threshold_stays(detection):
    """What was not rejected is no stronger than the threshold."""
    frames, _ = add_hits(noise_frames(9, (60, 60)), fraction=0.01)
    settings = CleanSettings(detection=detection)
    result = clean_image_set(frames, settings)
    *_, significance = compare(result, frames)
    assert significance[~result.rejected].max() < settings.high_pair[0] * 1.35


# --- the methods of other pipelines ------------------------------------------------------------------------------


def test_ccd_is_the_plain_noise_model():
    """One threshold on the difference to the mean of the others, and nothing learned from the neighbours."""
    frames, where = single_pixels(5)
    options = {"gain": 1e6, "readnoise": SIGMA * 1e6}
    found = clean_image_set(frames, CleanSettings(detection="ccd", high=4.8), **options).rejected
    weaker = clean_image_set(frames, CleanSettings(detection="ccd", high=5.2), **options).rejected
    assert found[where].all()
    assert not weaker[where].any()


def test_scale_noise_spares_what_is_bright():
    rng = np.random.default_rng(1)
    scene = np.full((60, 60), 100.0)
    scene[20:40, 20:40] = 10000
    frames = scene * (1 + rng.normal(0, 0.02, (7, 60, 60))) + rng.normal(0, 5, (7, 60, 60))
    options = {"detection": "ccd", "normalize": "none"}
    plain = clean_image_set(frames, CleanSettings(**options), gain=1e3, readnoise=5e3).rejected
    spared = clean_image_set(frames, CleanSettings(scale_noise=0.02, **options), gain=1e3, readnoise=5e3).rejected
    assert plain[:, 20:40, 20:40].mean() > 0.1
    assert spared.mean() < 1e-3


def test_percentile_is_a_share_of_the_median():
    frames = noise_frames(7, (20, 30))
    settings = CleanSettings(detection="percentile", high=(0.2, 0.1), normalize="none")
    median = np.median(frames, axis=0)
    np.testing.assert_array_equal(
        clean_image_set(frames, settings).rejected, (frames > 1.2 * median) | (frames < 0.9 * median)
    )


def test_winsorized_agrees_with_plain_numpy():
    frames, _ = add_hits(noise_frames(9, (12, 15)), fraction=0.03)
    settings = CleanSettings(detection="winsorized", high=3.0, maxiters=1, normalize="none")
    expected = np.zeros(frames.shape, bool)
    for y, x in np.ndindex(frames.shape[1:]):
        values = frames[:, y, x]
        centre, sigma = np.median(values), values.std()
        for _ in range(50):
            last = sigma
            sigma = 1.134 * np.clip(values, centre - 1.5 * sigma, centre + 1.5 * sigma).std()
            if abs(sigma - last) <= 0.0005 * last:
                break
        expected[:, y, x] = np.abs(values - centre) > 3 * sigma
    assert expected.any()
    np.testing.assert_array_equal(clean_image_set(frames, settings).rejected, expected)


def test_esd_finds_the_outliers_of_rosner():
    """The example of Rosner (1983), which the NIST handbook repeats: 54 values, three outliers at 5 %."""
    values = """-0.25 0.68 0.94 1.15 1.20 1.26 1.26 1.34 1.38 1.43 1.49 1.49 1.55 1.56 1.58 1.65 1.69 1.70 1.76 1.77
    1.81 1.91 1.94 1.96 1.99 2.06 2.09 2.10 2.14 2.15 2.23 2.24 2.26 2.35 2.37 2.40 2.47 2.54 2.62 2.64 2.90 2.92
    2.92 2.93 3.21 3.26 3.30 3.59 3.68 4.30 4.64 5.34 5.42 6.01"""
    column = np.array(values.split(), float)
    frames = np.stack([column, column[::-1]], axis=1)[:, None, :]
    settings = CleanSettings(detection="esd", normalize="none", repair="none")
    rejected = clean_image_set(frames, settings).rejected[:, 0]
    np.testing.assert_array_equal(rejected[:, 0], column > 5)
    np.testing.assert_array_equal(rejected[:, 1], column[::-1] > 5)


def test_some_frames_must_remain():
    frames = noise_frames(5, (20, 20), sigma=3)
    frames[:4, 10, 10] += [300, 500, 700, 900]
    options = {"detection": "mad", "high": 3.0, "maxiters": None, "normalize": "none"}
    frames[:, 10, 10] = [0, 0.1, 0.2, 1000, 2000]
    for remain in (0, 3, 4, 5):
        rejected = clean_image_set(frames, CleanSettings(min_frames=remain, **options)).rejected[:, 10, 10]
        assert rejected.sum() == min(2, 5 - remain)
        if remain == 4:
            assert rejected[4]


@pytest.mark.parametrize("fill", [-9999.0, 1e20, 3.4e38])
@pytest.mark.parametrize("dtype", ["f4", ">f4", "f8"])
@pytest.mark.parametrize("everywhere", [True, False])
def test_fill_values_spoil_nothing(fill, everywhere, dtype):
    frames = noise_frames(5, (60, 64)).astype(dtype)
    frames[2, 30, 30] += 500
    frames[slice(None) if everywhere else 1, 5, :8] = fill
    result = clean_image_set(frames)
    assert result.rejected[2, 30, 30]
    assert result.rejected.sum() < 15
    # beyond 1e16 they are no values, and like NaN never events
    assert result.rejected[1, 5, :8].all() == (fill == -9999 and not everywhere)
    assert fill == -9999 or not result.rejected[:, 5, :8].any()
    assert np.nanmax(np.abs(result.reference)) < 1e4


def test_structure_beside_dead_pixels():
    # stars of changing seeing, and pixels that are dead in all frames
    simulated = simulate_set(7, (192, 192), seed=5, star_density=3e-3, seeing=0.12, hit_fraction=0, hot_fraction=0)
    dead = np.random.default_rng(0).uniform(size=(192, 192)) < 0.03
    rejected, everywhere = (clean_image_set(simulated.frames, mask=mask).rejected for mask in (dead, None))
    assert rejected.sum() <= everywhere.sum() + 10


@pytest.mark.parametrize("size", [256, 400])
@pytest.mark.parametrize("phase", [(0, 0), (0, 1)])
def test_a_mask_of_period_two(size, phase):
    simulated = simulate_set(6, (size, size), seed=3)
    mask = np.ones((size, size), bool)
    mask[phase[0] :: 2, phase[1] :: 2] = False
    result = clean_image_set(simulated.frames, mask=mask)
    np.testing.assert_allclose(result.scales / simulated.scales, np.median(result.scales / simulated.scales), rtol=0.03)
    hits = (simulated.deposits > 8 * simulated.sigma) & ~mask
    assert result.rejected[hits].mean() > 0.99


@pytest.mark.parametrize("shape", [(40, 600), (3, 7), (1, 1), (9, 1), (1, 30)])
@pytest.mark.parametrize("levels", [5, 1000])
def test_median_of_the_neighbourhood(shape, levels):
    image = np.random.default_rng(1).integers(0, levels, shape).astype(np.float32)
    found = kernels.median_around(image, 0, shape[0], *kernels.window_networks())
    np.testing.assert_array_equal(found, ndimage.median_filter(image, 5, mode="nearest"))
