"""The bundled set: nine simulated frames of a star field with real cosmic rays, made where you want them."""

from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from glue_cleanset.core.simulate import simulate_set
from glue_cleanset.io.read import find_fits_files
from glue_cleanset.io.write import in_place, write_content

__all__ = ["demo_set", "read_footprints", "write_demo_set"]

_FRAMES = 9
_SHAPE = (400, 500)
_EXPTIME = 300.0
# the library has 1764 hits on 16288000 pixels in 1500 s; nine frames of 300 s would show few of them
_HIT_FRACTION = 0.002


def read_footprints():
    """The real cosmic-ray footprints that come with the package [e-].

    They were harvested from dark frames of LSST ITL CCDs (LSSTDESC imSim, BSD-3-Clause).

    Returns
    -------
    list of ndarray, 2-D, float
    """
    with as_file(files("glue_cleanset.data") / "cosmic_rays_itl_2017.fits.gz") as path:
        spans = fits.getdata(path, "COSMIC_RAYS")
    footprints = []
    for hit in np.split(spans, np.flatnonzero(np.diff(spans["fp_id"])) + 1):
        width = max(row["x0"] + len(row["pixel_values"]) for row in hit) - hit["x0"].min()
        stamp = np.zeros((np.ptp(hit["y0"]) + 1, width))
        for row in hit:
            x = row["x0"] - hit["x0"].min()
            stamp[row["y0"] - hit["y0"].min(), x : x + len(row["pixel_values"])] += row["pixel_values"]
        footprints.append(stamp)
    return footprints


def demo_set():
    """The bundled set with its truth: a `SimulatedSet` of 9 frames of 400 x 500 pixels, always the same.

    Stars, sky, noise, walking hot pixels and a minor planet are simulated; the cosmic rays are real footprints.
    """
    return simulate_set(
        _FRAMES,
        _SHAPE,
        seed=20260101,
        star_density=0.0016,
        hit_fraction=_HIT_FRACTION,
        footprints=read_footprints(),
        seeing=0.03,
        jitter=0.05,
        mover=True,
    )


def write_demo_set(directory):
    """Write the bundled set as FITS files into a folder, which is made if it is not there.

    Parameters
    ----------
    directory : path
        Frames of the set that are already there are left as they are.

    Returns
    -------
    pathlib.Path
        The folder. It holds ``demo_01.fits`` ... ``demo_09.fits`` (uint16) and nothing else that is made here.

    Raises
    ------
    FileExistsError
        Where the folder holds other FITS files, which would be taken for frames of the set; nothing is written.
    """
    directory = Path(directory)
    paths = [directory / f"demo_{i:02d}.fits" for i in range(1, _FRAMES + 1)]
    try:
        others = [path.name for path in find_fits_files(directory) if path not in paths]
    except (FileNotFoundError, ValueError):  # no folder, or one without FITS files
        others = []
    if others:
        raise FileExistsError(
            f"{directory} holds other FITS files, such as {others[0]}, which would be mixed with the demo set; "
            "give another folder"
        )
    if all(path.exists() for path in paths):
        return directory
    directory.mkdir(parents=True, exist_ok=True)
    simulated = demo_set()
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval = 83.6, 22.0
    wcs.wcs.crpix = _SHAPE[1] / 2, _SHAPE[0] / 2
    wcs.wcs.cdelt = -1.2 / 3600, 1.2 / 3600
    start = datetime(2026, 1, 1, 21, 0, 0, tzinfo=UTC)
    for i, (path, frame) in enumerate(zip(paths, simulated.frames, strict=True)):
        if path.exists():
            continue
        header = wcs.to_header()
        header["OBJECT"] = "simulated"
        header["EXPTIME"] = _EXPTIME, "[s]"
        header["GAIN"] = simulated.gain, "[e-/ADU]"
        header["RDNOISE"] = simulated.readnoise, "[e-]"
        header["FILTER"] = "R"
        header["BUNIT"] = "adu"
        moment = start + i * timedelta(seconds=_EXPTIME + 60)
        header["DATE-OBS"] = moment.replace(tzinfo=None).isoformat()
        header["HISTORY"] = "Simulated by glue_cleanset: stars, sky, noise, hot pixels, minor planet."
        header["HISTORY"] = "The cosmic rays are real footprints from LSST ITL CCDs (imSim, BSD-3)."
        data = np.clip(np.round(frame), 0, 65535).astype(np.uint16)
        in_place(path, partial(write_content, content=fits.PrimaryHDU(data, header)))
    return directory
