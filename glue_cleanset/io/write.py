"""Write what a cleaning found: frames, masks, rejection map, tables."""

import os
import re
import tempfile
import textwrap
import warnings
from pathlib import Path
from uuid import uuid4

import numpy as np
from astropy.io import fits
from astropy.io.fits.verify import VerifyWarning

from .. import __version__
from ..core.names import distinct, listed
from ..core.settings import KINDS
from .align import describe_alignment
from .sky import locate_events, locate_tracks

__all__ = [
    "PERHAPS",
    "check_output",
    "file_stems",
    "frame_hdus",
    "frame_headers",
    "free_bits",
    "in_place",
    "set_contents",
    "write_content",
    "write_result",
]

_HISTORY_WIDTH = 72
_LAST_BIT = 1 << 61  # that has another one above, and below the sign
_NO_BITS = (
    "the data quality of the frames takes bits beyond the 61st, so that none are left for 'rejected' and 'replaced'; "
    "store it in 32 bits or fewer"
)
_LINES = 50_000  # of a table that are written at a time
_FEW = 1000  # of them tell whether values are repeated
# only the result tells whether there is anything to write
PERHAPS = ("hot_pixels.fits", "tracks.ecsv", "event_pixels.fits")


def check_output(image_set, outdir, *, overwrite=False):
    """Find out, before any work, whether a result can be written; nothing is created.

    Parameters
    ----------
    image_set : ImageSet
        The set to be cleaned; its names give the names of the files.
    outdir : str or Path
        Where the files shall go; created later where it is missing.
    overwrite : bool
        Whether files that exist may be replaced. The frames themselves never are.

    Returns
    -------
    list of Path
        The files that `write_result` will write, in its order; but for ``hot_pixels.fits`` and ``tracks.ecsv``, of
        which only the result will tell whether there is anything to write. Where they are already they count as the
        others do.

    Raises
    ------
    FileExistsError
        Where files are there already, or would replace the frames.
    OSError
        Where the folder cannot be written, or has folders of the names of the files.
    """
    outdir = Path(outdir)
    bases = file_stems(image_set.names)
    names = [f"{base}{suffix}.fits" for base in bases for suffix in ("_crclean", "_crmask")]
    paths = [outdir / name for name in [*names, "rejection_map.fits", "events.ecsv", "summary.ecsv"]]

    inputs = {Path(source[0]).resolve() for source in getattr(image_set, "sources", ())}
    perhaps = [outdir / name for name in PERHAPS]
    own = [path for path in (*paths, *perhaps) if path.resolve() in inputs]
    if own:
        raise FileExistsError(f"{own[0]} is one of the frames; choose another output folder")
    folders = [path for path in (*paths, *perhaps) if path.is_dir()]
    if folders:
        raise IsADirectoryError(f"{folders[0]} is a folder, where a file is to go; choose another output folder")
    there = [path for path in (*paths, *perhaps) if path.exists() or path.is_symlink()]
    if there and not overwrite:
        raise FileExistsError(
            f"{listed(there, most=1)} exists already; choose another output folder, or allow to overwrite"
        )

    folder = outdir
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise NotADirectoryError(f"the output folder {outdir} cannot be made: {folder} is a file")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise type(error)(f"the output folder {outdir} cannot be written: {error.strerror or error}") from None
    return paths


