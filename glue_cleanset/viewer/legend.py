"""The legend of a rejection map: which colour is which frame, or which kind of event."""

import numpy as np
from glue.config import settings
from glue.core.hub import HubListener
from glue.core.message import NumericalDataChangedMessage, SettingsChangeMessage
from matplotlib.ticker import FixedFormatter, FixedLocator, Locator, NullLocator, StrMethodFormatter
from matplotlib.transforms import Bbox

from ..core.settings import KINDS
from .colors import colormap_frames, colormap_kind, is_kind_colormap

__all__ = ["FrameLegend", "label_frames", "label_values"]

# [inch]: from the image to the bar, width of the bar, room for the numbers, and for the names of kinds
GAP, BAR, NUMBERS, NAMES = 0.06, 0.12, 0.34, 0.95
STEPS = (1, 2, 5, 10, 20, 25, 50, 100, 200, 500)
FONT_SIZE = 8
WATCHED = ("attribute", "cmap", "visible", "v_min", "v_max", "stretch", "contrast", "bias")


def label_frames(n_frames, room):
    """Which frames get their number at the legend.

    Parameters
    ----------
    n_frames : int
    room : float
        How many labels there is room for.

    Returns
    -------
    list of int
        Always frame 1, then others at equal steps, from five on at round numbers.
    """
    step = next((step for step in STEPS if n_frames / step <= room), STEPS[-1])
    return list(range(1, n_frames + 1, step)) if step <= 2 else [1, *range(step, n_frames + 1, step)]


def label_values(v_min, v_max, stretch, least=0.09):
    """Which values are told along a bar.

    Parameters
    ----------
    v_min, v_max : float
    stretch : callable
        From a share 0 … 1 of the way between the limits to the place along the bar, 0 … 1.
    least : float
        Nearer to each other than this no labels are put.

    Returns
    -------
    dict
        Round value -> place, from the highest down.
    """
    kept = {}
    for value in (step * 10.0**power for power in range(6, -3, -1) for step in (5, 2, 1)):
        if v_min <= value <= v_max:
            place = float(stretch(np.array([(value - v_min) / (v_max - v_min)]))[0])
            if all(abs(place - other) >= least for other in kept.values()):
                kept[value] = place
    return kept


