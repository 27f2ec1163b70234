"""A simulated image set with its truth: for the demo, the tests and the benchmarks.

Stars, sky, noise, hot pixels, moving objects, trails and bad frames are simulated. Cosmic rays are either simulated
(points, tracks, worms) or footprints that you give, such as the real ones that come with the package.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from .settings import KINDS

__all__ = ["BAD", "VARIANTS", "Mover", "SimulatedSet", "Trail", "draw_movers", "simulate_set"]

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
# what makes a frame bad -> what happened
BAD = {
    "clouded": "patches of cloud let 20 to 80 % of the light through, the sky is brighter",
    "trailed": "the stars are drawn out over 6 to 10 pixels",
    "doubled": "the telescope jumped by 4 to 8 pixels",
    "defocused": "the stars are 2.5 times as wide",
}
_CODES = {kind: code for code, kind in enumerate(KINDS, start=1)}
_BETA = 3.0  # of the stars' Moffat profile


class Mover(NamedTuple):
    """A moving object, steady in its brightness and its motion.

    Attributes
    ----------
    y, x : float
        Where it stands at time 0 [pixels].
    rate : float
        [pixels per unit of time, which is a frame unless `times` are given].
    angle : float
        Direction of its motion [deg]: 0 = up (+y), 90 = left (-x).
    peak : float
        Of a pixel that it is centred on, while it does not move [sigma of the noise of the sky].
    """

    y: float
    x: float
    rate: float
    angle: float
    peak: float


class Trail(NamedTuple):
    """A satellite's trail.

    Attributes
    ----------
    light : float
        On its ridge [ADU].
    width : float
        Sigma of its profile [pixels].
    length : float
        Share of the diagonal of the frame that it is long; 1 = from edge to edge.
    offset : float
        Distance from the centre of the frame [pixels].
    """

    light: float = 150.0
    width: float = 1.5
    length: float = 1.0
    offset: float = 0.0


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
        y, x of the moving object of ``mover=True`` in each frame.
    mover_light : ndarray, (N, ny, nx), float32, or None
        What all moving objects added [ADU]; not part of `deposits`.
    mover_positions : ndarray, (K, N, 2)
        y, x of every moving object in each frame, the one of ``mover=True`` first.
    mover_rates, mover_angles : ndarray, (K,)
        [pixels per unit of time], [deg], see `Mover`.
    mover_peaks : ndarray, (K, N)
        What each adds to the pixel it stands on, in units of the noise there without it; 0 out of the field.
    times : ndarray, (N,)
        When each frame was taken [frames].
    trail_light : ndarray, (N, ny, nx), float32, or None
        What the trail added [ADU]; part of `deposits`.
    bad : dict
        Frame (0-based) -> what is wrong with it, of `BAD`.
    variable_stars : ndarray, (n,), int
        The stars that vary: rows of `stars`.
    dithers : ndarray, (N, 2), int
        y, x that the registration took out [pixels]: detector position = position in the frame + dither.
    kinds : ndarray, (N, ny, nx), uint8, or None
        1 + the place in `glue_cleanset.core.settings.KINDS` of what changes the pixel most, and by
        more than 1 sigma; 0 = nothing does.
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
    mover_positions: np.ndarray | None = None
    mover_rates: np.ndarray | None = None
    mover_angles: np.ndarray | None = None
    mover_peaks: np.ndarray | None = None
    times: np.ndarray | None = None
    trail_light: np.ndarray | None = field(default=None, repr=False)
    bad: dict = field(default_factory=dict)
    variable_stars: np.ndarray | None = None
    dithers: np.ndarray | None = None
    kinds: np.ndarray | None = field(default=None, repr=False)


def draw_movers(number, times, shape, *, seed=0, rates=(1.0, 20.0), peaks=(5.0, 100.0), margin=10):
    """Draw moving objects that stay in the field as long as it is large enough for their way.

    Parameters
    ----------
    number : int
        How many.
    times : array-like, (N,)
        When the frames are taken, ``range(N)`` where they are even.
    shape : (int, int)
        ny, nx of the frames.
    seed : int
        The same seed draws the same movers.
    rates, peaks : (float, float)
        Between which rate and peak lie, evenly in the logarithm; see `Mover`.
    margin : float
        Distance that is kept from the edges [pixels].

    Returns
    -------
    list of Mover
    """
    rng = np.random.default_rng(seed)
    movers = []
    for _ in range(number):
        rate, peak = (np.exp(rng.uniform(*np.log(limits))) for limits in (rates, peaks))
        angle = rng.uniform(0, 360)
        way = np.multiply.outer(np.asarray(times, float), rate * _direction(angle))
        room = np.array(shape) - 1 - 2 * margin - np.ptp(way, axis=0)
        start = margin + np.where(room > 0, rng.uniform(size=2) * room, room / 2) - way.min(axis=0)
        movers.append(Mover(*start, rate, angle, peak))
    return movers


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
    variable_every=5,
    saturation=None,
    ellipticity=0.0,
    gradient=0.0,
    movers=(),
    times=None,
    exposure=0.0,
    bad=None,
    kinds=False,
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
    trail : bool or Trail
        A satellite trail through one frame; True = ``Trail()``.
    mover : bool
        A minor planet that moves from frame to frame.
    flat : bool
        No stars: a lamp with vignetting and pixel response, frames of different level (factor 0.5 to 1.5).
    variable : float
        Some of the stars vary by this relative rms.
    variable_every : int
        Which stars vary: every this many-th.
    saturation : float, optional
        Stars stop at this level [ADU].
    ellipticity : float
        The stars' ellipticity drifts through the set up to this value.
    gradient : float
        A plane of sky light, different in each frame, up to this share of the sky at the edges.
    movers : sequence of Mover
        More moving objects, see `draw_movers`.
    times : array-like, (N,), optional
        When the frames are taken [frames]; None = 0, 1, 2 ...
    exposure : float
        Share of a unit of time in which light is gathered: `movers` are drawn out over that share of their rate.
    bad : dict, optional
        Frame (0-based) -> what is wrong with it, one of `BAD`.
    kinds : bool
        Whether the truth tells the kind of every pixel.

    Returns
    -------
    SimulatedSet

    Raises
    ------
    ValueError
        Where `bad` names a frame or a fault that there is not, or `times` are not N.
    """
    bad = dict(bad or {})
    for frame, fault in bad.items():
        if frame not in range(n_frames) or fault not in BAD:
            raise ValueError(
                f"bad has {frame!r}: {fault!r}; give a frame of 0 to {n_frames - 1} and one of {list(BAD)}"
            )
    times = np.arange(n_frames, dtype=float) if times is None else np.asarray(times, float)
    if times.shape != (n_frames,):
        raise ValueError(f"times has the shape {times.shape}; give {n_frames}, one per frame")
    rng = np.random.default_rng(seed)
    # of its own, so that what is drawn from the other stays the same
    extra = np.random.default_rng((seed, 1))
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
    trail = Trail() if trail is True else trail
    positions, velocities = _paths(path, movers, times)
    sky_noise = np.sqrt(sky / gain + (readnoise / gain) ** 2)
    mover_fluxes = np.array([4000.0] * mover + [one.peak * sky_noise / _amplitude(1.0, fwhm) for one in movers])

    frames = np.empty((n_frames, ny, nx), np.float32)
    deposits = np.zeros_like(frames)
    sigma = np.empty_like(frames)
    mover_light = np.zeros_like(frames) if len(positions) else None
    mover_peaks = np.zeros(positions.shape[:2])
    trail_light = np.zeros(frames.shape, np.float32) if trail else None
    codes = np.zeros(frames.shape, np.uint8) if kinds else None
    for i in range(n_frames):
        sub = rng.uniform(-0.5, 0.5, 2) if resample else np.zeros(2)
        shift = rng.normal(0, jitter, 2) if jitter else np.zeros(2)
        width = fwhm * max(0.5, 1 + seeing * rng.normal())
        shear = ellipticity * (2 * i / max(n_frames - 1, 1) - 1)
        flux = stars[:, 2].copy()
        flux[::variable_every] *= np.maximum(0.05, 1 + variable * rng.normal(size=len(flux[::variable_every])))
        width *= 2.5 if bad.get(i) == "defocused" else 1
        smear = _smear(extra, bad.get(i))
        scene = np.full(shape, float(sky)) if lamp is None else lamp.copy()
        at = stars[:, :2] + shift + sub
        for move in smear:
            _add_stars(scene, at + move, flux / len(smear), width, shear)
        if gradient:
            y, x = np.mgrid[-1 : 1 : ny * 1j, -1 : 1 : nx * 1j]
            slope = rng.uniform(-1, 1, 2) * gradient * sky
            scene += slope[0] * y + slope[1] * x
        clear = _clouds(extra, shape) if bad.get(i) == "clouded" else 1.0
        if bad.get(i) == "clouded":
            scene = clear * scene + 2 * (1 - clear) * sky
        if len(positions):
            light = np.zeros(shape)
            places = positions[:, i] + sub
            places[int(mover) :] += shift  # the one of mover=True is as steady as it always was
            moves = _drawn_out(smear, exposure * velocities)
            for move in moves:
                _add_stars(light, places + move, mover_fluxes / len(moves), width, 0.0)
            light *= clear
            mover_peaks[:, i] = _significance(
                scales[i] * light, scales[i] * scene + offsets[i], places, gain, readnoise
            )
            mover_light[i] = scales[i] * (_bilinear(light, sub) if resample else light)
            scene += light
        level = np.maximum(scales[i] * scene + offsets[i], 0)
        if saturation:
            level = np.minimum(level, saturation)
        parts = {kind: np.zeros(shape) for kind in ("cosmic ray", "hot pixel", "cold pixel", "trail")}
        _add_hits(rng, parts["cosmic ray"], hit_fraction, gain, footprints)
        _add_detector_pixels(parts["hot pixel"], hot, dithers[i], lambda v, here: v)
        _add_detector_pixels(parts["cold pixel"], cold, dithers[i], lambda v, here, level=level: v * level[here])
        if i == trail_frame:
            _add_trail(rng, parts["trail"], trail)
        deposit = sum(parts.values())
        variance = level / gain + (readnoise / gain) ** 2
        frame = rng.poisson(level * gain) / gain + rng.normal(0, readnoise / gain, shape)
        if resample:
            frame = _bilinear(frame + deposit, sub)
            deposit, variance = (_bilinear(deposit, sub), _bilinear(variance, sub, squared=True))
        else:
            frame = frame + deposit
        frames[i], deposits[i], sigma[i] = frame, deposit, np.sqrt(variance)
        if i == trail_frame:
            trail_light[i] = _bilinear(parts["trail"], sub) if resample else parts["trail"]
        if kinds:
            parts["variable star"] = np.zeros(shape)
            _add_stars(
                parts["variable star"],
                at[::variable_every],
                scales[i] * (flux - stars[:, 2])[::variable_every],
                width,
                shear,
            )
            if resample:
                parts = {kind: _bilinear(light, sub) for kind, light in parts.items()}
            if mover_light is not None:
                parts["moving object"] = mover_light[i]
            codes[i] = _strongest(parts, sigma[i], "bad frame" if i in bad else None)
        if borders:
            _blank_border(frames[i], dithers[i])
    return SimulatedSet(
        frames=frames,
        deposits=deposits,
        sigma=sigma,
        stars=stars,
        scales=scales,
        offsets=offsets,
        gain=gain,
        readnoise=readnoise,
        mover=path,
        mover_light=mover_light,
        mover_positions=positions,
        mover_rates=np.hypot(*velocities.T),
        mover_angles=np.degrees(np.arctan2(-velocities[:, 1], velocities[:, 0])) % 360,
        mover_peaks=mover_peaks,
        times=times,
        trail_light=trail_light,
        bad=bad,
        variable_stars=np.arange(0, len(stars), variable_every) if variable else np.array([], int),
        dithers=dithers,
        kinds=codes,
    )