def write_result(result, image_set, outdir, *, overwrite=False, progress=None):
    """Write the cleaned frames, their masks, the rejection map and the tables.

    Per frame ``<name>_crclean.fits`` (the header of the frame with CRCORR, REJ_RATE and HISTORY) and
    ``<name>_crmask.fits`` (data quality: one bit for rejected, one for replaced, above the bits that the input's
    own data quality uses, which is kept; CRREJBIT and CRREPBIT give their values). For the set
    ``rejection_map.fits``, ``hot_pixels.fits`` (where the detector's pattern was seen: the hot and cold pixels in the
    frame of the detector, and the shifts of the frames), ``tracks.ecsv`` (where anything moves; with its motion on the
    sky where the frames have dates and a celestial WCS), ``events.ecsv`` (likewise with ICRS ``ra`` and ``dec``) and
    ``summary.ecsv``. All are written under temporary names first, so that
    a failure leaves nothing.

    Parameters
    ----------
    result : CleanResult
        What to write.
    image_set : ImageSet
        The set it was found in; a `FitsImageSet` for the headers.
    outdir : str or Path
        Created where it is missing.
    overwrite : bool
        Whether files that exist may be replaced.
    progress : callable, optional
        ``progress(done, total)`` is called after each file; may raise to stop.

    Returns
    -------
    list of Path

    Raises
    ------
    FileExistsError, OSError
        As `check_output`.
    """
    paths = check_output(image_set, outdir, overwrite=overwrite)
    of_set = set_contents(result, image_set)
    paths += [Path(outdir) / name for name in PERHAPS if name in of_set]
    headers, dq = frame_headers(result, image_set), getattr(image_set, "dq", None)
    bits = free_bits(dq)

    def contents():
        for i, header in enumerate(headers):
            own = None if dq is None else dq[i]
            yield from frame_hdus(header, result.cleaned[i], result.rejected[i], own, bits)
        yield from of_set.values()

    missing = [folder for folder in (Path(outdir), *Path(outdir).parents) if not folder.exists()]
    Path(outdir).mkdir(parents=True, exist_ok=True)
    temporary = [path.with_name(f".{path.name}.{os.getpid()}.part") for path in paths]
    try:
        for done, (path, content) in enumerate(zip(temporary, contents(), strict=True), start=1):
            write_content(path, content)
            if progress is not None:
                progress(done, len(temporary))
        for part, path in zip(temporary, paths, strict=True):
            os.replace(part, path)
        for name in set(PERHAPS) - set(of_set):  # that of an earlier result would speak of another cleaning
            (Path(outdir) / name).unlink(missing_ok=True)
    except BaseException:
        for part in temporary:
            part.unlink(missing_ok=True)
        for folder in missing:
            if not any(folder.iterdir()):
                folder.rmdir()
        raise
    return paths


def frame_headers(result, image_set):
    """The headers of the cleaned frames, which tell what was done: list of Header."""
    headers = getattr(image_set, "headers", ()) or (fits.Header(),) * len(image_set)
    return [_provenance(header, result, image_set, i) for i, header in enumerate(headers)]


def frame_hdus(header, cleaned, rejected, dq, bits):
    """What is written of one frame.

    Parameters
    ----------
    header : astropy.io.fits.Header
        Of `frame_headers`.
    cleaned, rejected : ndarray, (ny, nx)
    dq : ndarray, (ny, nx), integer, or None
        The frame's own data quality.
    bits : (int, int)
        Of `free_bits`.

    Returns
    -------
    cleaned, mask : astropy.io.fits.PrimaryHDU
    """
    return fits.PrimaryHDU(_storable(cleaned), header), _mask_hdu(rejected, header, dq, bits)


def set_contents(result, image_set):
    """What is written of the whole set: a dict of HDUList or Table, by the name of the file."""
    wcs = getattr(image_set, "wcs", None)
    headers = getattr(image_set, "headers", ()) or (fits.Header(),)
    contents = {
        "rejection_map.fits": _map_hdus(result, image_set, headers[0]),
        "events.ecsv": _described(locate_events(result.events, wcs), result),
        "summary.ecsv": _described(result.summary, result),
    }
    if result.hot_pixels is not None:
        contents["hot_pixels.fits"] = _hot_pixel_hdus(result.hot_pixels, result, image_set)
    if result.tracks is not None and len(result.tracks):
        tracks = locate_tracks(result.tracks, result.track_positions, wcs, image_set.times)
        contents["tracks.ecsv"] = _described(tracks, result)
    return contents


class _Stream:
    """A file that astropy takes for something else, and writes to by `write`.

    To what it takes for a file it writes by `numpy.ndarray.tofile`, which where a disk is full may cut off the end and
    not tell; and of an error it hands on the text alone.
    """

    error = None

    def __init__(self, file):
        self._file, self.tell, self.name = file, file.tell, file.name

    def write(self, content):
        try:
            return self._file.write(content)
        except OSError as error:
            self.error = error
            raise


