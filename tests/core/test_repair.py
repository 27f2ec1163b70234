"""What stands in the place of a rejected pixel, against a slow reference."""

import numpy as np
import pytest
from core_oracles import add_hits, assert_same_bits, compare, median_of_neighbours, noise_frames, sky, survivors

from glue_cleanset.core.clean import clean_image_set
from glue_cleanset.core.settings import REPAIRS, CleanSettings

SCALES = np.array([0.8, 1.0, 1.2, 1.1, 0.9, 1.0])
# the noise of the frames differs, so that a weighted mean is another one
READNOISE = np.array([2.0, 30.0, 5.0, 20.0, 3.0, 8.0])


def make_set(dtype="f8"):
    rng = np.random.default_rng(4)
    scene = noise_frames(1, (30, 36), level=400, sigma=0)[0]
    noise = rng.normal(0, 1, (6, 30, 36)) * READNOISE[:, None, None]
    frames = SCALES[:, None, None] * scene + noise + 10 * np.arange(6)[:, None, None]
    frames, _ = add_hits(frames, fraction=0.01, amplitude=800)
    mask = np.zeros(frames.shape, bool)
    mask[0, 4:9, 4:20] = True
    mask[3, :, 12] = True
    frames[5, 20:24, 3:8] = np.nan
    frames[0, 6, 6] += 1e6
    return frames.astype(dtype), mask


def clean(how, frames=None, mask=None, **settings):
    if frames is None:
        frames, mask = make_set()
    noise = {"gain": 1e4, "readnoise": READNOISE * 1e4} if len(frames) == 6 else {}
    return clean_image_set(frames, CleanSettings(repair=how, **settings), mask=mask, **noise)


def test_the_median_of_the_survivors_on_the_own_scale():
    frames, mask = make_set()
    result = clean("median", frames, mask)
    assert result.rejected.sum() > 50
    expected = np.nanmedian(survivors(result, frames, mask), axis=0) * result.scales[:, None, None] + sky(result)
    np.testing.assert_allclose(result.cleaned[result.rejected], expected[result.rejected], rtol=1e-9)


def test_the_weighted_mean_of_the_survivors_on_the_own_scale():
    frames, mask = make_set()
    result = clean("mean", frames, mask)
    _, mean, _ = compare(result, frames, mask)
    expected = mean * result.scales[:, None, None] + sky(result)
    plain = np.nanmean(survivors(result, frames, mask), axis=0) * result.scales[:, None, None] + sky(result)
    got = result.cleaned[result.rejected]
    error = np.abs(got - expected[result.rejected])
    # where a scene has structure the core gives the frames other weights
    assert np.median(error) < 0.05
    assert np.median(error) < 0.02 * np.median(np.abs(got - plain[result.rejected]))


def test_the_neighbours():
    frames, mask = make_set()
    result = clean("neighbours", frames, mask)
    for pixel in np.argwhere(result.rejected):
        expected = median_of_neighbours(frames, result.rejected, mask, pixel)
        np.testing.assert_allclose(result.cleaned[tuple(pixel)], expected, rtol=1e-9)


@pytest.mark.parametrize(("how", "value"), [("zero", 0.0), ("nan", np.nan), ("constant", -7.25)])
def test_a_fixed_value(how, value):
    result = clean(how, constant=-7.25)
    assert result.rejected.any()
    np.testing.assert_array_equal(result.cleaned[result.rejected], value)


def test_detect_only():
    frames, mask = make_set(">f4")
    result = clean("none", frames, mask)
    assert result.rejected.any()
    assert_same_bits(result.cleaned, frames)


@pytest.mark.parametrize("how", REPAIRS)
def test_a_repair_does_not_change_what_is_found(how):
    result, other = clean(how), clean("none")
    np.testing.assert_array_equal(result.rejected, other.rejected)
    np.testing.assert_array_equal(result.events["total"], other.events["total"])


@pytest.mark.parametrize("how", ["median", "mean"])
def test_repaired_pixels_are_close_to_the_truth(how):
    frames = noise_frames(9, (40, 40), sigma=5)
    spoilt, hits = add_hits(frames, fraction=0.01)
    result = clean_image_set(spoilt, CleanSettings(repair=how))
    error = (result.cleaned - frames)[hits]
    # the noise of the pixel as it was, and of eight others
    assert np.sqrt(np.mean(error**2)) < 5 * np.sqrt(1 + 1.6 / 8) * 1.2


@pytest.mark.parametrize("how", ["median", "mean"])
def test_where_no_frame_survives_the_neighbours_help(how):
    frames = noise_frames(2, (20, 20))
    frames[0, 10, 10] += 900
    mask = np.zeros(frames.shape, bool)
    mask[1, 10, 11] = True
    result = clean_image_set(frames, CleanSettings(repair=how, grow=1), mask=mask)
    assert result.rejected[0, 10, 11]
    expected = median_of_neighbours(frames, result.rejected, mask, (0, 10, 11))
    np.testing.assert_allclose(result.cleaned[0, 10, 11], expected)


def test_no_good_neighbour_gives_nan():
    frames = noise_frames(5, (60, 60))
    frames[2, 30, 30] += 900
    mask = np.zeros(frames.shape, bool)
    mask[2, 10:50, 10:50] = True
    mask[2, 30, 30] = False
    result = clean_image_set(frames, CleanSettings(repair="neighbours"), mask=mask)
    assert result.rejected[2, 30, 30]
    assert np.isnan(result.cleaned[2, 30, 30])


def test_zero_prepares_a_mean_that_leaves_zeros_out():
    frames, hits = add_hits(noise_frames(9, (40, 40)), fraction=0.005)
    cleaned = clean_image_set(frames, CleanSettings(repair="zero")).cleaned
    mean = cleaned.sum(axis=0) / np.count_nonzero(cleaned, axis=0)
    scene = noise_frames(1, (40, 40), sigma=0)[0]
    assert np.abs(mean - scene)[hits.any(axis=0)].max() < 5 * 5 / np.sqrt(8)


def test_added_noise_keeps_the_statistics_honest():
    rng = np.random.default_rng(4)
    frames = 200 + rng.normal(0, 10, (9, 120, 120))
    hits = rng.uniform(size=frames.shape) < 0.02
    frames[hits] += 500
    plain = clean_image_set(frames, CleanSettings(repair="mean"))
    honest = clean_image_set(frames, CleanSettings(repair="mean", add_noise=True, seed=1))
    again = clean_image_set(frames, CleanSettings(repair="mean", add_noise=True, seed=1))
    here = plain.rejected
    assert plain.cleaned[here].std() < 5
    np.testing.assert_allclose(honest.cleaned[here].std(), 10, rtol=0.06)
    np.testing.assert_array_equal(honest.cleaned, again.cleaned)
    np.testing.assert_array_equal(honest.cleaned[~here], frames[~here])
