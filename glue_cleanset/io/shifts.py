"""By how much the registration moved each frame, as headers or a file tell it."""

from pathlib import Path

import numpy as np
from astropy.io import ascii as tables
from astropy.table import Table

from ..core.names import listed

__all__ = ["header_shifts", "read_shifts"]

# what the columns of a table may be called, in the order of trust: whole-pixel shifts are those that were applied
_Y = ("int_dy", "dy", "dy_px", "y_shift", "yshift", "shift_y")
_X = ("int_dx", "dx", "dx_px", "x_shift", "xshift", "shift_x")
_NAMES = ("file", "filename", "frame", "name", "image")


def header_shifts(headers):
    """Shifts of the frames against the detector, as IRAF and STScI write them.

    LTV1 and LTV2 are the place, in the image, of pixel zero of the detector ("physical" coordinates: image = LTM *
    physical + LTV; STSDAS, hst_calib/stis/calstis/doc/ltv.txt).

    Parameters
    ----------
    headers : sequence of astropy.io.fits.Header

    Returns
    -------
    ndarray, (N, 2), or None
        dy, dx [pixels], as `ImageSet.shifts`; None where a header is silent, where all are shifted alike, or where
        pixels were binned or turned.
    """
    shifts = []
    for header in headers:
        matrix = [header.get(name, rest) for name, rest in (("LTM1_1", 1), ("LTM2_2", 1), ("LTM1_2", 0), ("LTM2_1", 0))]
        values = [header.get("LTV2"), header.get("LTV1")]
        if not all(isinstance(v, (int, float)) for v in (*values, *matrix)) or not np.allclose(matrix, (1, 1, 0, 0)):
            return None
        shifts.append(values)
    shifts = np.array(shifts, float)
    return shifts if np.isfinite(shifts).all() and np.ptp(shifts, axis=0).any() else None


def read_shifts(path, frames):
    """Read the shifts of the frames from a file.

    Either IRAF's list for ``imshift`` or ``imalign``: x and y, two numbers per line and nothing else, in the order of
    the frames. Or a table (ECSV, CSV, or columns with white space between them, their names in the first line) with the
    columns ``dy`` and ``dx`` (also ``dy_px``, ``y_shift``, ``yshift``, ``shift_y``; ``int_dy`` before these) and,
    unless its rows are in the order of the frames, ``file`` (also ``filename``, ``frame``, ``name``, ``image``), which
    names the file or the frame or gives its number (1 ...). An empty value is a shift that is not known.

    Whether the numbers were added to the positions (as IRAF's imshift does: xout = xin + xshift) or tell where the
    field was, the pattern itself will show (`glue_cleanset.core.pattern.find_pattern`).

    Parameters
    ----------
    path : str or Path
    frames : sequence of sequence of str
        What each frame may be called: its name, the name of its file. A name that several frames share means none.

    Returns
    -------
    ndarray, (N, 2), float64
        dy, dx [pixels], NaN where not known.

    Raises
    ------
    FileNotFoundError, OSError, ValueError
        Where there is no such file, it is no such table, a frame is missing in it, or is there twice.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"the file of shifts {path} does not exist")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise OSError(f"{path} is no text; shifts are read from a text file") from None
    entries = [text for text in (line.split("#")[0].strip() for line in lines) if text]
    if not entries:
        raise ValueError(f"{path} is empty; give dy and dx [pixels] of each frame")
    pairs = [_numbers(text.replace(",", " ").split()) for text in entries]
    if all(pair is not None and len(pair) == 2 for pair in pairs):
        if len(pairs) != len(frames):
            raise ValueError(f"{path} lists {len(pairs)} shifts for {len(frames)} frames; give one line for each frame")
        return np.array(pairs)[:, ::-1]
    table = _read_table(path, lines, entries)
    y, x, name = (_column(table, names) for names in (_Y, _X, _NAMES))
    if y is None or x is None:
        raise ValueError(f"{path} has the columns {', '.join(table.colnames)}; give dy and dx [pixels] of each frame")
    values = np.column_stack([_floats(path, table[y]), _floats(path, table[x])])
    if name is None:
        if len(table) != len(frames):
            raise ValueError(
                f"{path} has {len(table)} rows for {len(frames)} frames and no column file; give one row for each "
                "frame, or a column that names it"
            )
        return values
    return values[_match(path, [str(v).strip() for v in table[name]], frames)]


def _read_table(path, lines, entries):
    try:
        if lines[0].startswith("# %ECSV"):
            return Table.read(lines, format="ascii.ecsv")
        return Table.read(entries, format="ascii.csv" if "," in entries[0] else "ascii.basic")
    except (ValueError, OSError, tables.InconsistentTableError) as error:
        raise ValueError(f"{path} cannot be read as a table of shifts: {error}") from None


def _column(table, names):
    known = {column.lower().strip(): column for column in table.colnames}
    return next((known[name] for name in names if name in known), None)


def _numbers(words):
    try:
        return [float(word) for word in words]
    except ValueError:
        return None


def _floats(path, column):
    try:
        return np.ma.filled(np.ma.asarray(column).astype(float), np.nan)
    except (TypeError, ValueError):
        raise ValueError(f"{path}: the column {column.name} holds {column.dtype} values; give pixels") from None


def _match(path, rows, frames):
    """The row of each frame."""
    called = {}
    for i, names in enumerate(frames):
        for name in dict.fromkeys((*names, str(i + 1))):
            called.setdefault(name, []).append(i)
    found = {}
    for k, row in enumerate(rows):
        these = called.get(row, called.get(Path(row).name, ()))
        if len(these) == 1:
            if these[0] in found:
                raise ValueError(f"{path} gives the shift of {row} twice")
            found[these[0]] = k
    missing = [names[0] for i, names in enumerate(frames) if i not in found]
    if missing:
        raise ValueError(f"{path} gives no shift for {listed(missing)}; add a row for each frame")
    return [found[i] for i in range(len(frames))]
