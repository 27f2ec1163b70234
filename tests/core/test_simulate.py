"""The simulated sets are what they say."""

import numpy as np
import pytest

from glue_cleanset.core.settings import KINDS
from glue_cleanset.core.simulate import BAD, VARIANTS, Mover, Trail, draw_movers, simulate_set

NOTHING = {"hit_fraction": 0, "hot_fraction": 0, "cold_fraction": 0}
QUIET = {**NOTHING, "star_density": 0}


def code(kind):
    return 1 + list(KINDS).index(kind)


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


def test_frames_stay_what_they_were():
    # figures of earlier releases, which later ones are compared with, were made of these
    simulated = simulate_set(3, (40, 50), seed=7, seeing=0.05, jitter=0.1, mover=True, trail=True, variable=0.3)
    np.testing.assert_allclose(simulated.frames.mean(axis=(1, 2)), [196.8836, 229.1482, 230.8543], rtol=1e-5)
    np.testing.assert_allclose(simulated.deposits.std(axis=(1, 2)), [6.017634, 41.60837, 30.69313], rtol=1e-5)


@pytest.mark.parametrize(("angle", "towards"), [(0, (1, 0)), (90, (0, -1)), (180, (-1, 0)), (270, (0, 1))])
def test_movers_go_where_they_say(angle, towards):
    movers = [Mover(30.0, 31.0, 4.0, angle, 50.0)]
    simulated = simulate_set(4, (64, 64), seed=3, movers=movers, **QUIET)
    for i, light in enumerate(simulated.mover_light):
        expected = np.array([30.0, 31.0]) + 4.0 * i * np.array(towards)
        np.testing.assert_allclose(simulated.mover_positions[0, i], expected, atol=1e-9)
        y, x = np.mgrid[:64, :64]
        centre = (light * y).sum() / light.sum(), (light * x).sum() / light.sum()
        np.testing.assert_allclose(centre, expected, atol=0.02)
    assert not simulated.deposits.any()
    assert simulated.mover is None


