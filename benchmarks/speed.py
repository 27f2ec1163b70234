"""Time and memory of a whole cleaning, beside the peers and beside a parallel copy of the set, in one run."""

import multiprocessing
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
from astropy.table import Table

from glue_cleanset import CleanSettings, clean_image_set
from glue_cleanset.core.simulate import simulate_set

from .peers import common_scale, installed_peers
from .table import markdown

__all__ = ["copy_set", "measure_speed"]

FRAMES = 20
GROWTH = (5, 50)
OURS, COPY = "ours", "parallel copy"
# the same whole run with the detections that astropy's clips are compared with
SETTINGS = {
    OURS: CleanSettings(),
    "ours, sigma (mean)": CleanSettings(detection="sigma", centre="mean"),
    "ours, mad": CleanSettings(detection="mad"),
}
_FILES = ("frames.npy", "common_scale.npy", "error.npy")


def copy_set(frames):
    """Read the set, write a cleaned set and a mask, with all cores: the time that nothing can beat."""
    cleaned, rejected = np.empty_like(frames), np.empty(frames.shape, bool)

    def one(rows):
        cleaned[:, rows] = frames[:, rows]
        rejected[:, rows] = False

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(one, [slice(y, y + 64) for y in range(0, frames.shape[1], 64)]))
    return cleaned, rejected


def measure_speed(size=2048, frames=FRAMES, growth=GROWTH, seed=0, repeat=3, peers=True):
    """Time whole runs of all methods, one after the other, `repeat` times, and keep the best of each.

    Parameters
    ----------
    size : int
        Frames of size x size pixels, float32.
    frames : int
        Number of frames of the set that all methods are run on.
    growth : (int, int)
        Numbers of frames between which the growth of our cost per pixel and frame is measured.
    seed : int
        Of the set.
    repeat : int
        Rounds.
    peers : bool
        Whether the installed peers are run too. They get frames on one scale and their errors ready made.

    Returns
    -------
    list of str
        Tables (markdown): times as ratios, and the cost per pixel and frame.
    """
    for settings in SETTINGS.values():
        clean_image_set(simulate_set(3, (64, 64)).frames, settings)  # compiled before anything is timed
    methods = [peer for peer in installed_peers() if peers]
    return [
        markdown(
            f"{frames} frames of {size} x {size} pixels, float32, best of {repeat} alternating runs",
            _side_by_side(size, frames, seed, repeat, methods),
        ),
        markdown("Cost per pixel and frame", _growth(size, growth, seed, repeat)),
    ]


def _side_by_side(size, frames, seed, repeat, methods):
    simulated = simulate_set(frames, (size, size), seed=seed)
    inputs = [simulated.frames, *(common_scale(simulated) if methods else ())]
    del simulated  # the truth is as large as the set
    runs = {COPY: partial(copy_set, inputs[0])}
    runs |= {name: partial(clean_image_set, inputs[0], settings) for name, settings in SETTINGS.items()}
    for peer in methods:
        runs[peer.name] = partial(peer.run, *inputs[1:], **(peer.defaults or peer.start))
    nbytes = inputs[0].nbytes
    times = _best_times(runs, repeat, nbytes)
    with tempfile.TemporaryDirectory() as folder:
        for file, cube in zip(_FILES, inputs, strict=False):
            np.save(Path(folder) / file, cube)
        del runs, inputs, cube
        memory = {name: _in_fresh_process(_peak_memory, name, folder) for name in times}
    return [
        {
            "method": name,
            "seconds": f"{seconds:.2f}",
            "/ parallel copy": f"{seconds / times[COPY]:.1f}",
            "/ ours": f"{seconds / times[OURS]:.2f}",
            "peak memory / input": "not measured" if memory[name] is None else f"{memory[name] / nbytes:.2f}",
        }
        for name, seconds in times.items()
    ]


def _best_times(runs, repeat, nbytes):
    times = dict.fromkeys(runs, np.inf)
    for i in range(repeat):
        for name, run in runs.items():
            # on a virtual machine memory that nothing has used before costs 20 times the copying
            np.ones(3 * nbytes, np.uint8)
            start = perf_counter()
            result = run()
            times[name] = min(times[name], perf_counter() - start)
            del result  # not while the next one is timed
        print(f"round {i + 1} of {repeat}: {_rounded(times)}", file=sys.stderr, flush=True)
    return times


def _growth(size, growth, seed, repeat):
    rows = []
    cost = []
    for n in growth:
        cube = simulate_set(n, (size, size), seed=seed).frames
        times = _best_times({COPY: partial(copy_set, cube), OURS: partial(clean_image_set, cube)}, repeat, cube.nbytes)
        cost.append(1e9 * times[OURS] / cube.size)
        rows.append(
            {
                "N": n,
                "ours, ns": f"{cost[-1]:.2f}",
                "copy, ns": f"{1e9 * times[COPY] / cube.size:.2f}",
                "ours / copy": f"{times[OURS] / times[COPY]:.1f}",
                "growth of ours": f"{cost[-1] / cost[0]:.2f}",
            }
        )
        del cube  # before the next one is made
    return rows


def _in_fresh_process(function, *args):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, args)


def _peak_memory(name, folder):
    """Peak memory beyond the input and the output [bytes], in a process of its own; None where it cannot be told."""
    small = simulate_set(3, (64, 64))
    if name == COPY:
        run, files, warm_up = copy_set, _FILES[:1], [small.frames]
    elif name in SETTINGS:
        run, files, warm_up = partial(clean_image_set, settings=SETTINGS[name]), _FILES[:1], [small.frames]
    else:
        peer = next(peer for peer in installed_peers() if peer.name == name)
        run, files, warm_up = partial(peer.run, **(peer.defaults or peer.start)), _FILES[1:], common_scale(small)
    inputs = [np.load(Path(folder) / file) for file in files]
    run(*warm_up)
    before = _memory("VmRSS")
    result = run(*inputs)
    peak = _memory("VmHWM")
    return None if peak is None else max(peak - before - _size(result), 0)


def _memory(key):
    """A line of what Linux knows of this process [bytes]; ru_maxrss would include the process it was started by."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith(key))


def _size(result):
    if isinstance(result, tuple):
        return sum(array.nbytes for array in result)
    if isinstance(result, np.ndarray):
        return result.nbytes
    parts = [getattr(result, field.name) for field in fields(result)]
    columns = [column for part in parts if isinstance(part, Table) for column in part.columns.values()]
    return sum(getattr(part, "nbytes", 0) for part in (*parts, *columns))


def _rounded(times):
    return ", ".join(f"{name} {seconds:.2f} s" for name, seconds in times.items())