class FrameLegend(HubListener):
    """A bar of colours right of the image of a rejection map.

    It tells the numbers of the frames as long as a layer shows ``rejected frame`` in the colours of
    `frame_colormap`, the kinds that there are where it shows ``kind`` in those of `kind_colormap`, and the values where
    it shows ``peak significance``; else there is none.

    Parameters
    ----------
    viewer : image viewer of glue
        With ``state``, ``axes`` and ``figure``.

    Attributes
    ----------
    axes : matplotlib.axes.Axes or None
        Where it is drawn; None = there is none.
    n_frames : int or None
        Of the frames that it tells.
    kinds : tuple of str
        Those that it tells, from the top.
    making_room : bool
        Whether the limits of the viewer change for its sake just now.
    """

    def __init__(self, viewer):
        self.viewer = viewer
        self.axes = self.n_frames = self._shown = None
        self.kinds = ()
        self.making_room = False
        self._layers = []
        viewer.state.add_callback("layers", self._follow_layers)
        viewer.session.hub.subscribe(self, SettingsChangeMessage, handler=self._color)
        # a person corrects a kind
        viewer.session.hub.subscribe(self, NumericalDataChangedMessage, handler=self.update)
        self._follow_layers()

    @property
    def width(self):
        """What it takes from the image [inch]."""
        return 0.0 if self.axes is None else GAP + BAR + (NAMES if self.kinds else NUMBERS)

    def close(self):
        """Look after the viewer no more, which is closed."""
        for layer in self._layers:
            _unwatch(layer, self.update)
        self.viewer.state.remove_callback("layers", self._follow_layers)
        self.viewer.session.hub.unsubscribe_all(self)
        self._layers, self.viewer = [], None

    def update(self, *_):
        """Show what the layers need."""
        if self.viewer is None:
            return
        layer = next((layer for layer in self.viewer.state.layers if _needs_legend(layer)), None)
        kinds = ()
        if layer is not None and layer.attribute.label == "kind":
            kinds = _kinds_of(layer)
            layer = layer if kinds else None
        shown = layer and (layer.attribute.label, layer.cmap.name, layer.v_min, layer.v_max, layer.stretch, kinds)
        if shown == self._shown:
            return
        before = self.width
        if self.axes is not None:
            self.axes.remove()
        self._shown, self.axes, self.n_frames, self.kinds = shown, None, None, kinds
        if layer is not None:
            self._draw(layer)
        left, right, bottom, top = self.viewer.axes.resizer.margins
        if self.width != before:
            self.making_room = True
            try:
                self.viewer.axes.resizer.margins = (left, right + self.width - before, bottom, top)
                self.viewer.axes.resizer.on_resize(None)
                self.viewer.state._set_axes_aspect_ratio(self.viewer.axes_ratio)
            finally:
                self.making_room = False
        self.viewer.redraw()

    def _follow_layers(self, *_):
        if self.viewer is None:  # the layers of a closed viewer go away one by one
            return
        layers = [layer for layer in self.viewer.state.layers if hasattr(layer, "cmap") and hasattr(layer, "v_min")]
        for layer in self._layers:
            if not any(layer is known for known in layers):
                _unwatch(layer, self.update)
        for layer in layers:
            if not any(layer is known for known in self._layers):
                for name in WATCHED:
                    layer.add_callback(name, self.update)
        self._layers = layers
        self.update()

    def _draw(self, layer):
        image = self.viewer.axes
        bar = self.axes = self.viewer.figure.add_axes([0.9, 0.1, 0.05, 0.8], label="legend")
        bar.set_axes_locator(lambda *_: _beside(image))
        bar.set_navigate(False)
        if layer.attribute.label == "rejected frame":
            n = self.n_frames = colormap_frames(layer.cmap)
            values, limits, ends = np.arange(1, n + 1), (-0.5, n + 0.5), (0.5, n + 0.5)
            locator, formatter = _FrameLocator(n), StrMethodFormatter("{x:.0f}")
        elif self.kinds:
            names = self.kinds[::-1]  # the first one at the top
            values, limits = np.array([1 + list(KINDS).index(kind) for kind in names]), (-0.5, len(KINDS) + 0.5)
            ends = (-0.5, len(names) - 0.5)
            locator, formatter = FixedLocator(range(len(names))), FixedFormatter(names)
        else:
            values, limits, ends = np.linspace(0, 1, 256), (0, 1), (0, 1)
            labels = label_values(layer.v_min, layer.v_max, layer.stretch_object)
            locator, formatter = FixedLocator(list(labels.values())), FixedFormatter([f"{v:g}" for v in labels])
        bar.imshow(
            values[:, np.newaxis],
            cmap=layer.cmap,
            vmin=limits[0],
            vmax=limits[1],
            extent=(0, 1, *ends),
            origin="lower",
            aspect="auto",
            interpolation="nearest",
        )
        bar.xaxis.set_major_locator(NullLocator())
        bar.yaxis.tick_right()
        bar.yaxis.set_major_locator(locator)
        bar.yaxis.set_major_formatter(formatter)
        bar.tick_params(length=2, pad=2, labelsize=FONT_SIZE)
        self._color()

    def _color(self, _=None):
        if self.axes is not None:
            self.axes.tick_params(color=settings.FOREGROUND_COLOR, labelcolor=settings.FOREGROUND_COLOR)
            for spine in self.axes.spines.values():
                spine.set_color(settings.FOREGROUND_COLOR)
            self.viewer.redraw()


class _FrameLocator(Locator):
    """As many numbers as there is room for at the present height."""

    def __init__(self, n_frames):
        self.n_frames = n_frames

    def __call__(self):
        height = self.axis.axes.get_window_extent().height * 72 / self.axis.axes.figure.dpi  # [points]
        return label_frames(self.n_frames, height / (1.5 * FONT_SIZE))

    def tick_values(self, vmin, vmax):
        return self()


def _needs_legend(layer):
    if not hasattr(layer, "v_min") or not layer.visible or layer.attribute is None:
        return False
    if layer.attribute.label == "rejected frame":
        n_frames = colormap_frames(layer.cmap)
        # with other limits the colours are not those of the frames
        return n_frames is not None and (layer.v_min, layer.v_max) == (-0.5, n_frames + 0.5)
    of_map = layer.layer.find_component_id("rejected frame") is not None
    if layer.attribute.label == "kind":
        limits = -0.5, len(KINDS) + 0.5
        return of_map and is_kind_colormap(layer.cmap) and (layer.v_min, layer.v_max) == limits
    plain = layer.contrast == 1 and layer.bias == 0.5 and layer.v_min < layer.v_max
    return of_map and plain and layer.attribute.label == "peak significance"


def _kinds_of(layer):
    """The kinds that occur in what a layer shows; of one that shows one kind only this."""
    there = np.bincount(np.ravel(layer.layer.get_data(layer.attribute)), minlength=1 + len(KINDS))
    only = colormap_kind(layer.cmap)
    return tuple(kind for kind, count in zip(KINDS, there[1:], strict=False) if count and only in (None, kind))


def _beside(image):
    """Where the bar is: as high as the image, at every size of the window."""
    box, width = image.get_position(), image.figure.get_figwidth()
    return Bbox.from_bounds(box.x1 + GAP / width, box.y0, BAR / width, box.height)


def _unwatch(layer, function):
    for name in WATCHED:
        layer.remove_callback(name, function)
