"""Clean a set that does not fit in memory: from files to files, in pieces, and on from where a run was stopped."""

import errno
import hashlib
import json
import os
import pickle
import platform
import shutil
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
from astropy.io import fits

try:
    import fcntl
except ImportError:  # not on Windows: nothing keeps two runs apart there
    fcntl = None

from .. import __version__
from ..core.clean import CleanCancelled, checked_set, judge_image_set
from ..core.imageset import per_frame
from ..core.names import listed
from ..core.ondemand import ComputedFrames, FramesOnDemand, MappedFrames, PackedFlags
from ..core.repair import copied_dtype
from ..core.settings import CleanSettings
from ..core.threads import Work
from .costs import describe_size, expected_costs
from .frames import FitsMasks, SavedFrames, kept_open
from .products import Products
from .write import (
    PERHAPS,
    check_output,
    frame_hdus,
    frame_headers,
    free_bits,
    in_place,
    set_contents,
    write_content,
)

__all__ = [
    "RUN_FOLDER",
    "check_folder",
    "clean_to_files",
    "is_finished",
    "unfinished_run",
]

RUN_FOLDER = ".glue_cleanset_run"
_RECORD, _COMPLETE, _JUDGED, _LOCK = "run.json", "complete", "judged.pickle", "lock"  # in that folder
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
    look=None,
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
        What the blocks may take together [GB], of each worker where there is a client; default a quarter of what is
        free.
    client : distributed.Client, optional
        Whose workers do the work; they need the same files, and `outdir`, under the same paths. A set in memory is
        copied into the folder first.
    progress : callable, optional
        As for `glue_cleanset.clean_image_set`; `done` and `total` in bytes of the frames, which are read, judged and
        written.
    tell : callable, optional
        ``tell(text)`` is called with what is being done.
    look : callable, optional
        ``look(image_set)`` is called before the frames are compared, with the set as it is worked on then, which can be
        read without reading the files again; not where a run is resumed that has compared them.

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
    if client is not None and not hasattr(client, "submit"):
        raise TypeError(f"client is {client!r}; give a distributed.Client, as glue_cleanset.io.cluster.connect makes")
    outdir = Path(outdir)
    names = [path.name for path in check_folder(image_set, outdir, overwrite=overwrite, resume=resume)]
    costs = expected_costs(image_set, outdir, memory)
    folder = outdir.absolute() / RUN_FOLDER  # (workers may be elsewhere)
    run = _Run(folder, _fingerprint(image_set, settings, protect, reject), costs.block_rows, client)
    n, total = len(image_set), 3 * image_set.frames.nbytes
    tell = tell or (lambda text: None)

    def part(begin, size, verb="", of=0):
        def done(share):
            if verb:
                tell(f"{verb} frame {min(round(share * n) + 1, n)} of {n}, {describe_size(share * of, of)}")
            if progress:
                _go_on(progress(round((begin + size * share) * total), total))

        return done

    goes_on = resume and (folder / _RECORD).exists()
    with _full_disk_told(outdir), _made(run.folder, keep=goes_on), _alone(run.folder):
        if client is not None:
            from .cluster import rows_at_a_time

            run.block_rows = rows_at_a_time(client, image_set, folder, costs.block_rows, memory)
        run.begin(resume, memory)
        read, judge = _STEPS
        judged = run.judged()
        source = image_set
        if judged is None:
            source = run.copy(image_set, part(0, read, "reading", costs.read))
            tell("comparing the frames")
            if look:
                look(source)
            judged = judge_image_set(
                source,
                settings,
                protect=protect,
                reject=reject,
                progress=progress and (lambda done, of: progress(round((read + judge * done / of) * total), total)),
                work=run,
            )
            run.keep_judged(judged)
        result = replace(judged.result, mask=image_set.mask)
        if not run.is_complete:
            write = 1 - read - judge
            with ThreadPoolExecutor(1) as pool:
                of_set = pool.submit(run.write_set, result, image_set)
                done = part(read + judge, 0.6 * write, "writing", costs.written)
                run.write_frames(judged, source, image_set, names, done)
                tell("writing tables and maps")
                contents = of_set.result()
            check_output(image_set, outdir, overwrite=overwrite)  # (it was some time ago)
            run.complete([*names[: 2 * len(image_set)], *contents])
        run.publish(outdir)
        part(0, 1)(1)
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
    if (folder / _RECORD).exists():
        if resume:
            # what the run has put there already is its own
            return check_output(image_set, outdir, overwrite=overwrite or (folder / _COMPLETE).exists())
        if not overwrite:
            raise FileExistsError(
                f"{outdir} holds an unfinished run; go on with it (resume, --resume), or begin anew (overwrite, "
                "--overwrite)"
            )
    try:
        paths = check_output(image_set, outdir, overwrite=overwrite)
    except FileExistsError as error:
        if not resume:
            raise
        raise FileExistsError(f"there is no unfinished run in {outdir} to go on with, and {error}") from None
    costs = expected_costs(image_set, outdir)
    left = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if _SPARE * costs.disk > costs.free + left:
        raise OSError(
            errno.ENOSPC,
            f"cleaning into {outdir} needs {costs.disk / _GB:.3g} GB on the disk, {costs.free / _GB:.3g} GB are free; "
            "free some space or choose another folder",
        )
    return paths


