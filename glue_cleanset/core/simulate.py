"""A simulated image set with its truth: for the demo, the tests and the benchmarks.

Stars, sky, noise, hot pixels and the moving objects are simulated. Cosmic rays are either simulated
(points, tracks, worms) or footprints that you give, such as the real ones that come with the package.
"""

from dataclasses import dataclass, field

import numpy as np

__all__ = ["VARIANTS", "SimulatedSet", "simulate_set"]

# variant -> what it changes against the base set
VARIANTS = {
    "base": {},
    "hard": {"seeing": 0.05, "jitter": 0.1},
    "resampled": {"resample": True},
    "nan borders": {"borders": True},
    "trail": {"trail": True},
    "mover": {"mover": True},
    "flats": {"flat": True},
    "variable stars": {"variable": 0.3},
    "saturated stars": {"saturation": 5000.0},
    "ellipticity": {"ellipticity": 0.1},
    "gradients": {"gradient": 0.1},
}


@dataclass(frozen=True, eq=False)
class SimulatedSet:
    """A simulated set and its truth.

    Attributes
    ----------
    frames : ndarray, (N, ny, nx), float32
        The registered frames [ADU].
    deposits : ndarray, (N, ny, nx), float32
        What hits, hot, cold and moving sources added to each pixel [ADU].
    sigma : ndarray, (N, ny, nx), float32
        True noise of each pixel without the deposit [ADU].
    stars : ndarray, (n_stars, 3)
        y, x (0-based) and flux [ADU on scale 1] of each star.
    scales, offsets : ndarray, (N,)
        frame = scale * scene + offset.
    gain, readnoise : float
        Of every frame [e-/ADU], [e- rms].
    mover : ndarray, (N, 2), or None
        y, x of the moving object in each frame.
    mover_light : ndarray, (N, ny, nx), float32, or None
        What the moving object added; not part of `deposits`.
    dithers : ndarray, (N, 2), int
        dy, dx that the registration took out [pixels]: detector pixel (y, x) is at (y - dy, x - dx) of the frame.
    """

    frames: np.ndarray
    deposits: np.ndarray
    sigma: np.ndarray
    stars: np.ndarray
    scales: np.ndarray
    offsets: np.ndarray
    gain: float
    readnoise: float
    mover: np.ndarray | None = None
    mover_light: np.ndarray | None = field(default=None, repr=False)
    dithers: np.ndarray | None = None


