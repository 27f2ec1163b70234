"""Clean a set that does not fit in memory: from files to files, in pieces, and on from where a run was stopped."""

import errno
import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import numpy as np
import psutil

from .. import __version__
from ..core.clean import CleanCancelled, checked_set, judge_image_set
from ..core.imageset import per_frame
from ..core.names import listed
from ..core.ondemand import FramesOnDemand
from ..core.repair import copied_dtype
from ..core.settings import CleanSettings
from ..core.threads import Work, cores
from .products import Products
from .write import PERHAPS, check_output, frame_hdus, frame_headers, free_bits, set_contents, write_content

__all__ = [
    "RUN_FOLDER",
    "Costs",
    "SavedFrames",
    "check_folder",
    "clean_to_files",
    "describe_size",
    "expected_costs",
    "free_memory",
    "unfinished_run",
]

RUN_FOLDER = ".glue_cleanset_run"
_STEPS = 0.2, 0.55  # shares of the time that reading, and judging, take; the rest is writing
_SPARE = 1.02  # of the disk
_GB = 1e9
# in a record of a run: the regions that were protected, and those that were rejected
_REGIONS = "protected or rejected region"


def clean_to_files(
    image_set,
    outdir,
    settings=CleanSettings(),
    *,
    gain=None,
    readnoise=None,
    protect=None,
    reject=None,
    overwrite=False,
    resume=False,
    memory=None,
    client=None,
    progress=None,
    tell=None,
):
    """Clean a set in bounded memory; the results are written as the work goes on.

    The same files, with the same bytes, as `glue_cleanset.clean_image_set` and `glue_cleanset.io.write.write_result`
    give. Frames that are read on demand are read once, frame by frame, into a folder inside of `outdir`, from
    where they are worked on in blocks of rows. It holds all that is done, so that a run that was stopped can be
    resumed, and is removed at the end. No file gets its own name before all of them are complete.

    Parameters
    ----------
    image_set : ImageSet
        In memory, or read on demand (``read_image_set(..., on_demand=True)``).
    outdir : str or Path
        Where the files go, as `write_result` names them; created where it is missing.
    settings : CleanSettings
    gain, readnoise, protect, reject
        As for `glue_cleanset.clean_image_set`.
    overwrite : bool
        Whether files that exist may be replaced, and what an unfinished run has left may be thrown away.
    resume : bool
        Go on with an unfinished run of the same set with the same settings; where there is none, begin.
    memory : float, optional
        What the blocks may take together [GB]; default a quarter of what is free.
    client : distributed.Client, optional
        Whose workers do the work; they need the same files, and `outdir`, under the same paths.
    progress : callable, optional
        As for `glue_cleanset.clean_image_set`; `done` and `total` in bytes of the frames, which are read, judged and
        written.
    tell : callable, optional
        ``tell(text)`` is called with what is being done.

    Returns
    -------
    CleanResult
        Its `cleaned` and `rejected` are read on demand from what was written.

    Raises
    ------
    ValueError, TypeError
        As `glue_cleanset.clean_image_set`; where `resume` is asked for and set or settings are others than those of
        the unfinished run.
    FileExistsError
        Where files are there already, or an unfinished run.
    OSError
        Where there is not enough room on the disk, or files cannot be read or written. What is done stays for `resume`.
    CleanCancelled
        Where `progress` returned False. What is done stays for `resume`.
    """
    image_set = checked_set(image_set, settings, None, gain, readnoise, None, protect, reject)
    outdir = Path(outdir)
    names = [path.name for path in check_folder(image_set, outdir, overwrite=overwrite, resume=resume)]
    folder = outdir / RUN_FOLDER
    if folder.exists() and not (resume and (folder / "run.json").exists()):
        shutil.rmtree(folder)
    costs = expected_costs(image_set, outdir, memory)
    run = _Run(folder, _fingerprint(image_set, settings, protect, reject), costs.block_rows, client)
    run.begin(outdir)
    n, total = len(image_set), 3 * image_set.frames.nbytes
    tell = tell or (lambda text: None)

    def part(begin, size, verb="", of=0):
        def done(share):
            if verb:
                tell(f"{verb} frame {min(round(share * n) + 1, n)} of {n}, {describe_size(share * of, of)}")
            if progress:
                _go_on(progress(round((begin + size * share) * total), total))

        return done

    try:
        read, judge = _STEPS
        source = run.copy(image_set, part(0, read, "reading", costs.read))
        tell("comparing the frames")
        judged = judge_image_set(
            source,
            settings,
            protect=protect,
            reject=reject,
            progress=progress and (lambda done, of: progress(round((read + judge * done / of) * total), total)),
            work=run,
        )
        result = replace(judged.result, mask=image_set.mask)
        write = 1 - read - judge
        run.write_frames(judged, source, image_set, names, part(read + judge, 0.6 * write, "writing", costs.written))
        tell("writing tables and maps")
        contents = set_contents(result, image_set)
        for name, content in contents.items():
            run.write(name, content)
        run.publish([*names[: 2 * len(image_set)], *contents], outdir)
        part(0, 1)(1)
    except OSError as error:
        # (some writers do not say why they failed)
        full = error.errno is None and shutil.disk_usage(outdir).free < image_set.frames.nbytes // len(image_set)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) and not full:
            raise
        raise OSError(
            errno.ENOSPC,
            f"no space is left for {outdir}; nothing is written under its own name. Free some space and resume "
            f"(resume, --resume), or delete the folder {run.folder}",
        ) from None
    written = Products(outdir)
    return replace(result, cleaned=written.cleaned, rejected=written.rejected)


