"""The categorical colour maps of the rejection map: every frame number its own colour, and every kind of event."""

from functools import cache, partial

import matplotlib
import numpy as np
from glue.config import colormaps
from matplotlib.colors import ListedColormap

from ..core.settings import KINDS

__all__ = [
    "colormap_frames",
    "colormap_kind",
    "frame_colormap",
    "is_kind_colormap",
    "kind_color",
    "kind_colormap",
    "register_session_colormaps",
    "show_frames",
    "show_kinds",
]

_NAME = "cleanset frames "
_KINDS = "cleanset kinds"
# As far from each other and from the dark of no event as can be, for people with each kind of colour blindness too
# (CIEDE2000 of what they see after Machado et al. 2009, doi:10.1109/TVCG.2009.113); hot pixels red and cold ones blue.
_KIND_COLORS = {
    "cosmic ray": "#df9704",
    "hot pixel": "#e25772",
    "cold pixel": "#4d6b9b",
    "moving object": "#6cffbe",
    "trail": "#fffd09",
    "variable star": "#dd78ff",
    "bad frame": "#9f4d10",
    "other": "#adaaaf",
}
_NO_FRAME = (0.09, 0.09, 0.11)
# how much farther apart, in CIELAB, a colour is kept from the two before it than from all others
_NEIGHBOURS = 5


def frame_colormap(n_frames):
    """The colour map of a rejection map, known to glue and matplotlib by its name.

    Show it with ``v_min = -0.5`` and ``v_max = n_frames + 0.5`` (`show_frames` does): value 0 (no frame)
    is dark and neutral, value k is the colour of frame k, the same in sets of any size.

    Parameters
    ----------
    n_frames : int
        Number of frames of the set.

    Returns
    -------
    matplotlib.colors.ListedColormap
        ``n_frames + 1`` colours, the same object for the same number.
    """

    def make():
        colors = _frame_colors()
        return [_NO_FRAME, *(colors[k % len(colors)] for k in range(n_frames))]

    return _known(f"{_NAME}{n_frames}", make)


def kind_colormap(only=None):
    """The colour map of the kinds of events, known to glue and matplotlib by its name.

    Show it with ``v_min = -0.5`` and ``v_max = len(KINDS) + 0.5`` (`show_kinds` does): value 0 (no event) is dark and
    neutral, value 1 + k is the colour of kind k of `glue_cleanset.core.settings.KINDS`.

    Parameters
    ----------
    only : str, optional
        The one kind that has its colour; the others look like no event.

    Returns
    -------
    matplotlib.colors.ListedColormap
        ``len(KINDS) + 1`` colours, the same object for the same `only`.
    """
    # all at once: a style editor knows those that there were when it was made
    maps = {one: _known(_kinds_name(one), partial(_kind_colors, one)) for one in (None, *KINDS)}
    return maps[only]


def colormap_kind(colormap):
    """The one kind that a colour map of `kind_colormap` shows; None where it shows them all, or is none of these."""
    name = getattr(colormap, "name", "")
    return next((kind for kind in KINDS if name == _kinds_name(kind)), None)


def is_kind_colormap(colormap):
    """Whether a colour map is one of `kind_colormap`."""
    return getattr(colormap, "name", "").startswith(_KINDS)


def _kinds_name(only):
    return _KINDS if only is None else f"{_KINDS}: {only}"


def _kind_colors(only):
    return [_NO_FRAME, *(kind_color(kind) if only in (None, kind) else _NO_FRAME for kind in KINDS)]


def kind_color(kind):
    """The colour of a kind of events wherever it is shown, as ``#rrggbb``."""
    return _KIND_COLORS[kind]


def _known(name, make_colors):
    # The registry gives copies, and glue compares by identity: keep one object for each name.
    for _, colormap in colormaps:
        if colormap.name == name:
            return colormap
    colormap = ListedColormap(make_colors(), name=name)
    # glue's style editor looks it up in the one, a restored session in the other
    colormaps.add(name, colormap)
    if name not in matplotlib.colormaps:
        matplotlib.colormaps.register(colormap)
    return colormap


def colormap_frames(colormap):
    """The number of frames that a colour map is for; None where it is none of `frame_colormap`."""
    name = getattr(colormap, "name", "")
    return int(name[len(_NAME) :]) if name.startswith(_NAME) and name[len(_NAME) :].isdigit() else None


def show_frames(layer_state, n_frames):
    """Set colour map and limits of an image layer that shows ``rejected frame``.

    Parameters
    ----------
    layer_state : glue.viewers.image.state.ImageLayerState
    n_frames : int
        Number of frames of the set.
    """
    _show_categories(layer_state, frame_colormap(n_frames), n_frames)


def show_kinds(layer_state, only=None):
    """Set colour map and limits of an image layer that shows ``kind``: of all kinds, or `only` of one."""
    _show_categories(layer_state, kind_colormap(only), len(KINDS))


def _show_categories(layer_state, colormap, count):
    layer_state.cmap = colormap
    layer_state.alpha = 1  # what shines through would change the colours
    layer_state.v_min = -0.5
    layer_state.v_max = count + 0.5


def register_session_colormaps(session):
    """Make the colour maps that a saved session names; glue calls this before it restores one.

    Parameters
    ----------
    session : dict
        The records of the session file; not changed.
    """
    for record in session.values():
        name = record.get("cmap") if isinstance(record, dict) else None
        if isinstance(name, str) and name.startswith(_NAME) and name[len(_NAME) :].isdigit():
            frame_colormap(int(name[len(_NAME) :]))
        elif isinstance(name, str) and name.startswith(_KINDS):
            kind_colormap()


@cache
def _frame_colors():
    """Some hundred colours, each as far as can be from all before it, and farthest from the last two."""
    from skimage.color import rgb2lab

    colors = np.stack(np.meshgrid(*[np.linspace(0, 1, 9)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    lab = rgb2lab(colors)
    vivid = (lab[:, 0] > 40) & (np.hypot(lab[:, 1], lab[:, 2]) > 20)
    colors, lab = colors[vivid], lab[vivid]

    def distance_to(color):
        return np.linalg.norm(lab - color, axis=1)

    nearest = distance_to(rgb2lab(np.array([_NO_FRAME]))[0])
    picked = []
    while nearest.max() > 0:
        score = np.minimum.reduce([nearest, *(distance_to(lab[i]) / _NEIGHBOURS for i in picked[-2:])])
        picked.append(int(score.argmax()))
        nearest = np.minimum(nearest, distance_to(lab[picked[-1]]))
    return [tuple(color) for color in colors[picked].tolist()]
