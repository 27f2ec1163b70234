"""What events are told to be against what they are: kinds, tracks of moving objects, trails, bad frames; the cost."""

import sys
from dataclasses import replace
from functools import partial
from itertools import pairwise
from math import erf
from time import perf_counter

import numpy as np
from astropy.io import fits
from scipy import ndimage

from glue_cleanset import CleanSettings, ImageSet, clean_image_set
from glue_cleanset.core.settings import KINDS
from glue_cleanset.core.simulate import BAD, VARIANTS, Trail, draw_movers, simulate_set
from glue_cleanset.io.read import read_image_set

from .real import DATA, inject_footprints
from .score import score
from .table import markdown

__all__ = [
    "bad_frames",
    "count_kinds",
    "least_error",
    "match_tracks",
    "measure_kinds",
    "measure_movers",
    "score_trail",
    "true_kinds",
]

KIND_LIST = list(KINDS)
FRAMES = (5, 9, 20)
MOVERS = 8  # in each set that has some
PEAKS = (5, 8, 15, 100)  # edges of the bins [sigma]: the median over the frames of what the object adds to a pixel
RATES = (1, 2, 5, 20)  # edges of the bins [pixels per frame]
RATE_RANGE, PEAK_RANGE = (1, 20), (5, 110)  # that objects are drawn from; between pixels they add less
CLOSE = 2.0  # a track is of an object when it runs this close to it, in the median of its frames [pixels]
RIGHT = 0.02, 1.0  # a track is right within this share of the rate and this angle [deg]
REACH = 10  # half the side of the window in which light is that of one object [pixels]
NOISE = "noise"  # the truth of an event on nothing
# what is simulated beside the sets with movers: name -> what it changes against the base set
MIX = {
    **{name: VARIANTS[name] for name in ("base", "hard", "trail", "variable stars")},
    "strongly variable stars": {"variable": 1.0, "variable_every": 20},
    **{fault: {"bad": {1: fault}} for fault in BAD},
}
UNEVEN = "uneven times"
# the sets with movers
MOVING = {
    "base": {},
    "hard": VARIANTS["hard"],
    "drawn out": {"exposure": 0.5},
    UNEVEN: {},
}
TRAILS = {
    "trail": Trail(),
    "trail, aside": Trail(offset=60.0),
    "trail, 3 sigma": Trail(light=40.0),
    "trail, wide": Trail(light=100.0, width=4.0),
    "trail, half as long": Trail(length=0.5),
}
MICROOBS = DATA / "microobs_hatp32"
OFF = CleanSettings(kinds=False)


def true_kinds(simulated, result):
    """What each event is: the kind of most of its pixels on which anything was added, the peak's where they are even.

    Parameters
    ----------
    simulated : SimulatedSet
        With its `kinds`.
    result : CleanResult

    Returns
    -------
    ndarray, (n_events,), int
        1 + the place in `KINDS`; 0 = noise, nothing was added. In a bad frame an event that is told to belong to it
        does, whatever it is.
    """
    events = result.events
    frame = np.asarray(events["frame"]) - 1
    votes = np.zeros((len(events), len(KINDS) + 1))
    np.add.at(votes, (result.event_numbers - 1, simulated.kinds.reshape(-1)[result.event_pixels]), 1.0)
    peak = simulated.kinds[frame, np.asarray(events["y_peak"], int), np.asarray(events["x_peak"], int)]
    votes[np.arange(len(events)), peak] += 0.5
    votes[:, 0] *= 1e-9  # only where nothing was added at all
    truth = votes.argmax(axis=1) if len(events) else np.zeros(0, int)
    told = np.asarray(events["kind"]) == "bad frame"
    truth[told & np.isin(frame, list(simulated.bad))] = 1 + KIND_LIST.index("bad frame")
    return truth


def count_kinds(simulated, result):
    """The confusion matrix: events by what they are and what they are told to be.

    Parameters
    ----------
    simulated : SimulatedSet
        With its `kinds`.
    result : CleanResult

    Returns
    -------
    ndarray, (1 + len(KINDS), len(KINDS)), int
        Row 0 = noise, then `KINDS`; columns `KINDS`.
    """
    told = [KIND_LIST.index(kind) for kind in result.events["kind"]]
    counts = np.zeros((len(KINDS) + 1, len(KINDS)), int)
    np.add.at(counts, (true_kinds(simulated, result), np.array(told, int)), 1)
    return counts


