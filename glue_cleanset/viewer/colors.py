"""The categorical colour map of the rejection map: every frame number its own colour."""

from functools import cache

import matplotlib
import numpy as np
from glue.config import colormaps
from matplotlib.colors import ListedColormap

__all__ = ["colormap_frames", "frame_colormap", "register_session_colormaps", "show_frames"]

_NAME = "cleanset frames "
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
    name = f"{_NAME}{n_frames}"
    # The registry gives copies, and glue compares by identity: keep one object for each number.
    for _, colormap in colormaps:
        if colormap.name == name:
            return colormap
    colors = _frame_colors()
    colormap = ListedColormap([_NO_FRAME, *(colors[k % len(colors)] for k in range(n_frames))], name=name)
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
    layer_state.cmap = frame_colormap(n_frames)
    layer_state.alpha = 1  # what shines through would change the colours
    layer_state.v_min = -0.5
    layer_state.v_max = n_frames + 0.5


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
