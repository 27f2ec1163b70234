"""Scale and offset of each frame, as a result shows them."""

import numpy as np
import pytest

from glue_cleanset.core.clean import clean_image_set
from glue_cleanset.core.settings import CleanSettings
from glue_cleanset.core.simulate import simulate_set

RNG = np.random.default_rng(8)
SCENE = 300 + 250 * np.sin(np.arange(96) / 9.0) * np.cos(np.arange(80) / 7.0)[:, None]
NOISE = RNG.normal(0, 3, (6, *SCENE.shape))
SCALES = np.array([0.8, 1.0, 1.25, 0.9, 1.1, 1.0])
OFFSETS = np.array([30.0, -20.0, 0.0, 50.0, -45.0, 5.0])


def make(scales=1.0, offsets=0.0, hits=0.0):
    frames = np.reshape(scales, (-1, 1, 1)) * SCENE + NOISE + np.reshape(offsets, (-1, 1, 1))
    if hits:
        where = np.random.default_rng(1).uniform(size=frames.shape) < hits
        frames[where] += np.random.default_rng(2).exponential(2000, where.sum())
    return frames


def relative(scales, offsets, to_scales, to_offsets):
    """How the frames differ among themselves: the level of the reference is a matter of taste."""
    scale = np.median(scales / to_scales)
    shift = np.median((offsets - to_offsets) / to_scales)
    return scales / to_scales / scale, offsets - to_offsets - shift * to_scales


@pytest.mark.parametrize("hits", [0.0, 0.02, 0.1])
@pytest.mark.parametrize(
    ("normalize", "scales", "offsets"),
    [
        ("both", SCALES, OFFSETS),
        ("scale", SCALES, 0.0),
        ("offset", 1.0, OFFSETS),
        ("auto", SCALES, OFFSETS),
        ("auto", SCALES, 0.0),
        ("auto", 1.0, OFFSETS),
        ("auto", 1.0, 0.0),
    ],
)
def test_what_was_put_in_is_found(normalize, scales, offsets, hits):
    scales, offsets = np.broadcast_to(scales, 6), np.broadcast_to(offsets, 6)
    result = clean_image_set(make(scales, offsets, hits), CleanSettings(normalize=normalize))
    level = np.array([100.0, 300.0, 500.0])[:, None]
    # what counts is the frame that the reference predicts at every level
    predicted = result.scales * level + result.offsets
    truth = scales * level + offsets
    slope, shift = np.polyfit(truth.mean(axis=1), predicted.mean(axis=1), 1)
    np.testing.assert_allclose(predicted, truth * slope + shift, atol=1.0 if hits < 0.05 else 2.5)


def test_scales_and_offsets_have_a_typical_frame_in_their_middle():
    result = clean_image_set(make(SCALES, OFFSETS), CleanSettings(normalize="both"))
    np.testing.assert_allclose(np.median(result.scales), 1, rtol=0.01)
    np.testing.assert_allclose(np.median(result.offsets / result.scales), 0, atol=3)


def test_none_leaves_the_frames_as_they_are():
    result = clean_image_set(make(SCALES, OFFSETS), CleanSettings(normalize="none"))
    assert (result.scales == 1).all()
    assert (result.offsets == 0).all()


def test_scale_has_no_offset_and_offset_no_scale():
    assert (clean_image_set(make(SCALES), CleanSettings(normalize="scale")).offsets == 0).all()
    assert (clean_image_set(make(1, OFFSETS), CleanSettings(normalize="offset")).scales == 1).all()


def test_exptime_gives_the_scales():
    exptime = np.array([30.0, 60, 60, 120, 60, 45])
    frames = make(exptime / 60) + 10
    result = clean_image_set(frames, CleanSettings(normalize="exptime"), exptime=exptime)
    np.testing.assert_allclose(result.scales, exptime / 60)
    np.testing.assert_allclose(result.offsets - 10 * (1 - exptime / 60), 0, atol=1.5)
    assert result.rejected.mean() < 1e-4