def match_tracks(simulated, result):
    """Which moving object each track is: (n_tracks,) int, its place among the truth's; -1 = a false track."""
    found = np.full(len(result.tracks), -1)
    for t, track in enumerate(result.tracks):
        seen = slice(int(track["first"]) - 1, int(track["last"]))
        away = np.hypot(*np.moveaxis(simulated.mover_positions[:, seen] - result.track_positions[t, seen], -1, 0))
        away = np.median(away, axis=1)
        if away.size and away.min() < CLOSE:
            found[t] = away.argmin()
    return found


def least_error(peaks, times, jitter=0.0):
    """The error that the velocity of a moving object has at best, per axis [pixels per unit of time].

    The Cramer-Rao bound of a place in white noise is 1 / sqrt(sum of (dP/dx)^2 / sigma^2), which for a Moffat
    profile with beta 3 comes to sqrt(7 / (3 pi)) / peak; a line is fitted to the places with their weights.

    Parameters
    ----------
    peaks : array-like, (N,)
        Of the object in each frame [sigma]; 0 = not seen.
    times : array-like, (N,)
    jitter : float
        Error of the registration, per axis [pixels].
    """
    peaks, times = np.asarray(peaks, float), np.asarray(times, float)
    seen = peaks > 0
    weight = 1 / (7 / (3 * np.pi) / peaks[seen] ** 2 + jitter**2)
    away = times[seen] - np.average(times[seen], weights=weight)
    return 1 / np.sqrt((weight * away**2).sum())


def measure_movers(simulated, result, jitter=0.0):
    """How each moving object was found and kept.

    Parameters
    ----------
    simulated : SimulatedSet
    result : CleanResult
    jitter : float
        Error of the registration that was simulated [pixels].

    Returns
    -------
    movers : list of dict
        ``peak`` [sigma]; ``seen``: frames with 8 sigma or more; ``rate`` [pixels per frame]; ``tracks``: how many it
        was found as; ``rate_error``: relative, ``angle_error`` [deg], NaN where it is not one track; ``rate_best``,
        ``angle_best``: how probable it is that a perfect fit is right within 2 % and 1 degree; ``light_1``,
        ``kept_1``: pixels on which it added more than 1 sigma and nothing else did, and how many of them were not
        rejected; ``light_3``, ``kept_3``.
    false : int
        Tracks of no object.
    """
    owner = match_tracks(simulated, result)
    movers = []
    for k, path in enumerate(simulated.mover_positions):
        (own,) = np.nonzero(owner == k)
        peaks = simulated.mover_peaks[k]
        one = {"peak": np.median(peaks), "seen": np.count_nonzero(peaks >= PEAKS[1])}
        one |= {"rate": simulated.mover_rates[k], "tracks": len(own)}
        one |= {"rate_error": np.nan, "angle_error": np.nan}
        error = np.sqrt(2) * least_error(peaks, simulated.times, jitter) / one["rate"]
        one |= {"rate_best": erf(RIGHT[0] / error), "angle_best": erf(np.radians(RIGHT[1]) / error)}
        if len(own) == 1:
            track = result.tracks[int(own[0])]
            one["rate_error"] = abs(float(track["rate"]) / one["rate"] - 1)
            turn = float(track["position_angle"]) - simulated.mover_angles[k]
            one["angle_error"] = abs((turn + 180) % 360 - 180)
        for limit in (1, 3):
            lit, kept = 0, 0
            for i, (y, x) in enumerate(np.rint(path).astype(int)):
                here = (
                    i,
                    slice(max(y - REACH, 0), max(y + REACH + 1, 0)),
                    slice(max(x - REACH, 0), max(x + REACH + 1, 0)),
                )
                sigma = simulated.sigma[here]
                light = (simulated.mover_light[here] > limit * sigma) & (np.abs(simulated.deposits[here]) < sigma)
                lit += np.count_nonzero(light)
                kept += np.count_nonzero(light & ~result.rejected[here])
            one |= {f"light_{limit}": lit, f"kept_{limit}": kept}
        movers.append(one)
    return movers, int(np.count_nonzero(owner < 0))