def _direction(angle):
    """Unit vector (y, x) of a position angle [deg]."""
    return np.array([np.cos(np.radians(angle)), -np.sin(np.radians(angle))])


def _paths(path, movers, times):
    """Positions (K, N, 2) of `path`, if there is one, and of the movers, and their velocities (K, 2)."""
    velocities = [one.rate * _direction(one.angle) for one in movers]
    positions = [
        np.array([one.y, one.x]) + np.multiply.outer(times, v) for one, v in zip(movers, velocities, strict=True)
    ]
    if path is not None:
        positions.insert(0, path)
        velocities.insert(0, (path[-1] - path[0]) / max(len(path) - 1, 1))
    return np.array(positions).reshape(-1, len(times), 2), np.array(velocities).reshape(-1, 2)


def _smear(rng, fault):
    """Where the light of a star falls in a bad frame, in equal shares: (n, 2) offsets [pixels]."""
    if fault not in ("trailed", "doubled"):
        return np.zeros((1, 2))
    shares = np.linspace(-0.5, 0.5, 15) if fault == "trailed" else np.array([-0.5, 0.5])
    length = rng.uniform(6, 10) if fault == "trailed" else rng.uniform(4, 8)
    return np.multiply.outer(shares, length * _direction(rng.uniform(0, 360)))


