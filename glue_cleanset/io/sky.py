"""From pixels to the sky."""

import numpy as np
from astropy import units as u
from astropy.coordinates import ConvertError, SkyCoord
from astropy.table import Column
from astropy.wcs.utils import wcs_to_celestial_frame

__all__ = ["locate_events", "locate_tracks"]


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
    sky = _on_sky(wcs, events["y"], events["x"])
    if sky is None:
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


def locate_tracks(tracks, positions, wcs, times):
    """The table of tracks with their motion on the sky.

    Parameters
    ----------
    tracks : astropy.table.Table
        Of a `glue_cleanset.CleanResult`; not changed.
    positions : ndarray, (T, N, 2)
        y, x of each object in each frame [pixels, 0-based].
    wcs : astropy.wcs.WCS or None
        As for `locate_events`.
    times : ndarray, (N,), or None
        Of the frames [h].

    Returns
    -------
    astropy.table.Table
        With ``ra`` and ``dec`` as `locate_events` gives them, and ``sky_rate`` [arcsec / h] and ``sky_position_angle``
        [deg, north through east] between the first and the last moment; without the latter two where the times are not
        known, and `tracks` itself where there is no track or no such WCS.
    """
    if not len(tracks) or wcs is None or not wcs.has_celestial:
        return tracks
    tracks = locate_events(tracks, wcs)
    if times is None:
        return tracks
    first, last = np.argmin(times), np.argmax(times)
    begin, end = (_on_sky(wcs, *np.moveaxis(positions[:, i], -1, 0)) for i in (first, last))
    if begin is None or end is None:
        return tracks
    located = tracks.copy(copy_data=False)
    located["sky_rate"] = (begin.separation(end) / ((times[last] - times[first]) * u.hour)).to(u.arcsec / u.hour)
    located["sky_position_angle"] = begin.position_angle(end).to(u.deg)
    return located


def _on_sky(wcs, y, x):
    """ICRS places of pixels; None where the WCS is one of something else than the sky of the stars."""
    world = wcs.pixel_to_world_values(np.asarray(x, float), np.asarray(y, float))
    try:
        frame = wcs_to_celestial_frame(wcs)
        return SkyCoord(world[wcs.wcs.lng], world[wcs.wcs.lat], unit="deg", frame=frame).transform_to("icrs")
    except (ValueError, ConvertError):  # the disc of the sun or of a planet
        return None