def score_trail(simulated, result):
    """How much of a trail was rejected, and what else its events hold.

    Parameters
    ----------
    simulated : SimulatedSet
        With its `kinds`.
    result : CleanResult

    Returns
    -------
    dict
        ``found``: share of the pixels with more than 1 sigma of its light that were rejected; ``told``: share of them
        in events told to be a trail; ``beyond``: share of the pixels of these events with less light and nothing else
        on them; ``far``: share of those that also have no neighbour with more than 1 sigma. NaN where nothing counts.
    """
    strong = simulated.trail_light > simulated.sigma
    if simulated.mover_light is not None:
        strong &= simulated.mover_light < simulated.trail_light  # the others are kept
    near = np.stack([ndimage.binary_dilation(one, np.ones((3, 3))) for one in strong])
    rejected = result.rejected[strong]
    told = np.asarray(result.events["kind"]) == "trail"
    pixels = result.event_pixels[told[result.event_numbers - 1]]
    flat_kinds, flat_strong, flat_near = (cube.reshape(-1)[pixels] for cube in (simulated.kinds, strong, near))
    other = ~flat_strong & ~np.isin(flat_kinds, (0, 1 + KIND_LIST.index("trail")))
    counted = np.count_nonzero(~other)
    return {
        "found": _share(np.count_nonzero(rejected), rejected.size),
        "told": _share(np.count_nonzero(flat_strong), rejected.size),
        "beyond": _share(np.count_nonzero(~flat_strong & ~other), counted),
        "far": _share(np.count_nonzero(~flat_near & ~other), counted),
    }


def bad_frames(result):
    """The frames (0-based) that the summary names bad: list of int."""
    return [i for i, remark in enumerate(result.summary["remark"]) if str(remark).startswith("bad frame")]


