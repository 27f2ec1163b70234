"""What a viewer of a cleaned set shows: original or cleaned; the frame rejected, the significance over all frames, or
the kinds of the events, all or one."""

from contextlib import contextmanager

import numpy as np
from glue.config import colormaps

from .attach import find_attached, flat_viewers
from .colors import show_frames, show_kinds

__all__ = [
    "blink",
    "blinking_layer",
    "entitle",
    "entitle_map",
    "frames_title",
    "keep_frames",
    "map_layer",
    "map_title",
    "show_kind_map",
    "show_rejected_frame",
    "show_significance",
    "switch_map",
]

FRAME, SIGNIFICANCE, KIND = "rejected frame", "peak significance", "kind"
SEQUENTIAL = "inferno"
# of the significances above 0: the strongest hits would leave nothing to be seen of the others
PERCENT = 99.5


@contextmanager
def keep_frames(viewers):
    """Let image viewers stay at the frame they show while values are changed: glue shows the first one then.

    Parameters
    ----------
    viewers : iterable
        Viewers, or nested lists of them, as ``application.viewers``.
    """
    states = [getattr(viewer, "state", None) for viewer in flat_viewers(viewers)]
    before = [(state, state.reference_data, state.slices) for state in states if hasattr(state, "slices")]
    try:
        yield
    finally:
        for state, shown, slices in before:
            if state.reference_data is shown and len(state.slices or ()) == len(slices or ()):
                state.slices = slices


def frames_title(attached, attribute):
    """What a viewer is called that shows an attribute of the cube."""
    cube = attached.cube
    if attribute is attached.source:
        return f"Original: {cube.label}"
    return f"{f'Cleaned{attached.suffix}' if attribute is attached.cleaned else attribute}: {cube.label}"


def map_title(attached, attribute):
    """What a viewer is called that shows an attribute of the rejection map."""
    n_frames = attached.cube.shape[attached.axis]
    if attribute.label == FRAME:
        return f"Rejection map{attached.suffix}, frames 1 to {n_frames} in colour"
    if attribute.label == SIGNIFICANCE:
        return f"Peak significance{attached.suffix} over all {n_frames} frames"
    if attribute.label == KIND:
        return f"Kinds of events{attached.suffix} in all {n_frames} frames"
    return f"{str(attribute).capitalize()}: {attached.cube.label}"


def entitle(viewer_state, title, known=()):
    """Give a viewer a title, where it has none or one of those `known`: one that a person gave is kept."""
    if not viewer_state.title or viewer_state.title in known:
        viewer_state.title = title


def blinking_layer(layers, collection):
    """The layer that `blink` would switch.

    Parameters
    ----------
    layers : iterable of layer states
        As ``viewer.state.layers``.
    collection : glue.core.DataCollection

    Returns
    -------
    layer : layer state or None
        The first visible one that shows a cleaned cube; None where there is none.
    found : list of glue_cleanset.viewer.attach.Attached
        The results of its cube that have cleaned frames, the newest last.
    """
    for layer in _images(layers):
        found = [attached for attached in find_attached(collection, layer.layer) if attached.cleaned is not None]
        found = [attached for attached in found if attached.cube is layer.layer]
        if found:
            return layer, found
    return None, []


def _images(layers):
    return [layer for layer in layers if layer.visible and hasattr(layer, "v_min")]


def blink(viewer_state, collection, back_to=None):
    """Switch an image viewer between the original frames and the cleaned ones; the limits stay.

    Parameters
    ----------
    viewer_state : glue.viewers.image.state.ImageViewerState
    collection : glue.core.DataCollection
    back_to : glue.core.ComponentID, optional
        The cleaned frames to switch to, where the set was cleaned more than once; default the newest.

    Returns
    -------
    glue.core.ComponentID or None
        What is shown now; None where no layer shows a cleaned cube.
    """
    layer, found = blinking_layer(viewer_state.layers, collection)
    if layer is None:
        return None
    shown = layer.attribute
    mine = [attached for attached in found if attached.cleaned is shown]
    if mine:
        attached, other = mine[-1], mine[-1].source
    else:
        # the same original may have been cleaned several times, and a cube has more than one attribute
        mine = [attached for attached in found if attached.source is shown] or found
        attached = next((attached for attached in mine if attached.cleaned is back_to), mine[-1])
        other = attached.cleaned
    limits = layer.v_min, layer.v_max
    layer.attribute = other  # glue looks up the limits that this had
    layer.percentile = "Custom"
    layer.v_min, layer.v_max = limits
    known = {frames_title(one, cid) for one in found for cid in (one.source, one.cleaned)}
    entitle(viewer_state, frames_title(attached, other), known)
    return other


def map_layer(layers, collection):
    """The layer that `switch_map` would switch, and its result; two None where no layer shows a rejection map."""
    for layer in _images(layers):
        for attached in find_attached(collection, layer.layer)[::-1]:
            if attached.map is layer.layer:
                return layer, attached
    return None, None


def switch_map(viewer_state, collection, to=SIGNIFICANCE):
    """Switch a viewer of a rejection map between the frame rejected and the significance over all frames.

    Parameters
    ----------
    viewer_state : glue.viewers.image.state.ImageViewerState
    collection : glue.core.DataCollection
    to : str
        What to switch to from anything else: 'peak significance', or 'kind' for the kinds of the events.

    Returns
    -------
    glue.core.ComponentID or None
        What is shown now; None where no layer shows a rejection map.
    """
    layer, attached = map_layer(viewer_state.layers, collection)
    if layer is None:
        return None
    if layer.attribute is attached.map.id[to]:
        show_rejected_frame(layer, attached)
    elif to == KIND:
        show_kind_map(layer, attached)
    else:
        show_significance(layer, attached)
    entitle_map(viewer_state, layer, attached)
    return layer.attribute


def entitle_map(viewer_state, layer, attached):
    """Let the title of a viewer tell what its layer of a map shows, unless a person gave it another."""
    known = {map_title(attached, cid) for cid in attached.map.main_components}
    entitle(viewer_state, map_title(attached, layer.attribute), known)


def show_rejected_frame(layer, attached):
    """Let a layer of the map show in which frame a pixel was rejected, every frame in its colour."""
    layer.attribute = attached.map.id[FRAME]
    layer.percentile, layer.stretch = "Custom", "linear"
    show_frames(layer, attached.cube.shape[attached.axis])


def show_kind_map(layer, attached, only=None):
    """Let a layer of the map show of what kind the event at a pixel is, every kind in its colour, or `only` one."""
    layer.attribute = attached.map.id[KIND]
    layer.percentile, layer.stretch = "Custom", "linear"
    show_kinds(layer, only)


def show_significance(layer, attached):
    """Let a layer of the map show the significance over all frames: the defects of all of them at once."""
    cid = attached.map.id[SIGNIFICANCE]
    values = attached.map.get_data(cid)
    values = values[values > 0]  # NaN is not
    layer.attribute = cid
    # most events are faint, and a few are a hundred times as strong
    layer.percentile, layer.stretch = "Custom", "log"
    # glue compares colour maps by identity
    layer.cmap = next(cmap for _, cmap in colormaps if cmap.name == SEQUENTIAL)
    layer.v_min, layer.v_max = 0.0, float(np.percentile(values, PERCENT)) if values.size else 1.0
