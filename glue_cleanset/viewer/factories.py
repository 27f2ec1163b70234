"""Image sets from files: glue's data factories and importer."""

import os
import warnings
from importlib import import_module
from pathlib import Path

import numpy as np
from glue.core import Data
from glue.core.component import Component
from glue.core.data_factories import load_data
from glue.core.hub import HubListener
from glue.core.message import DataCollectionAddMessage

from ..io.read import BadFramesError, find_fits_files, frame_stem, read_image_set
from .attach import RUNS, build_attached
from .coords import FrameCoordinates
from .links import link_parts
from .ondemand import FramesComponent, OnDemandCube
from .stack import FACTS, MASK, MASK_ID, NAMES, SHIFTS, SHIFTS_SOURCE

__all__ = [
    "LARGEST_IN_MEMORY",
    "cleaned_image_set",
    "image_set",
    "image_set_from_files",
    "import_fits_files",
    "is_image_set",
]

# Frames that take more than this are read when they are shown [bytes]. Cleaned in memory, with what was found in them,
# they would take three to five times as much, which the smallest machine of today has; not a share of what is free just
# now, so that a session opens the same way everywhere.
LARGEST_IN_MEMORY = 1 << 30
_PACKED = 4  # times that a compressed file grows, roughly
# a manifest is a list of names; nobody writes one this long [bytes]
_LONGEST_MANIFEST = 1 << 20


def is_image_set(path, **kwargs):
    """True for what can only be an image set: a directory with FITS files, a text file that names one first.

    What is wrong with the others is told when they are read. A single FITS file is left to glue's own reader; choose
    *Image set* by hand for a cube or a multi-extension file.
    """
    path = Path(path)
    try:
        if path.is_dir():
            names = [entry.name for entry in path.iterdir() if entry.is_file()]
            return any(frame_stem(name) != name and not name.startswith(".") for name in names)
        return path.stat().st_size <= _LONGEST_MANIFEST and _begins_as_manifest(path)
    except (OSError, ValueError):
        return False


def _begins_as_manifest(path):
    with open(path, encoding="utf-8-sig") as text:
        entries = (line.split("#")[0].strip() for line in text)
        first = next(filter(None, entries), None)
    file = path.parent / (first or "")
    return file.is_file() and find_fits_files(file) == [file]


def image_set(path, *, extension=None, files=None, skip_bad=False, align=None, on_demand=None):
    """One cube (frame, y, x) from a directory, a manifest, a FITS cube or a multi-extension file.

    Parameters
    ----------
    path : str
        What holds the frames.
    extension : str or int, optional
        Which extension of the files to read; default as `glue_cleanset.io.read.read_image_set` chooses.
    files : list of str, optional
        The frames themselves, relative to the directory of `path`, which is then only the first of them.
    skip_bad : bool
        Leave out files and frames that cannot be used, with a warning, instead of raising.
    align : {'wcs', 'stars'}, optional
        Bring the frames onto the pixels of the first one, see `glue_cleanset.io.align`. None = as they are.
    on_demand : bool, optional
        Whether the frames stay in their files and are read when they are shown; ``meta`` tells ``on demand`` then. None
        = where they would take more than `LARGEST_IN_MEMORY`.

    Returns
    -------
    glue.core.Data
        Attribute ``image``, and ``mask`` where the files hold one; in ``meta`` names and header facts of
        the frames.

    Raises
    ------
    ValueError, TypeError, OSError
        As `glue_cleanset.io.read.read_image_set` raises them: one frame, different shapes, no FITS. Where frames that
        are read on demand shall be aligned.
    """
    frames = _read(path, extension, files, skip_bad, on_demand)
    if align is not None:
        if frames.on_demand:
            raise ValueError(
                f"{path} holds {_gigabytes(frames)} of frames, which are read when they are shown and cannot be "
                "aligned; align them into files first, or give on_demand=False where there is memory for them"
            )
        frames = _aligned(frames, align)
    return _cube(frames, _label(path, files), OnDemandCube if frames.on_demand else Data)


def cleaned_image_set(path, *, extension=None, files=None):
    """An image set, cleaned with default settings, with all that was found in it.

    Parameters
    ----------
    path, extension, files
        As for `image_set`.

    Returns
    -------
    list of glue.core.Data
        Cube, rejection map, events and frames; they are linked as soon as they are in one collection.

    Raises
    ------
    ValueError
        Where the frames take more than `LARGEST_IN_MEMORY`: cleaned frames have to go into files then.

    Warns
    -----
    UserWarning
        Where a frame is not registered or lost many pixels.
    """
    # compiling code and measuring shifts take a while to import: only who cleans should wait for that
    from ..core.clean import clean_image_set
    from ..io.registration import registration_warning

    frames = _read(path, extension, files)
    if frames.on_demand:
        raise ValueError(
            f"{path} holds {_gigabytes(frames)} of frames; open it as 'Image set' and choose 'Clean image set…', where "
            "you say into which folder the cleaned frames go"
        )
    result = clean_image_set(frames)
    for text in (registration_warning(frames), *result.warnings):
        if text:
            warnings.warn(text, stacklevel=2)
    cube = _cube(frames, _label(path, files), _LinkedCube)
    attached, components = build_attached(cube, "image", result, own=True)
    for cid, component in components:
        cube.add_component(component, cid)
    cube.meta[RUNS] = [attached.record]
    cube.companions = attached.datasets
    cube.waiting_links = link_parts(cube, 0, attached.event, attached.map, attached.events, attached.frames)
    return [cube, *attached.datasets]


