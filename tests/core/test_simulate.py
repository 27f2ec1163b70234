"""The simulated sets are what they say."""

import numpy as np
import pytest

from glue_cleanset.core.simulate import VARIANTS, simulate_set


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants(variant):
    simulated = simulate_set(4, (60, 70), seed=2, star_density=1e-3, **VARIANTS[variant])
    assert simulated.frames.shape == simulated.deposits.shape == simulated.sigma.shape == (4, 60, 70)
    assert simulated.frames.dtype == np.float32
    assert (simulated.sigma > 0).all()
    assert np.isnan(simulated.frames).any() == (variant == "nan borders")
    assert (simulated.mover is None) == (variant != "mover")


def test_the_same_seed_gives_the_same_set():
    one, other, another = (simulate_set(3, (40, 40), seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.frames, other.frames)
    np.testing.assert_array_equal(one.deposits, other.deposits)
    assert (one.frames != another.frames).any()


def test_noise_is_the_noise_it_says():
    simulated = simulate_set(6, (100, 100), seed=2, flat=True, hit_fraction=0, hot_fraction=0, cold_fraction=0)
    z = (simulated.frames - simulated.offsets[:, None, None]) / simulated.scales[:, None, None]
    residual = simulated.scales[:, None, None] * (z - z.mean(axis=0))
    np.testing.assert_allclose((residual / simulated.sigma).std(), np.sqrt(5 / 6), rtol=0.03)
    assert not simulated.deposits.any()


def test_scales_and_offsets_are_those_of_the_frames():
    simulated = simulate_set(5, (80, 80), seed=4, sky=500.0, star_density=0)
    np.testing.assert_allclose(
        np.median(simulated.frames, axis=(1, 2)), simulated.scales * 500 + simulated.offsets, atol=1.5
    )


def test_share_of_the_pixels_that_are_hit():
    simulated = simulate_set(4, (128, 128), seed=1, hit_fraction=0.02, hot_fraction=0, cold_fraction=0)
    share = (simulated.deposits > 1).mean(axis=(1, 2))
    assert (share > 0.01).all()
    assert (share < 0.03).all()


def test_hot_pixels_walk_with_the_dither():
    simulated = simulate_set(5, (100, 100), seed=3, hit_fraction=0, cold_fraction=0, hot_fraction=2e-3, max_dither=8)
    hot = simulated.deposits > 0
    assert hot.any(axis=(1, 2)).all()
    first = np.argwhere(hot[0]).tolist()
    for frame in hot[1:]:
        matches = [
            sum(0 <= y + dy < 100 and 0 <= x + dx < 100 and frame[y + dy, x + dx] for y, x in first)
            for dy in range(-8, 9)
            for dx in range(-8, 9)
        ]
        assert max(matches) > 0.7 * len(first)


def test_the_mover_moves_and_is_no_deposit():
    simulated = simulate_set(4, (80, 80), seed=3, mover=True, hit_fraction=0, hot_fraction=0, cold_fraction=0)
    assert not simulated.deposits.any()
    for light, (y, x) in zip(simulated.mover_light, simulated.mover, strict=True):
        peak = np.unravel_index(light.argmax(), light.shape)
        np.testing.assert_allclose(peak, (y, x), atol=0.51)
    assert np.hypot(*(simulated.mover[1] - simulated.mover[0])) > 5


def test_footprints_are_injected_in_electrons():
    stamp = np.full((2, 3), 3000.0)
    simulated = simulate_set(
        3, (64, 64), seed=1, gain=2.0, footprints=[stamp], hit_fraction=0.005, hot_fraction=0, cold_fraction=0
    )
    values = np.unique(simulated.deposits)
    np.testing.assert_allclose(values / 1500 - np.rint(values / 1500), 0)
    assert (simulated.deposits == 1500).sum() >= 3 * 0.005 * 64 * 64 * 0.8


def test_saturation():
    simulated = simulate_set(3, (64, 64), seed=1, star_density=5e-3, saturation=2000.0, hit_fraction=0, hot_fraction=0)
    assert simulated.frames.max() < 2000 + 8 * simulated.sigma.max()
