"""Read an image set from FITS files."""

import glob
import gzip
import os
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import InitVar, dataclass
from pathlib import Path
from zlib import error as ZlibError

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.utils.exceptions import AstropyUserWarning, AstropyWarning
from astropy.wcs import WCS

from ..core.imageset import ImageSet, content_fault
from ..core.names import distinct, listed
from .frames import FitsFile, FitsFrames, FitsMasks, PassedFile, StoredImage, blank_dtype, find_image
from .keywords import GAIN, READNOISE, frame_facts, frame_times
from .shifts import header_shifts, read_shifts

__all__ = ["BadFramesError", "FitsImageSet", "find_fits_files", "frame_stem", "read_image_set", "read_wcs"]

_SUFFIX = re.compile(r"\.(fits?|fts)(\.(gz|fz))?$|\.fz$", re.IGNORECASE)
# what this package writes beside the cleaned frames is not taken for frames when a directory is read
_OUTPUT = re.compile(r"(_crmask\.fits|^rejection_map\.fits|^hot_pixels\.fits|^event_pixels\.fits)$")
_CLEANED = "_crclean"

# Extensions that stand beside an image, in the STScI's and CCDData's names: nonzero = bad, and never a frame
_MASKS = {"DQ", "MASK", "BPM", "BADPIX", "BADPIXELS"}
_COMPANIONS = _MASKS | {
    *("ERR", "ERROR", "UNCERT", "UNCERTAINTY", "SIGMA", "STDDEV", "VAR", "VARIANCE", "IVAR", "RMS", "SNR"),
    *("WHT", "WEIGHT", "CTX", "CON", "SAMP", "TIME", "EXPMAP", "AREA", "BKG", "BACKGROUND"),
    *("WAVELENGTH", "PSF", "PSFEX", "VAR_POISSON", "VAR_RNOISE", "VAR_FLAT"),
}
# of the file or of a third axis, not of the frame's image; or of distortion that other extensions tabulate, without
# which nobody can read the coordinates at all
_STRUCTURAL = re.compile(
    r"SIMPLE|XTENSION|BITPIX|NAXIS\d*|EXTEND|PCOUNT|GCOUNT|GROUPS|BSCALE|BZERO|BLANK|CHECKSUM|DATASUM|"
    r"EXTNAME|EXTVER|EXTLEVEL|INHERIT|NEXTEND|C(TYPE|UNIT|RPIX|RVAL|DELT|ROTA)[34]|(CD|PC)(\d_[34]|[34]_\d)|"
    r"(CPDIS|CQDIS|CPERR|CQERR|D2IMDIS|D2IMERR)\d[A-Z]?|(DP|DQ|D2IM)\d[A-Z]?(\..*)?|D2IMEXT|AXISCORR"
)
_UNREADABLE = (OSError, ValueError, TypeError, EOFError, KeyError, IndexError, ZlibError, fits.VerifyError)

_NAMED = 10  # bad frames that a message names


class BadFramesError(OSError, ValueError):
    """Files or frames that cannot be part of the set, all of them.

    Attributes
    ----------
    bad : list of str
        What is wrong with each, by name.
    left : int
        How many frames can be used.
    """

    def __init__(self, text, bad=(), left=0):
        super().__init__(text)
        self.bad = list(bad)
        self.left = left


