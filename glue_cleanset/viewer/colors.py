"""The categorical colour map of the rejection map: every frame number its own colour."""

from colorsys import hsv_to_rgb

import matplotlib
from glue.config import colormaps
from matplotlib.colors import ListedColormap

__all__ = ["frame_colormap", "register_session_colormaps", "show_frames"]

_NAME = "cleanset frames "
_NO_FRAME = (0.09, 0.09, 0.11)
# Neighbouring frames must differ most: the golden angle takes the hue far away from one number to the
# next, saturation and value change with it so that hues which come back after some frames still differ.
_HUE_STEP = 0.618033988749895
_TONES = ((0.85, 1.0), (0.45, 1.0), (0.95, 0.72))


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
    colors = [_NO_FRAME]
    for k in range(n_frames):
        colors.append(hsv_to_rgb((k * _HUE_STEP) % 1, *_TONES[k % len(_TONES)]))
    colormap = ListedColormap(colors, name=name)
    # glue's style editor looks it up in the one, a restored session in the other
    colormaps.add(name, colormap)
    matplotlib.colormaps.register(colormap, force=True)
    return colormap


def show_frames(layer_state, n_frames):
    """Set colour map and limits of an image layer that shows ``rejected frame``.

    Parameters
    ----------
    layer_state : glue.viewers.image.state.ImageLayerState
    n_frames : int
        Number of frames of the set.
    """
    layer_state.cmap = frame_colormap(n_frames)
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
