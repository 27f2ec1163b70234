"""Sets that do not fit in memory: from files to files, beside a copy of the files; and in one process of 1 GB."""

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import numpy as np
from astropy.io import fits

from glue_cleanset.core.simulate import simulate_set

from .table import markdown

__all__ = ["make_files", "measure_streaming"]

LIMIT = 1e9  # bytes
SIMULATED = 20  # frames with hits of their own; more have those of others at another place
_GROUPS = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
# (what a process is told of its children counts their parent's memory too)
_CLEAN = """
import sys
from glue_cleanset.cli import main
resident = sys.argv.pop(1)
done = main()
with open(resident, "w") as file:
    try:
        file.write(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
    except OSError:
        file.write("nan")
sys.exit(done)
"""


def measure_streaming(frames=(20, 50, 100, 200), size=2048, seed=0, folder=None):
    """Time the command line on sets of uint16 files, and what astropy takes to copy the same files.

    Parameters
    ----------
    frames : sequence of int
        Numbers of frames.
    size : int
        Frames of size x size pixels; the largest set is taken with half the size as well.
    seed : int
        Of the set.
    folder : str or Path, optional
        Where there is room for seven times the files; default the folder for temporary files.

    Returns
    -------
    list of str
        A table (markdown).
    """
    rows = []
    with tempfile.TemporaryDirectory(dir=folder) as place:
        place = Path(place)
        for side, numbers in ((size // 2, frames[-1:]), (size, frames)):
            files = make_files(place / f"frames{side}", max(numbers), side, seed)
            _clean(files[:2], place, None)  # what is compiled is compiled now
            rows += [_measure(files[:number], side, place) for number in numbers]
            shutil.rmtree(place / f"frames{side}")
    limit = f"{LIMIT / 1e9:g} GB"
    title = f"From files to files: uint16 FITS; *in {limit}*: a control group with that limit, page cache included"
    return [markdown(title, rows)]


def make_files(folder, number, size, seed):
    """Write the frames of one field, uint16; their paths."""
    simulated = simulate_set(min(number, SIMULATED), (size, size), seed=seed)
    rng = np.random.default_rng(seed)
    one = simulated.frames - simulated.deposits
    scene = np.median((one - simulated.offsets[:, None, None]) / simulated.scales[:, None, None], axis=0)
    del one
    folder.mkdir()
    paths = []
    for i in range(number):
        frame = simulated.frames[i % SIMULATED]
        if i >= SIMULATED:
            level = rng.uniform(0.92, 1.08) * scene
            noise = np.sqrt(np.maximum(level, 1) / simulated.gain + (simulated.readnoise / simulated.gain) ** 2)
            frame = level + noise * rng.standard_normal(scene.shape, np.float32)
            frame += np.roll(simulated.deposits[i % SIMULATED], rng.integers(0, size, 2), axis=(0, 1))
        hdu = fits.PrimaryHDU(np.clip(np.rint(frame), 0, 65535).astype(np.uint16))
        hdu.header["EXPTIME"] = 60.0
        paths.append(folder / f"f{i:04d}.fits")
        hdu.writeto(paths[-1])
    return paths


def _measure(files, size, place):
    copied = [_copy(files, place, write) for write in (_as_it_is, _as_it_is, _as_cleaned)][1:]
    free, whole = _clean(files, place, None)
    row = {
        "frames": f"{len(files)} x {size}^2",
        "GB": f"{sum(path.stat().st_size for path in files) / 1e9:.2f}",
        "copy, s": f"{copied[0]:.2f}",
        "copy as float32 with a mask, s": f"{copied[1]:.2f}",
        "clean, s": f"{free:.2f}",
        "ms per Mpixel": f"{1e9 * free / (len(files) * size**2):.1f}",
        "speed / copy": f"{copied[0] / free:.2f}",
        "speed / float copy": f"{copied[1] / free:.2f}",
        "resident, GB": f"{whole / 1e9:.2f}",
    }
    with _control_group() as group:
        limited = None if group is None else _clean(files, place, group)[0]
    row[f"in {LIMIT / 1e9:g} GB, s"] = "-" if limited is None else f"{limited:.2f}"
    return row


def _copy(files, place, write):
    out = place / "copy"
    out.mkdir()
    start = perf_counter()
    for path in files:
        with fits.open(path) as hdus:
            write(hdus, out / path.name)
    took = perf_counter() - start
    shutil.rmtree(out)
    return took


def _as_it_is(hdus, path):
    hdus.writeto(path)


def _as_cleaned(hdus, path):
    data = hdus[0].data
    fits.PrimaryHDU(data.astype(np.float32), hdus[0].header).writeto(path)
    fits.PrimaryHDU(np.zeros(data.shape, np.uint8), hdus[0].header).writeto(path.with_suffix(".mask.fits"))


def _clean(files, place, group):
    """(seconds, bytes resident at most) of a process that cleans."""
    out = place / "cleaned"
    listed, resident = place / "frames.txt", place / "resident.txt"
    listed.write_text("\n".join(map(str, files)))

    def join():
        (group / "cgroup.procs").write_text(str(os.getpid()))

    start = perf_counter()
    subprocess.run(
        [sys.executable, "-c", _CLEAN, str(resident), "clean", str(listed), "-o", str(out)],
        preexec_fn=join if group is not None else None,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    took = perf_counter() - start
    shutil.rmtree(out)
    return took, 1024 * float(resident.read_text())


@contextmanager
def _control_group():
    """A control group with the limit, or None where none can be made (it takes root)."""
    for root, limit in zip(_GROUPS, ("memory.limit_in_bytes", "memory.max"), strict=True):
        group = root / f"glue_cleanset_benchmark_{os.getpid()}"
        try:
            group.mkdir()
            (group / limit).write_text(str(int(LIMIT)))
        except OSError:
            if group.is_dir():
                group.rmdir()
            continue
        try:
            yield group
        finally:
            group.rmdir()
        return
    yield None