@dataclass(frozen=True, eq=False)
class FitsImageSet(ImageSet):
    """An image set and where it came from; see `read_image_set`.

    Attributes
    ----------
    headers : tuple of astropy.io.fits.Header
        One per frame, with what it inherits from the primary header, without the cards of the file's structure.
    sources : tuple of (Path, int, int or None)
        File, index of the HDU, and plane of the cube (0-based; None for a 2-D image) of every frame.
    wcs : astropy.wcs.WCS or None
        Celestial coordinates of the first frame.
    unit : str
        BUNIT of the first frame, or empty.
    facts : astropy.table.Table
        One row per frame: ``name``, ``gain`` [e-/ADU], ``readnoise`` [e-], ``exptime`` [s], ``date`` (UTC), ``filter``;
        NaN or an empty text where the header is silent.
    dq : ndarray or FitsFrames, (N, ny, nx), integer, or None
        The mask or data quality that the files hold. `mask` is True where it is not zero, and at BLANK.
    alignment : astropy.table.Table or None
        What `glue_cleanset.io.align` did, one row per frame: ``frame`` (1 ...), ``name``, ``dy``, ``dx`` (place now -
        place before, mean [pixel]), ``rotation`` (before, against the reference, from x to y [deg]), ``noise``
        (variance of the noise now / before). In ``meta``: ``by`` ('wcs' or 'stars'), ``reference`` (index), ``method``,
        ``common`` (share of the field that all frames have).

    Notes
    -----
    `gain` and `readnoise` stay None, because header values are often wrong and the set can tell its own noise;
    `header_noise` gives them to those who trust them. `exptime` is filled when every frame has one.
    """

    headers: tuple = ()
    sources: tuple = ()
    wcs: WCS | None = None
    unit: str = ""
    facts: Table | None = None
    dq: np.ndarray | None = None
    alignment: Table | None = None
    checked: InitVar[bool] = False  # whether it is known that each frame shows something

    def __post_init__(self, checked):
        self._check_form()
        if not checked:
            self._check_content()

    def header_noise(self):
        """Gain and read noise as the headers give them.

        Returns
        -------
        gain, readnoise : ndarray, (N,)
            [e-/ADU], [e-].

        Raises
        ------
        ValueError
            Names the frames whose header does not give them.
        """
        values = []
        for column, keys in (("gain", GAIN), ("readnoise", READNOISE)):
            value = np.array(self.facts[column])
            missing = [name for name, v in zip(self.names, value, strict=True) if not np.isfinite(v)]
            if missing:
                raise ValueError(
                    f"the header gives no {column} for {listed(missing)} (none of {', '.join(keys)} is a positive "
                    "number); give gain and readnoise, or let them be found from the set"
                )
            values.append(value)
        return tuple(values)


@dataclass
class _Frame:
    """Where one frame is, before any pixel is read."""

    path: Path
    hdu: int
    plane: int | None
    header: fits.Header
    extname: str
    image: StoredImage
    mask: StoredImage | None
    name: str = ""
    proven: bool = False  # whether it is known that it is whole and shows something
    wcs: list | tuple = ()  # of one, where it was read

    @property
    def shape(self):
        return self.image.shape[-2:]

    def __str__(self):
        return self.image.label


def read_image_set(source, *, extension=None, shifts=None, skip_bad=False, on_demand=False):
    """Read an image set from FITS.

    Parameters
    ----------
    source : str, Path or list of them
        FITS files in the order of the frames; a directory (its FITS files in the natural order of their
        names); a glob pattern; a manifest (a text file with one path per line, relative to the manifest; ``#`` starts
        a comment); a FITS cube (a frame per plane); or a multi-extension file (a frame per image extension). With
        ``.fits``, ``.fit``, ``.fts``, also ``.gz`` or ``.fz``. Files are only read.
    extension : str or int, optional
        The extension that holds the frames: ``'SCI'``, ``'SCI,2'`` (second of that name) or an index. None =
        every image; where a file has SCI extensions only those, and never the errors, masks and weights beside them.
    shifts : str or Path, optional
        A file that tells by how much the registration moved each frame, see `glue_cleanset.io.shifts.read_shifts`.
        None = what LTV1 and LTV2 of the headers tell, where all have them and they differ.
    skip_bad : bool
        Leave out what cannot be used instead of raising: files that are empty, truncated, damaged, no FITS, or hold no
        image; frames whose shape is not that of most of them, without finite unmasked pixel, or constant.
    on_demand : bool
        Load no pixel: `frames`, `mask` and `dq` are read from the files when and as far as they are needed (see
        `glue_cleanset.io.frames.FitsFrames` for what that costs), and the files must stay as they are. A few rows of
        each frame are read to tell whether it can be used; all of it where these leave doubt, and, once, all of a
        compressed file.

    Returns
    -------
    FitsImageSet
        Integer data keep their integer type (unsigned through BZERO too) unless pixels are BLANK (on demand: may be,
        the header declares a BLANK); these are NaN. A MASK or DQ extension beside the image becomes the mask.

    Raises
    ------
    BadFramesError
        An OSError and a ValueError. Names all files and frames that cannot be used; with `skip_bad`, where fewer than
        two are left.
    FileNotFoundError
        Where a file, a file that the manifest names, or the file of shifts does not exist.
    OSError
        Where what is named is neither a FITS file nor a list of them.
    ValueError, TypeError
        Where the files hold no set: one frame, no shape that most frames have, several images and no word which; where
        the file of shifts does not give those of the frames.

    Warns
    -----
    UserWarning
        Which frames are left out, and why.
    """
    files, bad = _find_files(source)
    frames = _find_all_frames(files, extension, bad)
    if len(frames) + len(bad) == 1 and frames:
        raise ValueError(f"{frames[0]} is one frame; one frame cannot be compared with itself, give at least 2")
    for frame, name in zip(frames, _unique_names(frames), strict=True):
        frame.name = name
    total = len(frames) + len(bad)
    frames = _of_one_shape(frames, bad)
    pixels, mask, dq, frames = _read_pixels(frames, bad, on_demand) if frames else (None, None, None, [])
    _judge_bad(bad, total, len(frames), skip_bad)

    names = [f.name for f in frames]
    if shifts is None:
        moved, moved_source = header_shifts([f.header for f in frames]), "headers"
    else:
        called = [(f.name, f.path.name, frame_stem(f.path)) for f in frames]
        moved, moved_source = read_shifts(shifts, called), "file"
    table = Table([{"name": f.name, **frame_facts(f.header)} for f in frames])
    for column, unit in (("gain", "electron / adu"), ("readnoise", "electron"), ("exptime", "s")):
        table[column].unit = unit
    exptime = np.array(table["exptime"])
    sources = tuple((f.path, f.hdu, f.plane) for f in frames)
    return FitsImageSet(
        pixels,
        mask=mask,
        exptime=exptime if (exptime > 0).all() else None,
        names=tuple(names),
        times=frame_times(table["date"], exptime),
        shifts=moved,
        shifts_source=moved_source,
        headers=tuple(f.header for f in frames),
        sources=sources,
        wcs=(frames[0].wcs or read_wcs(sources[:1]))[0],
        unit=str(frames[0].header.get("BUNIT", "")).strip(),
        facts=table,
        dq=dq,
        checked=True,
    )


