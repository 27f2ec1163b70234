"""Gain and read noise, fitted to a set or given, as a result shows them."""

import numpy as np
import pytest
from core_oracles import noise_frames

from glue_cleanset.core.clean import clean_image_set
from glue_cleanset.core.simulate import simulate_set


@pytest.mark.parametrize("n", [2, 3, 5, 12])
@pytest.mark.parametrize(("gain", "readnoise"), [(1.5, 6.0), (4.0, 20.0)])
def test_flats_tell_the_gain(n, gain, readnoise):
    simulated = simulate_set(n, (150, 150), seed=3, flat=True, gain=gain, readnoise=readnoise)
    noise = clean_image_set(simulated.frames).noise
    assert noise.gain_source == "fitted"
    np.testing.assert_allclose(noise.gain, gain, rtol=0.3 if n == 2 else 0.15)
    np.testing.assert_allclose(noise.sigma(4000.0), np.sqrt(4000 / gain + (readnoise / gain) ** 2), rtol=0.08)


@pytest.mark.parametrize("n", [2, 3, 5, 12])
@pytest.mark.parametrize("variant", [{}, {"seeing": 0.05, "jitter": 0.1}, {"hit_fraction": 0.02}])
def test_noise_of_the_sky(n, variant):
    simulated = simulate_set(n, (150, 150), seed=3, **variant)
    result = clean_image_set(simulated.frames)
    level = result.scales * np.nanmedian(result.reference) + result.offsets
    np.testing.assert_allclose(result.noise.sigma(level), np.median(simulated.sigma, axis=(1, 2)), rtol=0.1)


@pytest.mark.parametrize("hits", [0.0, 0.03])
def test_noise_without_range_in_level(hits):
    rng = np.random.default_rng(2)
    frames = 500 + rng.normal(0, 7, (6, 100, 100))
    frames[rng.uniform(size=frames.shape) < hits] += 700
    noise = clean_image_set(frames).noise
    np.testing.assert_allclose(noise.sigma(500.0), 7, rtol=0.03)


def test_saturated_stars_spoil_no_gain():
    simulated = simulate_set(9, (512, 512), seed=2, star_density=1e-3, saturation=5000.0)
    assert clean_image_set(simulated.frames).noise.gain[0] == pytest.approx(1.5, rel=0.07)


@pytest.mark.parametrize("n", [5, 20])
@pytest.mark.parametrize(("every", "within"), [(5, 0.12), (25, 0.06)])
def test_variable_stars_spoil_no_gain(n, every, within):
    simulated = simulate_set(n, (512, 512), seed=4, star_density=1e-3, variable=0.3, variable_every=every)
    assert clean_image_set(simulated.frames).noise.gain[0] == pytest.approx(1.5, rel=within)


def test_the_same_noise_on_a_pedestal():
    simulated = simulate_set(7, (150, 150), seed=3, flat=True)
    plain = clean_image_set(simulated.frames.astype("f8")).noise
    raised = clean_image_set(simulated.frames.astype("f8") + 1000).noise
    np.testing.assert_allclose(raised.sigma(5000.0), plain.sigma(4000.0), rtol=0.03)
    np.testing.assert_allclose(raised.gain, plain.gain, rtol=0.05)


def test_given_numbers_are_used():
    frames = noise_frames(4, (40, 40))
    noise = clean_image_set(frames, gain=2, readnoise=[8, 9, 10, 11]).noise
    assert (noise.gain_source, noise.readnoise_source) == ("given", "given")
    np.testing.assert_array_equal(noise.gain, np.full(4, 2.0))
    np.testing.assert_array_equal(noise.readnoise, [8, 9, 10, 11])


def test_a_given_noise_decides_what_is_rejected():
    frames = noise_frames(5, (40, 40), sigma=5)
    frames[2, 20, 20] += 60
    assert clean_image_set(frames, gain=100, readnoise=200).rejected.mean() > 0.01
    assert clean_image_set(frames).rejected[2, 20, 20]


def test_read_noise_of_each_frame():
    rng = np.random.default_rng(5)
    sigma = np.array([2.0, 2.0, 20.0, 2.0, 2.0])
    frames = 300 + rng.normal(0, 1, (5, 80, 80)) * sigma[:, None, None]
    frames[0, 10, 10] += 30
    frames[2, 30, 30] += 30
    rejected = clean_image_set(frames, gain=1e4, readnoise=sigma * 1e4).rejected
    assert rejected[0, 10, 10]
    assert not rejected[2, 30, 30]
    assert rejected.mean() < 1e-3