def _drawn_out(smear, ways):
    """Offsets (K, 2) of the K movers, in equal shares of their light, by the smear and their way in an exposure."""
    steps = 1 + int(2 * np.abs(ways).max())
    shares = (np.arange(steps) + 0.5) / steps - 0.5
    return [move + share * ways for move in smear for share in shares]


def _clouds(rng, shape):
    """The share of the light that patches of cloud let through, 0.2 to 0.8: (ny, nx)."""
    y, x = np.mgrid[0 : 1 : shape[0] * 1j, 0 : 1 : shape[1] * 1j]
    waves = sum(
        np.cos(2 * np.pi * (ky * y + kx * x + phase))
        for ky, kx, phase in zip(rng.uniform(-2, 2, 6), rng.uniform(-2, 2, 6), rng.uniform(size=6), strict=True)
    )
    return 0.2 + 0.6 * (waves - waves.min()) / np.ptp(waves)


def _significance(light, level, places, gain, readnoise):
    """Light over the noise of the level at the pixels next to `places`, 0 outside: (K,)."""
    y, x = np.rint(places).astype(int).T
    inside = (y >= 0) & (y < light.shape[0]) & (x >= 0) & (x < light.shape[1])
    y, x = np.where(inside, y, 0), np.where(inside, x, 0)
    noise = np.sqrt(np.maximum(level[y, x], 0) / gain + (readnoise / gain) ** 2)
    return np.where(inside, light[y, x] / noise, 0)