def image_set_from_files(paths, *, factory=image_set, **options):
    """One cube from a selection of files, which a session can read again.

    Parameters
    ----------
    paths : sequence of str
        FITS files in the order of the frames.
    factory : callable
        `image_set` or `cleaned_image_set`.
    **options
        Of the factory.

    Returns
    -------
    list of glue.core.Data
    """
    paths = [os.path.abspath(path) for path in paths]
    if not paths:
        raise ValueError("paths is empty; choose the FITS files of the set")
    # relative to the first, which glue stores as the session wants it, so that set and session can be moved together
    files = [os.path.relpath(path, os.path.dirname(paths[0])) for path in paths]
    made = load_data(paths[0], factory=factory, files=files, **options)
    return made if isinstance(made, list) else [made]


def import_fits_files():
    """File > Import data: ask for the files of a set and load them; where some cannot be used, ask to leave them out.

    Returns
    -------
    list of glue.core.Data
        Empty where the person cancelled.

    Raises
    ------
    RuntimeError
        Where there is no Qt to ask with.
    """
    try:
        # by name: this room does not know Qt
        picker = import_module(f"{__package__.rpartition('.')[0]}.qt.files")
    except ImportError as error:
        raise RuntimeError(
            "choosing files needs glue-qt and a Qt binding; call image_set_from_files(paths) instead"
        ) from error
    paths = picker.pick_fits_files()
    if not paths:
        return []
    try:
        return image_set_from_files(paths)
    except BadFramesError as error:
        if error.left < 2:
            raise
        return image_set_from_files(paths, skip_bad=True) if picker.ask_to_leave_out(error) else []


class _LinkedCube(Data):
    """A cube that brings its links into the collection; a factory cannot, it knows no collection.

    A session holds what was found, as it is then, and reads only the frames from their files: it does not clean again.
    """

    companions = ()
    waiting_links = ()

    def register_to_hub(self, hub):
        super().register_to_hub(hub)
        # from here on glue knows it as loaded
        if hasattr(self, "_load_log"):
            self._load_log.factory = image_set
        if self.waiting_links:
            self._linker = _Linker(self, hub)


class _Linker(HubListener):
    def __init__(self, cube, hub):
        self.cube = cube
        hub.subscribe(self, DataCollectionAddMessage, handler=self.link)

    def link(self, message):
        collection = message.sender
        if all(data in collection.data for data in (self.cube, *self.cube.companions)):
            links, self.cube.waiting_links = self.cube.waiting_links, ()
            if links:
                collection.add_link(links)


def _aligned(frames, by):
    from ..io.align import align_by_stars, align_by_wcs  # here: few sets are aligned

    ways = {"wcs": align_by_wcs, "stars": align_by_stars}
    if by not in ways:
        raise ValueError(f"align is {by!r}; give 'wcs', 'stars' or None")
    return ways[by](frames)


def _read(path, extension, files, skip_bad=False, on_demand=None):
    source = path
    if files is not None:
        source = [os.path.normpath(os.path.join(os.path.dirname(path), file)) for file in files]
    large = _may_be_large(source) if on_demand is None else on_demand
    frames = read_image_set(source, extension=extension, skip_bad=skip_bad, on_demand=large)
    if on_demand is None and large and frames.frames.nbytes <= LARGEST_IN_MEMORY:
        return read_image_set(source, extension=extension, skip_bad=skip_bad)
    return frames


def _may_be_large(source):
    """Whether files are so large that their frames might be."""
    try:
        files = find_fits_files(source)
    except (OSError, ValueError):  # what is wrong is told when they are read
        return False
    packed = any(str(file).lower().endswith((".gz", ".fz")) for file in files)
    return sum(file.stat().st_size for file in files) * (_PACKED if packed else 1) > LARGEST_IN_MEMORY


def _gigabytes(frames):
    return f"{frames.frames.nbytes / 1e9:.1f} GB"


def _label(path, files):
    if files is not None and len(files) > 1:
        return f"{frame_stem(files[0])} … {frame_stem(files[-1])}"
    path = Path(path).absolute()
    if path.is_dir():
        return path.name
    stem = frame_stem(path)
    return stem if stem != path.name else path.stem  # a manifest


def _cube(frames, label, cls):
    cube = cls(label=label, coords=FrameCoordinates(frames.wcs))
    if frames.on_demand:
        cube.add_component(FramesComponent(frames.frames, frames.unit, image_set=frames), "image")
        cube.meta["on demand"] = True
        mask = None if frames.mask is None else FramesComponent(frames.mask)
    else:
        cube.add_component(Component(frames.frames, units=frames.unit), "image")
        mask = None if frames.mask is None else Component(np.asarray(frames.mask).astype(np.uint8))
    if mask is not None:
        cid = cube.add_component(mask, "mask")
        cube.meta.update({MASK: "mask", MASK_ID: cid.uuid})
    # plain lists: they go into session files
    cube.meta[NAMES] = list(frames.names)
    for column, key in FACTS.items():
        cube.meta[key] = np.asarray(frames.facts[column]).tolist()
    if frames.shifts is not None:
        cube.meta[SHIFTS] = frames.shifts.tolist()
        cube.meta[SHIFTS_SOURCE] = frames.shifts_source
    cube.meta["frame sources"] = [[str(file), hdu, plane] for file, hdu, plane in frames.sources]
    return cube