def _judge_bad(bad, total, left, skip_bad):
    """Raise where frames are bad, or warn of those that are left out; `bad` is what is wrong with each."""
    if not bad:
        return
    texts = bad[:_NAMED] + ([f"and {len(bad) - _NAMED} more"] if len(bad) > _NAMED else [])
    count = f"{len(bad)} of {total} frames" if total > 1 else "the frame"
    if not skip_bad:
        hint = "; leave them out (skip_bad=True, --skip-bad)" if left > 1 else ""
        raise BadFramesError(f"{count} cannot be used: {'; '.join(texts)}{hint}", bad, left)
    if left < 2:
        rest = f"{left or 'none'} {'is' if left == 1 else 'are'} left, give at least 2"
        raise BadFramesError(f"{count} cannot be used, {rest}: {'; '.join(texts)}", bad, left)
    warnings.warn(f"{count} are left out: {'; '.join(texts)}", stacklevel=3)


# --- which files -----------------------------------------------------------------------------------------------------


def find_fits_files(source):
    """List the FITS files that `source` means, in the order of the frames.

    Parameters
    ----------
    source : str, Path or list of them
        As for `read_image_set`.

    Returns
    -------
    list of Path

    Raises
    ------
    FileNotFoundError, OSError, ValueError
        Where there is no such file, one is no FITS file, or one is named twice.
    """
    files, bad = _find_files(source)
    if bad:
        raise OSError("; ".join(bad[:_NAMED]))
    return files


def _find_files(source):
    """The FITS files that `source` means, and what is wrong with those that are none."""
    items = [source] if isinstance(source, (str, Path)) else source
    if not isinstance(items, Iterable):
        raise TypeError(f"source is {source!r}; give a path or a list of paths")
    bad = []
    files = [path for item in items for path in _expand(Path(item), bad)]
    if not files and not bad:
        raise ValueError("no frames are given; give FITS files, a directory or a manifest")
    twice = [path for path, count in Counter(path.resolve() for path in files).items() if count > 1]
    if twice:
        raise ValueError(f"{twice[0].name} is given twice; a frame cannot be compared with itself")
    return files, bad