def test_peak_of_a_mover_is_in_sigma_of_the_sky():
    movers = [Mover(20.0, 20.0, 0.0, 0.0, 30.0), Mover(45.0, 45.0, 0.0, 0.0, 8.0)]
    simulated = simulate_set(5, (64, 64), seed=3, movers=movers, spread=0, **QUIET)
    np.testing.assert_allclose(simulated.mover_peaks, np.repeat([[30.0], [8.0]], 5, axis=1), rtol=0.01)
    empty = simulate_set(5, (64, 64), seed=3, spread=0, **QUIET)
    light = simulated.mover_light / empty.sigma
    np.testing.assert_allclose(light.max(axis=(1, 2)), 30.0, rtol=0.01)
    added = simulated.frames - simulated.frames.mean(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(added[:, 20, 20] / empty.sigma[:, 20, 20], 30.0, atol=9)  # and its own photon noise


def test_movers_at_uneven_times_and_drawn_out():
    times = [0, 1, 5]
    movers = [Mover(20.0, 10.0, 8.0, 270.0, 50.0)]
    simulated = simulate_set(3, (40, 80), seed=1, movers=movers, times=times, exposure=1.0, **QUIET)
    np.testing.assert_allclose(simulated.mover_positions[0, :, 1], [10, 18, 50])
    y, x = np.mgrid[:40, :80]
    light = simulated.mover_light[2] / simulated.mover_light[2].sum()
    along, across = (light * (x - 50) ** 2).sum(), (light * (y - 20) ** 2).sum()
    assert along - across == pytest.approx(8**2 / 12, rel=0.1)  # variance of an even distribution over 8 pixels
    assert (light * x).sum() == pytest.approx(50, abs=0.1)


def test_drawn_movers_keep_to_the_ranges_and_the_field():
    movers = draw_movers(200, range(9), (300, 400), seed=4, rates=(1, 20), peaks=(5, 100))
    assert movers == draw_movers(200, range(9), (300, 400), seed=4, rates=(1, 20), peaks=(5, 100))
    rates, peaks = np.array([(one.rate, one.peak) for one in movers]).T
    assert (rates >= 1).all()
    assert (rates <= 20).all()
    assert np.median(rates) == pytest.approx(np.sqrt(20), rel=0.25)
    assert np.median(peaks) == pytest.approx(np.sqrt(500), rel=0.25)
    simulated = simulate_set(9, (300, 400), movers=movers[:20], **QUIET)
    inside = (simulated.mover_positions >= 10) & (simulated.mover_positions <= np.array([289, 389]))
    assert inside.all()
    np.testing.assert_allclose(simulated.mover_rates, rates[:20])
    np.testing.assert_allclose(simulated.mover_angles, [one.angle for one in movers[:20]])


def test_the_mover_of_the_variant_is_the_first_of_the_movers():
    simulated = simulate_set(4, (80, 80), seed=3, mover=True, movers=[Mover(9.0, 70.0, 2.0, 0.0, 20.0)], **NOTHING)
    np.testing.assert_array_equal(simulated.mover_positions[0], simulated.mover)
    np.testing.assert_allclose(simulated.mover_positions[1, :, 0], [9, 11, 13, 15])
    assert simulated.mover_rates[0] == pytest.approx(np.hypot(0.35 * 80, 0.45 * 80) / 3)


def test_the_trail_is_as_bright_wide_and_long_as_it_says():
    trail = Trail(light=100.0, width=3.0, length=0.5, offset=10.0)
    simulated = simulate_set(4, (200, 200), seed=2, trail=trail, **NOTHING)
    np.testing.assert_array_equal(simulated.trail_light, simulated.deposits)
    (frame,) = np.flatnonzero(simulated.trail_light.any(axis=(1, 2)))
    light = simulated.trail_light[frame].astype(float)
    assert light.max() == pytest.approx(100, rel=0.02)
    # the light of a Gaussian ridge, whole but for what is below 1 ADU
    assert light.sum() == pytest.approx(100 * 3 * np.sqrt(2 * np.pi) * 0.5 * np.hypot(200, 200), rel=0.02)
    y, x = np.mgrid[:200, :200] - 100.0
    centre = (light * y).sum() / light.sum(), (light * x).sum() / light.sum()
    assert np.hypot(*centre) == pytest.approx(10, abs=0.3)


def test_bad_frames():
    faults = dict(enumerate(BAD))
    sets = [
        simulate_set(5, (200, 200), seed=5, star_density=2e-3, spread=0, bad=bad, **NOTHING) for bad in ({}, faults)
    ]
    (plain, _), (frames, bad) = [(one.frames.astype(float), one.bad) for one in sets]
    assert bad == faults
    np.testing.assert_array_equal(plain[4] > 0, frames[4] > 0)
    sky = np.median(frames, axis=(1, 2)) / np.median(plain, axis=(1, 2))
    assert sky[0] > 1.1
    np.testing.assert_allclose(sky[1:], 1, atol=0.02)
    # stars stand out less where their light is spread
    assert (frames[:4].max(axis=(1, 2)) < 0.9 * plain[:4].max(axis=(1, 2))).all()
    assert frames[4].max() == pytest.approx(plain[4].max(), rel=0.05)
    for i in (1, 2, 3):
        assert frames[i].sum() == pytest.approx(plain[i].sum(), rel=0.01)  # all of it is there


def test_kinds_are_those_of_what_was_added():
    simulated = simulate_set(
        4, (120, 120), seed=6, star_density=2e-3, hot_fraction=2e-3, cold_fraction=1e-3, max_dither=6, variable=0.5,
        trail=True, movers=[Mover(20.0, 20.0, 5.0, 300.0, 30.0)], bad={3: "clouded"}, kinds=True,
    )  # fmt: skip
    kinds, deposits = simulated.kinds, simulated.deposits
    strength = np.abs(deposits) / simulated.sigma
    assert set(np.unique(kinds[:3])) == {0, *(code(kind) for kind in list(KINDS)[:6])}
    assert not (kinds[3] == 0).any()
    hit = np.isin(kinds, [code(kind) for kind in ("cosmic ray", "hot pixel", "trail")])
    assert (strength[hit] > 0.9).all()
    assert (deposits[kinds == code("cold pixel")] < 0).all()
    assert (simulated.mover_light[kinds == code("moving object")] > 0).all()
    trail = kinds == code("trail")
    assert (trail <= (simulated.trail_light > simulated.sigma)).all()
    assert trail.sum() > 0.9 * (simulated.trail_light > simulated.sigma).sum()
    near = np.zeros((120, 120), bool)
    for y, x, _ in simulated.stars[simulated.variable_stars]:
        near |= np.hypot(*(np.mgrid[:120, :120] - np.array([y, x])[:, None, None])) < 12
    assert not (kinds[:3, ~near] == code("variable star")).any()
    assert (kinds[:3] == code("variable star")).sum() > 50


def test_hot_pixels_stay_where_they_are_on_the_detector():
    simulated = simulate_set(3, (80, 80), seed=6, hot_fraction=2e-3, max_dither=6, kinds=True)
    there = [
        {tuple(place) for place in np.argwhere(frame == code("hot pixel")) + dither}
        for frame, dither in zip(simulated.kinds, simulated.dithers, strict=True)
    ]
    assert len(there[0]) > 5
    assert len(there[0] & there[1]) > 0.7 * len(there[0])


def test_kinds_change_nothing_else():
    plain, told = (simulate_set(3, (60, 60), seed=1, resample=True, kinds=kinds) for kinds in (False, True))
    np.testing.assert_array_equal(plain.frames, told.frames)
    assert plain.kinds is None
    assert told.kinds.dtype == np.uint8


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"bad": {5: "clouded"}}, "bad has 5: 'clouded'; give a frame of 0 to 2"),
        ({"bad": {1: "foggy"}}, "one of .*'clouded'"),
        ({"times": [0, 1]}, "give 3, one per frame"),
    ],
)
def test_what_cannot_be_simulated(given, message):
    with pytest.raises(ValueError, match=message):
        simulate_set(3, (40, 40), **given)


def test_which_stars_vary():
    given = {"seed": 2, "star_density": 3e-3, "spread": 0, "variable": 1.0, "variable_every": 3, **NOTHING}
    simulated = simulate_set(12, (100, 100), **given)
    np.testing.assert_array_equal(simulated.variable_stars, np.arange(0, len(simulated.stars), 3))
    scatter = simulated.frames.std(axis=0) / np.median(simulated.sigma, axis=0)
    y, x = np.rint(simulated.stars[:, :2]).astype(int).T
    varying = np.isin(np.arange(len(simulated.stars)), simulated.variable_stars)
    assert np.median(scatter[y[varying], x[varying]]) > 3
    assert np.median(scatter[y[~varying], x[~varying]]) < 1.5
