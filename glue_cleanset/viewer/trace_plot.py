"""The plot of a traced pixel: value against frame number or time, with what was allowed."""

import numpy as np
from glue.config import settings
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_rgba, to_rgba_array
from matplotlib.lines import Line2D
from matplotlib.ticker import AutoLocator, MaxNLocator

from .colors import frame_colormap, kind_color

__all__ = ["TracePlot", "value_limits"]

# room above and below what is to be seen, as a share of it; how far beyond it a value is still shown in its place
_MARGIN = 0.12
_NEAR = 1.0
_MOST_LABELS = 8


class TracePlot:
    """Draws traced pixels into axes, one in the place of the other; nothing is drawn until the canvas is.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Empty.
    """

    def __init__(self, axes):
        self.axes = axes
        self.band = PolyCollection([], linewidths=0, alpha=0.3, zorder=1)
        self.expected = LineCollection([], linewidths=1.5, zorder=2)
        self.current = Line2D([0, 0], [0, 1], linewidth=1, zorder=0.5, transform=axes.get_xaxis_transform())
        self.steps = LineCollection([], linewidths=0.8, zorder=3)
        self.repaired = Line2D([], [], linestyle="none", marker="o", markersize=6, fillstyle="none", zorder=4)
        self.kept = Line2D([], [], linestyle="none", marker="o", markersize=4, zorder=5)
        for line in (self.current, self.repaired, self.kept):
            axes.add_line(line)
        for collection in (self.band, self.expected, self.steps):
            axes.add_collection(collection, autolim=False)
        # inside, rejected or part of an event that is kept; above the highest and below the lowest value on the axis
        self.points, self.held, self.above, self.below = (
            axes.scatter([], [], s=size, marker=marker, linewidths=0.8, zorder=6)
            for size, marker in ((45, "o"), (40, "D"), (60, "^"), (60, "v"))
        )
        self.labels = [
            axes.annotate("", (0, 0), (0, 0), textcoords="offset points", fontsize="small", zorder=7)
            for _ in range(_MOST_LABELS)
        ]
        self.legend, self._has_held = None, False
        axes.set_autoscale_on(False)
        self.follow_settings()
        self.clear()

    @property
    def artists(self):
        """All that shows a pixel."""
        return [self.band, self.expected, self.current, self.steps, self.repaired, self.kept, *self._events]

    @property
    def _events(self):
        return self.points, self.held, self.above, self.below

    def follow_settings(self):
        """Take the colours that are set in glue."""
        front = settings.FOREGROUND_COLOR
        self.band.set_color("#4c8fd0")
        self.expected.set_color("#4c8fd0")
        self.current.set_color("0.5")
        self.steps.set_color("0.5")
        self.kept.set_color(front)
        self.repaired.set_color(front)
        for artist in self._events:
            artist.set_edgecolor(front)
        for label in self.labels:
            label.set_color(front)
        self._explain()

    def _explain(self):
        """Make the legend."""
        front, back = settings.FOREGROUND_COLOR, settings.BACKGROUND_COLOR
        rejected, held = (
            Line2D([], [], linestyle="none", marker=marker, color=color, markeredgecolor=front)
            for marker, color in (("o", frame_colormap(2)(1)), ("D", kind_color("moving object")))
        )
        handles = [
            (self.band, "allowed"),
            (self.expected, "expected"),
            (self.kept, "not rejected"),
            (rejected, "rejected, in the colour of its frame"),
            (self.repaired, "repaired"),
        ]
        if self._has_held:
            # there is not always room for it
            handles.insert(4, (held, "kept event"))
        self.legend = self.axes.legend(
            *zip(*handles, strict=True),
            loc="lower right",
            bbox_to_anchor=(1, 1),
            ncols=len(handles),
            borderaxespad=0,
            frameon=False,
            fontsize="small",
            labelcolor=front,
            facecolor=back,
            handletextpad=0.3,
            columnspacing=1.2,
        )

    def clear(self):
        """Show no pixel."""
        self.axes.set_axis_off()
        for artist in (*self.artists, *self.labels, self.legend):
            artist.set_visible(False)

    def show(self, pixel, frame, times=None, whole_range=False):
        """Show a pixel.

        Parameters
        ----------
        pixel : glue_cleanset.viewer.trace.TracedPixel
        frame : int
            The one that is marked, from 0.
        times : (ndarray, str), optional
            Of the frames and the label of their axis, as `glue_cleanset.viewer.trace.frame_times` gives them;
            default the number of the frame.
        whole_range : bool
            Whether all values are in their places.
        """
        trace, axes = pixel.trace, self.axes
        n = len(trace.value)
        x, width, name = (np.arange(1, n + 1.0), 0.8, "frame") if times is None else (*_spaced(times[0]), times[1])
        self._scale_x(x, width, name, times is None)
        axes.set_ylabel(f"value [{pixel.unit}]")
        low, high = value_limits(pixel, whole_range)
        axes.set_ylim(low, high)

        left, right = x - width / 2, x + width / 2
        bounded = np.isfinite(trace.expected)
        # open limits reach beyond the axis
        bottom = np.clip(np.nan_to_num(trace.lowest, nan=np.inf), low - 1, high + 1)
        top = np.clip(np.nan_to_num(trace.highest, nan=-np.inf), low - 1, high + 1)
        boxes = np.stack([np.stack([left, right, right, left], 1), np.stack([bottom, bottom, top, top], 1)], 2)
        self.band.set_verts(boxes[bounded & (top > bottom)])
        self.expected.set_segments(_segments(left, trace.expected, right, trace.expected)[bounded])
        self.current.set_xdata([x[frame], x[frame]])

        stands_out, held = pixel.stands_out, pixel.stands_out & ~trace.rejected
        self.kept.set_data(x[~stands_out], trace.value[~stands_out])
        inside = np.clip(trace.value, low, high)
        colors = to_rgba_array(frame_colormap(n).colors[1:])  # the first is that of no frame
        for k in np.flatnonzero(held):
            colors[k] = to_rgba(kind_color("other" if pixel.kind is None else pixel.kind[k] or "other"))
        room = 0.03 * (high - low)
        for artist, here, y in (
            (self.points, (inside == trace.value) & ~held, trace.value),
            (self.held, (inside == trace.value) & held, trace.value),
            (self.above, trace.value > high, np.full(n, high - room)),
            (self.below, trace.value < low, np.full(n, low + room)),
        ):
            here = here & stands_out
            artist.set_offsets(np.stack([x[here], y[here]], 1))
            artist.set_facecolor(colors[here])
        repaired = np.full(n, np.nan) if pixel.repaired is None else pixel.repaired
        self.repaired.set_data(x, repaired)
        self.steps.set_segments(_segments(x, inside, x, repaired)[np.isfinite(repaired)])
        self._label(x, trace, inside)
        axes.set_axis_on()
        for artist in (*self.artists, self.legend):
            artist.set_visible(True)
        if held.any() != self._has_held:
            self._has_held = bool(held.any())
            self._explain()

    def _scale_x(self, x, width, name, whole):
        # a label or a locator that is set anew costs as much as the rest
        if self.axes.get_xlabel() != name:
            self.axes.set_xlabel(name)
            self.axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1) if whole else AutoLocator())
        # there is no frame 0 to be named
        room = 0.5 if whole else width / 2 + 0.01 * (x.max() - x.min())
        limits = x.min() - room, x.max() + room
        if self.axes.get_xlim() != limits:
            self.axes.set_xlim(limits)

    def _label(self, x, trace, inside):
        """The values of those that are beyond the axis, the farthest first."""
        beyond = np.nan_to_num(np.abs(trace.value - inside))
        order = [k for k in np.argsort(-beyond, kind="stable") if beyond[k] > 0]
        for label in self.labels:
            label.set_visible(False)
        for label, k in zip(self.labels, order, strict=False):
            above = trace.value[k] > inside[k]
            right = x[k] > np.mean(self.axes.get_xlim())
            label.xy = x[k], inside[k]
            label.set_text(f"{trace.value[k]:.4g}" if abs(trace.value[k]) < 1000 else f"{trace.value[k]:.0f}")
            label.set_position((-7 if right else 7, -3 if above else 3))
            label.set(ha="right" if right else "left", va="top" if above else "bottom", visible=True)