def check_folder(image_set, outdir, *, overwrite=False, resume=False):
    """Find out, before any work, whether `clean_to_files` can begin; nothing is created.

    Parameters
    ----------
    image_set, outdir, overwrite, resume
        As for `clean_to_files`.

    Returns
    -------
    list of Path
        As `glue_cleanset.io.write.check_output`.

    Raises
    ------
    FileExistsError, OSError
        As `clean_to_files`.
    """
    folder = Path(outdir) / RUN_FOLDER
    if (folder / "run.json").exists():
        if resume:
            # what the run has put there already is its own
            return check_output(image_set, outdir, overwrite=overwrite or (folder / "complete").exists())
        if not overwrite:
            raise FileExistsError(
                f"{outdir} holds an unfinished run; go on with it (resume, --resume), or begin anew (overwrite, "
                "--overwrite)"
            )
    paths = check_output(image_set, outdir, overwrite=overwrite)
    costs = expected_costs(image_set, outdir)
    left = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if _SPARE * costs.disk > costs.free + left:
        raise OSError(
            errno.ENOSPC,
            f"cleaning into {outdir} needs {costs.disk / _GB:.3g} GB on the disk, {costs.free / _GB:.3g} GB are free; "
            "free some space or choose another folder",
        )
    return paths


def unfinished_run(
    image_set, outdir, settings=CleanSettings(), *, gain=None, readnoise=None, protect=None, reject=None, regions=True
):
    """Find out whether `clean_to_files` could go on with a run that was stopped; reads no pixel.

    Parameters
    ----------
    image_set, outdir, settings, gain, readnoise, protect, reject
        As for `clean_to_files`.
    regions : bool
        Whether what is ignored, protected and rejected counts too; it takes a while to compare.

    Returns
    -------
    list of str or None
        None where there is no such run in `outdir`; else in what it differs from this cleaning: empty where nothing
        does.
    """
    before = _record(Path(outdir) / RUN_FOLDER)
    if before is None:
        return None
    now = _fingerprint(image_set, settings, protect, reject)
    for name, value in (("gain", gain), ("readnoise", readnoise)):
        if value is not None:
            now[name] = _plain(per_frame(name, value, len(image_set)))
    left_out = () if regions else ("mask", _REGIONS)
    return [name for name in now if name not in left_out and before.get(name) != now[name]]


