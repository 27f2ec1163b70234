"""The links between a cube, its rejection map, its events and its frames."""

import numpy as np
from glue.core.component_link import ComponentLink
from glue.core.link_helpers import JoinLink, LinkCollection, LinkSame

__all__ = ["EventJoin", "MapValueLink", "link_images", "link_parts"]


class MapValueLink(LinkCollection):
    """The value of a map at the pixel nearest to a position.

    With it a selection by value on the map, such as ``times rejected > 0``, is one in the cube as well. Only
    looked up, never stored.

    Parameters
    ----------
    cids1 : list of glue.core.ComponentID
        y and x [pixels of the map] in `data1`.
    cids2 : list of glue.core.ComponentID
        One attribute of the map `data2`.
    """

    cid_independent = False
    display = "Value of the map at the pixel"
    description = "The value of the map at the pixel nearest to the position y, x."
    # different words for each: the link editor makes them attributes of one object
    labels1 = ["y", "x"]  # noqa: RUF012 as glue wants it
    labels2 = ["map_value"]  # noqa: RUF012

    def __init__(self, data1=None, data2=None, cids1=None, cids2=None):
        super().__init__(data1=data1, data2=data2, cids1=cids1, cids2=cids2)
        if self.cids1 and self.cids2:
            self._links[:] = [ComponentLink(list(self.cids1), self.cids2[0], using=self.look_up)]

    def look_up(self, y, x):
        """The map's values at positions `y`, `x`; NaN outside the map."""
        values = self.data2.get_data(self.cids2[0])
        y, x = (np.nan_to_num(np.round(v), nan=-1) for v in (y, x))
        inside = (y >= 0) & (y < values.shape[0]) & (x >= 0) & (x < values.shape[1])
        found = values[np.where(inside, y, 0).astype(int), np.where(inside, x, 0).astype(int)]
        return found if inside.all() else np.where(inside, found, np.nan)


class EventJoin(JoinLink):
    """A join on an identifier that goes away with what it joins.

    glue's own stays behind when its data or its components are removed, and keeps them alive in sessions.
    """

    display = "Join on number"

    def __contains__(self, cid):
        return any(cid is mine for mine in (*self.cids1, *self.cids2))


def link_parts(cube, axis, event=None, map_data=None, events=None, frames=None, tracks=None):
    """The links between a cube and what a cleaning found in it.

    Parameters
    ----------
    cube : glue.core.Data
    axis : int
        The axis of the cube that holds the frames.
    event : glue.core.ComponentID, optional
        The event numbers in the cube.
    map_data, events, frames, tracks : glue.core.Data, optional
        As `AttachResult` makes them.

    Returns
    -------
    list of glue.core.link_helpers.LinkCollection
    """
    pixel = cube.pixel_component_ids
    z = pixel[axis]
    y, x = (pixel[i] for i in range(3) if i != axis)
    links = []
    if map_data is not None:
        links += [LinkSame(y, map_data.pixel_component_ids[0]), LinkSame(x, map_data.pixel_component_ids[1])]
        links += [MapValueLink(cube, map_data, [y, x], [value]) for value in map_data.main_components]
    if events is not None:
        links += [LinkSame(z, events.id["frame index"]), LinkSame(y, events.id["y"]), LinkSame(x, events.id["x"])]
        if event is not None:
            links.append(EventJoin(cids1=[event], cids2=[events.id["event"]], data1=cube, data2=events))
        if map_data is not None:
            # the centre of a bent track need not be rejected itself: the map is read at the peak
            peak = [events.id["y peak"], events.id["x peak"]]
            links += [MapValueLink(events, map_data, peak, [value]) for value in map_data.main_components]
    if frames is not None:
        links.append(LinkSame(z, frames.id["frame index"]))
        if events is not None:
            links.append(EventJoin(cids1=[frames.id["frame"]], cids2=[events.id["frame"]], data1=frames, data2=events))
    if tracks is not None and events is not None:
        links.append(EventJoin(cids1=[tracks.id["track"]], cids2=[events.id["track"]], data1=tracks, data2=events))
    return links


def link_images(cube, images):
    """The pixel links between images and the cube that was stacked from them.

    Parameters
    ----------
    cube : glue.core.Data
        (frame, y, x).
    images : sequence of glue.core.Data
        (y, x).

    Returns
    -------
    list of glue.core.link_helpers.LinkSame
    """
    return [
        LinkSame(mine, theirs)
        for image in images
        for mine, theirs in zip(cube.pixel_component_ids[1:], image.pixel_component_ids, strict=True)
    ]
