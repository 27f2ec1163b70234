"""From glue's data to an ImageSet, and from several images to one cube."""

from copy import copy

import numpy as np
from glue.core import BaseData, Data
from glue.core.component_id import ComponentID

from ..core.imageset import ImageSet, as_shifts
from ..core.names import listed
from ..core.ondemand import FramesOnDemand
from ..io.keywords import frame_facts, frame_times
from .coords import FrameCoordinates, find_celestial
from .ondemand import frames_of
from .sparse import SparseComponent

__all__ = ["check_images", "find_times", "header_noise", "image_set_from_cube", "own_mask", "stack_images"]

# Keys of Data.meta: one entry for each frame along axis 0, NaN or '' where nothing is known
NAMES = "frame names"
FACTS = {name: f"frame {name}" for name in ("gain", "readnoise", "exptime", "date", "filter")}
# dy and dx of each frame, and where they come from, see ImageSet
SHIFTS, SHIFTS_SOURCE = "frame shifts", "source of frame shifts"
# the label of the component that holds the mask, nonzero = ignore; and its identifier, should it be renamed
MASK, MASK_ID = "mask component", "mask identifier"


def image_set_from_cube(data, attribute, axis=0):
    """The frames of one attribute of a cube, ready to be cleaned.

    Names, exposure times, dates, shifts and mask are taken from ``data.meta`` where they are there, as the *Image set*
    factories write them.

    Parameters
    ----------
    data : glue.core.Data
        The cube.
    attribute : glue.core.ComponentID or str
        What to clean.
    axis : int
        The axis that holds the frames: 0, 1 or 2.

    Returns
    -------
    ImageSet
        A view of the cube's values, frames first; the other axes keep their order. Frames that are read on demand stay
        in their files: then it is the set that was opened, a `FitsImageSet` with its headers.

    Raises
    ------
    ValueError, TypeError
        Where there are no frames to compare: no image, a table, one frame, no numbers.
    """
    if not isinstance(data, BaseData):
        raise ValueError("there is no image data; load an image set first")
    if data.ndim == 1:
        raise ValueError(f"{data.label} is a table of {data.shape[0]} rows; choose a cube of images (frame, y, x)")
    if data.ndim == 2:
        raise ValueError(
            f"{data.label} is one image of shape {data.shape}; one frame cannot be compared with itself, "
            "choose a cube or select several images"
        )
    if data.ndim != 3:
        raise ValueError(f"{data.label} has the shape {data.shape}; choose a cube of images (frame, y, x)")
    if axis not in (0, 1, 2):
        raise ValueError(f"axis is {axis!r}; choose 0, 1 or 2")
    if data.shape[axis] == 1:
        raise ValueError(
            f"axis {axis} of {data.label}, of shape {data.shape}, holds 1 frame; one frame cannot be compared "
            "with itself, choose the axis that holds the frames"
        )
    cid = find_numbers(data, attribute)
    frames = frames_of(data, cid)
    if frames is not None and axis:
        raise ValueError(f"axis is {axis}; the frames of {data.label} are read from files, choose axis 0")
    frames = np.moveaxis(data.get_data(cid), axis, 0) if frames is None else frames
    names = exptime = None
    if axis == 0:
        names = _per_frame(data, NAMES)
        exptime = _per_frame(data, FACTS["exptime"])
        if exptime is not None and not all(t > 0 for t in exptime):
            exptime = None
    shifts = _per_frame(data, SHIFTS) if axis == 0 else None
    opened = _opened_set(data)
    if opened is not None and isinstance(frames, FramesOnDemand):
        facts = {
            "frames": frames,
            "mask": None if own_mask(data) is None else opened.mask,
            "exptime": None if exptime is None else np.array(exptime, float),
            "names": opened.names if names is None else tuple(names),
            "times": find_times(data),
            "shifts": None if shifts is None else as_shifts(shifts, len(frames)),
            "shifts_source": data.meta.get(SHIFTS_SOURCE, "given"),
        }
        # it was looked at when it was opened
        image_set = copy(opened)
        for name, value in facts.items():
            object.__setattr__(image_set, name, value)
        return image_set
    return ImageSet(
        frames,
        mask=own_mask(data, axis),
        exptime=exptime,
        names=names,
        times=find_times(data, axis),
        shifts=shifts,
        shifts_source=data.meta.get(SHIFTS_SOURCE, "given"),
    )


def find_times(data, axis=0):
    """When the frames of a cube were taken: the middle of the exposures since the first began [h], (N,) float64; None
    where that is not known."""
    return None if axis else frame_times(_per_frame(data, FACTS["date"]), _per_frame(data, FACTS["exptime"]))


def own_mask(data, axis=0):
    """The mask that came with a cube, frames first, nonzero = ignore; None where there is none (any more). Of frames
    that are read on demand it is too."""
    if data.meta.get(MASK) is None:
        return None
    found = [cid for cid in data.main_components if cid.uuid == data.meta.get(MASK_ID)]
    mask_id = found[0] if found else data.find_component_id(data.meta[MASK])
    if mask_id is None:
        return None
    frames = frames_of(data, mask_id)
    return np.moveaxis(data.get_data(mask_id), axis, 0) if frames is None else frames