@pytest.mark.parametrize("sigma", [[2, 2, 20, 2, 2], [5, 5, 10], [5, 5, 5, 10], [5, 5, 5, 5, 8, 8, 8, 8]])
@pytest.mark.parametrize("seed", [5, 6])
def test_each_frame_has_the_noise_that_it_shows(sigma, seed):
    sigma = np.array(sigma, float)
    frames = 300 + np.random.default_rng(seed).normal(0, 1, (len(sigma), 300, 300)) * sigma[:, None, None]
    result = clean_image_set(frames)
    np.testing.assert_allclose(result.noise.sigma(300.0), sigma, rtol=0.03)
    assert result.rejected.mean(axis=(1, 2)).max() < 2e-4


@pytest.mark.parametrize("n", [3, 5, 9, 20])
def test_interpolated_frames_have_less_noise_each_its_own(n):
    simulated = simulate_set(n, (512, 512), seed=8, star_density=5e-4, resample=True)
    true = np.median(simulated.sigma, axis=(1, 2))
    result = clean_image_set(simulated.frames)
    level = result.scales * np.nanmedian(result.reference) + result.offsets
    assert np.ptp(true / np.sqrt(level / 1.5 + 16)) > 0.2
    np.testing.assert_allclose(result.noise.sigma(level), true, rtol=0.06)


@pytest.mark.parametrize("variant", [{}, {"seeing": 0.05, "jitter": 0.1}, {"gradient": 0.1}, {"flat": True}])
def test_frames_that_are_alike_have_one_curve(variant):
    simulated = simulate_set(9, (400, 400), seed=8, star_density=5e-4, **variant)
    noise = clean_image_set(simulated.frames).noise
    assert np.ptp(noise.floor) == np.ptp(noise.slope) == 0


@pytest.mark.parametrize("variant", [{}, {"seeing": 0.05, "jitter": 0.1}])
def test_hits_are_no_mismatch(variant):
    few, many = (
        clean_image_set(simulate_set(9, (512, 512), seed=3, hit_fraction=share, **variant).frames).noise.mismatch
        for share in (0.003, 0.03)
    )
    assert many.mean() < few.mean() + 0.04


def test_a_hit_on_a_small_frame_is_no_mismatch():
    # (a few dozen pixels with light)
    y, x = np.mgrid[:10, :11]
    star = 200 + 20000 * np.exp(-((y - 4.6) ** 2 + (x - 5.2) ** 2) / 6)
    rng = np.random.default_rng(4)
    frames = star + rng.normal(0, 1, (60, 10, 11)) * np.sqrt(star / 1.5 + 16)
    i, y, x = np.arange(60), rng.integers(2, 8, 60), rng.integers(2, 8, 60)
    hit = np.tile(i, 2), np.tile(y, 2), np.append(x, x + 1)
    frames[hit] += 12 * np.sqrt(star / 1.5 + 16)[hit[1:]]
    assert clean_image_set(frames).rejected[hit].mean() > 0.9


def test_gain_alone_leaves_the_read_noise_to_the_set():
    simulated = simulate_set(7, (150, 150), seed=3, flat=True, gain=2.0, readnoise=40.0)
    noise = clean_image_set(simulated.frames, gain=2.0).noise
    assert (noise.gain_source, noise.readnoise_source) == ("given", "fitted")
    np.testing.assert_allclose(noise.sigma(4000.0), np.sqrt(2000 + 400), rtol=0.06)


def test_read_noise_alone_leaves_the_gain_to_the_set():
    simulated = simulate_set(7, (150, 150), seed=3, flat=True, gain=2.0, readnoise=40.0)
    noise = clean_image_set(simulated.frames, readnoise=40.0).noise
    assert (noise.gain_source, noise.readnoise_source) == ("fitted", "given")
    np.testing.assert_allclose(noise.gain, 2.0, rtol=0.1)


def test_a_model_that_exceeds_the_scatter_is_reported():
    simulated = simulate_set(5, (150, 150), seed=3, gain=1.0, readnoise=4.0, sky=60.0)
    frames = simulated.frames + 2000
    result = clean_image_set(frames, gain=1.0, readnoise=4.0)
    assert any("pedestal" in text for text in result.warnings)
    strong = simulated.deposits > 8 * simulated.sigma
    assert result.rejected[strong].mean() > 0.95
    assert not any("pedestal" in text for text in clean_image_set(simulated.frames, gain=1.0, readnoise=4.0).warnings)


@pytest.mark.parametrize("seed", range(6))
def test_frames_without_noise_have_no_endless_noise(seed):
    rng = np.random.default_rng(seed)
    frames = np.full((21, 50, 40), 7.0) + (rng.uniform(size=(21, 50, 40)) < 0.05) * rng.choice([1, 50], (21, 50, 40))
    assert (clean_image_set(frames.astype("f4")).noise.sigma(7.0) < 20).all()
