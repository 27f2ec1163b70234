"""World coordinates of a cube of frames: the sky or the pixels of one frame, and the number of the frame."""

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from glue.core.coordinates import Coordinates, IdentityCoordinates

__all__ = ["FrameCoordinates"]


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
        known = {"pos.eq.ra": "right ascension", "pos.eq.dec": "declination"}
        types = self.wcs.world_axis_physical_types
        return [known.get(t, t or axis) for t, axis in zip(types, "xy", strict=True)] + ["frame"]

    def __gluestate__(self, context):
        sky = isinstance(self.wcs, WCS)
        return {"header": self.wcs.to_header(relax=True).tostring(sep="\n") if sky else None}

    @classmethod
    def __setgluestate__(cls, record, context):
        header = record["header"]
        return cls(None if header is None else WCS(fits.Header.fromstring(header, sep="\n")))