def is_finished(image_set, outdir, settings):
    """Whether a folder holds, complete, what cleaning these very files with these settings gives.

    For a run that was stopped after its last step, of which nobody was told. Gain and read noise as found from the set:
    where they, shifts or regions are given nobody can tell.

    Parameters
    ----------
    image_set : FitsImageSet
    outdir : str or Path
    settings : CleanSettings

    Returns
    -------
    bool
    """
    paths = check_output(image_set, outdir, overwrite=True)
    if (Path(outdir) / RUN_FOLDER / _RECORD).exists() or not all(path.is_file() for path in paths):
        return False
    changed = max(Path(source[0]).stat().st_mtime_ns for source in image_set.sources)
    if min(path.stat().st_mtime_ns for path in paths) < changed:
        return False
    products = Products(outdir)
    table = products.table("frames")
    known = list(table["name"]), table.meta.get("software"), table.meta.get("settings")
    if known != (list(image_set.names), f"glue_cleanset {__version__}", settings.describe()):
        return False
    header = fits.getheader(paths[0])
    if any(header.comments[word].endswith("given") for word in ("CRGAIN", "CRRDNOIS") if word in header):
        return False
    return _is_of(products, image_set)


def _is_of(products, image_set):
    """Whether cleaned frames were made of these: a row of each is that of the frame where nothing was rejected."""
    cleaned, dtype = products.cleaned, copied_dtype(image_set)
    if cleaned.shape != image_set.shape:
        return False
    y = cleaned.shape[1] // 2
    for i in range(len(cleaned)):
        same = np.isclose(cleaned[i, y], image_set.frames[i, y].astype(dtype), rtol=0, atol=0, equal_nan=True)
        if not (same | products.rejected[i, y]).all():
            return False
    return True


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
    folder = Path(outdir) / RUN_FOLDER
    if not (folder / _RECORD).exists():
        return None
    before = _recorded(folder)
    now = _fingerprint(image_set, settings, protect, reject)
    for name, value in (("gain", gain), ("readnoise", readnoise)):
        if value is not None:
            now[name] = _plain(per_frame(name, value, len(image_set)))
    left_out = () if regions else ("mask", _REGIONS)
    return _differences(before, {name: value for name, value in now.items() if name not in left_out})


def _go_on(answer):
    if answer is False:
        raise CleanCancelled("cancelled; what is done can be resumed")