def test_exptime_is_a_matter_of_ratios():
    exptime = np.array([30.0, 60, 60, 120, 60, 45])
    frames = make(exptime / 60)
    one = clean_image_set(frames, CleanSettings(normalize="exptime"), exptime=exptime)
    other = clean_image_set(frames, CleanSettings(normalize="exptime"), exptime=exptime / 3600)
    np.testing.assert_allclose(one.scales, other.scales)
    np.testing.assert_array_equal(one.rejected, other.rejected)


def test_one_exptime_for_all():
    result = clean_image_set(make(1, OFFSETS), CleanSettings(normalize="exptime"), exptime=60)
    assert (result.scales == 1).all()


def test_masked_light_has_no_say():
    frames = make(SCALES, OFFSETS)
    clean = clean_image_set(frames)
    mask = np.zeros(frames.shape, bool)
    mask[1, 10:40] = True
    spoilt = frames.copy()
    spoilt[1, 10:40] += 3000
    result = clean_image_set(spoilt, mask=mask)
    scales, offsets = relative(result.scales, result.offsets, clean.scales, clean.offsets)
    np.testing.assert_allclose(scales, 1, rtol=3e-3)
    np.testing.assert_allclose(offsets, 0, atol=1)


@pytest.mark.parametrize("variant", [{}, {"seeing": 0.05, "jitter": 0.1}, {"flat": True}, {"gradient": 0.1}])
@pytest.mark.parametrize("n", [3, 9])
def test_simulated_frames(n, variant):
    simulated = simulate_set(n, (160, 200), seed=3, **variant)
    result = clean_image_set(simulated.frames)
    scales, offsets = relative(result.scales, result.offsets, simulated.scales, simulated.offsets)
    # at the level of the sky, where nearly all pixels are, the frames agree to a fraction of the noise
    sky = 4000.0 if variant.get("flat") else 200.0
    difference = (scales - 1) * simulated.scales * sky + offsets
    assert np.abs(difference - np.median(difference)).max() < np.median(simulated.sigma) / 2
    assert np.abs(scales - 1).max() < 0.15


def test_frames_that_do_not_overlap():
    """Nothing can be compared, and nothing is rejected."""
    frames = make()[:2]
    frames[0, :, :48] = np.nan
    frames[1, :, 48:] = np.nan
    frames[1, 20, 20] += 900
    result = clean_image_set(frames)
    assert not result.rejected.any()
    assert any("no good pixel is shared" in text for text in result.warnings)
    np.testing.assert_array_equal(result.scales, 1)


def test_frames_that_overlap_a_little():
    frames = make(1, OFFSETS)[:3]
    frames[0, :, :30] = np.nan
    frames[1, :, 60:] = np.nan
    frames[2, 20, 45] += 900
    result = clean_image_set(frames)
    assert result.rejected[2, 20, 45]
    assert result.rejected.mean() < 1e-3


def test_no_pixel_is_good_in_all_frames():
    frames = make(1, OFFSETS)
    for i in range(6):
        frames[i, :, 16 * i : 16 * i + 16] = np.nan
    frames[2, 20, 5] += 900
    result = clean_image_set(frames)
    assert result.rejected[2, 20, 5]
    assert result.rejected.mean() < 1e-3
    np.testing.assert_allclose(result.offsets - result.offsets[5], OFFSETS - OFFSETS[5], atol=1)


@pytest.mark.parametrize("fwhm", [2.4, 1.7])
@pytest.mark.parametrize("n", [3, 9])
def test_a_frame_of_much_sharper_seeing_keeps_its_scale(n, fwhm):
    odd = n // 2
    frames = simulate_set(n, (512, 512), seed=3).frames.copy()
    sharp = simulate_set(n, (512, 512), seed=3, fwhm=fwhm)
    frames[odd] = sharp.frames[odd]
    found, _ = relative(clean_image_set(frames).scales, 0 * sharp.scales, sharp.scales, 0 * sharp.scales)
    np.testing.assert_allclose(found, 1, atol=0.02)


def test_a_reference_that_is_a_plane_tells_no_scale_beside_a_plane():
    level = np.linspace(200, 2000, 48) * np.ones((64, 1))
    rng = np.random.default_rng(4)
    frames = np.round(rng.normal(level, np.sqrt(level / 1.5 + 16), (5, *level.shape)))
    np.testing.assert_allclose(clean_image_set(frames).scales, 1, atol=0.01)