def simulate_set(
    n_frames=9,
    shape=(512, 512),
    *,
    seed=0,
    gain=1.5,
    readnoise=6.0,
    sky=200.0,
    star_density=2000 / 2048**2,
    fwhm=3.0,
    hit_fraction=0.003,
    hot_fraction=0.0005,
    cold_fraction=0.00005,
    spread=0.1,
    max_dither=20,
    footprints=None,
    seeing=0.0,
    jitter=0.0,
    resample=False,
    borders=False,
    trail=False,
    mover=False,
    flat=False,
    variable=0.0,
    saturation=None,
    ellipticity=0.0,
    gradient=0.0,
):
    """Simulate N registered frames of a star field.

    Parameters
    ----------
    n_frames : int
        Number of frames.
    shape : (int, int)
        ny, nx.
    seed : int
        The same seed gives the same set.
    gain, readnoise : float
        [e-/ADU], [e- rms].
    sky : float
        Sky level [ADU].
    star_density : float
        Stars per pixel; fluxes follow dN/dF ~ F^-1.8 from 600 to 1e6 ADU.
    fwhm : float
        Of the stars (Moffat, beta 3) [pixels].
    hit_fraction, hot_fraction, cold_fraction : float
        Share of the pixels of each frame hit by cosmic rays; of hot and of cold pixels, which are fixed on the
        detector and walk with the whole-pixel dithers.
    spread : float
        Scale and offset (in units of the sky) of the frames differ by up to this share.
    max_dither : int
        Largest dither that the registration took out [pixels].
    footprints : sequence of 2-D arrays, optional
        Cosmic-ray footprints to inject [e-]; None = simulated points, tracks and worms.
    seeing : float
        Relative rms of the FWHM from frame to frame.
    jitter : float
        Registration error, rms per axis [pixels].
    resample : bool
        Register by sub-pixel bilinear shifts: neighbours correlate, the noise falls.
    borders : bool
        NaN where the dither moved a frame out of the field.
    trail, mover : bool
        A satellite trail through one frame; a minor planet that moves from frame to frame.
    flat : bool
        No stars: a lamp with vignetting and pixel response, frames of different level (factor 0.5 to 1.5).
    variable : float
        A fifth of the stars vary by this relative rms.
    saturation : float, optional
        Stars stop at this level [ADU].
    ellipticity : float
        The stars' ellipticity drifts through the set up to this value.
    gradient : float
        A plane of sky light, different in each frame, up to this share of the sky at the edges.

    Returns
    -------
    SimulatedSet
    """
    rng = np.random.default_rng(seed)
    ny, nx = shape
    scales = 1 + rng.uniform(-spread, spread, n_frames)
    offsets = sky * rng.uniform(-spread, spread, n_frames)
    dithers = rng.integers(-max_dither, max_dither + 1, (n_frames, 2))
    dithers[0] = 0
    stars = _draw_stars(rng, shape, star_density)
    if flat:
        stars = stars[:0]
        scales, offsets = rng.uniform(0.5, 1.5, n_frames), np.zeros(n_frames)
    hot = _detector_pixels(rng, shape, hot_fraction, max_dither, lambda n: rng.exponential(300.0, n) + 30.0)
    cold = _detector_pixels(rng, shape, cold_fraction, max_dither, lambda n: -rng.uniform(0.3, 0.9, n))
    lamp = _lamp(rng, shape, 20 * sky) if flat else None
    path = (np.array([0.3, 0.25]) + np.linspace(0, 1, n_frames)[:, None] * [0.35, 0.45]) * shape if mover else None
    trail_frame = int(rng.integers(n_frames)) if trail else -1

    frames = np.empty((n_frames, ny, nx), np.float32)
    deposits = np.zeros_like(frames)
    sigma = np.empty_like(frames)
    mover_light = np.zeros_like(frames) if mover else None
    for i in range(n_frames):
        sub = rng.uniform(-0.5, 0.5, 2) if resample else np.zeros(2)
        shift = rng.normal(0, jitter, 2) if jitter else np.zeros(2)
        width = fwhm * max(0.5, 1 + seeing * rng.normal())
        shear = ellipticity * (2 * i / max(n_frames - 1, 1) - 1)
        flux = stars[:, 2].copy()
        flux[::5] *= np.maximum(0.05, 1 + variable * rng.normal(size=len(flux[::5])))
        scene = np.full(shape, float(sky)) if lamp is None else lamp.copy()
        _add_stars(scene, stars[:, :2] + shift + sub, flux, width, shear)
        if gradient:
            y, x = np.mgrid[-1 : 1 : ny * 1j, -1 : 1 : nx * 1j]
            slope = rng.uniform(-1, 1, 2) * gradient * sky
            scene += slope[0] * y + slope[1] * x
        if mover:
            light = np.zeros(shape)
            _add_stars(light, path[i : i + 1] + sub, np.array([4000.0]), width, 0.0)
            mover_light[i] = scales[i] * light
            scene += light
        level = np.maximum(scales[i] * scene + offsets[i], 0)
        if saturation:
            level = np.minimum(level, saturation)
        deposit = np.zeros(shape)
        _add_hits(rng, deposit, hit_fraction, gain, footprints)
        _add_detector_pixels(deposit, hot, dithers[i], lambda v, here: v)
        _add_detector_pixels(deposit, cold, dithers[i], lambda v, here, level=level: v * level[here])
        if i == trail_frame:
            _add_trail(rng, deposit)
        variance = level / gain + (readnoise / gain) ** 2
        frame = rng.poisson(level * gain) / gain + rng.normal(0, readnoise / gain, shape)
        if resample:
            frame = _bilinear(frame + deposit, sub)
            deposit, variance = (_bilinear(deposit, sub), _bilinear(variance, sub, squared=True))
        else:
            frame = frame + deposit
        frames[i], deposits[i], sigma[i] = frame, deposit, np.sqrt(variance)
        if borders:
            _blank_border(frames[i], dithers[i])
    return SimulatedSet(frames, deposits, sigma, stars, scales, offsets, gain, readnoise, path, mover_light, dithers)


def _draw_stars(rng, shape, density):
    n = rng.poisson(density * shape[0] * shape[1])
    # inverse of the cumulative distribution of F^-1.8
    low, high = 600.0**-0.8, 1e6**-0.8
    flux = (low + rng.uniform(size=n) * (high - low)) ** (-1 / 0.8)
    return np.column_stack([rng.uniform(0, shape[0] - 1, n), rng.uniform(0, shape[1] - 1, n), flux])


def _add_stars(image, centres, fluxes, fwhm, shear):
    beta = 3.0
    alpha = fwhm / (2 * np.sqrt(2 ** (1 / beta) - 1))
    ny, nx = image.shape
    for (y, x), flux in zip(centres, fluxes, strict=True):
        amplitude = flux * (beta - 1) / (np.pi * alpha**2)
        # out to where the wings fall below 0.05 ADU
        radius = int(np.ceil(alpha * np.sqrt(max((amplitude / 0.05) ** (1 / beta) - 1, 4.0))))
        y0, y1 = max(int(y) - radius, 0), min(int(y) + radius + 1, ny)
        x0, x1 = max(int(x) - radius, 0), min(int(x) + radius + 1, nx)
        if y0 >= y1 or x0 >= x1:
            continue
        dy = (np.arange(y0, y1) - y)[:, None] * (1 + shear)
        dx = (np.arange(x0, x1) - x)[None, :] * (1 - shear)
        image[y0:y1, x0:x1] += amplitude * (1 - shear**2) * (1 + (dy**2 + dx**2) / alpha**2) ** -beta