def value_limits(pixel, whole_range=False):
    """The axis of values of a traced pixel.

    Parameters
    ----------
    pixel : glue_cleanset.viewer.trace.TracedPixel
    whole_range : bool
        Whether all values are within.

    Returns
    -------
    low, high : float
        They show what is allowed and all that survives or was put in the place of the others; those of events too,
        as long as they are not so far away that the rest would not be seen.
    """
    trace = pixel.trace
    repaired = [] if pixel.repaired is None else pixel.repaired
    core = [trace.lowest, trace.highest, trace.expected, trace.value[~pixel.stands_out], repaired]
    core = np.concatenate(core)
    core = core[np.isfinite(core)]
    values = trace.value[np.isfinite(trace.value)]
    if not core.size:
        core = values if values.size else np.zeros(1)
    low, high = core.min(), core.max()
    span = high - low
    if not span > 0:
        span = abs(low) or 1.0
    near = values if whole_range else values[(values > low - _NEAR * span) & (values < high + _NEAR * span)]
    low, high = min(low, near.min(initial=low)), max(high, near.max(initial=high))
    margin = _MARGIN * (high - low) or 0.5 * span
    return float(low - margin), float(high + margin)


def _spaced(times):
    """The times, and how wide a frame is shown there."""
    gaps = np.diff(np.unique(times))
    return times, max(0.8 * gaps.min(), 0.008 * np.ptp(times))


def _segments(x0, y0, x1, y1):
    return np.stack([np.stack([x0, y0], 1), np.stack([x1, y1], 1)], 1)
