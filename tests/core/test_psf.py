"""The point-spread function: what stars look like, and where there are none."""

import numpy as np
import pytest

from glue_cleanset.core.psf import REACH, find_psf

SKY, NOISE = 200.0, 4.0


def field(seed, form, shape=(200, 220), stars=40, beta=3.0):
    """Stars of many fluxes and places within the pixel, and noise; `form`: half-widths [pixels] along y and x."""
    rng = np.random.default_rng(seed)
    image = rng.normal(SKY, NOISE, shape)
    grid = np.mgrid[: shape[0], : shape[1]]
    for _ in range(stars):
        y, x = (rng.uniform(8, length - 8) for length in shape)
        light = moffat(grid[0] - y, grid[1] - x, form, beta)
        image += light * NOISE * 10 ** rng.uniform(1.3, 3)
    return image.astype(np.float32)


def moffat(dy, dx, form, beta):
    return (1 + (2 ** (1 / beta) - 1) * ((dy / form[0]) ** 2 + (dx / form[1]) ** 2)) ** -beta


@pytest.mark.parametrize("form", [(1.0, 1.0), (1.5, 1.5), (1.2, 1.7)])
def test_stars_tell_width_and_form(form):
    psf = find_psf(field(1, form), SKY, NOISE**2)
    assert psf.fwhm == pytest.approx(2 * np.sqrt(form[0] * form[1]), rel=0.03)
    axis = np.arange(-REACH, REACH + 1)
    assert psf.stamp.shape == (11, 11)
    np.testing.assert_allclose(psf.stamp, moffat(axis[:, None], axis, form, 3.0), atol=0.02)
    assert psf.stamp[REACH, REACH] == 1


def test_light_moves_with_the_place():
    psf = find_psf(field(2, (1.5, 1.5)), SKY, NOISE**2)
    dy, dx = np.arange(-REACH, REACH + 1)[:, None] - 0.4, np.arange(-REACH, REACH + 1) + 0.3
    np.testing.assert_allclose(psf.light(dy, dx), moffat(dy, dx, (1.5, 1.5), 3.0), atol=0.02)


def test_bright_hot_pixels_and_full_stars_are_no_stars():
    image = field(3, (1.5, 1.5))
    rng = np.random.default_rng(3)
    image[rng.integers(0, 200, 300), rng.integers(0, 220, 300)] += 3000
    full = 1000.0
    psf = find_psf(np.minimum(image, SKY + full), SKY, NOISE**2, full)
    assert psf.fwhm == pytest.approx(3, rel=0.05)


def test_what_is_masked_is_left_out():
    image = field(4, (1.5, 1.5))
    image[::40] = np.nan
    assert find_psf(image, SKY, NOISE**2).fwhm == pytest.approx(3, rel=0.03)


def test_none_without_stars():
    rng = np.random.default_rng(5)
    noise = rng.normal(SKY, NOISE, (200, 200))
    dark = noise.copy()
    dark[rng.integers(0, 200, 400), rng.integers(0, 200, 400)] += rng.exponential(2000, 400)
    y, x = np.mgrid[-1:1:200j, -1:1:200j]
    flat = 5000 * (1 - 0.3 * (y * y + x * x)) * rng.normal(1, 0.01, (200, 200))
    for image, level, sigma in ((noise, SKY, NOISE), (dark, SKY, NOISE), (flat, np.median(flat), 60.0)):
        assert find_psf(image.astype(np.float32), level, sigma**2) is None
    assert find_psf(np.full((5, 5), 7, np.float32), 7.0, 1.0) is None
