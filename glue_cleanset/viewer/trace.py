"""One pixel of a cleaned set through all of its frames: what is shown of it, in figures and in words."""

from dataclasses import dataclass, field, replace

import numpy as np
from echo import CallbackProperty, delay_callback
from glue.core import Data
from glue.core.exceptions import IncompatibleAttribute
from glue.core.state_objects import State

from ..core.ondemand import nonzero
from ..core.settings import CleanSettings
from ..io.keywords import parse_dates
from .attach import RUNS, find_attached
from .overrule import find_overrules
from .regions import shown_index
from .stack import FACTS, NAMES

__all__ = [
    "TraceState",
    "TracedPixel",
    "Tracer",
    "describe",
    "find_traced",
    "frame_times",
    "pixel_of",
    "place_of",
    "summarize",
]

# a span of time [days] -> the unit it is told in, and its length [days]; the first that is exceeded twice
_UNITS = (("d", 1.0), ("h", 1 / 24), ("min", 1 / 1440), ("s", 1 / 86400))
_MOST_LISTED = 8


@dataclass(frozen=True, eq=False)
class TracedPixel:
    """One pixel through all frames, and what became of it.

    Attributes
    ----------
    trace : glue_cleanset.core.inspect.PixelTrace
    repaired : ndarray, (N,), or None
        What stands in the place of the rejected samples [ADU], NaN elsewhere; None where nothing was replaced or
        the cleaned frames were not attached.
    event : ndarray, (N,), int, or None
        Number of the event in each frame, 0 = none; None where they were not attached.
    pixels : ndarray, (N,), int, or None
        Size of that event, 0 = not known; None where the table of events was not attached.
    unit : str
        Of the values.
    settings : CleanSettings
        Of the cleaning.
    names : tuple of str
        Of the frames; empty where they have none of their own.
    by_hand : ndarray, (N,), bool, or None
        Where a person has overruled the cleaning.
    kept : ndarray, (N,), bool, or None
        Where the pixel is part of an event, but is not rejected.
    kind : ndarray, (N,), str, or None
        What that event is, '' = not known; None where the kinds were not attached.
    confidence : ndarray, (N,), or None
        Of the kind, 0 to 1.
    track : ndarray, (N,), int, or None
        Of the moving object that the event is of, 0 = of none.
    """

    trace: object
    repaired: np.ndarray | None = None
    event: np.ndarray | None = None
    pixels: np.ndarray | None = None
    unit: str = "ADU"
    settings: CleanSettings = field(default_factory=CleanSettings)
    names: tuple = ()
    by_hand: np.ndarray | None = None
    kept: np.ndarray | None = None
    kind: np.ndarray | None = None
    confidence: np.ndarray | None = None
    track: np.ndarray | None = None

    @property
    def stands_out(self):
        """Whether the pixel is part of an event, kept ones included: (N,) bool."""
        return self.trace.rejected if self.kept is None else self.trace.rejected | self.kept

    @property
    def strongest(self):
        """The frame, from 0, that is farthest from what is expected: among the events, if there are any."""
        size = np.nan_to_num(np.abs(self.trace.significance), nan=-1.0)
        if self.stands_out.any():
            size = np.where(self.stands_out, size, -2.0)
        return int(size.argmax())


