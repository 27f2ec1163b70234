"""What a cleaning wrote into a folder, read again: frames on demand, images and tables when they are asked for."""

import hashlib
import os
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from astropy.io import ascii, fits
from astropy.table import Column, Table

from ..core.ondemand import MappedFrames
from .frames import FitsFrames, find_image
from .write import in_place, write_content

__all__ = ["Products", "write_event_pixels"]

_MAP, _PIXELS = "rejection_map.fits", "event_pixels.fits"
_TABLES = {"events": "events.ecsv", "tracks": "tracks.ecsv", "frames": "summary.ecsv"}
_CHUNK = 16 << 20  # of the table of events that is read at a time [bytes]
# images of the rejection map: extension -> dtype in a result
_IMAGES = {
    "PRIMARY": np.uint16,
    "TIMES_REJECTED": np.uint16,
    "PEAK_SIGNIFICANCE": np.float32,
    "REFERENCE": np.float32,
    "KIND": np.uint8,
}


class Products:
    """The files that `glue_cleanset.io.write.write_result` wrote.

    Parameters
    ----------
    folder : str or Path
    digest : str, optional
        What `digest` was: of which cleaning the files have to be.

    Raises
    ------
    FileNotFoundError
        Where there is no result in the folder.
    ValueError
        Where there is another one.
    """

    def __init__(self, folder, digest=None):
        self.folder = Path(os.path.abspath(folder))
        if not (self.folder / _MAP).is_file():
            raise FileNotFoundError(
                f"the cleaned frames are not in {self.folder} any more: there is no {_MAP}; put the folder back where "
                "it was, or clean the set again"
            )
        if digest is not None and digest != self.digest:
            raise ValueError(
                f"{self.folder} holds the result of another cleaning now; put the files back that were there, or clean "
                "the set again"
            )

    @cached_property
    def digest(self):
        """Tells a cleaning from others: the same for the same rejection map."""
        with open(self.folder / _MAP, "rb") as file:
            return hashlib.file_digest(file, "blake2b").hexdigest()[:32]

    @cached_property
    def cleaned(self):
        """The repaired frames, (N, ny, nx), read on demand."""
        return FitsFrames(self._images("_crclean"))

    @cached_property
    def rejected(self):
        """Which pixels were rejected, (N, ny, nx) bool, read on demand."""
        path = self._path("_crmask", 0)
        has_bit = partial(_has_bit, fits.getval(path, "CRREJBIT"))
        return MappedFrames(FitsFrames(self._images("_crmask")), has_bit, bool)

    def image(self, name):
        """An image of the rejection map by the name of its extension, (ny, nx); None where there is no such."""
        with fits.open(self.folder / _MAP, memmap=False) as hdus:
            return np.array(hdus[name].data, _IMAGES[name]) if name in hdus else None

    def table(self, part):
        """The table of 'events', 'tracks' or 'frames'; None where there is none."""
        if part not in self._tables:
            path = self.folder / _TABLES[part]
            read = _read_events if part == "events" else _read_table
            self._tables[part] = read(path) if path.is_file() else None
        return self._tables[part]

    def columns(self, part):
        """The names of the columns of a table; it is not read for them."""
        path = self.folder / _TABLES[part]
        return _header(path)[-1].split() if path.is_file() else []

    @property
    def knows_events(self):
        """Whether `event_pixels` are there."""
        path = self.folder / _PIXELS
        return path.is_file() and fits.getval(path, "CRDIGEST", 1) == self.digest

    @cached_property
    def event_pixels(self):
        """``event_pixels`` and ``event_numbers`` of the result, (K,) int64 and int32.

        Raises
        ------
        FileNotFoundError, ValueError
            Where `write_event_pixels` has not written those of this very result.
        """
        path = self.folder / _PIXELS
        if not path.is_file():
            raise FileNotFoundError(f"{path} is not there; put it back, or clean the set again")
        if not self.knows_events:
            raise ValueError(f"{path} is of another cleaning than {_MAP} beside it; clean the set again")
        with fits.open(path, memmap=False) as hdus:
            return hdus[1].data["PIXEL"].astype(np.int64), hdus[1].data["EVENT"].astype(np.int32)

    @cached_property
    def _tables(self):
        return {}

    @cached_property
    def _names(self):
        # the registration of frames takes a while to import
        from .write import file_stems

        table = self.table("frames")
        if table is None:
            raise FileNotFoundError(
                f"{self.folder / _TABLES['frames']} is not there; put it back, or clean the set again"
            )
        return file_stems(list(table["name"]))

    def _path(self, suffix, i):
        return self.folder / f"{self._names[i]}{suffix}.fits"

    def _images(self, suffix):
        images = []
        for i, name in enumerate(self._names):
            path = self._path(suffix, i)
            if not path.is_file():
                raise FileNotFoundError(f"{path} is not there; put it back, or clean the set again")
            with fits.open(path) as hdus:
                images.append(find_image(path, hdus, 0, None, name))
        return images


def _header(path):
    """The lines of a table in ECSV up to that with the names of its columns."""
    lines = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            lines.append(line)
            if not line.startswith("#"):
                break
    return lines


def _read_table(path):
    # an empty text is a text, and nothing that is missing
    return Table.read(path, format="ascii.ecsv", fill_values=[])


def _read_events(path):
    """As `_read_table`, in a tenth of the time and of the memory: there may be millions, none with a blank in it."""
    table = _read_table("".join(_header(path)))
    found = {name: [] for name in table.colnames}
    chunks = ascii.read(
        path,
        format="fast_basic",
        guess=False,
        delimiter=" ",
        comment="#",
        fill_values=[],
        fast_reader={"chunk_size": _CHUNK, "chunk_generator": True},
    )
    for chunk in chunks:
        for name, values in found.items():
            kind = table[name].dtype
            part = np.asarray(chunk[name])
            values.append(part == "True" if kind.kind == "b" else part if kind.kind == "U" else part.astype(kind))
    whole = Table(meta=table.meta)
    for name, values in found.items():
        whole[name] = Column(np.concatenate([np.empty(0, table[name].dtype), *values]), unit=table[name].unit)
    return whole


def _has_bit(bit, flags):
    return (flags & bit) != 0


def write_event_pixels(folder, result):
    """Write which pixels belong to which event, beside the other files of a result: no other file tells it of all.

    ``event_pixels.fits`` is a binary table with ``PIXEL`` (flat index into (N, ny, nx), 0-based) and ``EVENT``.

    Parameters
    ----------
    folder : str or Path
        With the rejection map of the same result.
    result : CleanResult
    """
    columns = [
        fits.Column("PIXEL", "K", array=result.event_pixels),
        fits.Column("EVENT", "J", array=result.event_numbers),
    ]
    table = fits.BinTableHDU.from_columns(columns, name="PIXELS")
    table.header["CRDIGEST"] = (Products(folder).digest, "of the rejection map beside it")
    in_place(Path(folder) / _PIXELS, lambda part: write_content(part, table))