def measure_kinds(size=1024, frames=FRAMES, seed=0, sets=10, speed_size=2048, repeat=5):
    """Clean simulated and real sets with default settings, and compare the kinds with the truth.

    Parameters
    ----------
    size : int
        Frames of size x size pixels.
    frames : sequence of int
        Numbers of frames.
    seed : int
        Of the simulated sets.
    sets : int
        How many sets with moving objects there are of each number of frames, base and hard; a third of it
        of the others of `MOVING`.
    speed_size : int
        Size of the 20 frames on which the cost is measured.
    repeat : int
        Rounds of that.

    Returns
    -------
    list of str
        Tables (markdown).
    """
    shape = (size, size)
    matrix = np.zeros((len(KINDS) + 1, len(KINDS)), int)
    counts = {}

    def clean(name, n, seed, **changes):
        simulated = simulate_set(n, shape, seed=seed, kinds=True, **changes)
        result = clean_image_set(ImageSet(simulated.frames, times=simulated.times))
        matrix[:] += count_kinds(simulated, result)
        found, bad = set(bad_frames(result)), set(simulated.bad)
        false_trails = simulated.trail_light is None and np.count_nonzero(result.events["kind"] == "trail")
        false_tracks = np.count_nonzero(match_tracks(simulated, result) < 0)
        counts.setdefault(name, np.zeros(5, int))
        counts[name] += 1, len(found & bad), len(found - bad), false_trails, false_tracks
        return simulated, result

    for n in frames:
        start = perf_counter()
        for k, (name, changes) in enumerate(MIX.items()):
            clean(name, n, _fresh(seed, k, n), **changes)
        _tell(f"mix, N = {n}", start)
    movers, false = [], []
    for name, changes in MOVING.items():
        for n in frames:
            start = perf_counter()
            times = _times(n, name == UNEVEN)
            for k in range(sets if name in VARIANTS else -(-sets // 3)):
                drawn = _draw(MOVERS, times, shape, _fresh(seed, 100 + k, n))
                given = {**changes, "times": times, "movers": drawn}
                one = clean(f"{name}, movers", n, _fresh(seed, 200 + k, n), **given)
                measured, wrong = measure_movers(*one, changes.get("jitter", 0.0))
                movers += [{"set": name, "N": n, **mover} for mover in measured]
                false.append({"set": name, "N": n, "false": wrong})
            _tell(f"{name} with movers, N = {n}", start)
    trails = []
    for k, (name, trail) in enumerate(TRAILS.items()):
        for n in frames:
            one = score_trail(*clean(name, n, _fresh(seed, 300 + k, n), trail=trail))
            trails.append({"trail": name, "N": n, **{key: f"{value:.4f}" for key, value in one.items()}})
    return [
        markdown("Events by what they are (rows) and what they are told to be", _confusion_rows(matrix)),
        markdown(
            f"Moving objects found as one track / as several / of how many, {PEAKS[0]} sigma and more",
            _bin_rows(movers),
        ),
        markdown(
            f"Moving objects of {PEAKS[1]} sigma and more; right: rate within 2 %, angle within 1 degree",
            _track_rows(movers, false),
        ),
        markdown("Trails: pixels with more than 1 sigma of their light", trails),
        markdown("F1 of all deposits with kinds (default) and without", _f1_rows(shape, sorted({3, *frames}), seed)),
        markdown("What is found, or not there, in all of the sets", _bad_rows(counts)),
        *_measure_microobs(seed),
        markdown(
            f"Time of a cleaning, 20 frames of {speed_size} x {speed_size} pixels, best of {repeat} alternating runs",
            _cost_rows(speed_size, seed, repeat),
        ),
    ]


def _fresh(seed, k, n):
    """A seed of its own for every set."""
    return 1_000_000 * (seed + 1) + 1000 * k + n


def _times(n, uneven):
    """0, 1, 2 ... [frames]; where they are uneven every third step is 3.5 and not 1."""
    steps = np.ones(n - 1)
    if uneven:
        steps[2::3] = 3.5
    return np.append(0, np.cumsum(steps))


def _draw(number, times, shape, seed):
    return draw_movers(number, times, shape, seed=seed, rates=RATE_RANGE, peaks=PEAK_RANGE)


def _tell(text, start):
    print(f"{text}: {perf_counter() - start:.0f} s", file=sys.stderr, flush=True)


def _share(part, whole):
    return part / whole if whole else np.nan


def _percent(values):
    values = np.asarray(values, float)
    return f"{100 * values.mean():.1f}" if values.size else "-"


def _confusion_rows(matrix):
    rows = []
    for i, truth in (*enumerate(KINDS, start=1), (0, NOISE)):
        right = f"{_share(matrix[i, i - 1], matrix[i].sum()):.3f}" if i else "-"
        rows.append({"truth": truth, **dict(zip(KINDS, matrix[i], strict=True)), "recall": right})
    precision = [f"{_share(matrix[k + 1, k], matrix[:, k].sum()):.3f}" for k in range(len(KINDS))]
    return [*rows, {"truth": "precision", **dict(zip(KINDS, precision, strict=True)), "recall": ""}]


def _groups(movers):
    return list(dict.fromkeys((one["set"], one["N"]) for one in movers))


def _bin_rows(movers):
    rows = []
    for name, n in _groups(movers):
        for low, high in pairwise(PEAKS):
            row = {"set": name, "N": n, "peak, sigma": f"{low}-{high}"}
            for slow, fast in pairwise(RATES):
                tracks = np.array(
                    [
                        one["tracks"]
                        for one in movers
                        if (one["set"], one["N"]) == (name, n)
                        and low <= one["peak"] < high
                        and slow <= one["rate"] < fast
                    ]
                )
                row[f"{slow}-{fast} px/frame"] = f"{(tracks == 1).sum()} / {(tracks > 1).sum()} / {tracks.size}"
            rows.append(row)
    return rows


def _track_rows(movers, false):
    rows = []
    bright = [one for one in movers if one["peak"] >= PEAKS[1]]
    chosen = [(group, [one for one in bright if (one["set"], one["N"]) == group]) for group in _groups(movers)]
    chosen += [(("all", ""), bright), (("all, in 5 frames", ""), [one for one in bright if one["seen"] >= 5])]
    for (name, n), own in chosen:
        single = [one for one in own if one["tracks"] == 1]
        wrong = [one["false"] for one in false if n == "" or (one["set"], one["N"]) == (name, n)]
        row = {
            "set": name,
            "N": n,
            "objects": len(own),
            "one track, %": _percent([one["tracks"] == 1 for one in own]),
            "split, %": _percent([one["tracks"] > 1 for one in own]),
            "false tracks per ten sets": f"{10 * np.mean(wrong):.1f}",
        }
        for what, limit in zip(("rate", "angle"), RIGHT, strict=True):
            right, best = [one[f"{what}_error"] <= limit for one in single], [one[f"{what}_best"] for one in single]
            row[f"{what} right, % (at best)"] = f"{_percent(right)} ({_percent(best)})"
        for limit in (1, 3):
            kept, light = (sum(one[f"{key}_{limit}"] for one in own) for key in ("kept", "light"))
            row[f"pixels > {limit} sigma kept, %"] = f"{100 * _share(kept, light):.1f}"
        rows.append(row)
    return rows


def _f1_rows(shape, frames, seed):
    rows = []
    for name in ("base", "hard"):
        for n in frames:
            for count in (0, MOVERS):
                movers = _draw(count, range(n), shape, _fresh(seed, 400, n))
                simulated = simulate_set(n, shape, seed=_fresh(seed, 401, n), movers=movers, **VARIANTS[name])
                told, plain = (
                    score(simulated, clean_image_set(simulated.frames, settings).rejected)
                    for settings in (CleanSettings(), OFF)
                )
                rows.append(
                    {
                        "set": name,
                        "N": n,
                        "movers": count,
                        "F1": f"{told['f1']:.4f}",
                        "without kinds": f"{plain['f1']:.4f}",
                        "fall": f"{plain['f1'] - told['f1']:.4f}",
                        "found, stars": f"{told['found_stars']:.3f} ({plain['found_stars']:.3f})",
                        "false, stars": f"{told['false_stars']:.1e} ({plain['false_stars']:.1e})",
                    }
                )
    return rows


def _bad_rows(counts):
    names = "sets", "bad frames named", "other frames named", "false trails", "false tracks"
    rows = [{"set": name, **dict(zip(names, count, strict=True))} for name, count in counts.items()]
    if MICROOBS.is_dir():
        result = clean_image_set(read_image_set(MICROOBS / "aligned"))
        found, last = bad_frames(result), len(result.summary) - 1
        trails = np.count_nonzero(result.events["kind"] == "trail")
        count = 1, int(last in found), len(set(found) - {last}), trails, len(result.tracks)
        rows.append({"set": "microobs (the last is bad)", **dict(zip(names, count, strict=True))})
    return rows


def _measure_microobs(seed):
    """Events on true hot pixels, and on injected footprints, that are told to be hot pixels."""
    if not MICROOBS.is_dir():
        return []
    image_set = read_image_set(MICROOBS / "aligned")
    paths = sorted((MICROOBS / "aligned").glob("*.fits"))
    hot = np.stack([fits.getdata(MICROOBS / "truth" / f"aligned_hotmap_{path.name}.gz") for path in paths])
    injected, deposits = inject_footprints(np.array(image_set.frames), 20.0, seed)
    rows = []
    for name, one, added in (
        ("as it is", image_set, np.zeros_like(deposits)),
        ("with footprints", replace(image_set, frames=injected), deposits),
    ):
        events = clean_image_set(one).events
        at = np.asarray(events["frame"]) - 1, np.asarray(events["y_peak"], int), np.asarray(events["x_peak"], int)
        told = np.asarray(events["kind"]) == "hot pixel"
        strong = added[at] > 3  # times the noise of 1.05 ADU, and so what the event is
        on_hot = (hot[at] == 2) & ~strong
        on_hit = (hot[at] == 0) & strong
        rows.append(
            {
                "microobs": name,
                "events on hot pixels > 10 ADU": int(on_hot.sum()),
                "told hot, %": _percent(told[on_hot]),
                "events on footprints": int(on_hit.sum()),
                "told hot, % ": _percent(told[on_hit]),
                "told hot where the truth has none, %": _percent(hot[at][told] == 0),
            }
        )
    return [markdown("Hot pixels in a real set", rows)]


def _cost_rows(size, seed, repeat):
    frames = simulate_set(20, (size, size), seed=seed).frames
    runs = {"without kinds": partial(clean_image_set, frames, OFF), "with kinds": partial(clean_image_set, frames)}
    clean_image_set(frames[:, : min(size, 256), : min(size, 256)])  # compiled before anything is timed
    times = dict.fromkeys(runs, np.inf)
    for _ in range(repeat):
        for name, run in runs.items():
            start = perf_counter()
            result = run()
            times[name] = min(times[name], perf_counter() - start)
            del result  # not while the next one is timed
    return [
        {"run": name, "seconds": f"{seconds:.3f}", "/ without kinds": f"{seconds / times['without kinds']:.3f}"}
        for name, seconds in times.items()
    ]