def header_noise(data):
    """Gain and read noise of each frame, as the headers of a cube's files give them.

    Parameters
    ----------
    data : glue.core.Data
        A cube made by one of the *Image set* factories.

    Returns
    -------
    gain, readnoise : ndarray, (N,)
        [e-/ADU] and [e- rms].

    Raises
    ------
    ValueError
        Where a header does not tell; the message names the frames.
    """
    noise = []
    for fact, name in (("gain", "gain"), ("readnoise", "read noise")):
        values = _per_frame(data, FACTS[fact])
        if values is None:
            raise ValueError(f"{data.label} carries no {name} from headers; give it, or let it be found from the set")
        values = np.array(values, dtype=float)
        bad = np.flatnonzero(~(values > 0))
        if bad.size:
            names = _per_frame(data, NAMES) or [f"frame {i}" for i in range(1, len(values) + 1)]
            missing = listed([names[i] for i in bad])
            raise ValueError(f"no {name} in the header of {missing}; give it, or let it be found from the set")
        noise.append(values)
    return tuple(noise)


def check_images(images):
    """See whether images make a set, without a look at their pixels.

    Parameters
    ----------
    images : list of glue.core.Data

    Raises
    ------
    ValueError
        Where they are not at least two images (y, x) of one shape.
    """
    for image in images:
        if not isinstance(image, BaseData) or image.ndim != 2:
            what = f"has the shape {image.shape}" if isinstance(image, BaseData) else "is no data"
            raise ValueError(
                f"{getattr(image, 'label', image)} {what}; select several images (y, x) of one shape, "
                "or one cube (frame, y, x)"
            )
    if len(images) < 2:
        raise ValueError(f"{len(images)} image selected; one frame cannot be compared with itself, select at least 2")
    for image in images[1:]:
        if image.shape != images[0].shape:
            raise ValueError(
                f"images differ in shape: {images[0].label} is {images[0].shape}, {image.label} is {image.shape}; "
                "register or crop them first"
            )


def stack_images(images, attributes=None):
    """One cube (frame, y, x) from several images of one shape.

    Parameters
    ----------
    images : sequence of glue.core.Data
        At least two, 2-D, in the order of the frames.
    attributes : sequence of glue.core.ComponentID or str, optional
        What to take from each image; default its first numerical attribute.

    Returns
    -------
    glue.core.Data
        Not yet in a collection, not yet linked; `AttachResult` does both.

    Raises
    ------
    ValueError
        Where the images do not make a set.
    """
    images = list(images)
    check_images(images)
    if attributes is None:
        attributes = [_first_numbers(image) for image in images]
    elif len(attributes) != len(images):
        raise ValueError(f"attributes has {len(attributes)} entries for {len(images)} images; give one for each")
    attributes = [find_numbers(image, attribute) for image, attribute in zip(images, attributes, strict=True)]
    components = [image.get_component(cid) for image, cid in zip(images, attributes, strict=True)]
    values = np.stack([component.data for component in components])
    units = {component.units for component in components}
    labels = {cid.label for cid in attributes}
    cube = Data(label=f"{images[0].label} … {images[-1].label}", coords=FrameCoordinates(find_celestial(images[0])))
    cube.add_component(
        SparseComponent(values, components, units.pop() if len(units) == 1 else ""),
        labels.pop() if len(labels) == 1 else "image",
    )
    cube.meta[NAMES] = [image.label for image in images]
    # glue's reader of FITS files copies the header into the meta
    facts = [frame_facts(image.meta) for image in images]
    cube.meta.update({key: [fact[name] for fact in facts] for name, key in FACTS.items()})
    return cube


def find_numbers(data, attribute):
    """The ComponentID of a numerical attribute of `data`; ValueError where it is none."""
    if isinstance(attribute, ComponentID):
        found = attribute if any(attribute is cid for cid in data.components) else None
    else:
        found = data.find_component_id(attribute)
    if found is None:
        known = ", ".join(repr(cid.label) for cid in data.main_components)
        raise ValueError(f"{data.label} has no single attribute {str(attribute)!r}; choose one of {known}")
    if data.get_kind(found) != "numerical":
        raise ValueError(f"{found.label!r} of {data.label} holds {data.get_kind(found)} values; choose numbers")
    return found


def _opened_set(data):
    """What a cube was read with, where it is read on demand."""
    components = [data.get_component(cid) for cid in data.main_components]
    return next((c.image_set for c in components if getattr(c, "image_set", None) is not None), None)


def _first_numbers(data):
    for cid in data.main_components:
        if data.get_kind(cid) == "numerical":
            return cid
    raise ValueError(f"{data.label} holds no numbers; select images")


def _per_frame(data, key):
    values = data.meta.get(key)
    return values if values is not None and len(values) == data.shape[0] else None
