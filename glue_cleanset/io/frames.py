"""Images in files: where their values lie, and reading some or all of them."""

import os
import threading
import warnings
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from gzip import GzipFile
from io import FileIO
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from ..core.ondemand import FramesOnDemand

__all__ = [
    "FitsFile",
    "FitsFrames",
    "FitsMasks",
    "PassedFile",
    "SavedFrames",
    "StoredImage",
    "blank_dtype",
    "find_image",
    "kept_open",
]

_KEPT = 2  # frames of compressed files that stay in memory


@dataclass(frozen=True)
class StoredImage:
    """Where and how a 2-D image, or a plane of a cube, is stored: all that its header has to tell a reader.

    Attributes
    ----------
    path : Path
        The file; absolute.
    hdu : int
        Index of the HDU.
    plane : int
        Of the cube; 0 where the image is 2-D.
    shape : tuple of int
        Of all that the HDU holds.
    dtype, stored : numpy.dtype
        Of the values, native; of what is in the file.
    scale, zero : float
        BSCALE and BZERO.
    blank : int or None
        What stands for a pixel without value; None for floats too.
    offset : int or None
        Of the first value in the file [bytes], decompressed where it is gzipped; None = compressed by tiles.
    gzipped : bool
    tile : int
        Rows of a tile.
    state : (int, int)
        Size and time of modification of the file when it was looked at.
    label : str
        What a person calls the image.
    """

    path: Path
    hdu: int
    plane: int
    shape: tuple
    dtype: np.dtype
    stored: np.dtype
    scale: float
    zero: float
    blank: int | None
    offset: int | None
    gzipped: bool
    tile: int
    state: tuple
    label: str

    @property
    def compressed(self):
        """Whether it takes more than a look at some bytes to know some rows."""
        return self.gzipped or self.offset is None

    @property
    def nbytes(self):
        """What the image takes in a file that is not compressed."""
        return self.shape[-2] * self.shape[-1] * self.stored.itemsize


def find_image(path, hdus, i, plane, label):
    """Where and how an image is stored.

    Parameters
    ----------
    path : Path
    hdus : astropy.io.fits.HDUList
        Of the file.
    i : int
        Index of the HDU, an image.
    plane : int or None
        Of a cube.
    label : str
        What a person calls it.

    Returns
    -------
    StoredImage
    """
    hdu = hdus[i]
    header, info = hdu.header, hdu.fileinfo()
    dtype, stored = _dtypes(header)
    ny, nx = hdu.shape[-2:]
    tiles = isinstance(hdu, fits.CompImageHDU)
    facts = os.stat(path)
    return StoredImage(
        path=Path(os.path.abspath(path)),
        hdu=i,
        plane=plane or 0,
        shape=hdu.shape,
        dtype=dtype,
        stored=stored,
        scale=header.get("BSCALE", 1),
        zero=header.get("BZERO", 0),
        blank=header.get("BLANK") if stored.kind != "f" else None,
        offset=None if tiles else info["datLoc"] + (plane or 0) * ny * nx * stored.itemsize,
        gzipped=info["file"].compression == "gzip",
        tile=hdu.tile_shape[-2] if tiles else 1,
        state=(facts.st_size, facts.st_mtime_ns),
        label=label,
    )


def _dtypes(header):
    """dtype of the values, native, and of what is stored."""
    bits = header["BITPIX"]
    stored = np.dtype({8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}[bits])
    zero, scale = header.get("BZERO", 0), header.get("BSCALE", 1)
    if bits < 0 or (scale == 1 and zero == 0):
        return stored.newbyteorder("="), stored
    if scale == 1 and zero == (-128 if bits == 8 else 2 ** (bits - 1)):
        return np.dtype(f"{'i' if bits == 8 else 'u'}{stored.itemsize}"), stored
    return np.dtype("f4" if bits < 32 else "f8"), stored


