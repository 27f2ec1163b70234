"""Going from event to event: the open image viewers show its frame, its place, and a ring around it."""

from dataclasses import dataclass

import numpy as np
from echo import CallbackProperty, HasCallbackProperties, delay_callback
from glue.core.hub import HubListener
from glue.core.message import DataCollectionDeleteMessage, NumericalDataChangedMessage
from matplotlib.patches import Circle
from matplotlib.patheffects import withStroke

from .attach import find_attached, flat_viewers

__all__ = [
    "Event",
    "EventBrowser",
    "EventMark",
    "attached_of",
    "axes_in_cube",
    "clear_marks",
    "event_of_track",
    "event_order",
    "find_event",
    "find_peak",
    "go_to_event",
    "go_to_track",
    "mark_event",
]

ORDER = "peak significance"
# the shorter side of an image that a zoom shows: so many pixels, or so many times the event
LEAST_VIEW, TIMES_EVENT = 60, 4
# a view up to so many times as wide is kept: an event is still seen in it
KEEP = 4
LEAST_RING = 9  # radius [screen pixels]


@dataclass(frozen=True)
class Event:
    """Where an event is.

    Attributes
    ----------
    number : int
        Its number in the column ``event``, which stays when rows come and go.
    center : tuple of float
        Of the box around its pixels, in pixels of the cube, one for each axis.
    size : float
        The longer side of the box [pixels].
    """

    number: int
    center: tuple
    size: float


def find_event(attached, number):
    """Where an event is.

    Parameters
    ----------
    attached : glue_cleanset.viewer.attach.Attached
    number : int
        In the column ``event`` of ``attached.events``.

    Returns
    -------
    Event

    Raises
    ------
    ValueError
        Where there is no such event (any more).
    """
    events, row, peak = attached.events, _row_of(attached, number), find_peak(attached, number)
    place, size = (events["y"][row], events["x"][row]), np.sqrt(events["pixels"][row])
    if attached.event is not None:
        # the pieces of a trail may be anywhere in its frame
        box = np.nonzero(attached.values(attached.event)[peak[0]] == number)
        if box[0].size:
            place = [(side.min() + side.max()) / 2 for side in box]
            size = max(np.ptp(side) + 1 for side in box)
    center = [*place]
    center.insert(attached.axis, peak[0])
    return Event(int(number), tuple(map(float, center)), float(size))


def find_peak(attached, number):
    """Frame, y and x, from 0, of the strongest pixel of an event; raises as `find_event`."""
    row = _row_of(attached, number)
    return [int(attached.events[name][row]) for name in ("frame index", "y peak", "x peak")]


def _row_of(attached, number):
    rows = [] if attached.events is None else np.flatnonzero(attached.events["event"] == number)
    if not len(rows):
        raise ValueError(f"{attached.cube.label} has no event {number}; choose one of the events table")
    return rows[0]


def event_order(events, by=ORDER, descending=True):
    """The numbers of the events, sorted by one of their columns.

    Parameters
    ----------
    events : glue.core.Data
        As `AttachResult` makes it.
    by : str
        Label of a column.
    descending : bool

    Returns
    -------
    ndarray of int
        Equal ones keep their order; what is not a number comes last.
    """
    values = np.asarray(events.get_component(events.id[by]).data)
    if descending:
        values = -values.astype(float)
    return events["event"][np.argsort(values, kind="stable")]


def go_to_event(viewers, attached, number):
    """Show an event, with a ring around it, in all image viewers of its set.

    A viewer goes to the frame of the event and centres it. A view that is neither too small for it nor much too
    wide keeps its size, any other becomes some 60 pixels wide, or four times the event.

    Parameters
    ----------
    viewers : iterable
        Viewers, or nested lists of them, as ``application.viewers``. Any that shows the cube, or data that are
        linked to it pixel by pixel (the rejection map, another cube of these frames), is moved.
    attached : glue_cleanset.viewer.attach.Attached
    number : int
        In the column ``event``.

    Returns
    -------
    list
        The viewers that were moved.

    Raises
    ------
    ValueError
        Where there is no such event (any more).
    """
    event = find_event(attached, number)
    clear_marks(viewers)
    moved = []
    for viewer in flat_viewers(viewers):
        axes = axes_in_cube(viewer, attached.cube)
        if axes is None:
            continue
        _move(viewer.state, [event.center[axis] for axis in axes], event.size)
        _mark(viewer, attached, event, axes)
        moved.append(viewer)
    return moved