class Tracer:
    """Follows pixels through the frames of one cleaned set.

    The frames, and what was done by hand, are looked at once and kept; `forget` them when the cube has changed. What
    is rejected, and by what it was replaced, is read anew for each pixel.

    Parameters
    ----------
    attached : glue_cleanset.viewer.attach.Attached

    Raises
    ------
    ValueError
        Where the result does not hold what is needed.
    """

    def __init__(self, attached):
        self.attached = attached
        # made anew of plain values whenever they are asked for
        self.model, self.settings = attached.model, attached.settings
        if self.model is None:
            raise ValueError(
                f"'{attached.source.label}' of '{attached.cube.label}' was cleaned by a version of glue_cleanset that "
                "did not keep the noise model with its result; clean it again to trace its pixels."
            )
        self.forget()

    @property
    def unit(self):
        """Of the values; ADU where none is known."""
        return self.attached.cube.get_component(self.attached.source).units or "ADU"

    def forget(self):
        """Look at the frames anew the next time."""
        self._image_set = self._overruled = self._held = None

    def trace(self, y, x):
        """Follow one pixel.

        Parameters
        ----------
        y, x : int

        Returns
        -------
        TracedPixel

        Raises
        ------
        ValueError
            Where the pixel lies outside the image, or the frames make no set any more.
        """
        from ..core.inspect import trace_pixel  # compiled code takes a while to import

        a = self.attached
        if self._image_set is None:
            self._image_set = a.image_set()
        _, ny, nx = self._image_set.shape
        if not (0 <= y < ny and 0 <= x < nx):
            raise ValueError(f"the pixel y={y}, x={x} lies outside the image of {ny} x {nx} pixels")
        event, cleaned = self._read(a.event, y, x), self._read(a.cleaned, y, x)
        kept = self._kept(y, x)
        rejected = self._rejected(y, x, event, cleaned, kept)
        # what is kept has no say in the reference
        trace = trace_pixel(self._image_set, self.model, self.settings, y, x, rejected | kept)
        trace = replace(trace, rejected=rejected)
        repaired = None
        if cleaned is not None and self.settings.repair != "none":
            repaired = np.where(rejected, cleaned.astype(float), np.nan)
        names = self._image_set.names if a.axis == 0 and a.cube.meta.get(NAMES) else ()
        told = self._tell(event)
        return TracedPixel(
            trace,
            repaired,
            event,
            told.pop("pixels"),
            self.unit,
            self.settings,
            names,
            self._by_hand(y, x),
            kept,
            **told,
        )

    def _by_hand(self, y, x):
        if self._overruled is None:
            masks = [mask for mask in find_overrules(self.attached) if mask is not None]
            self._overruled = np.unique(np.concatenate([nonzero(mask)[0] for mask in masks])) if masks else []
        return np.isin(self._indices(y, x), self._overruled)

    def _kept(self, y, x):
        if self._held is None:
            mask = self.attached.kept
            self._held = [] if mask is None else nonzero(mask)[0]
        return np.isin(self._indices(y, x), self._held)

    def _indices(self, y, x):
        """Of a pixel in each frame, in the cube with its frames first."""
        n, ny, nx = self._image_set.shape
        return (np.arange(n) * ny + y) * nx + x

    def _read(self, attribute, y, x):
        if attribute is None:
            return None
        view = [y, x]
        view.insert(self.attached.axis, slice(None))
        return np.asarray(self.attached.cube.get_data(attribute, view=tuple(view)))

    def _rejected(self, y, x, event, cleaned, kept):
        a = self.attached
        if a.rejected is not None:
            return self._read(a.rejected, y, x) != 0
        if event is not None:
            return (event > 0) & ~kept
        if cleaned is not None:
            source = self._read(a.source, y, x)
            # NaN differs from itself
            return (cleaned != source) & ~(np.isnan(cleaned) & np.isnan(source))
        from ..core.inspect import preview

        return preview(self._image_set, self.model, self.settings, (y, y + 1), (x, x + 1))[:, 0, 0] & ~kept

    def _tell(self, event):
        """What the table of events tells of the event in each frame, by its column; None = nothing."""
        blanks = {"pixels": 0, "kind": "", "confidence": 0.0, "track": 0}
        told = dict.fromkeys(blanks)
        number = self.attached.column("events", "event")
        if event is None or number is None:
            return told
        frames = np.flatnonzero(event)
        which, rows = np.nonzero(event[frames, None] == self.attached.events.get_data(number))
        frames = frames[which]
        for name, blank in blanks.items():
            column = self.attached.column("events", name)
            if column is not None:
                component = self.attached.events.get_component(column)
                values = component.labels if component.categorical else component.data
                told[name] = np.full(len(event), blank, values.dtype)
                told[name][frames] = values[rows]
        return told