def _expand(path, bad):
    if path.is_dir():
        return _in_directory(path, bad)
    if path.exists():
        if _SUFFIX.search(path.name):
            return _only_fits([path], bad)
        return [path] if _is_fits(path) else _in_manifest(path, bad)
    if glob.has_magic(str(path)):
        found = sorted((Path(p) for p in glob.glob(str(path), recursive=True)), key=_natural)
        if found:
            return [file for entry in found if not entry.is_dir() for file in _expand(entry, bad)]
        raise FileNotFoundError(f"{path}: no file matches this pattern")
    raise FileNotFoundError(f"{path} does not exist")


def _only_fits(paths, bad):
    """Those that begin as FITS files do; of the others `bad` is told."""
    files = []
    for path in paths:
        try:
            if _is_fits(path):
                files.append(path)
            else:
                bad.append(f"{path} is not a FITS file")
        except OSError as error:
            bad.append(_about(path, error))
    return files


def _about(path, error):
    """The text of an error, which names the file."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if str(path) in text else f"{path} cannot be read: {text}"


def _in_directory(path, bad):
    files = sorted((p for p in path.iterdir() if p.is_file() and not p.name.startswith(".")), key=_natural)
    files = [p for p in files if _SUFFIX.search(p.name) and not _OUTPUT.search(p.name)]
    raw = [p for p in files if not frame_stem(p).endswith(_CLEANED)]
    files = raw or files
    if not files:
        raise FileNotFoundError(f"{path} holds no FITS files (.fits, .fit, .fts, also .gz or .fz)")
    return _only_fits(files, bad)


def _in_manifest(path, bad):
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise OSError(f"{path} is neither a FITS file nor a text file that lists some") from None
    files = []
    for number, line in enumerate(lines, start=1):
        entry = line.split("#")[0].strip()
        if not entry:
            continue
        file = path.parent / entry
        if not file.is_file():
            raise FileNotFoundError(
                f"{path}, line {number}: {entry!r} does not exist; a manifest lists one file per line"
            )
        files.append(file)
    if not files:
        raise ValueError(f"{path} lists no files")
    return _only_fits(files, bad)


def _is_fits(path):
    """Whether the content begins as FITS; an empty file is an error of its own."""
    try:
        with open(path, "rb") as file:
            start = file.read(9)
        if not start:
            raise OSError(f"{path} is empty")
        if _is_gzipped(path):
            with gzip.open(path) as file:
                start = file.read(9)
    except (EOFError, ZlibError, gzip.BadGzipFile) as error:
        raise OSError(f"{path} is truncated or damaged: {error}") from None
    return start == b"SIMPLE  ="


def _is_gzipped(path):
    with open(path, "rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _natural(path):
    """Sort key that puts frame 2 before frame 10."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", path.name)], str(path)


def frame_stem(path):
    """The name of a FITS file without its suffixes."""
    return _SUFFIX.sub("", Path(path).name)


def _unique_names(frames):
    """What the frames are called, in tables and in the names of files."""
    count = Counter(f.path for f in frames)
    hdus = defaultdict(set)
    for f in frames:
        hdus[f.path].add(f.hdu)
    names = []
    for f in frames:
        name = frame_stem(f.path)
        if len(hdus[f.path]) > 1:
            # the file's own name for it, and its number within the file
            name += f"_{re.sub('[^A-Za-z0-9+-]', '', f.extname)}{f.hdu}"
        if f.plane is not None:
            name += f"_{f.plane + 1:0{len(str(count[f.path]))}d}"
        names.append(name)
    return distinct(names)


# --- which images of a file ------------------------------------------------------------------------------------------


def _open(path, stream=None):
    """The file's HDUs, read-only, integers as they are stored; `stream` gives its bytes where it is open already."""
    try:
        with warnings.catch_warnings():
            # truncation is an error of ours; cards that break the standard are none of our business
            warnings.simplefilter("ignore", AstropyWarning)
            return fits.open(stream or path, mode="readonly", do_not_scale_image_data=True)
    except _UNREADABLE as error:
        raise _damaged(path, error) from None


def _damaged(path, error):
    text = str(error)
    return OSError(text if str(path) in text else f"{path} cannot be read as FITS, it is truncated or damaged: {text}")


