"""Parts of an image set: what a viewer shows of it, and what a subset selects in it."""

from dataclasses import dataclass

import numpy as np
from glue.core.exceptions import IncompatibleAttribute, IncompatibleDataException
from glue.core.subset import MaskSubsetState, SliceSubsetState
from glue.viewers.image.state import ImageViewerState

__all__ = [
    "MOST",
    "Part",
    "central_part",
    "plain_states",
    "selected_pixels",
    "selected_rows",
    "shown_index",
    "subset_states",
    "viewed_part",
]

MOST = 512  # pixels along an axis: what can be judged again while a slider moves


@dataclass(frozen=True)
class Part:
    """A part of the image.

    Attributes
    ----------
    rows, columns : (int, int)
        First and last + 1.
    frame : int or None
        The frame on display, 0-based.
    """

    rows: tuple[int, int]
    columns: tuple[int, int]
    frame: int | None = None


def central_part(ny, nx, most=MOST):
    """The central `Part` of an image of ny x nx pixels, at most so many pixels along an axis."""
    return Part(_cut(0, ny, ny, most), _cut(0, nx, nx, most))


def viewed_part(viewers, data, axis=0, images=None, most=MOST):
    """What an image viewer shows of an image set.

    Parameters
    ----------
    viewers : iterable of glue viewers
        The first one that shows the set is looked at.
    data : glue.core.Data or None
        The cube.
    axis : int
        The axis of the cube that holds the frames.
    images : list of glue.core.Data, optional
        2-D data that make the set, instead of a cube.
    most : int
        What is larger is cut about the centre of the view.

    Returns
    -------
    Part or None
        None where no viewer shows a pixel of the set.
    """
    for viewer in viewers:
        state = getattr(viewer, "state", None)
        if not isinstance(state, ImageViewerState):
            continue
        shown, axes = state.reference_data, {0, 1}
        if images:
            frame = next((k for k, image in enumerate(images) if image is shown), None)
        else:
            frame = None if shown is None or shown is not data else shown_index(state.slices[axis])
            axes = {0, 1, 2} - {axis}
        if frame is None or {state.x_att.axis, state.y_att.axis} != axes:
            continue
        limits = {state.x_att.axis: (state.x_min, state.x_max), state.y_att.axis: (state.y_min, state.y_max)}
        spans = [_span(*limits[i], shown.shape[i], most) for i in sorted(axes)]
        if None not in spans:
            return Part(*spans, int(frame))
    return None


def selected_pixels(group, data, axis=0, images=None):
    """The pixels of an image set that a subset selects.

    Parameters
    ----------
    group : glue.core.subset_group.SubsetGroup
    data : glue.core.Data or None
        The cube.
    axis : int
        The axis of the cube that holds the frames.
    images : list of glue.core.Data, optional
        2-D data that make the set, instead of a cube. What is selected in some of them only, because they are not
        linked, is meant for the others too: they are registered.

    Returns
    -------
    ndarray, (N, ny, nx), bool
        Of a cube that is read on demand, where it is not the same in all frames, `FramesOnDemand`: worked out for
        each frame that is asked for, as long as the subset and the data are what they are.

    Raises
    ------
    ValueError
        Where the subset means nothing there; the message names both.
    """
    # (frames that are read on demand are along the first axis)
    masks = [_mask(group.subset_state, known, axis == 0 and not images) for known in images or [data]]
    known = [mask for mask in masks if mask is not None]
    if not known:
        name = images[0].label if images else data.label
        raise ValueError(
            f"The subset '{group.label}' selects by something that '{name}' is not linked to. Draw it on an image of "
            f"'{name}' or on its rejection map, or choose another subset."
        )
    if not images:
        return masks[0] if axis == 0 else np.moveaxis(masks[0], axis, 0)
    any_of_them = np.logical_or.reduce(known)
    return np.stack([any_of_them if mask is None else mask for mask in masks])


def selected_rows(group, data):
    """The rows of a table that a subset selects: (n,) bool; raises as `selected_pixels`."""
    mask = _mask(group.subset_state, data)
    if mask is None:
        raise ValueError(
            f"The subset '{group.label}' selects by something that '{data.label}' is not linked to. Choose rows of "
            f"'{data.label}', or another subset."
        )
    return mask


def subset_states(state):
    """A subset state, and all that it is put together from."""
    parts = getattr(state, "states", None) or [getattr(state, name, None) for name in ("state1", "state2")]
    return [state, *(one for part in parts if part is not None for one in subset_states(part))]


def plain_states(state):
    """What a subset state is put together from at last: states that are not put together themselves."""
    return [one for one in subset_states(state) if len(subset_states(one)) == 1]


def _mask(state, data, by_frame=False):
    """What a subset state selects in data; None where it means nothing there. `by_frame`: on demand, where they are."""
    if not all(_has_its_shape(part, data) for part in subset_states(state)):
        return None
    try:
        return (getattr(data, "select", data.get_mask) if by_frame else data.get_mask)(state)
    except (IncompatibleAttribute, IncompatibleDataException):
        return None


def _has_its_shape(state, data):
    """glue applies the mask or the slices of an image to a cube, and selects something else."""
    if isinstance(state, MaskSubsetState):
        return state.mask.shape == data.shape
    return not isinstance(state, SliceSubsetState) or len(state.slices) == data.ndim


def shown_index(position):
    """The index that an image viewer shows of an axis: of a range that it has collapsed to one, the middle."""
    return int(getattr(position, "center", position))


def _span(low, high, length, most):
    if low is None or high is None or not np.isfinite([low, high]).all():
        return None
    low, high = sorted((low, high))
    # pixel i reaches from i - 0.5 to i + 0.5
    first, last = max(int(np.floor(low + 0.5)), 0), min(int(np.ceil(high + 0.5)), length)
    return _cut(first, last, length, most) if last > first else None


def _cut(first, last, length, most):
    if last - first <= most:
        return first, last
    first = min((first + last - most) // 2, length - most)
    return first, first + most
