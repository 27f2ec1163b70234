"""World coordinates of images, and of a cube of frames: the sky or the pixels, and the number of the frame."""

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from glue.core.coordinates import Coordinates, IdentityCoordinates

__all__ = ["FrameCoordinates", "SkyCoordinates", "find_celestial"]


def find_celestial(data, axis=None):
    """The celestial WCS of an image, or of every frame of a cube.

    Parameters
    ----------
    data : glue.core.Data
    axis : int, optional
        The axis of a cube that holds the frames.

    Returns
    -------
    astropy.wcs.WCS or None
        Two axes, x first; None where the images are not on the sky, or each elsewhere.
    """
    coords = data.coords
    frames = None if axis is None else data.ndim - 1 - axis  # among the axes of a WCS, which has x first
    if isinstance(coords, FrameCoordinates):
        coords = coords.wcs if frames == 2 else None
        frames = None
    if not isinstance(coords, WCS) or not coords.has_celestial:
        return None
    sky = [coords.wcs.lng, coords.wcs.lat]
    if frames is not None and (frames in sky or coords.axis_correlation_matrix[sky, frames].any()):
        return None
    return coords if coords.naxis == 2 else coords.celestial


class SkyCoordinates(Coordinates):
    """The WCS of an image.

    Not the WCS itself: of those glue would ask to link them by their world coordinates, though all parts of a set
    are linked by their pixels, and its sessions would drop SIP distortion.

    Parameters
    ----------
    wcs : astropy.wcs.WCS
        Two axes. Distortion by SIP is kept; by lookup tables it is lost in sessions.
    """

    def __init__(self, wcs):
        super().__init__(n_dim=2)
        self.wcs = wcs

    def pixel_to_world_values(self, x, y):
        """Sky position of pixels, 0-based, x first."""
        return tuple(self.wcs.pixel_to_world_values(x, y))

    def world_to_pixel_values(self, first, second):
        """The inverse of `pixel_to_world_values`."""
        return tuple(self.wcs.world_to_pixel_values(first, second))

    @property
    def axis_correlation_matrix(self):
        """Which world axis depends on which pixel axis, (2, 2) bool."""
        return self.wcs.axis_correlation_matrix

    @property
    def world_axis_physical_types(self):
        """Physical types of the world axes, as in APE 14."""
        return self.wcs.world_axis_physical_types

    @property
    def world_axis_units(self):
        """Units of the world axes."""
        return self.wcs.world_axis_units

    @property
    def world_axis_names(self):
        """Names of the world axes; glue needs one for each."""
        return _axis_names(self.wcs)

    def __gluestate__(self, context):
        return {"header": _header(self.wcs)}

    @classmethod
    def __setgluestate__(cls, record, context):
        return cls(_from_header(record["header"]))


class FrameCoordinates(Coordinates):
    """The WCS of an image for every frame of a cube (frame, y, x), the frames counted from 1 as in the tables.

    Not an astropy WCS of three axes: that refuses SIP distortion, and glue's sessions would drop it.

    Parameters
    ----------
    wcs : astropy.wcs.WCS, optional
        Two axes. Distortion by SIP is kept; by lookup tables it is lost in sessions. None = the pixels, from 0.
    """

    def __init__(self, wcs=None):
        super().__init__(pixel_n_dim=3, world_n_dim=3)
        self.wcs = IdentityCoordinates(2) if wcs is None else wcs

    def pixel_to_world_values(self, x, y, frame):
        """Sky position and frame number of pixels, all 0-based, x first."""
        x, y, frame = np.broadcast_arrays(x, y, frame)
        return (*self.wcs.pixel_to_world_values(x, y), frame + 1.0)

    def world_to_pixel_values(self, first, second, frame):
        """The inverse of `pixel_to_world_values`."""
        first, second, frame = np.broadcast_arrays(first, second, frame)
        return (*self.wcs.world_to_pixel_values(first, second), frame - 1.0)

    @property
    def axis_correlation_matrix(self):
        """Which world axis depends on which pixel axis, (3, 3) bool."""
        matrix = np.eye(3, dtype=bool)
        matrix[:2, :2] = self.wcs.axis_correlation_matrix
        return matrix

    @property
    def world_axis_physical_types(self):
        """Physical types of the world axes, as in APE 14."""
        return [*self.wcs.world_axis_physical_types, None]

    @property
    def world_axis_units(self):
        """Units of the world axes."""
        return [*self.wcs.world_axis_units, ""]

    @property
    def world_axis_names(self):
        """Names of the world axes; glue needs one for each."""
        return [*_axis_names(self.wcs), "frame"]

    def __gluestate__(self, context):
        return {"header": _header(self.wcs) if isinstance(self.wcs, WCS) else None}

    @classmethod
    def __setgluestate__(cls, record, context):
        header = record["header"]
        return cls(None if header is None else _from_header(header))


def _axis_names(wcs):
    known = {
        "pos.eq.ra": "right ascension",
        "pos.eq.dec": "declination",
        "pos.galactic.lon": "galactic longitude",
        "pos.galactic.lat": "galactic latitude",
    }
    return [known.get(t, t or axis) for t, axis in zip(wcs.world_axis_physical_types, "xy", strict=True)]


def _header(wcs):
    return wcs.to_header(relax=True).tostring(sep="\n")


def _from_header(header):
    return WCS(fits.Header.fromstring(header, sep="\n"))