class TraceState(State):
    """Which pixel is traced, and how it is shown. All that the mouse can do to it is done here.

    Attributes
    ----------
    attached : Attached or None
        The result of which a pixel is traced.
    pixel : (int, int) or None
        (y, x).
    frame : int or None
        The frame in question, from 0; None = the one that is farthest from what is expected.
    pinned : bool
        Whether the pixel stays although the mouse moves on.
    by_time : bool
        Whether the values are shown against time, where that is known.
    whole_range : bool
        Whether the axis of values reaches to all of them, or shows what is allowed well.
    message : str
        Why nothing is traced.
    """

    attached = CallbackProperty()
    pixel = CallbackProperty()
    frame = CallbackProperty()
    pinned = CallbackProperty(False)
    by_time = CallbackProperty(False)
    whole_range = CallbackProperty(False)
    message = CallbackProperty("")

    def hover(self, attached, frame, y, x):
        """The mouse is on a pixel; a pinned one stays."""
        if not self.pinned:
            self.show(attached, frame, y, x)

    def click(self, attached, frame, y, x):
        """Pin this pixel; free it, if it is the one that is pinned."""
        if self.pinned and self.pixel == (y, x) and self.attached is attached:
            self.pinned = False
        else:
            self.show(attached, frame, y, x)
            self.pinned = True

    def show(self, attached, frame, y, x):
        """Trace this pixel."""
        with delay_callback(self, "attached", "pixel", "frame", "message"):
            self.attached, self.pixel, self.frame, self.message = attached, (y, x), frame, ""

    def clear(self, message=""):
        """Trace nothing."""
        with delay_callback(self, "attached", "pixel", "frame", "message", "pinned"):
            self.attached = self.pixel = self.frame = None
            self.pinned, self.message = False, message


def find_traced(viewer_state, collection):
    """The result whose pixels an image viewer shows.

    Parameters
    ----------
    viewer_state : glue.viewers.image.state.ImageViewerState
    collection : glue.core.DataCollection

    Returns
    -------
    Attached
        That of the attribute on display, else the newest that the image is a part of, else the newest that
        its pixels are linked to.

    Raises
    ------
    ValueError
        Where there is none; the message says why.
    """
    reference = viewer_state.reference_data
    if reference is None:
        raise ValueError("There is no image in this viewer.")
    found = find_attached(collection)[::-1]
    mine = [a for a in found if any(reference is part for part in (a.cube, *a.datasets))]
    shown = [layer.attribute for layer in viewer_state.layers if getattr(layer, "attribute", None) is not None]
    for attribute in reversed(shown):
        for a in mine:
            if a.made(attribute):
                return a
    for a in mine or found:
        if mine or _carry(reference, [0] * reference.ndim, a.cube, a) is not None:
            return a
    if isinstance(reference, Data) and reference.meta.get(RUNS):
        raise ValueError(f"The attribute of '{reference.label}' that was cleaned is not there any more.")
    raise ValueError(
        f"'{reference.label}' is no part of a cleaned image set; choose 'Clean image set…' first, or trace in a "
        "viewer of the cleaned set."
    )


def pixel_of(viewer_state, x, y, attached):
    """The pixel of a cleaned set that lies under a position in an image viewer.

    Parameters
    ----------
    viewer_state : glue.viewers.image.state.ImageViewerState
    x, y : float or None
        Position [pixels of the viewer's reference data], as mouse events have it in ``xdata`` and ``ydata``.
    attached : Attached

    Returns
    -------
    (frame, y, x) or None
        Integers from 0; the frame is None where the viewer shows none. None where there is no pixel.
    """
    reference = viewer_state.reference_data
    if x is None or y is None or reference is None or viewer_state.x_att is None or viewer_state.y_att is None:
        return None
    point = [shown_index(position) for position in viewer_state.slices]
    # nearest, and always the same way at the border of two pixels
    point[viewer_state.x_att.axis], point[viewer_state.y_att.axis] = int(np.floor(x + 0.5)), int(np.floor(y + 0.5))
    if not _inside(point, reference):
        return None
    found = _carry(reference, point, attached.cube, attached)
    if found is None or not _inside(found, attached.cube):
        return None
    frame = found.pop(attached.axis)
    if frame is None and reference.ndim == 2:
        frame = _frame_of_image(attached, reference)
    return (frame, *found)