def in_place(path, save):
    """Have save(part) write a file, which appears under its own name whole or not at all."""
    # (workers of a cluster may have begun with the same one)
    part = path.with_name(f"{path.name}.{uuid4().hex[:8]}.part")
    try:
        save(part)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_content(path, content):
    """Write an HDU, an HDUList or a Table."""
    if hasattr(content, "writeto"):
        with warnings.catch_warnings(), open(path, "wb") as file:
            # cards that break the standard are common: what can be mended is, the rest is kept
            warnings.simplefilter("ignore", VerifyWarning)
            stream = _Stream(file)
            try:
                content.writeto(stream, output_verify="silentfix+ignore")
            except OSError as error:
                raise stream.error or error from None
        return
    with open(path, "w", encoding="utf-8") as file:
        content[:0].write(file, format="ascii.ecsv")
        for first in range(0, len(content), _LINES):
            columns = [_as_text(column[first : first + _LINES]) for column in content.columns.values()]
            file.writelines(" ".join(line) + "\n" for line in zip(*columns, strict=True))


def _as_text(column):
    """The values of a column as ECSV has them, as a list; astropy's own writer takes five times as long."""
    values = np.asarray(column)
    which = None
    if values.dtype.kind == "U" or 2 * np.unique(values[:_FEW]).size < min(values.size, _FEW):  # each once
        values, which = np.unique(values, return_inverse=True)
    words = list(map(str, values if values.dtype.kind == "f" and values.itemsize < 8 else values.tolist()))
    if values.dtype.kind == "U":
        words = [word if re.fullmatch(r"[^\s\"]+", word) else '"' + word.replace('"', '""') + '"' for word in words]
    return words if which is None else np.array(words, object)[which].tolist()


def _storable(values):
    """Floats of a length that FITS has, 4 or 8 bytes."""
    length = min(max(values.dtype.itemsize, 4), 8)
    return values.astype(f"f{length}", order="C", copy=False)


def file_stems(names):
    """Names of files from names of frames: no second _crclean on a frame cleaned before, no character that hurts."""
    return distinct(re.sub(r"[^\w.+,=-]+", "_", name.removesuffix("_crclean")).lstrip(".") or "frame" for name in names)


def _provenance(header, result, image_set, i):
    header = header.copy()
    settings, noise = result.settings, result.noise
    rejected = int(result.summary["pixels"][i])
    if settings.repair == "none":
        header["CRCORR"] = ("OMIT", "rejected pixels are marked in the mask only")
    else:
        header["CRCORR"] = ("COMPLETE", "rejected pixels are replaced")
    seconds = None if image_set.exptime is None else image_set.exptime[i]
    header["REJ_RATE"] = (
        (rejected, "rejected pixels in this exposure")
        if seconds is None
        else (rejected / seconds, "[pix/s] rejected pixels per second of exposure")
    )
    header["CRNPIX"] = (rejected, "[pix] rejected pixels")
    for keyword, value, text in (
        ("CRGAIN", noise.gain[i], f"[electron/adu] gain used, {noise.gain_source}"),
        ("CRRDNOIS", noise.readnoise[i], f"[electron] read noise used, {noise.readnoise_source}"),
    ):
        header.remove(keyword, ignore_missing=True)
        if np.isfinite(value):  # FITS has no NaN here
            header[keyword] = (float(value), text)
    past = [str(line) for line in header.get("HISTORY", ())]
    lines = _history(result)
    if not set(lines) <= set(past):
        for line in lines:
            header.add_history(line)
    return header


def _history(result):
    prefix = f"glue_cleanset {__version__}: "
    width = _HISTORY_WIDTH - len(prefix)
    settings = " ".join(text.replace(" ", "") for text in result.settings.describe())
    return [prefix + line for text in (settings, *result.overrules) for line in textwrap.wrap(text, width)]


def free_bits(dq):
    """Values of the two bits above those in use: (rejected, replaced); ValueError where FITS has none left."""
    used = 0
    if dq is not None and dq.dtype.kind == "f":  # what holds unsigned and signed numbers of 64 bits
        raise ValueError(_NO_BITS)
    for flags in () if dq is None else dq:
        used |= int(np.bitwise_or.reduce(flags, axis=None))
    if used < 0:  # the sign is a bit too
        used += 1 << (8 * dq.dtype.itemsize)
    first = 1 << used.bit_length()
    if first > _LAST_BIT:
        raise ValueError(_NO_BITS)
    return first, 2 * first