def _record(folder):
    """What an unfinished run has noted about itself; None where there is none."""
    path = folder / "run.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _go_on(answer):
    if answer is False:
        raise CleanCancelled("cancelled; what is done can be resumed")


# --- what it takes ---------------------------------------------------------------------------------------------------


class Costs:
    """What cleaning a set to files takes.

    Attributes
    ----------
    read, written, disk, free : int
        Bytes that are read from the files of the frames; that are written for good; that the folder needs at most; and
        that are free there.
    memory : int
        Bytes that the blocks take together.
    block_rows : int
        Rows of a block.
    """

    def __init__(self, image_set, outdir, memory):
        n, ny, nx = image_set.shape
        images = getattr(image_set.frames, "images", ())
        files = {image.path: image.state[0] for image in images}
        self.read = sum(files.values()) if image_set.on_demand else 0
        cleaned = image_set.frames.size * copied_dtype(image_set).itemsize
        mask = image_set.frames.size * max(1, getattr(getattr(image_set, "dq", None), "dtype", np.dtype("u1")).itemsize)
        self.written = cleaned + mask + 17 * ny * nx
        self.disk = self.written + image_set.frames.size * isinstance(image_set.mask, FramesOnDemand) + 40 * ny * nx
        folder = Path(outdir).absolute()
        while not folder.exists():
            folder = folder.parent
        self.free = shutil.disk_usage(folder).free
        self.memory = int(free_memory() / 4 if memory is None else memory * _GB)
        # a block is read, and worked on, by each core
        row = 2 * n * nx * image_set.work_dtype.itemsize * cores()
        self.block_rows = int(np.clip(self.memory // row, 4, ny))


def expected_costs(image_set, outdir, memory=None):
    """What `clean_to_files` would take; reads no pixel and writes nothing.

    Parameters
    ----------
    image_set, outdir, memory
        As for `clean_to_files`.

    Returns
    -------
    Costs
    """
    return Costs(image_set, outdir, memory)


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


# --- the folder of a run ---------------------------------------------------------------------------------------------


class SavedFrames(FramesOnDemand):
    """Frames in a folder, each an array in a ``.npy`` file of its own.

    Parameters
    ----------
    paths : sequence of Path
        Written by `numpy.save`, all alike.
    """

    def __init__(self, paths):
        self.paths = tuple(map(str, paths))
        first = np.load(self.paths[0], mmap_mode="r")
        self._offset = first.offset
        super().__init__((len(self.paths), *first.shape), first.dtype)

    def frame(self, i):
        """Frame `i`, whole."""
        return self.rows(i, 0, self.shape[1])

    def rows(self, i, first, last):
        """Rows first ... last - 1 of frame `i`."""
        nx = self.shape[2]
        offset = self._offset + first * nx * self.dtype.itemsize
        count = (min(last, self.shape[1]) - first) * nx
        return np.fromfile(self.paths[i], self.dtype, count, offset=offset).reshape(-1, nx)

    def part(self, i, y, x):
        """Frame `i` at ``[y, x]``."""
        lines, columns = np.arange(self.shape[1])[y], np.arange(self.shape[2])[x]
        if not lines.size or not columns.size:
            return self.frame(i)[y, x]
        some, place = np.unique(lines, return_inverse=True)
        first, last, left, right = some[0], some[-1] + 1, columns.min(), columns.max() + 1
        size = self.dtype.itemsize
        # where most of the bytes between are wanted one read is faster than many
        if 8 * some.size * (right - left) > (last - first) * self.shape[2]:
            values = self.rows(i, first, last)[some - first, left:right]
        else:
            values = np.empty((some.size, right - left), self.dtype)
            with open(self.paths[i], "rb", buffering=0) as file:
                for line, into in zip(some.tolist(), values, strict=True):
                    file.seek(self._offset + (line * self.shape[2] + int(left)) * size)
                    file.readinto(into)
        place, columns = place.reshape(lines.shape), columns - left
        if lines.ndim and columns.ndim and isinstance(y, slice) and isinstance(x, slice):
            return values[np.ix_(place, columns)]
        if isinstance(y, slice):
            return values[place][:, columns]
        return values[place][..., columns] if isinstance(x, slice) else values[place, columns]


class _Run(Work):
    """The folder that holds what a run has done, and the work that is done with it.

    Parameters
    ----------
    folder : Path
    fingerprint : dict
        What a run that is resumed has in common with the one that was stopped.
    block_rows : int
    client : distributed.Client or None
    """

    def __init__(self, folder, fingerprint, block_rows, client):
        super().__init__(block_rows)
        self.folder, self.fingerprint, self.client = folder, fingerprint, client

    def begin(self, outdir):
        """Make the folder, or go on with the one that is there."""
        before = _record(self.folder)
        if before is not None:
            self.block_rows = before.pop("block_rows")
            others = [name for name, value in self.fingerprint.items() if before.get(name) != value]
            if others:
                raise ValueError(
                    f"the unfinished run in {outdir} was one with another {listed(others)}; give what it was begun "
                    "with, or begin anew (overwrite, --overwrite)"
                )
            return
        (self.folder / "products").mkdir(parents=True, exist_ok=True)
        self._save_text(self.folder / "run.json", json.dumps({**self.fingerprint, "block_rows": self.block_rows}))

    def copy(self, image_set, done):
        """The set to work on: what is read on demand is copied into the folder first."""
        if not image_set.on_demand:
            return image_set
        n = len(image_set)
        parts = {"frame": image_set.frames}
        if isinstance(image_set.mask, FramesOnDemand):
            parts["mask"] = image_set.mask
        done(0)
        copy = _Copy(parts, copied_dtype(image_set), self.folder)
        self._each(copy, [(i,) for i in range(n)], done)
        saved = {name: SavedFrames([copy.path(name, i) for i in range(n)]) for name in parts}
        return image_set.with_frames(saved["frame"], saved.get("mask"))

    def map(self, name, function, items, done=None):
        """As `Work.map`; what a step has found is kept in the folder."""
        if not name:
            return super().map(name, function, items, done)
        paths = [self.folder / f"{name}_{k:05d}.npz" for k in range(len(items))]
        self._each(_Kept(function), [(path, *item) for path, item in zip(paths, items, strict=True)], done)
        return [_load(path) for path in paths]

    def _each(self, function, items, done):
        """function(*item) for every item: here, or where the client has workers."""
        if self.client is None:
            super().map("", function, items, done)
            return
        from .cluster import each

        each(self.client, function, items, done)

    def write_frames(self, judged, source, image_set, names, done):
        """Write the cleaned frames and their masks; what is done with a copy is deleted."""
        n, ny, nx = source.shape
        done(0)
        dq = getattr(image_set, "dq", None)
        write = _WriteFrame(source, dq, free_bits(dq), self.folder)
        ends = np.arange(n + 1) * ny * nx
        changed, rejected = (np.searchsorted(index, ends) for index in (judged.index, judged.rejected))
        items = []
        for i, header in enumerate(frame_headers(judged.result, image_set)):
            mine, own = slice(*changed[i : i + 2]), slice(*rejected[i : i + 2])
            pixels = judged.index[mine] - ends[i], judged.values[mine], judged.rejected[own] - ends[i]
            items.append((i, names[2 * i : 2 * i + 2], header, *pixels))
        self._each(write, items, done)

    def write(self, name, content):
        """Write a file of the whole set."""
        _write(self.folder / "products" / name, content)

    def publish(self, names, outdir):
        """Give all files their own names, and remove the folder."""
        self._save_text(self.folder / "complete", "")
        for name in names:
            path = self.folder / "products" / name
            if path.exists():
                os.replace(path, outdir / name)
        for name in PERHAPS:  # that of an earlier result would speak of another cleaning
            if name not in names:
                (outdir / name).unlink(missing_ok=True)
        shutil.rmtree(self.folder)

    @staticmethod
    def _save_text(path, text):
        _in_place(path, lambda part: part.write_text(text, encoding="utf-8"))


class _Copy:
    """Copies a frame, and its mask, into the folder of a run."""

    def __init__(self, parts, dtype, folder):
        self.parts, self.dtype, self.folder = parts, dtype, folder

    def path(self, name, i):
        return self.folder / f"{name}_{i + 1:05d}.npy"

    def __call__(self, i):
        for name, frames in self.parts.items():
            path = self.path(name, i)
            if not path.exists():
                values = np.asarray(frames.frame(i), self.dtype if name == "frame" else bool)
                _save(path, lambda file, values=values: _save_array(file, values))


class _Kept:
    """A function of which what it gives, a tuple of arrays, is kept in a file."""

    def __init__(self, function):
        self.function = function

    def __call__(self, path, *item):
        if not path.exists():
            found = self.function(*item)
            _save(path, lambda file: np.savez(file, *found))


class _WriteFrame:
    """Writes a cleaned frame and its mask, and deletes the copy of the frame."""

    def __init__(self, source, dq, bits, folder):
        self.source, self.dq, self.bits, self.folder = source, dq, bits, folder

    def __call__(self, i, names, header, index, values, rejected):
        paths = [self.folder / "products" / name for name in names]
        if not all(path.exists() for path in paths):
            cleaned = np.array(self.source.frames[i], copied_dtype(self.source))
            cleaned.reshape(-1)[index] = values
            flags = np.zeros(cleaned.shape, bool)
            flags.reshape(-1)[rejected] = True
            own = None if self.dq is None else self.dq[i]
            for path, hdu in zip(paths, frame_hdus(header, cleaned, flags, own, self.bits), strict=True):
                _write(path, hdu)
        if self.source.on_demand:
            Path(self.source.frames.paths[i]).unlink(missing_ok=True)


def _in_place(path, save):
    """Write a file whole or not at all."""
    # (workers may have begun with the same one)
    part = path.with_name(f"{path.name}.{uuid4().hex[:8]}.part")
    try:
        save(part)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _save(path, save):
    """The same, for what numpy saves."""

    def write(part):
        with open(part, "wb") as file:
            save(file)

    _in_place(path, write)


def _save_array(file, values):
    """As `numpy.save`, which does not tell that a disk is full."""
    np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(values))
    file.write(memoryview(np.ascontiguousarray(values)).cast("B"))


def _write(path, content):
    _in_place(path, lambda part: write_content(part, content))


def _load(path):
    with np.load(path) as found:
        return tuple(found[name] for name in found.files)


def _fingerprint(image_set, settings, protect, reject):
    """What makes a run the same one: plain values."""
    images = getattr(image_set.frames, "images", None)
    if images is None:
        # a set in memory is told by its content
        frames = hashlib.sha256()
        for frame in image_set.frames:
            frames.update(np.ascontiguousarray(frame))
        frames = frames.hexdigest()
    else:
        frames = [[str(image.path), image.hdu, image.plane, *image.state] for image in images]
    mask = image_set.mask
    return {
        "version of glue_cleanset": __version__,
        "set": [list(image_set.names), list(image_set.shape), frames],
        "mask": [_digest(part) for part in getattr(mask, "masks", (mask,)) if isinstance(part, np.ndarray)],
        "gain": _plain(image_set.gain),
        "readnoise": _plain(image_set.readnoise),
        "exptime": _plain(image_set.exptime),
        "shifts": _plain(image_set.shifts),
        "settings": settings.describe(),
        _REGIONS: [None if words is None else _digest(words) for words in (protect, reject)],
    }


def _digest(mask):
    found = hashlib.sha256()
    for part in mask:  # which may be one image for all frames
        found.update(np.packbits(np.asarray(part) != 0))
    return found.hexdigest()


def _plain(values):
    return None if values is None else [float(value) for value in np.ravel(values)]
