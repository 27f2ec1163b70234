"""What cleaning a set to files takes: of the disk, and of the memory."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from ..core.ondemand import FramesOnDemand
from ..core.repair import copied_dtype
from ..core.threads import cores

__all__ = ["Costs", "describe_size", "expected_costs", "free_memory"]

_GB = 1e9
_BLOCK = 64 * 2**20  # bytes of a block, and its rows, beyond which it becomes no faster
_ROWS = 64
_PIECES = 3  # for each core at least
_TABLES = 1.2  # bytes for each pixel of the set: half a percent of them begin an event


@dataclass(frozen=True)
class Costs:
    """What cleaning a set to files takes.

    Attributes
    ----------
    read, written, disk, free : int
        Bytes that are read from the files of the frames; that are written for good; that the folder needs at most; and
        that are free there.
    memory : int
        Bytes that the blocks may take together.
    block_rows : int
        Rows of a block.
    """

    read: int
    written: int
    disk: int
    free: int
    memory: int
    block_rows: int


def expected_costs(image_set, outdir, memory=None):
    """What `glue_cleanset.clean_to_files` would take; reads no pixel and writes nothing.

    Parameters
    ----------
    image_set, outdir, memory
        As for `glue_cleanset.clean_to_files`.

    Returns
    -------
    Costs

    Raises
    ------
    ValueError, TypeError
        Where `memory` is no positive number.
    """
    if memory is not None and not 0 < memory < np.inf:
        raise ValueError(f"memory is {memory!r}; give a positive number of GB")
    n, ny, nx = image_set.shape
    size = image_set.frames.size
    files = {image.path: image.state[0] for image in getattr(image_set.frames, "images", ())}
    mask = size * getattr(getattr(image_set, "dq", None), "dtype", np.dtype("u1")).itemsize
    written = size * copied_dtype(image_set).itemsize + mask + int(_TABLES * size) + 17 * ny * nx
    folder = Path(outdir).absolute()
    while not folder.exists():
        folder = folder.parent
    memory = int(free_memory() / 4 if memory is None else memory * _GB)
    row = n * nx * image_set.work_dtype.itemsize
    # a block is read, and worked on, by each core
    rows = min(memory // (2 * row * cores()), max(_ROWS, _BLOCK // row), -(-ny // (_PIECES * cores())))
    return Costs(
        read=sum(files.values()) if image_set.on_demand else 0,
        written=written,
        disk=written + mask * isinstance(image_set.mask, FramesOnDemand) + 40 * ny * nx,
        free=shutil.disk_usage(folder).free,
        memory=memory,
        block_rows=int(np.clip(rows, 4, ny)),
    )


def describe_size(size, of=None):
    """Bytes in words: '4.2 GB'; with `of`, '0.6 of 4.2 GB'."""
    unit, name = next((pair for pair in ((_GB, "GB"), (1e6, "MB")) if (of or size) >= 0.9995 * pair[0]), (1e3, "kB"))
    if of is None:
        return f"{size / unit:.{1 if size < 9.95 * unit else 0}f} {name}"
    return f"{size / unit:.1f} of {of / unit:.1f} {name}"


def free_memory():
    """Bytes that this process may still take: of the machine, and of the control group that limits it."""
    free = psutil.virtual_memory().available
    for limit, used, cache in (
        ("/sys/fs/cgroup/memory.max", "memory.current", "inactive_file"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        group = _own_group(Path(limit))
        try:
            most = int((group / Path(limit).name).read_text())
            taken = int((group / used).read_text())
            facts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            free = min(free, most - taken + int(facts.get(cache, 0)))
        except (OSError, ValueError):  # no such group, or no limit
            continue
    return max(free, 0)


def _own_group(limit):
    """The folder of the control group of this process, in the tree that a limit belongs to."""
    version_1 = limit.name == "memory.limit_in_bytes"
    try:
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            number, controllers, path = line.split(":", 2)
            if (version_1 and "memory" in controllers.split(",")) or (not version_1 and number == "0"):
                return limit.parent / path.strip("/")
    except OSError:
        pass
    return limit.parent