def _go_through(path, hdus, stream):
    """Read all headers; raise where the file is cut off, which astropy passes over with all that follows: a mask."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyWarning)
            info = hdus[len(hdus) - 1].fileinfo()
            info["file"].seek(info["datLoc"] + info["datSpan"])
            if info["file"].read(8) == b"XTENSION":
                raise OSError(f"the header of extension {len(hdus)} is cut off")
            if stream is not None:
                stream.seek(0, os.SEEK_END)  # where the check sum is, which tells of damage
            _check_complete(path, hdus, len(hdus) - 1)
    except _UNREADABLE as error:
        raise _damaged(path, error) from None


def _find_all_frames(files, extension, bad):
    """The frames of all files; of the files that cannot be read, or hold none, `bad` is told."""
    frames, alone = [], len(files) + len(bad) == 1
    for path in files:
        try:
            with PassedFile(path) if _is_gzipped(path) else nullcontext() as stream, _open(path, stream) as hdus:
                _go_through(path, hdus, stream)
                found = _find_frames(path, hdus, extension, alone)
                if not frames:
                    found[0].wcs = [_celestial(hdus, path, found[0].hdu)]
            for frame in found:
                frame.proven = stream is not None and _is_proven(frame, stream)
            frames += found
        except _AmbiguousError:
            raise
        except _UNREADABLE as error:
            bad.append(_about(path, error))
    return frames


def _is_proven(frame, stream):
    """Whether some rows that were passed show that a frame can be used; where not nothing is known."""
    try:
        _check_mask(frame)
        values, bad = stream.some_rows(frame.image)
        bad = np.zeros(values.shape, bool) if bad is None else bad
        if frame.mask is not None:
            bad = bad | (stream.some_rows(frame.mask)[0] != 0)
    except _UNREADABLE:  # (also where there are none, as of what is compressed by tiles)
        return False
    return not content_fault(values[None], bad[None], 0)


class _AmbiguousError(ValueError):
    """No fault of a file: the person has to say which of its images is meant."""


def _find_frames(path, hdus, extension, alone):
    images = [i for i, hdu in enumerate(hdus) if hdu.is_image and len(hdu.shape)]
    if extension is None:
        chosen = [i for i in images if _name(hdus, i) == "SCI"]
        if len(chosen) > 1 and not alone:
            raise _AmbiguousError(
                f"{path} has {len(chosen)} SCI extensions: name one of them (extension 'SCI,1') or take all ('SCI')"
            )
        chosen = chosen or [i for i in images if _name(hdus, i) not in _COMPANIONS]
    else:
        chosen = _named(path, hdus, extension)
    if not chosen:
        raise ValueError(f"{path} holds no image; it has {_listing(hdus)}")
    frames = []
    for i in chosen:
        hdu = hdus[i]
        label = str(path) if len(images) == 1 else f"{path}[{_name(hdus, i) or i}]"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyWarning)
            _check_complete(path, hdus, i)
            planes = _planes(hdu.shape)
            if len(planes) > 1 or len(hdu.shape) < 2 or 0 in hdu.shape:
                raise ValueError(f"{label} has shape {hdu.shape}; a frame is 2-D, a cube of frames (N, ny, nx)")
            header = _frame_header(hdus, i)
        beside = _mask_beside(hdus, i, chosen)
        for plane in range(*planes) if planes else [None]:
            called = label if plane is None else f"{label} plane {plane + 1}"
            image, mask = find_image(path, hdus, i, plane, called), None
            if beside is not None:
                of_mask = plane if _planes(hdus[beside].shape) else None
                mask = find_image(path, hdus, beside, of_mask, f"{path}: {hdus[beside].name}")
            frames.append(_Frame(path, i, plane, header.copy(), _name(hdus, i), image, mask))
    return frames


def _planes(shape):
    """The axes beside those of a frame, as far as they have a length."""
    return tuple(n for n in shape[:-2] if n != 1)


def _name(hdus, i):
    name = hdus[i].name.upper().strip()
    return "" if name in ("PRIMARY", "COMPRESSED_IMAGE") else name


def _named(path, hdus, extension):
    """Indices of the image HDUs that `extension` means."""
    name, _, version = str(extension).partition(",")
    name, version = name.strip().upper(), version.strip()
    if name.lstrip("-").isdigit():
        index = int(name)
        found = [index] if 0 <= index < len(hdus) else []
    else:
        found = [i for i, hdu in enumerate(hdus) if hdu.name.upper().strip() == name]
        if version:
            found = [i for i in found if str(hdus[i].ver) == version]
    if not found:
        raise ValueError(f"{path} has no extension {str(extension)!r}; it has {_listing(hdus)}")
    found = [i for i in found if hdus[i].is_image and len(hdus[i].shape)]
    if not found:
        raise ValueError(f"extension {str(extension)!r} of {path} is no image; the file has {_listing(hdus)}")
    return found


def _listing(hdus):
    return ", ".join(
        f"{i}: {hdu.name or 'unnamed'} ({'x'.join(map(str, hdu.shape)) or 'no data'})"
        if hdu.is_image
        else f"{i}: {hdu.name or 'unnamed'} (table)"
        for i, hdu in enumerate(hdus)
    )


def _check_complete(path, hdus, i):
    """Raise where the file ends before the data; a missing end of the last block is common and harmless."""
    hdu, info = hdus[i], hdus[i].fileinfo()
    size = info["datSpan"] if isinstance(hdu, fits.CompImageHDU) else hdu.size
    if info["file"].compression == "gzip" and info["file"].tell() >= info["datLoc"] + size:
        return  # it was read to its end; to go back would be to unpack it anew
    try:
        info["file"].seek(info["datLoc"] + size - 1)
        last = info["file"].read(1)
    except _UNREADABLE:
        last = b""
    if not last:
        raise OSError(f"{path} is truncated: it ends before the data of extension {i}, which take {size} bytes")


def _mask_beside(hdus, i, frames):
    """Index of the HDU that holds the mask of image `i`, or None."""
    masks = [k for k, hdu in enumerate(hdus) if hdu.is_image and len(hdu.shape) and _name(hdus, k) in _MASKS and k != i]
    same = [k for k in masks if hdus[k].ver == hdus[i].ver and len({_name(hdus, j) for j in frames}) == 1]
    same = same if len(frames) > 1 else same or masks[:1]
    return same[0] if same else None


def _frame_header(hdus, i):
    """The header of image `i` with what it inherits, without the structure of the file."""
    header = hdus[i].header.copy()
    if i and hdus[0].header["NAXIS"] == 0 and header.get("INHERIT", True):
        header.extend(hdus[0].header, unique=True, end=True)
    if len(hdus[i].shape) > 2:
        header.remove("WCSAXES", ignore_missing=True)
    for keyword in dict.fromkeys(header):
        if _STRUCTURAL.fullmatch(keyword):
            header.remove(keyword, remove_all=True)
    return header


def _of_one_shape(frames, bad):
    """The frames that have the shape of most of them; of the others `bad` is told."""
    if not frames:
        return frames
    shape, number = Counter(f.shape for f in frames).most_common(1)[0]
    others = [f for f in frames if f.shape != shape]
    if others and 2 * number <= len(frames):
        other = next(f for f in frames if f.shape != frames[0].shape)
        raise ValueError(
            f"frames differ in shape: {frames[0]} is {frames[0].shape}, {other} is {other.shape}; "
            "register or crop them first"
        )
    bad += [f"{f} is {f.shape}, most frames are {shape}" for f in others]
    return [f for f in frames if f.shape == shape]


# --- the pixels ------------------------------------------------------------------------------------------------------


def _read_pixels(frames, bad, on_demand):
    """(frames, mask, dq) of the set, and what is known of its frames; of those that cannot be used `bad` is told."""
    pixels = _Checked(frames) if on_demand else _Loaded(frames)
    by_file = defaultdict(list)
    for f in frames:
        by_file[f.path].append(f)
    for path, here in by_file.items():
        try:
            with FitsFile(here[0].image) as file:  # each file is opened once
                for f in here:
                    try:
                        _check_mask(f)
                        pixels.add(f, file)
                    except _UNREADABLE as error:
                        bad.append(_about(path, error))
        except OSError as error:  # it could be opened before
            bad.append(_about(path, error))
    return (*pixels.result(), pixels.frames)


def _check_mask(frame):
    """Raise where what stands beside a frame is no mask of it."""
    mask, image = frame.mask, frame.image
    if mask is None:
        return
    if mask.dtype.kind == "f":
        raise TypeError(f"{mask.label} holds {mask.dtype} values; a mask is integer, nonzero = bad")
    if mask.shape[-2:] != frame.shape or _planes(mask.shape) not in ((), _planes(image.shape)):
        raise ValueError(f"{mask.label} has shape {mask.shape}, its image {image.shape}")
    if not mask.compressed and mask.offset + mask.nbytes > mask.state[0]:
        raise OSError(f"{mask.label} is truncated: the file ends before it")


def _read_one(frame, file):
    """(values, blank, flags) of a frame whose content makes it part of the set."""
    values, blank = file.read(frame.image)
    flags = None if frame.mask is None else file.read(frame.mask)[0]
    bad = None if flags is None else flags != 0
    if blank is not None:
        bad = blank if bad is None else bad | blank
    _judge_content(frame, values[None], None if bad is None else bad[None], 0)
    return values, blank, flags


def _judge_content(frame, *content):
    fault = content_fault(*content)
    if fault:
        raise ValueError(f"{frame} {fault}")


class _Checked:
    """Frames that are not loaded: of files that are not compressed some rows are looked at, where these tell enough."""

    def __init__(self, frames):
        self.frames = []

    def add(self, frame, file):
        """Take a frame; raises where it cannot be used."""
        if frame.proven:
            pass
        elif frame.image.compressed or (frame.mask is not None and frame.mask.compressed):
            _read_one(frame, file)  # only reading all of it shows that it is whole
        else:
            _judge_content(frame, *_on_demand([frame])[:2], 0)
        self.frames.append(frame)

    def result(self):
        """(frames, mask, dq) on demand."""
        return _on_demand(self.frames) if self.frames else (None, None, None)


def _on_demand(frames):
    images, masks = [f.image for f in frames], [f.mask for f in frames]
    types = [mask.dtype for mask in masks if mask is not None]
    masked = types or any(image.blank is not None for image in images)
    return (
        FitsFrames(images),
        FitsMasks(images, masks) if masked else None,
        FitsFrames(masks, np.result_type(*types)) if types else None,
    )


class _Loaded:
    """One allocation that is filled frame by frame, and what goes with it."""

    def __init__(self, frames):
        shape = (len(frames), *frames[0].shape)
        self.cube = np.empty(shape, np.result_type(*(f.image.dtype for f in frames)))
        self.blank = self.dq = None
        self.frames = []

    def add(self, frame, file):
        """Read a frame into the next place; raises where it cannot be used."""
        values, blank, flags = _read_one(frame, file)
        place, shape = len(self.frames), self.cube.shape
        if blank is not None:
            if self.cube.dtype.kind in "iu":  # rare: BLANK is nearly always declared in vain
                self.cube = self.cube.astype(blank_dtype(self.cube.dtype))
            values = np.where(blank, np.nan, values)
            if self.blank is None:
                self.blank = np.zeros(shape, bool)
            self.blank[place] = blank
        self.cube[place] = values
        if flags is not None:
            if self.dq is None:
                self.dq = np.zeros(shape, flags.dtype)
            self.dq = self.dq.astype(np.result_type(self.dq, flags), copy=False)
            self.dq[place] = flags
        self.frames.append(frame)

    def result(self):
        """(frames, mask, dq)."""
        n = len(self.frames)
        cube, blank, dq = (part if part is None else part[:n] for part in (self.cube, self.blank, self.dq))
        if n < len(self.cube) and n and blank is None:  # the type is not that of frames that are left out
            cube = cube.astype(np.result_type(*(f.image.dtype for f in self.frames)), copy=False)
        mask = None if dq is None else dq != 0
        if blank is not None:
            mask = blank if mask is None else mask | blank
        return cube, mask, dq


def read_wcs(sources):
    """Celestial coordinates of frames, from their files.

    Parameters
    ----------
    sources : sequence of (Path, int, int or None)
        As `FitsImageSet.sources`.

    Returns
    -------
    list of astropy.wcs.WCS or None
        None where a header has none, or, with a warning, where it cannot be read.
    """
    found = {}
    for path, hdu, _ in sources:
        if (path, hdu) not in found:
            with _open(path) as hdus:
                found[path, hdu] = _celestial(hdus, path, hdu)
    return [found[path, hdu] for path, hdu, _ in sources]


def _celestial(hdus, path, hdu):
    header = hdus[hdu].header
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        try:
            wcs = WCS(header, fobj=hdus)
            return wcs.celestial if wcs.has_celestial else None
        except Exception as error:  # of any kind: the header is a stranger's
            problem = error
    # a set with broken coordinates can be cleaned all the same
    warnings.warn(f"{path}: its coordinates (WCS) cannot be read: {problem}", AstropyUserWarning, stacklevel=4)
    return None