def event_of_track(attached, track):
    """The number of the event of a moving object in the middle of its track; raises as `go_to_track`."""
    numbers, tracks, frames = (attached.column("events", name) for name in ("event", "track", "frame"))
    if numbers is None or tracks is None or frames is None:
        raise ValueError(f"the events of {attached.cube.label} are not in the session; clean it again with them ticked")
    rows = np.flatnonzero(attached.events.get_data(tracks) == track) if track else []
    if not len(rows):
        raise ValueError(f"{attached.cube.label} has no event of an object {track}; choose one of the tracks table")
    order = np.argsort(attached.events.get_data(frames)[rows], kind="stable")
    return int(attached.events.get_data(numbers)[rows[order[(len(rows) - 1) // 2]]])


def go_to_track(viewers, attached, track):
    """As `go_to_event`, for the event of a moving object in the middle of its track.

    Parameters
    ----------
    viewers, attached
        As for `go_to_event`.
    track : int
        In the column ``track`` of the tracks.

    Returns
    -------
    list
        The viewers that were moved.

    Raises
    ------
    ValueError
        Where there is no event of such an object (any more).
    """
    return go_to_event(viewers, attached, event_of_track(attached, track))


def mark_event(viewers, attached, number):
    """As `go_to_event`, but only the ring is put there, and no viewer is moved."""
    event = find_event(attached, number)
    clear_marks(viewers)
    for viewer in flat_viewers(viewers):
        axes = axes_in_cube(viewer, attached.cube)
        if axes is not None:
            _mark(viewer, attached, event, axes)


def clear_marks(viewers):
    """Take the rings away from all of the `viewers`."""
    for viewer in flat_viewers(viewers):
        axes = getattr(viewer, "axes", None)
        marks = [patch for patch in axes.patches if isinstance(patch, EventMark)] if axes is not None else []
        for mark in marks:
            mark.remove()
        if marks:
            viewer.redraw()


class EventMark(Circle):
    """A ring around an event: seen on light and on dark, and also where the event is smaller than a screen pixel.

    Parameters
    ----------
    center : (float, float)
        x, y in pixels of the image.
    radius : float
        [pixels of the image].
    number : int
        Of the event.
    here : callable
        Whether the viewer shows the frame of the event; the ring is dotted where not.
    """

    def __init__(self, center, radius, number, here):
        super().__init__(center, radius, fill=False, edgecolor="white", linewidth=1.6, zorder=10_000)
        self.set_path_effects([withStroke(linewidth=4, foreground="black")])
        self.number = number
        self._own_radius, self._here = radius, here

    def draw(self, renderer):
        """Draw it as large as the present zoom needs."""
        (x0, _), (x1, _) = self.axes.transData.transform([(0, 0), (1, 0)])
        self.set_radius(max(self._own_radius, LEAST_RING / max(abs(x1 - x0), 1e-9)))
        self.set_linestyle("-" if self._here() else ":")
        super().draw(renderer)


class EventBrowser(HasCallbackProperties, HubListener):
    """Which event a person looks at, for one application.

    Parameters
    ----------
    application : glue.core.application_base.Application

    Attributes
    ----------
    current : (glue.core.Data, int) or None
        The events and the number of the one that is shown. It becomes None where that event goes away.
    """

    current = CallbackProperty(docstring="The events and the number of the one that is shown")

    def __init__(self, application):
        super().__init__()
        self.application = application
        hub = application.session.hub
        # after the viewers have taken in what is new
        hub.subscribe(self, NumericalDataChangedMessage, handler=self._events_changed, priority=-100)
        hub.subscribe(self, DataCollectionDeleteMessage, handler=self._data_removed)

    def number_in(self, events):
        """The number of the current event where it is one of these `events`, else None."""
        return self.current[1] if self.current is not None and self.current[0] is events else None

    def choose(self, events, number):
        """Go to an event in all open image viewers of its set.

        Parameters
        ----------
        events : glue.core.Data
        number : int
            In its column ``event``.

        Returns
        -------
        list
            The viewers that were moved.

        Raises
        ------
        ValueError
            Where there is no such event, or `events` belong to no result in the session.
        """
        attached = attached_of(self.application.data_collection, events)
        if attached is None:
            raise ValueError(f"{events.label} are not the events of a cleaned image set in this session")
        moved = go_to_event(self.application.viewers, attached, number)
        self.current = (events, int(number))
        return moved

    def step(self, events, by, order=None):
        """Go to the next event or to the one before.

        Parameters
        ----------
        events : glue.core.Data
        by : int
            1 = next, -1 = previous. Beyond the ends it stays at the end.
        order : sequence of int, optional
            The numbers of the events in their order; default by peak significance, the strongest first.

        Returns
        -------
        int or None
            The number of the event shown; None where `order` is empty.
        """
        order = event_order(events) if order is None else np.asarray(order)
        if not len(order):
            return None
        at = np.flatnonzero(order == self.number_in(events))
        row = min(max(at[0] + by, 0), len(order) - 1) if at.size else (0 if by > 0 else -1)
        number = int(order[row])
        self.choose(events, number)
        return number

    def leave(self):
        """No event is the current one any more; the rings go away."""
        self.current = None
        clear_marks(self.application.viewers)

    def _events_changed(self, message):
        if self.current is None or message.sender is not self.current[0]:
            return
        events, number = self.current
        attached = attached_of(self.application.data_collection, events)
        if attached is None or number not in events["event"]:
            self.leave()
        else:
            mark_event(self.application.viewers, attached, number)

    def _data_removed(self, message):
        if self.current is not None and message.data is self.current[0]:
            self.leave()


def attached_of(collection, events):
    """The result whose events these are; None where there is none."""
    if events is None:
        return None
    found = [attached for attached in find_attached(collection, events) if attached.events is events]
    return found[-1] if found else None


def axes_in_cube(viewer, cube):
    """For each axis of the data that an image viewer shows the axis of the cube; None where it is no such viewer."""
    state = getattr(viewer, "state", None)
    shown = getattr(state, "reference_data", None)
    if shown is None or getattr(state, "x_att", None) is None or state.y_att is None:
        return None
    if shown is cube:
        return (0, 1, 2)
    order = shown.pixel_aligned_data.get(cube)
    return None if order is None else tuple(order)


def _move(state, center, size):
    """Show `center`, one position for each axis of the viewer's data."""
    shape = [state.reference_data.shape[axis] for axis in (state.x_att.axis, state.y_att.axis)]
    slices = list(state.slices)
    for axis, at in enumerate(center):
        if axis not in (state.x_att.axis, state.y_att.axis):
            slices[axis] = round(at)
    state.slices = tuple(slices)
    x, y = center[state.x_att.axis], center[state.y_att.axis]
    width, height = abs(state.x_max - state.x_min), abs(state.y_max - state.y_min)
    # a trail is as long as the image: there is nothing to be seen beyond
    whole = 1.1 * max(shape)
    wanted = max(LEAST_VIEW, min(TIMES_EVENT * size, whole))
    if not min(1.5 * size, wanted) <= min(width, height) <= KEEP * wanted:
        scale = wanted / min(width, height)
        width, height = scale * width, scale * height
    right, up = np.sign(state.x_max - state.x_min), np.sign(state.y_max - state.y_min)
    with delay_callback(state, "x_min", "x_max", "y_min", "y_max"):
        state.x_min, state.x_max = x - right * width / 2, x + right * width / 2
        state.y_min, state.y_max = y - up * height / 2, y + up * height / 2


def _mark(viewer, attached, event, axes):
    state = viewer.state
    in_cube = {axis: i for i, axis in enumerate(axes)}
    frame = in_cube.get(attached.axis)  # None for an image without frames
    at = round(event.center[attached.axis])

    def here():
        return frame is None or frame in (state.x_att.axis, state.y_att.axis) or state.slices[frame] == at

    x, y = event.center[axes[state.x_att.axis]], event.center[axes[state.y_att.axis]]
    viewer.axes.add_patch(EventMark((x, y), event.size / 2 + 2, event.number, here))
    viewer.redraw()