class FitsFile:
    """A file while its images are read; a context manager, for one thread.

    Parameters
    ----------
    image : StoredImage
        Any of the file.

    Raises
    ------
    OSError
        Where the file is gone, or another one than it was.
    """

    def __init__(self, image):
        try:
            facts = os.stat(image.path)
        except FileNotFoundError:
            raise FileNotFoundError(f"{image.path} is not there any more; put it back, or open the set again") from None
        if (facts.st_size, facts.st_mtime_ns) != image.state:
            raise OSError(f"{image.path} has changed since it was opened; open the set again")
        self.path = image.path
        self._streams, self._hdus = [], None
        self._closing = ExitStack()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._closing.close()

    def read(self, image, first=0, last=None):
        """Rows of an image of this file.

        Parameters
        ----------
        image : StoredImage
        first, last : int
            Rows first ... last - 1; default all.

        Returns
        -------
        values : ndarray, (last - first, nx), native
            `image.dtype`; float64 where BSCALE and BZERO turn integers into floats.
        blank : ndarray of bool, or None
            Which of them are BLANK; None = none.

        Raises
        ------
        OSError
            Where the file is damaged.
        """
        last = image.shape[-2] if last is None else last
        try:
            stored = (self._tiles if image.offset is None else self._bytes)(image, first, last)
        except MemoryError:
            raise
        except Exception as error:  # of any kind: each way of compression has its own
            raise OSError(f"{image.label} cannot be read, the file is truncated or damaged: {error}") from None
        return _decode(image, stored)

    def _bytes(self, image, first, last):
        stored = np.empty((last - first, image.shape[-1]), image.stored)
        offset = image.offset + first * image.shape[-1] * image.stored.itemsize
        # to go back in a gzipped file is to unpack it anew: planes of a cube and of its mask are read by turns
        before = [stream for stream in self._streams if stream.tell() <= offset]
        if not before and len(self._streams) < 2:
            before = [self._closing.enter_context((GzipFile if image.gzipped else FileIO)(self.path))]
            self._streams += before
        stream = max(before or self._streams, key=lambda stream: stream.tell())
        if last - first < image.shape[-2] and not image.gzipped:
            _read_no_more(stream)
        _fill(stored, stream, offset)
        return stored if stored.dtype.isnative else stored.byteswap(inplace=True).view(stored.dtype.newbyteorder("="))

    def _tiles(self, image, first, last):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyWarning)  # the file was looked at before
            if self._hdus is None:
                options = {"do_not_scale_image_data": True, "decompress_in_memory": image.gzipped}
                opened = fits.open(self.path, mode="readonly", **options)
                self._hdus = self._closing.enter_context(opened)
            if first == last:
                return np.empty((0, image.shape[-1]), image.stored.newbyteorder("="))
            plane = np.unravel_index(image.plane, image.shape[:-2]) if len(image.shape) > 2 else ()
            stored = self._hdus[image.hdu].section[(*map(int, plane), slice(first, last), slice(None))]
        return stored.astype(image.stored.newbyteorder("="), copy=False)