def _strongest(parts, sigma, otherwise):
    """The code of the kind that adds or takes most, and more than sigma; elsewhere that of `otherwise`: uint8."""
    code = np.full(sigma.shape, _CODES.get(otherwise, 0), np.uint8)
    most = sigma.astype(float)
    for kind, light in parts.items():
        strength = np.abs(light)
        here = strength > most
        code[here] = _CODES[kind]
        most[here] = strength[here]
    return code


def _draw_stars(rng, shape, density):
    n = rng.poisson(density * shape[0] * shape[1])
    # inverse of the cumulative distribution of F^-1.8
    low, high = 600.0**-0.8, 1e6**-0.8
    flux = (low + rng.uniform(size=n) * (high - low)) ** (-1 / 0.8)
    return np.column_stack([rng.uniform(0, shape[0] - 1, n), rng.uniform(0, shape[1] - 1, n), flux])


def _alpha(fwhm):
    return fwhm / (2 * np.sqrt(2 ** (1 / _BETA) - 1))


def _amplitude(flux, fwhm):
    return flux * (_BETA - 1) / (np.pi * _alpha(fwhm) ** 2)


def _add_stars(image, centres, fluxes, fwhm, shear):
    alpha = _alpha(fwhm)
    ny, nx = image.shape
    for (y, x), flux in zip(centres, fluxes, strict=True):
        amplitude = _amplitude(flux, fwhm)
        # out to where the wings fall below 0.05 ADU
        radius = int(np.ceil(alpha * np.sqrt(max((abs(amplitude) / 0.05) ** (1 / _BETA) - 1, 4.0))))
        y0, y1 = max(int(y) - radius, 0), min(int(y) + radius + 1, ny)
        x0, x1 = max(int(x) - radius, 0), min(int(x) + radius + 1, nx)
        if y0 >= y1 or x0 >= x1:
            continue
        dy = (np.arange(y0, y1) - y)[:, None] * (1 + shear)
        dx = (np.arange(x0, x1) - x)[None, :] * (1 - shear)
        image[y0:y1, x0:x1] += amplitude * (1 - shear**2) * (1 + (dy**2 + dx**2) / alpha**2) ** -_BETA


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


def _add_trail(rng, deposit, trail):
    y, x = np.mgrid[: deposit.shape[0], : deposit.shape[1]]
    y, x = y - deposit.shape[0] / 2, x - deposit.shape[1] / 2
    angle = rng.uniform(0.2, 1.2)
    distance = y * np.cos(angle) - x * np.sin(angle) - trail.offset
    light = trail.light * np.exp(-0.5 * (distance / trail.width) ** 2)
    if trail.length < 1:
        light[np.abs(y * np.sin(angle) + x * np.cos(angle)) > trail.length * np.hypot(*deposit.shape) / 2] = 0
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