def place_of(viewer_state, attached, frame, y, x):
    """Where an image viewer shows a pixel of a cleaned set: the inverse of `pixel_of`.

    Returns
    -------
    (x, y) or None
        Position [pixels of the viewer's reference data]; None where it shows none.
    """
    reference = viewer_state.reference_data
    if reference is None or viewer_state.x_att is None or viewer_state.y_att is None:
        return None
    point = [y, x]
    point.insert(attached.axis, frame)
    found = _carry(attached.cube, point, reference, attached)
    if found is None or not _inside(found, reference):
        return None
    place = found[viewer_state.x_att.axis], found[viewer_state.y_att.axis]
    return None if None in place else place


def frame_times(data):
    """When the frames of a cube were taken.

    Parameters
    ----------
    data : glue.core.Data
        A cube made by one of the *Image set* factories, frames first.

    Returns
    -------
    times : ndarray, (N,), float64
        Since the first exposure.
    label : str
        Of an axis: from when they count, and their unit.

    None where a date is missing or all are the same.
    """
    times = parse_dates(data.meta.get(FACTS["date"]))
    if times is None or len(times) != data.shape[0]:
        return None
    days = (times - times.min()).to_value("day")
    span = days.max()
    if not span > 0:
        return None
    unit, length = next(((u, length) for u, length in _UNITS if span > 2 * length), _UNITS[-1])
    times.precision = 0
    return days / length, f"time since {times.min().isot} UTC [{unit}]"


def describe(pixel, frame):
    """One frame of a traced pixel in words.

    Parameters
    ----------
    pixel : TracedPixel
    frame : int
        From 0.

    Returns
    -------
    str
        Such as ``frame 4: +312 ADU, 21.4 sigma, event 118 (7 px), cosmic ray (93 %), replaced by 203.1``, or
        ``frame 2: +80.5 ADU, 9.1 sigma, event 12 (9 px), kept: moving object (87 %), track 2``.
    """
    trace, name = pixel.trace, f"frame {frame + 1}"
    value, expected = trace.value[frame], trace.expected[frame]
    if not np.isfinite(value):
        return f"{name}: not used"
    if np.isfinite(expected):
        text = f"{name}: {_number(value - expected, 3, '+')} {pixel.unit}, {trace.significance[frame]:.1f} sigma"
    else:
        text = f"{name}: {_number(value)} {pixel.unit}, no other frame to compare it with"
    if not pixel.stands_out[frame]:
        return f"{text}, kept{_why_kept(pixel, frame)}"
    if pixel.event is not None and pixel.event[frame]:
        text += f", event {pixel.event[frame]}"
        if pixel.pixels is not None and pixel.pixels[frame]:
            text += f" ({pixel.pixels[frame]} px)"
    kind = _kind(pixel, frame)
    if not trace.rejected[frame]:
        by_hand = pixel.by_hand is not None and pixel.by_hand[frame]
        return f"{text}, kept{' by hand' if by_hand else ''}: {kind or 'part of an event'}"
    text += f", {kind}" if kind else ""
    text += _why_rejected(pixel, frame)
    if pixel.repaired is not None:
        replaced = pixel.repaired[frame]
        text += f", replaced by {'NaN' if np.isnan(replaced) else _number(replaced)}"
    return text


def summarize(pixel):
    """How often a traced pixel is rejected, in words.

    Parameters
    ----------
    pixel : TracedPixel

    Returns
    -------
    str
    """
    trace = pixel.trace
    n, rejected = len(trace.value), trace.rejected
    told = f"rejected in {_listed(rejected)}" if rejected.any() else f"kept in all {n} frames"
    if pixel.kept is not None and pixel.kept.any():
        told = f"{told + ', ' if rejected.any() else ''}event kept in {_listed(pixel.kept)}"
    return f"pixel x={trace.x}, y={trace.y}: {told}"


