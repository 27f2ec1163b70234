"""Slow plain numpy answers to what the core computes, and sets made by hand."""

import numpy as np
from scipy import ndimage

DTYPES = ["u1", "<i2", ">i2", "<u2", ">u2", "<i4", ">i4", "<i8", ">i8", "<f2", "<f4", ">f4", "<f8", ">f8"]


def noise_frames(n, shape, seed=0, level=100.0, sigma=5.0):
    """(n, ny, nx) float64: a smooth scene and noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    scene = level + 20 * np.sin(x / 5.0) * np.cos(y / 7.0)
    return scene + rng.normal(0, sigma, (n, *shape))


def add_hits(frames, seed=0, fraction=0.01, amplitude=400.0):
    """The frames with bright pixels, never two frames at one place; and where they are (n, ny, nx) bool."""
    rng = np.random.default_rng(seed)
    n, ny, nx = frames.shape
    count = int(fraction * frames.size) + 1
    pixels = rng.permutation(ny * nx)[:count]
    hits = np.zeros((n, ny * nx), bool)
    hits[rng.integers(n, size=pixels.size), pixels] = True
    hits = hits.reshape(frames.shape)
    return frames + amplitude * hits, hits


def good_pixels(frames, mask=None):
    good = np.isfinite(frames)
    return good if mask is None else good & ~(np.broadcast_to(mask, frames.shape) != 0)


def sky(result):
    """What each frame has beside scale * reference, (N, ny, nx)."""
    ny, nx = result.rejected.shape[1:]
    y, x = np.mgrid[:ny, :nx] - np.array([(ny - 1) / 2, (nx - 1) / 2])[:, None, None]
    gy, gx = result.gradients.T[:, :, None, None]
    return result.offsets[:, None, None] + gy * y + gx * x


def on_one_scale(result, frames):
    """z = (frame - offset) / scale in double precision."""
    return (np.asarray(frames, float) - sky(result)) / result.scales[:, None, None]


def survivors(result, frames, mask=None):
    """z, NaN where a pixel is rejected or not to be used."""
    return np.where(good_pixels(frames, mask) & ~result.rejected, on_one_scale(result, frames), np.nan)


def compare(result, frames, mask=None):
    """Median and noise-weighted mean of the survivors of every pixel, and |significance| of every sample, by the
    noise of the detector alone: where a scene has structure the core allows for more."""
    z, all_z = survivors(result, frames, mask), on_one_scale(result, frames)
    ny, nx = z.shape[1:]
    median, mean = np.full((2, ny, nx), np.nan)
    significance = np.full(z.shape, np.nan)
    for y in range(ny):
        for x in range(nx):
            column = z[:, y, x]
            stays = np.isfinite(column)
            if not stays.any():
                continue
            m = np.median(column[stays])
            level = result.scales * m + result.offsets
            variance = (result.noise.floor + result.noise.slope * level) / result.scales**2
            weight = 1 / variance[stays]
            median[y, x] = m
            mean[y, x] = np.sum(weight * column[stays]) / np.sum(weight)
            significance[:, y, x] = np.abs(all_z[:, y, x] - mean[y, x]) / np.sqrt(variance + 1 / np.sum(weight))
    return median, mean, significance


def median_of_neighbours(frames, rejected, mask, pixel):
    """Median of the good pixels in the smallest square around a pixel that holds three of them."""
    i, y, x = pixel
    good = good_pixels(frames, mask)[i] & ~rejected[i]
    for reach in range(1, 11):
        window = np.zeros(good.shape, bool)
        window[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1] = True
        values = np.asarray(frames[i], float)[window & good]
        if values.size >= 3:
            return np.median(values)
    return np.nan


def label_by_frame_and_polarity(rejected, dark):
    """Connected pixels (8 neighbours) of one frame and one polarity, numbered by their first pixel."""
    labels = np.zeros(rejected.shape, int)
    for side in (rejected & dark, rejected & ~dark):
        for i, frame in enumerate(side):
            found, count = ndimage.label(frame, np.ones((3, 3)))
            labels[i][frame] = found[frame] + labels.max()
            assert count == found.max()
    numbers, first = np.unique(labels[rejected], return_index=True)
    new = np.zeros(labels.max() + 1, int)
    new[numbers[np.argsort(first)]] = np.arange(1, numbers.size + 1)
    return np.where(rejected, new[labels], 0)


def assert_same_bits(a, b):
    """Equal to the last bit, NaN included; byte order does not count."""
    assert a.shape == b.shape
    assert a.dtype.newbyteorder("=") == b.dtype.newbyteorder("=")
    a, b = (np.ascontiguousarray(v.astype(v.dtype.newbyteorder("="))) for v in (a, b))
    np.testing.assert_array_equal(a.view(np.uint8), b.view(np.uint8))