def _mask_hdu(rejected, header, dq, bits):
    reject, replace = bits
    dtype = next(t for t in ("u1", "i2", "i4", "i8") if 2 * replace - 1 <= np.iinfo(t).max)
    value = reject + (replace if header["CRCORR"] == "COMPLETE" else 0)
    flags = np.where(np.ascontiguousarray(rejected), np.array(value, dtype), np.array(0, dtype))
    if dq is not None:
        own = dq
        if own.dtype.kind == "i":  # a sign bit stays where it was in the wider type
            own = own.view(f"u{own.dtype.itemsize}")
        flags |= own.astype(dtype)
    header = header.copy()
    for keyword in ("BUNIT", "CRCORR", "REJ_RATE"):
        header.remove(keyword, ignore_missing=True)
    header["CRREJBIT"] = (reject, "bit value in the data: pixel was rejected")
    header["CRREPBIT"] = (replace, "bit value in the data: pixel was replaced")
    return fits.PrimaryHDU(flags, header)


def _map_hdus(result, image_set, first):
    header = fits.Header()
    wcs = getattr(image_set, "wcs", None)
    if wcs is not None:
        header.update(wcs.to_header(relax=True))
    header["NFRAMES"] = (len(image_set), "frames of the set")
    for i, name in enumerate(image_set.names, start=1):
        header[f"FRAME{i}"] = re.sub(r"[^ -~]", "?", name)  # FITS knows ASCII only
    alignment = getattr(image_set, "alignment", None)
    if alignment is not None:
        header.add_history(re.sub(r"[^ -~]", "?", f"glue_cleanset {__version__}: {describe_alignment(alignment)}"))
    for line in _history(result):
        header.add_history(line)
    images = [
        fits.PrimaryHDU(result.rejection_map.astype(np.int32 if len(image_set) > 32767 else np.int16), header),
        fits.ImageHDU(result.rejection_count.astype(np.int16), name="TIMES_REJECTED"),
        fits.ImageHDU(result.peak_significance, name="PEAK_SIGNIFICANCE"),
        fits.ImageHDU(result.reference, name="REFERENCE"),
    ]
    if result.kind_map is not None:
        kinds = fits.ImageHDU(result.kind_map, name="KIND")
        for code, kind in enumerate(KINDS, start=1):
            kinds.header[f"KIND{code}"] = (kind, f"what {code} means")
        images.append(kinds)
    return fits.HDUList(images)


def _hot_pixel_hdus(hot_pixels, result, image_set):
    header = fits.Header()
    header["BUNIT"] = ("adu", "mean excess; positive = hot, negative = cold")
    header["NFRAMES"] = (len(image_set), "frames of the set")
    header["NHOT"] = (hot_pixels.hot, "[pix] hot pixels")
    header["NCOLD"] = (hot_pixels.cold, "[pix] cold pixels")
    header["SHIFTSRC"] = (hot_pixels.source, "where the shifts of the frames come from")
    place = fits.Header()
    for axis, first in ((1, hot_pixels.origin[1]), (2, hot_pixels.origin[0])):
        place[f"LTV{axis}"] = (float(-first), "detector pixel zero in this image [pix]")
        place[f"LTM{axis}_{axis}"] = 1.0
    header.update(place)
    for line in _history(result):
        header.add_history(line)
    shifts = fits.BinTableHDU.from_columns(
        [
            fits.Column("NAME", "64A", array=[re.sub(r"[^ -~]", "?", name) for name in image_set.names]),
            fits.Column("DY", "D", unit="pix", array=hot_pixels.shifts[:, 0]),
            fits.Column("DX", "D", unit="pix", array=hot_pixels.shifts[:, 1]),
        ],
        name="SHIFTS",
    )
    shifts.header["COMMENT"] = "detector pixel (x, y) is at (x + DX, y + DY) of the frame; NaN = not known"
    return fits.HDUList(
        [
            fits.PrimaryHDU(hot_pixels.image, header),
            fits.ImageHDU(hot_pixels.seen.astype(np.int32), place, name="TIMES_SEEN"),
            fits.ImageHDU(hot_pixels.visible.astype(np.int32), place, name="TIMES_VISIBLE"),
            shifts,
        ]
    )


def _described(table, result):
    table = table.copy(copy_data=False)
    table.meta["software"] = f"glue_cleanset {__version__}"
    table.meta["settings"] = result.settings.describe()
    if result.overrules:
        table.meta["overrules"] = list(result.overrules)
    return table