def _listed(mask):
    frames = np.flatnonzero(mask) + 1
    most = ", ".join(map(str, frames[:_MOST_LISTED])) + (" …" if frames.size > _MOST_LISTED else "")
    return f"{frames.size} of {mask.size} frames: {most}"


def _kind(pixel, frame):
    """What the event in a frame is, as far as that is known."""
    if pixel.kind is None or pixel.confidence is None or not pixel.confidence[frame]:
        return ""
    text = f"{pixel.kind[frame]} ({pixel.confidence[frame]:.0%})".replace("%", " %")
    return text if pixel.track is None or not pixel.track[frame] else f"{text}, track {pixel.track[frame]}"


def _why_rejected(pixel, frame):
    """Who rejected a sample, or what, where it is within its own limits; nothing where it is not."""
    trace, settings = pixel.trace, pixel.settings
    if pixel.by_hand is not None and pixel.by_hand[frame]:
        return ", rejected by hand"
    value, low, high = trace.value[frame], trace.lowest[frame], trace.highest[frame]
    if not low <= value <= high:
        return ""
    reasons = []
    significance = trace.significance[frame]
    if settings.detection == "noise" and abs(significance) >= settings.low_pair[int(significance < 0)]:
        reasons.append("on the word of its neighbours")
    if settings.grow:
        reasons.append(f"by grow {settings.grow}")
    return ", rejected " + (" or ".join(reasons) if reasons else "although within the limits")


def _why_kept(pixel, frame):
    """Who kept a sample, or what, where it is beyond its limits; nothing where it is not."""
    trace, settings = pixel.trace, pixel.settings
    if pixel.by_hand is not None and pixel.by_hand[frame]:
        return " by hand"
    value, low, high = trace.value[frame], trace.lowest[frame], trace.highest[frame]
    if not (value < low or value > high):
        return ""
    n, count = np.isfinite(trace.value).sum(), trace.rejected.sum()
    most = settings.most_rejected(len(trace.value))
    if count >= most:
        return f" although beyond the limits: at most {most} {'frame is' if most == 1 else 'frames are'} rejected"
    if settings.min_frames and n - count <= settings.min_frames:
        return f" although beyond the limits: at least {settings.min_frames} must remain"
    return " although beyond the limits"


def _number(value, digits=4, sign=""):
    """So many significant digits, but all of those before the point."""
    if value == 0 or not 1e-4 <= abs(value) < 1e7:
        return f"{value:{sign}.{digits}g}"
    decimals = max(0, digits - 1 - int(np.floor(np.log10(abs(value)))))
    return f"{value:{sign}.{decimals}f}"


def _inside(point, data):
    return all(p is None or 0 <= p < size for p, size in zip(point, data.shape, strict=True))


def _carry(data, point, other, attached):
    """The pixel of `other` that a pixel of `data` is, None on an axis that is not tied to it; None where there is none.

    What a cleaning attached is known, whatever the links; the rest goes by glue's links.
    """
    cube, image, axis = attached.cube, attached.map, attached.axis
    if data is other or (data.ndim == other.ndim == 3 and data.shape == other.shape):
        found = list(point)
    elif data is image and other is cube:
        found = [*point]
        found.insert(axis, None)
    elif data is cube and other is image:
        found = [p for i, p in enumerate(point) if i != axis]
    else:
        view = tuple(slice(p, p + 1) for p in (0 if p is None else p for p in point))
        found = [_linked(data, cid, view) for cid in other.pixel_component_ids]
    # the frame may be open, the pixel not
    return None if other is cube and None in found[:axis] + found[axis + 1 :] else found


def _linked(data, attribute, view):
    try:
        values = np.ravel(data.get_data(attribute, view=view))
    except IncompatibleAttribute:
        return None
    return int(np.floor(values[0] + 0.5)) if values.size and np.isfinite(values[0]) else None


def _frame_of_image(attached, image):
    """The frame that an image was stacked into, where that is certain."""
    names = attached.cube.meta.get(NAMES)
    if names is None or len(names) != attached.cube.shape[0] or list(names).count(image.label) != 1:
        return None
    return list(names).index(image.label)