def _read_no_more(file):
    """Let the system read no more than is asked for: where some rows of every frame of a large set are read in turn
    what it reads ahead has to go before it is needed."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)


def _fill(values, file, offset):
    """Fill an array with what a file holds from some byte on."""
    file.seek(offset)
    rest = memoryview(values.reshape(-1).view(np.uint8))
    while len(rest):
        count = file.readinto(rest)
        if not count:
            raise OSError(f"{len(rest)} bytes are missing in {file.name}")
        rest = rest[count:]


def _decode(image, stored):
    """(values, blank) of what is stored, native, which may be overwritten."""
    scale, zero = image.scale, image.zero
    if stored.dtype.kind == "f":
        real = stored.dtype.type
        return (stored if (scale, zero) == (1, 0) else stored * real(scale) + real(zero)), None
    blank = None if image.blank is None else stored == image.blank
    if blank is not None and not blank.any():
        blank = None
    if image.dtype.kind == "f":
        return stored * float(scale) + zero, blank
    if image.dtype.kind != stored.dtype.kind:
        # an offset of half the range turns the highest bit over: no wider type, no rounding
        stored ^= np.iinfo(stored.dtype).min if stored.dtype.kind == "i" else 128
        stored = stored.view(image.dtype)
    return stored, blank


class PassedFile(GzipFile):
    """A gzipped FITS file while astropy goes through it, from header to header; of what it passes some rows are kept,
    so that the file need not be unpacked once more to look at its images.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path):
        super().__init__(path, "rb")
        self._header, self._rows, self._end = b"", {}, 0

    def read(self, size=-1):
        """As of any file."""
        content = super().read(size)
        self._header += content
        return content

    def seek(self, offset, whence=os.SEEK_SET):
        """As of any file; the end is known when it was gone to."""
        if whence == os.SEEK_SET:
            if offset > self.tell():
                self._look(offset)
            self._header = b""
        place = super().seek(offset, whence)
        if whence == os.SEEK_END:
            self._end = place
        return place

    def _look(self, end):
        """Keep some rows of the image, or of the planes of a cube, that begins here."""
        begin = self.tell()
        try:
            header = fits.Header.fromstring(self._header)
            ny, row = int(header["NAXIS2"]), int(header["NAXIS1"]) * abs(int(header["BITPIX"])) // 8
        except (KeyError, ValueError, TypeError, fits.VerifyError):  # no image
            return
        if ny * row <= 0:
            return
        for plane in range(begin, end - ny * row + 1, ny * row):
            rows = range(plane + ny // 8 * row, plane + ny * row, max(1, ny // 4) * row)
            self._rows[plane] = b"".join(self._part(offset, row) for offset in rows)

    def _part(self, offset, size):
        super().seek(offset)
        return super().read(size)

    def some_rows(self, image):
        """Some rows of an image, from its first to its last, as `FitsFile.read` gives rows.

        Parameters
        ----------
        image : StoredImage
            Of this file, which was read to its end.

        Raises
        ------
        KeyError, ValueError
            Where there are none, or the file ends before the image does.
        """
        if image.offset is None or image.offset + image.nbytes > self._end:
            raise ValueError("no rows are known")
        stored = np.frombuffer(self._rows[image.offset], image.stored).reshape(-1, image.shape[-1])
        return _decode(image, stored.astype(stored.dtype.newbyteorder("=")))


# --- on demand -------------------------------------------------------------------------------------------------------

_lock = threading.Lock()
_whole = {}  # StoredImage -> what FitsFile.read gives; those used last
_kept = threading.local()  # .file: what `kept_open` keeps, or None


@contextmanager
def kept_open(image):
    """Keep the file of an image open for what this thread reads on demand; a gzipped one is unpacked once then, as far
    as images are asked for in the order in which they are stored."""
    with FitsFile(image) as file:
        _kept.file = file
        try:
            yield
        finally:
            _kept.file = None


def _read(image, first, last):
    """Rows of an image, as `FitsFile.read`; not to be changed."""
    kept = getattr(_kept, "file", None)
    if kept is not None and kept.path == image.path:
        return kept.read(image, first, last)
    if not image.compressed:
        with FitsFile(image) as file:
            return file.read(image, first, last)
    # one at a time: blocks of rows that several threads ask for are mostly those of one frame
    with _lock, FitsFile(image) as file:
        if image in _whole:
            values, blank = _whole[image] = _whole.pop(image)
        elif not image.gzipped and image.tile < image.shape[-2] and last - first < image.shape[-2]:
            return file.read(image, first, last)
        else:
            while len(_whole) >= _KEPT:
                del _whole[next(iter(_whole))]
            values, blank = _whole[image] = file.read(image)
            values.flags.writeable = False
    return values[first:last], None if blank is None else blank[first:last]


class FitsFrames(FramesOnDemand):
    """Frames of FITS files, of which only the rows that are asked for are read.

    From a file that is not compressed these bytes are read and no others. From one that is compressed by tiles (.fz)
    the tiles of these rows; the frame where a tile has all its rows. From one that is gzipped all of it, up to the end
    of the frame, each time, where it is not `kept_open`: going through a set in blocks of rows it is better to unpack
    such files before. The two frames of compressed files that were used last are kept, whole, for all sets together.
    Several threads may read; of compressed files one at a time.

    Parameters
    ----------
    images : sequence of StoredImage or None
        Of one shape. None = a frame of zeros.
    dtype : dtype, optional
        Default one that holds the values of all; floats where a header declares a BLANK, which is NaN then.

    Raises
    ------
    OSError
        On reading, where a file is damaged, gone, or changed since `images` were found.
    """

    def __init__(self, images, dtype=None):
        self.images = tuple(images)
        some = [image for image in self.images if image is not None]
        if dtype is None:
            dtype = np.result_type(*(image.dtype for image in some))
            if dtype.kind != "f" and any(image.blank is not None for image in some):
                dtype = blank_dtype(dtype)
        super().__init__((len(self.images), *some[0].shape[-2:]), dtype)

    def rows(self, i, first, last):
        """Rows first ... last - 1 of frame `i`."""
        image, last = self.images[i], min(last, self.shape[1])
        if image is None:
            return np.zeros((last - first, self.shape[2]), self.dtype)
        values, blank = _read(image, first, last)
        values = values.astype(self.dtype, copy=False)
        return values if blank is None or self.dtype.kind != "f" else np.where(blank, self.dtype.type(np.nan), values)


def blank_dtype(dtype):
    """The floats that hold integers of `dtype`, and NaN where they are BLANK."""
    return np.dtype("f4" if dtype.itemsize < 4 else "f8")


class FitsMasks(FramesOnDemand):
    """The masks beside the frames of FITS files, True = bad, read as `FitsFrames` are.

    Parameters
    ----------
    images, masks : sequences of StoredImage or None
        Where an image is BLANK and where a mask is not zero the pixel is bad. None = nowhere.
    """

    def __init__(self, images, masks):
        self.images, self.masks = tuple(images), tuple(masks)
        super().__init__((len(self.images), *self.images[0].shape[-2:]), bool)

    def rows(self, i, first, last):
        """Rows first ... last - 1 of frame `i`."""
        image, mask, last = self.images[i], self.masks[i], min(last, self.shape[1])
        bad = np.zeros((last - first, self.shape[2]), bool) if mask is None else _read(mask, first, last)[0] != 0
        blank = None if image.blank is None else _read(image, first, last)[1]
        return bad if blank is None else bad | blank


class SavedFrames(FramesOnDemand):
    """Frames in a folder, each an array in a ``.npy`` file of its own.

    Parameters
    ----------
    paths : sequence of Path
        Written by `numpy.save`, all alike.
    dtype : dtype, optional
        What their values become; default what they are.
    """

    def __init__(self, paths, dtype=None):
        self.paths = tuple(map(str, paths))
        first = np.load(self.paths[0], mmap_mode="r")
        self._offset, self._stored = first.offset, first.dtype
        super().__init__((len(self.paths), *first.shape), dtype or first.dtype)

    def rows(self, i, first, last):
        """Rows first ... last - 1 of frame `i`, as they are stored."""
        ny, nx = self.shape[1:]
        values = np.empty((max(min(last, ny) - first, 0), nx), self._stored)
        with open(self.paths[i], "rb", buffering=0) as file:
            if len(values) < ny:
                _read_no_more(file)
            _fill(values, file, self._place(first))
        return values

    def _place(self, row, column=0):
        """At which byte of its file a pixel lies."""
        return self._offset + (row * self.shape[2] + column) * self._stored.itemsize

    def part(self, i, y, x):
        """Frame `i` at ``[y, x]``."""
        if isinstance(y, slice) and x == slice(None):
            first, last, step = y.indices(self.shape[1])
            if step == 1:
                return self.rows(i, first, max(first, last))
        lines, columns = np.arange(self.shape[1])[y], np.arange(self.shape[2])[x]
        if not lines.size or not columns.size:
            return self.frame(i)[y, x]
        some, place = np.unique(lines, return_inverse=True)
        first, last, left, right = some[0], some[-1] + 1, columns.min(), columns.max() + 1
        # where much of what lies between is wanted one read is faster than many
        if 8 * some.size * (right - left) > (last - first) * self.shape[2]:
            values = self.rows(i, first, last)[some - first, left:right]
        else:
            values = self._lines(i, some.tolist(), left, right)
        place, columns = place.reshape(lines.shape), columns - left
        if isinstance(y, slice):
            return values[place][:, columns]
        return values[place][..., columns] if isinstance(x, slice) else values[place, columns]

    def _lines(self, i, lines, left, right):
        """Columns left ... right - 1 of some rows of frame `i`."""
        values = np.empty((len(lines), right - left), self._stored)
        with open(self.paths[i], "rb", buffering=0) as file:
            _read_no_more(file)
            for line, into in zip(lines, values, strict=True):
                _fill(into, file, self._place(line, int(left)))
        return values
