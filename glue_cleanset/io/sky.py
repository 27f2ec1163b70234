"""From pixels to the sky."""

import numpy as np
from astropy import units as u
from astropy.coordinates import ConvertError, SkyCoord
from astropy.table import Column
from astropy.wcs.utils import wcs_to_celestial_frame

__all__ = ["locate_events"]


def locate_events(events, wcs):
    """The table of events with right ascension and declination of their centres.

    Always ICRS, whatever the axes of the images are (galactic, FK5 of any equinox), so that tables can be compared
    with each other and with catalogues.

    Parameters
    ----------
    events : astropy.table.Table
        With ``y`` and ``x`` [pixels, 0-based]; not changed.
    wcs : astropy.wcs.WCS or None
        Two axes, x first, as `glue_cleanset.io.read.FitsImageSet` has it.

    Returns
    -------
    astropy.table.Table
        With the columns ``ra`` and ``dec`` [deg] after ``x``; `events` itself where there is no WCS, or one of
        something else than the sky of the stars.
    """
    if wcs is None or not wcs.has_celestial:
        return events
    world = wcs.pixel_to_world_values(*(np.asarray(events[name], float) for name in ("x", "y")))
    try:
        frame = wcs_to_celestial_frame(wcs)
        sky = SkyCoord(world[wcs.wcs.lng], world[wcs.wcs.lat], unit="deg", frame=frame).transform_to("icrs")
    except (ValueError, ConvertError):  # the disc of the sun or of a planet
        return events
    located = events.copy(copy_data=False)
    after = located.index_column("x") + 1
    located.add_columns(
        [
            Column(angle, name=name, unit=u.deg, description="ICRS")
            for name, angle in (("ra", sky.ra.deg), ("dec", sky.dec.deg))
        ],
        indexes=[after, after],
    )
    return located