def _lamp(rng, shape, level):
    y, x = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    return level * (1 - 0.3 * (y**2 + (x - 0.2) ** 2)) * rng.normal(1, 0.01, shape)


def _detector_pixels(rng, shape, fraction, margin, amplitudes):
    """Positions on a detector that is `margin` larger than the field on every side, and their amplitudes."""
    size = np.array(shape) + 2 * margin
    n = rng.poisson(fraction * size[0] * size[1])
    return (rng.integers(0, size[0], n) - margin, rng.integers(0, size[1], n) - margin, amplitudes(n))


def _add_detector_pixels(deposit, pixels, dither, value):
    y, x, amplitude = pixels[0] - dither[0], pixels[1] - dither[1], pixels[2]
    inside = (y >= 0) & (y < deposit.shape[0]) & (x >= 0) & (x < deposit.shape[1])
    here = y[inside], x[inside]
    deposit[here] += value(amplitude[inside], here)


def _add_hits(rng, deposit, fraction, gain, footprints):
    wanted = fraction * deposit.size
    hit = 0
    while hit < wanted:
        if footprints is None:
            stamp = _draw_hit(rng)
        else:
            stamp = footprints[rng.integers(len(footprints))]
            stamp = np.rot90(stamp, rng.integers(4))
        ny, nx = stamp.shape
        y = rng.integers(-ny + 1, deposit.shape[0])
        x = rng.integers(-nx + 1, deposit.shape[1])
        y0, x0 = max(y, 0), max(x, 0)
        part = stamp[y0 - y : deposit.shape[0] - y, x0 - x : deposit.shape[1] - x] / gain
        deposit[y0 : y0 + part.shape[0], x0 : x0 + part.shape[1]] += part
        hit += np.count_nonzero(part > 1)


def _draw_hit(rng):
    """One simulated hit [e-]: a point, a short or long straight track, or a worm that scatters."""
    kind = rng.choice(4, p=[0.45, 0.3, 0.1, 0.15])
    if kind == 0:
        stamp = np.zeros((3, 3))
        stamp[1, 1] = rng.lognormal(6.3, 1.0)
        return stamp
    length = {1: rng.uniform(2, 8), 2: rng.uniform(8, 40), 3: rng.uniform(8, 30)}[kind]
    steps = max(int(length * 5), 2)
    angle = rng.uniform(0, 2 * np.pi) + (np.cumsum(rng.normal(0, 0.12, steps)) if kind == 3 else np.zeros(steps))
    y, x = np.cumsum(np.sin(angle)) * 0.2, np.cumsum(np.cos(angle)) * 0.2
    y, x = y - y.min() + 1, x - x.min() + 1
    charge = rng.lognormal(6.2, 0.7) * 0.2 * rng.gamma(2.0, 0.5, steps)
    stamp = np.zeros((int(y.max()) + 3, int(x.max()) + 3))
    fy, fx = y % 1, x % 1
    for dy, wy in ((0, 1 - fy), (1, fy)):
        for dx, wx in ((0, 1 - fx), (1, fx)):
            np.add.at(stamp, (y.astype(int) + dy, x.astype(int) + dx), charge * wy * wx)
    return stamp


def _add_trail(rng, deposit):
    y, x = np.mgrid[: deposit.shape[0], : deposit.shape[1]]
    angle = rng.uniform(0.2, 1.2)
    distance = (y - deposit.shape[0] / 2) * np.cos(angle) - (x - deposit.shape[1] / 2) * np.sin(angle)
    light = 150.0 * np.exp(-0.5 * (distance / 1.5) ** 2)
    deposit += np.where(light > 1, light, 0)


def _bilinear(image, shift, squared=False):
    """`image` moved by -shift; squared=True propagates a variance."""
    padded = np.pad(image, 1, mode="edge")
    result = np.zeros(image.shape)
    whole, part = np.floor(shift).astype(int), shift - np.floor(shift)
    for dy, wy in ((0, 1 - part[0]), (1, part[0])):
        for dx, wx in ((0, 1 - part[1]), (1, part[1])):
            weight = wy * wx
            y, x = 1 + whole[0] + dy, 1 + whole[1] + dx
            result += (weight**2 if squared else weight) * padded[y : y + image.shape[0], x : x + image.shape[1]]
    return result


def _blank_border(frame, dither):
    dy, dx = dither
    if dy > 0:
        frame[-dy:] = np.nan
    elif dy < 0:
        frame[:-dy] = np.nan
    if dx > 0:
        frame[:, -dx:] = np.nan
    elif dx < 0:
        frame[:, :-dx] = np.nan