@contextmanager
def _full_disk_told(outdir):
    """A disk that is full is told in words that say what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OSError(
            errno.ENOSPC,
            f"no space is left for {outdir}; nothing is written under its own name. Free some space and resume "
            f"(resume, --resume), or delete the folder {Path(outdir) / RUN_FOLDER}",
        ) from None


@contextmanager
def _made(folder, keep):
    """Make a folder; where it is not to be kept it goes again, with all that is in it, if the set turns out to be one
    that nobody can clean."""
    missing = [path for path in folder.parents if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except (ValueError, TypeError):
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):  # somebody else has put something there
                for path in missing:
                    path.rmdir()
        raise


@contextmanager
def _alone(folder):
    """Hold the folder of a run; the lock ends with the process, in whatever way that ends."""
    with open(folder / _LOCK, "a+", encoding="utf-8") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                who = file.read() or "another process"
                raise FileExistsError(
                    f"{who} is at work in {folder.parent}; wait until it is done, or choose another folder"
                ) from None
            except OSError:  # a file system without locks
                pass
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()
        yield


# --- the folder of a run ---------------------------------------------------------------------------------------------


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

    def __reduce__(self):
        # to a worker, which hands nothing on
        return Work, (self.block_rows,)

    def begin(self, resume, memory):
        """Go on with what is in the folder, or empty it."""
        record = self.folder / _RECORD
        if resume and record.exists():
            before = _recorded(self.folder)
            rows = before.pop("block_rows")
            # (less memory may be the reason to go on)
            self.block_rows = rows if memory is None else self.block_rows
            changed = _differences(before, self.fingerprint)
            if changed:
                raise ValueError(
                    f"the unfinished run in {self.folder.parent} was begun with another {listed(changed)}; give what "
                    "it was begun with, or begin anew (overwrite, --overwrite)"
                )
            for path in list(self.folder.rglob("*.part")):  # of writing that was cut off
                path.unlink(missing_ok=True)
            # where the power went there may be names of files whose content was lost
            lost = [path for path in self.folder.rglob("*.*") if path.is_file() and not path.stat().st_size]
            for path in [*lost, *[self.folder / _COMPLETE] * bool(lost)]:
                path.unlink(missing_ok=True)
            return
        self._remove(all_but=(_LOCK,))
        (self.folder / "products").mkdir()
        self._save_text(record, json.dumps({**self.fingerprint, "block_rows": self.block_rows}))

    def judged(self):
        """What was found of the set, where the run got that far; else None."""
        path = self.folder / _JUDGED
        # (a pickle of somebody else may be anything)
        if not path.exists() or (hasattr(os, "getuid") and path.stat().st_uid != os.getuid()):
            return None
        with open(path, "rb") as file:
            return pickle.load(file)

    def keep_judged(self, judged):
        """Keep what was found of the set; the steps on the way are not needed any more."""
        judged = replace(judged, result=replace(judged.result, mask=None))
        _save(self.folder / _JUDGED, lambda file: pickle.dump(judged, file, pickle.HIGHEST_PROTOCOL))
        for path in self.folder.glob("*.npz"):
            path.unlink()

    def copy(self, image_set, done):
        """The set to work on: what is read on demand, and all that workers need, is copied into the folder first."""
        if not image_set.on_demand and self.client is None:
            return image_set
        n = len(image_set)
        parts = {"frame": image_set.frames}
        mask = _flags_to_copy(image_set) if isinstance(image_set.mask, FramesOnDemand) else image_set.mask
        if mask is not None:
            parts["mask"] = mask
        read = {name: part for name, part in parts.items() if isinstance(part, FramesOnDemand)}
        here = {} if self.client is None else {k: part for k, part in parts.items() if isinstance(part, np.ndarray)}
        done(0)
        # whole numbers take less room as they are
        dtype = image_set.frames.dtype.newbyteorder("=")
        if here:
            super().map("", _Copy(here, dtype, self.folder), [(i,) for i in range(n)], done if not read else None)
        if read:
            self._each(_Copy(read, dtype, self.folder), _read_together(image_set.frames), done)
        saved = {name: [_copied(self.folder, name, i) for i in range(n)] for name in (*read, *here)}
        frames = SavedFrames(saved["frame"], copied_dtype(image_set))
        mask = SavedFrames(saved["mask"]) if "mask" in saved else None
        source = image_set.with_frames(frames, mask)
        if isinstance(source.mask, FramesOnDemand):
            mask = mask if mask is None or mask.dtype == bool else MappedFrames(mask, _not_zero, bool)
            object.__setattr__(source, "mask", mask)  # (its own reads the files again)
        return source

    def map(self, name, function, items, done=None):
        """As `Work.map`; what a step has found is kept in the folder."""
        if not name:
            return super().map(name, function, items, done)
        paths = [self.folder / f"{name}_{self.block_rows}_{k:05d}.npz" for k in range(len(items))]
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
        if dq is not None and _flags_to_copy(image_set) is dq:
            dq = SavedFrames([_copied(self.folder, "mask", i) for i in range(n)])
        inside = isinstance(dq, np.ndarray)  # (its planes go with the frames)
        write = _WriteFrame(source, None if inside else dq, free_bits(dq), self.folder)
        ends = np.arange(n + 1) * ny * nx
        changed, rejected = (np.searchsorted(index, ends) for index in (judged.index, judged.rejected))
        items = []
        for i, header in enumerate(frame_headers(judged.result, image_set)):
            mine, own = slice(*changed[i : i + 2]), slice(*rejected[i : i + 2])
            pixels = judged.index[mine] - ends[i], judged.values[mine], judged.rejected[own] - ends[i]
            items.append((i, names[2 * i : 2 * i + 2], header, *pixels, dq[i] if inside else None))
        self._each(write, items, done)

    def write_set(self, result, image_set):
        """Write the files of the whole set; their names."""
        contents = set_contents(result, image_set)
        for name, content in contents.items():
            _write(self.folder / "products" / name, content)
        return list(contents)

    @property
    def is_complete(self):
        """Whether all files are written."""
        return (self.folder / _COMPLETE).exists()

    def complete(self, names):
        """Note that all files are written, and what they are called."""
        self._save_text(self.folder / _COMPLETE, json.dumps(names))

    def publish(self, outdir):
        """Give all files their own names, and remove the folder."""
        names = json.loads((self.folder / _COMPLETE).read_text(encoding="utf-8"))
        for name in names:
            path = self.folder / "products" / name
            if path.exists():
                os.replace(path, outdir / name)
        for name in PERHAPS:  # that of an earlier result would speak of another cleaning
            if name not in names:
                (outdir / name).unlink(missing_ok=True)
        # a run that is stopped here can be resumed as long as there is a record of it
        self._remove(all_but=(_LOCK, _RECORD, _COMPLETE, _JUDGED))
        (self.folder / _RECORD).unlink()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _remove(self, all_but):
        for path in self.folder.iterdir():
            if path.name not in all_but:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    @staticmethod
    def _save_text(path, text):
        in_place(path, lambda part: part.write_text(text, encoding="utf-8"))


def _flags_to_copy(image_set):
    """What has to be copied to know the mask of a set that is read on demand: (N, ny, nx), not zero = bad; or None."""
    if not image_set.on_demand or not isinstance(image_set.mask, FramesOnDemand):
        return None
    mask, dq = image_set.mask, getattr(image_set, "dq", None)
    if isinstance(mask, FitsMasks):
        # BLANK pixels are NaN in the frames; data quality, which is needed later on, tells the rest
        if not any(mask.masks):
            return None
        if dq is not None:
            return dq
    return mask


def _not_zero(flags):
    return flags != 0


def _stored(frames, i):
    """Where frame `i` is stored; None where it is in no FITS file."""
    images = getattr(frames, "images", None)
    return None if images is None else images[i]


def _read_together(frames):
    """The numbers of the frames, in tuples: those of one gzipped file, or one."""
    together = defaultdict(list)
    for i in range(len(frames)):
        image = _stored(frames, i)
        together[image.path if image and image.gzipped else i].append(i)
    return [tuple(numbers) for numbers in together.values()]


class _Copy:
    """Copies frames, and their masks, into the folder of a run; those of a gzipped file unpack it once."""

    def __init__(self, parts, dtype, folder):
        self.parts, self.dtype, self.folder = parts, dtype, folder

    def __call__(self, *numbers):
        items = [(name, frames, i, _stored(frames, i)) for i in numbers for name, frames in self.parts.items()]
        image = items[0][-1]
        with kept_open(image) if image and image.gzipped else nullcontext():
            # in the order in which they are stored
            for name, frames, i, _ in sorted(items, key=lambda item: (item[-1] and item[-1].offset) or 0):
                path = _copied(self.folder, name, i)
                if not path.exists():
                    values = frames.frame(i) if isinstance(frames, FramesOnDemand) else frames[i]
                    values = np.asarray(values, self.dtype if name == "frame" else frames.dtype)
                    _save(path, lambda file, values=values: _save_array(file, values))


def _copied(folder, name, i):
    """Where the copy of a frame, or of its mask, is."""
    return folder / f"{name}_{i + 1:05d}.npy"


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

    def __call__(self, i, names, header, index, values, rejected, own):
        paths = [self.folder / "products" / name for name in names]
        if not all(path.exists() for path in paths):
            cleaned = np.array(self.source.frames[i], copied_dtype(self.source), order="C")  # (flat below)
            cleaned.reshape(-1)[index] = values
            flags = np.zeros(cleaned.shape, bool)
            flags.reshape(-1)[rejected] = True
            own = own if self.dq is None else self.dq[i]
            for path, hdu in zip(paths, frame_hdus(header, cleaned, flags, own, self.bits), strict=True):
                _write(path, hdu)
        _copied(self.folder, "frame", i).unlink(missing_ok=True)


def _save(path, save):
    """`in_place`, for what numpy saves."""

    def write(part):
        with open(part, "wb") as file:
            save(file)

    in_place(path, write)


def _save_array(file, values):
    """As `numpy.save`, which does not tell that a disk is full."""
    np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(values))
    file.write(memoryview(np.ascontiguousarray(values)).cast("B"))


def _write(path, content):
    in_place(path, lambda part: write_content(part, content))


def _load(path):
    with np.load(path) as found:
        return tuple(found[name] for name in found.files)


def _recorded(folder):
    """What a run was begun with; where nobody can tell any more nothing of it."""
    try:
        return json.loads((folder / _RECORD).read_text(encoding="utf-8"))
    except ValueError:
        return {"block_rows": None, "set of frames": ["not known any more"]}


def _fingerprint(image_set, settings, protect, reject):
    """What makes a run the same one: plain values."""
    images = getattr(image_set.frames, "images", None)
    if isinstance(image_set.frames, ComputedFrames):
        frames = image_set.frames.name
    elif images is None:
        # a set in memory is told by its content
        frames = [hashlib.sha256(np.ascontiguousarray(frame)).hexdigest() for frame in image_set.frames]
    else:
        frames = [[str(image.path), image.hdu, image.plane, *image.state] for image in images]
    # masks in the files of the frames are part of these
    masks = [*getattr(image_set.mask, "masks", [image_set.mask]), getattr(image_set, "dq", None)]
    masks = [mask for mask in masks if isinstance(mask, (np.ndarray, PackedFlags))]
    regions = [
        words if words is None or isinstance(words, FramesOnDemand) else np.asarray(words) != 0
        for words in (protect, reject)
    ]
    return {
        "version of glue_cleanset": __version__,
        "set of frames": list(image_set.names),
        "content": frames,
        "mask": [_digest(mask) for mask in masks],
        "gain": _plain(image_set.gain),
        "readnoise": _plain(image_set.readnoise),
        "exptime": _plain(image_set.exptime),
        "shifts": _plain(image_set.shifts),
        "settings": settings.describe(),
        _REGIONS: [_digest(region) for region in regions],
    }


def _differences(before, now):
    """In what a run that was begun differs from one that is asked for, in words."""
    now = json.loads(json.dumps(now))
    # (as text, where a NaN is equal to a NaN)
    names = [name for name in now if json.dumps(before.get(name)) != json.dumps(now[name])]
    if "set of frames" in names:  # the rest follows from that
        return [f"set or order of frames ({listed(before.get('set of frames', []))})"]
    words = []
    for name in names:
        if name == "settings":
            words.append(f"setting {listed(sorted(set(before[name]) - set(now[name])))}")
        elif name == "content" and len(before[name]) == len(now[name]) == len(now["set of frames"]):
            pairs = zip(now["set of frames"], before[name], now[name], strict=True)
            words.append(f"content of {listed([frame for frame, old, new in pairs if old != new])} (changed since)")
        else:
            words.append("set of frames" if name == "content" else name)
    return words


def _digest(mask):
    if mask is None:
        return None
    digest = hashlib.sha256()
    for plane in mask if mask.ndim == 3 else [mask]:  # (a frame at a time)
        digest.update(np.ascontiguousarray(plane))
    return digest.hexdigest()


def _plain(values):
    return None if values is None else [float(value) for value in np.ravel(values)]
