"""The tracks of moving objects, drawn over the image viewers that show their set."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation

from .attach import find_attached
from .browse import axes_in_cube
from .colors import kind_color
from .regions import shown_index

__all__ = ["TrackPart", "clear_tracks", "draw_tracks", "find_tracks", "outside_circle"]

RADIUS, AROUND = 5.5, 5  # of the circle at least [points], and [pixels of the image]: the object is seen in it
FONT_SIZE = 9
BESIDE = 6.5  # the middle of the number from the circle [points]
# the ring of the current event is between them
LINES, NUMBERS = 9_000, 11_000
CIRCLE = np.array([(np.cos(angle), np.sin(angle)) for angle in np.linspace(0, 2 * np.pi, 49)])


def find_tracks(viewer, collection):
    """The result whose tracks belong into an image viewer.

    Parameters
    ----------
    viewer : image viewer of glue
    collection : glue.core.DataCollection

    Returns
    -------
    glue_cleanset.viewer.attach.Attached or None
        Of the cube or the map that is on display the cleaning whose part is shown, else the newest; None where there
        are no tracks.
    """
    state = getattr(viewer, "state", None)
    data = getattr(state, "reference_data", None)
    if data is None:
        return None
    found = [attached for attached in find_attached(collection) if attached.column("tracks", "track") is not None]
    found = [attached for attached in found if _axes(viewer, attached) is not None]
    shown = [layer for layer in state.layers if layer.visible]
    # the newest, if what is shown does not speak of another
    return max(
        reversed(found),
        key=lambda one: any(layer.layer is one.map or one.made(getattr(layer, "attribute", None)) for layer in shown),
        default=None,
    )


def draw_tracks(viewer, collection):
    """Draw the tracks that belong into an image viewer, in the place of those that are there.

    Each is a thin line along the whole path, as far as that is in the image, a circle at the place in the frame shown,
    and the number of the track beside it; circle and number follow the frame.

    Parameters
    ----------
    viewer : image viewer of glue
    collection : glue.core.DataCollection

    Returns
    -------
    glue_cleanset.viewer.attach.Attached or None
        Whose tracks are drawn.
    """
    clear_tracks(viewer)
    attached = find_tracks(viewer, collection)
    if attached is None:
        return None
    x, y = _axes(viewer, attached)
    numbers = attached.tracks.get_data(attached.column("tracks", "track"))
    size = np.array(attached.shape[1:])
    for number, path in zip(numbers, attached.track_positions, strict=True):
        path = np.where(((path > -0.5) & (path < size - 0.5)).all(axis=1, keepdims=True), path, np.nan)
        track = _Track(int(number), path[:, [x, y]], viewer.state, _frame_axis(viewer, attached))
        for part in (_Path(track), _Place(track), _Number(track)):
            viewer.axes.add_artist(part)
    viewer.redraw()
    return attached


def clear_tracks(viewer):
    """Take the tracks away from an image viewer."""
    parts = [artist for artist in viewer.axes.get_children() if isinstance(artist, TrackPart)]
    for part in parts:
        part.remove()
    if parts:
        viewer.redraw()


def outside_circle(points, center, radius):
    """A line without what of it is inside a circle.

    Parameters
    ----------
    points : ndarray, (N, 2)
    center : ndarray, (2,)
    radius : float

    Returns
    -------
    ndarray, (M, 2)
        Its pieces, rows of NaN between them.
    """
    starts, along = points[:-1], np.diff(points, axis=0)
    away = starts - center
    # |away + t along| = radius
    a, b, c = (along**2).sum(axis=1), (along * away).sum(axis=1), (away**2).sum(axis=1) - radius**2
    inner = b * b - a * c
    crossed = (inner > 0) & (a > 0)
    root, size = np.sqrt(np.where(crossed, inner, 0)), np.where(crossed, a, 1)
    outside = np.where(c < 0, 0.0, 1.0)  # of a line without a length
    enters = np.where(crossed, np.clip((-b - root) / size, 0, 1), outside)
    leaves = np.where(crossed, np.clip((-b + root) / size, 0, 1), 1.0)
    nothing = np.full(len(starts), np.nan)
    spans = np.stack([0 * enters, enters, nothing, leaves, 1 + 0 * leaves, nothing], axis=1)
    spans[enters <= 0, :2] = np.nan
    spans[leaves >= 1, 3:5] = np.nan
    return (starts[:, np.newaxis] + spans[:, :, np.newaxis] * along[:, np.newaxis]).reshape(-1, 2)


@dataclass(frozen=True, eq=False)
class _Track:
    number: int
    path: np.ndarray  # (N, 2): x, y in pixels of the image; NaN outside of it
    state: Any  # of the viewer
    frame_axis: int | None  # None where the image is of no one frame

    def place(self):
        """x, y in the frame shown, or None."""
        if self.frame_axis is None:
            return None
        here = self.path[shown_index(self.state.slices[self.frame_axis])]
        return here if np.isfinite(here).all() else None

    def radius(self, axes):
        """Of the circle [points] at the present zoom."""
        (x0, _), (x1, _) = axes.transData.transform([(0, 0), (1, 0)])
        return max(RADIUS, AROUND * abs(x1 - x0) * 72 / axes.figure.dpi)


class TrackPart:
    """What is drawn of a track."""

    def __init__(self, track, *args, **style):
        super().__init__(*args, color=kind_color("moving object"), **{"zorder": LINES, **style})
        self.track = track

    @property
    def number(self):
        """Of the track."""
        return self.track.number


class _Path(TrackPart, Line2D):
    """The way through all frames; open where the object is now, which is to be seen."""

    def __init__(self, track):
        super().__init__(track, *track.path.T, linewidth=1)
        self.set_path_effects([withStroke(linewidth=2.4, foreground="black", alpha=0.6)])

    def draw(self, renderer):
        place = self.track.place()
        path = self.track.path
        if place is not None:
            transform = self.axes.transData
            points, center = transform.transform(path), transform.transform(place)
            path = outside_circle(points, center, renderer.points_to_pixels(self.track.radius(self.axes)))
            path = transform.inverted().transform(path)
        self.set_data(*path.T)
        super().draw(renderer)


class _Place(TrackPart, Line2D):
    def __init__(self, track):
        super().__init__(track, [], [], linewidth=1)
        self.set_path_effects([withStroke(linewidth=2.4, foreground="black", alpha=0.6)])

    def draw(self, renderer):
        place = self.track.place()
        if place is not None:
            transform, radius = self.axes.transData, renderer.points_to_pixels(self.track.radius(self.axes))
            around = transform.transform(place) + radius * CIRCLE
            # (the outline of a marker would be filled)
            self.set_data(*transform.inverted().transform(around).T)
            super().draw(renderer)


class _Number(TrackPart, Annotation):
    """Beside the place; where there is none beside the first point of the way."""

    def __init__(self, track):
        style = {"ha": "center", "va": "center", "fontsize": FONT_SIZE, "fontweight": "bold", "zorder": NUMBERS}
        super().__init__(track, str(track.number), (0, 0), (0, 0), textcoords="offset points", **style)
        self.set_path_effects([withStroke(linewidth=2, foreground="black")])

    def draw(self, renderer):
        inside = self.track.path[np.isfinite(self.track.path).all(axis=1)]
        if not len(inside):
            return
        place = self.track.place()
        self.xy = tuple(inside[0] if place is None else place)
        # across the way, above it
        right, up = np.diff(self.axes.transData.transform(inside[[0, -1]]), axis=0)[0]
        across = np.array([-up, right]) if right > 0 else np.array([up, -right])
        away = BESIDE + self.track.radius(self.axes)
        self.set_position(away * across / max(np.hypot(right, up), 1e-9))
        super().draw(renderer)


def _axes(viewer, attached):
    """Which of y (0) and x (1) of the frames a viewer shows to the right and upwards; None where it does not."""
    axes = axes_in_cube(viewer, attached.cube)
    if axes is None:
        return None
    of_frames = [axis for axis in range(3) if axis != attached.axis]
    shown = [axes[att.axis] for att in (viewer.state.x_att, viewer.state.y_att)]
    return None if attached.axis in shown else [of_frames.index(axis) for axis in shown]


def _frame_axis(viewer, attached):
    """The axis of the data shown along which the frames follow each other; None where it shows no one frame."""
    axes = axes_in_cube(viewer, attached.cube)
    return axes.index(attached.axis) if attached.axis in axes else None
