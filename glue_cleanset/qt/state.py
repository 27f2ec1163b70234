"""The state of the dialog: what a person has chosen, and what follows from it."""

from dataclasses import dataclass

from echo import CallbackProperty, SelectionCallbackProperty, delay_callback
from glue.core import Data
from glue.core.component_id import ComponentID
from glue.core.data_combo_helper import ComponentIDComboHelper, ManualDataComboHelper
from glue.core.hub import HubListener
from glue.core.message import SubsetCreateMessage, SubsetDeleteMessage, SubsetUpdateMessage
from glue.core.state_objects import State

from glue_cleanset.core.imageset import ImageSet, per_frame
from glue_cleanset.core.ondemand import FramesOnDemand, PackedFlags, either, pack_flags
from glue_cleanset.core.settings import CENTRES, DETECTIONS, KINDS, NORMALIZATIONS, REPAIRS, CleanSettings
from glue_cleanset.viewer.attach import OUTPUTS, find_attached
from glue_cleanset.viewer.ondemand import frames_of
from glue_cleanset.viewer.overrule import find_overrules, has_overrules
from glue_cleanset.viewer.regions import selected_pixels
from glue_cleanset.viewer.stack import header_noise, image_set_from_cube, stack_images
from glue_cleanset.viewer.written import written_folders

from .output import Output, default_folder

__all__ = ["NOISES", "CleanJob", "CleanState"]

NOISES = {
    "set": "gain and read noise fitted to the frames themselves",
    "header": "gain and read noise from the frames' headers",
    "given": "the gain and read noise you give",
}
OFF = float("inf")
# a setting that only some detections or repairs use -> (the choice that decides, its options)
USED_BY = {
    "centre": ("detection", {"sigma"}),
    "maxiters": ("detection", {"sigma", "mad", "winsorized"}),
    "scale_noise": ("detection", {"ccd"}),
    "constant": ("repair", {"constant"}),
    "add_noise": ("repair", {"median", "mean"}),
    "seed": ("repair", {"median", "mean"}),
}


@dataclass(frozen=True, eq=False)
class CleanJob:
    """One cleaning, ready to run: plain arrays for the worker, glue's objects to attach the result to."""

    image_set: ImageSet
    settings: CleanSettings
    gain: object
    readnoise: object
    data: Data
    attribute: ComponentID
    axis: int
    outputs: tuple[str, ...]
    images: list[Data] | None
    # masks, (N, ny, nx) bool or such on demand
    protect: object = None  # never rejected
    ignore: object = None  # not used at all
    reject: object = None  # rejected by hand in the last cleaning, and again
    restored: object = None  # the part of `protect` that was restored then

    @property
    def mask(self):
        """What is not used: `ignore` and what the frames mask themselves; None where nothing is ignored."""
        own = self.image_set.mask
        return self.ignore if own is None or self.ignore is None else either(own, self.ignore)


class CleanState(State):
    """What is cleaned and how; starts with the defaults of `CleanSettings`.

    Parameters
    ----------
    data_collection : glue.core.DataCollection
        Its data with three axes are the choices of `data`.
    data : glue.core.Data, optional
        The cube chosen first.
    images : list of glue.core.Data, optional
        2-D data to clean as one set, instead of a cube.
    """

    data = SelectionCallbackProperty(docstring="The cube")
    attribute = SelectionCallbackProperty(docstring="The attribute that holds the pixels")
    axis = SelectionCallbackProperty(docstring="The axis along which the frames follow each other")

    detection = SelectionCallbackProperty(docstring="One of DETECTIONS")
    bright = CallbackProperty(docstring="Whether bright outliers are looked for")
    dark = CallbackProperty(docstring="Whether dark outliers are looked for")
    high_bright = CallbackProperty(docstring="Threshold [sigma, or a share of the median] of a bright pixel on its own")
    high_dark = CallbackProperty(docstring="Threshold [sigma, or a share of the median] of a dark pixel on its own")
    low_bright = CallbackProperty(docstring="Threshold [sigma] of a bright pixel beside a stronger one")
    low_dark = CallbackProperty(docstring="Threshold [sigma] of a dark pixel beside a stronger one")
    centre = SelectionCallbackProperty(docstring="One of CENTRES")
    maxiters = CallbackProperty(docstring="How often a clip is repeated at most; 0 = until nothing changes")
    scale_noise = CallbackProperty(docstring="Noise proportional to the signal, as a share of it")
    grow = CallbackProperty(docstring="Distance [pixels] by which events are grown")
    max_rejected = CallbackProperty(docstring="The most frames in which a pixel may be rejected; 0 = not given")
    min_frames = CallbackProperty(docstring="How many frames must remain at a pixel")

    noise = SelectionCallbackProperty(docstring="One of NOISES")
    gain = CallbackProperty(docstring="Gain [e-/ADU]; 0 = fitted")
    readnoise = CallbackProperty(docstring="Read noise [e-]; 0 = fitted")

    protect = SelectionCallbackProperty(docstring="The subset group where nothing is rejected, or None")
    ignore = SelectionCallbackProperty(docstring="The subset group whose pixels are not used at all, or None")
    keep_overrules = CallbackProperty(docstring="Whether what a person overruled in the last cleaning stays so")

    kinds = CallbackProperty(docstring="Whether it is told what each event is")
    keep = CallbackProperty(docstring="Which of KINDS stay as they are")

    normalize = SelectionCallbackProperty(docstring="One of NORMALIZATIONS")
    repair = SelectionCallbackProperty(docstring="One of REPAIRS")
    constant = CallbackProperty(docstring="The value written by repair 'constant'")
    add_noise = CallbackProperty(docstring="Whether repaired pixels get the noise of their frame")
    seed = CallbackProperty(docstring="Of the added noise")

    outputs = CallbackProperty(docstring="The chosen OUTPUTS")

    folder = CallbackProperty("", docstring="Where the files go, of a set that is read on demand")
    replace = CallbackProperty(False, docstring="Whether files that are in the folder may be replaced")

    preview = CallbackProperty(False, docstring="Whether the preview is shown")
    preview_frame = CallbackProperty(1, docstring="The frame (1 ... N) that the preview shows")

    def __init__(self, data_collection, data=None, images=None):
        super().__init__()
        self._collection = data_collection
        self.images = list(images) if images else None
        self._opened = self._looked = None, None  # what was asked for last, and the answer
        for name, texts in (
            ("detection", DETECTIONS),
            ("centre", CENTRES),
            ("noise", NOISES),
            ("normalize", NORMALIZATIONS),
            ("repair", REPAIRS),
        ):
            choice = getattr(CleanState, name)
            choice.set_display_func(self, lambda option, texts=texts: f"{option}: {texts[option]}")
            choice.set_choices(self, list(texts))
        CleanState.axis.set_display_func(self, self._describe_axis)
        self._regions_helper = _SubsetGroupChoices(self, ("protect", "ignore"), data_collection)
        self.restore_defaults()
        self.add_callback("detection", self._use_defaults)

        self._attribute_helper = ComponentIDComboHelper(
            self, "attribute", categorical=False, datetime=False, pixel_coord=False, world_coord=False
        )
        self._data_helper = ManualDataComboHelper(self, "data", data_collection)
        self.add_callback("data", self._use_data)
        if self.images:
            self._attribute_helper.set_multiple_data(self.images[:1])
        else:
            self._data_helper.set_multiple_data([d for d in data_collection if isinstance(d, Data) and d.ndim == 3])
            if data is not None:
                self.data = data

    def restore_defaults(self):
        """Everything but the choice of data back to the defaults of `CleanSettings`."""
        default = CleanSettings()
        with delay_callback(self, "detection", "centre", "noise", "normalize", "repair", "outputs", "keep"):
            for name in ("detection", "centre", "scale_noise", "grow", "min_frames"):
                setattr(self, name, getattr(default, name))
            for name in ("kinds", "normalize", "repair", "constant", "add_noise", "seed"):
                setattr(self, name, getattr(default, name))
            for name in ("maxiters", "max_rejected"):
                setattr(self, name, getattr(default, name) or 0)
            self._use_defaults()
            self.bright = self.dark = True
            self.noise = "set"
            self.gain = self.readnoise = 0.0
            self.outputs = tuple(OUTPUTS)
            self.protect = self.ignore = None
            self.replace = False
            self.keep_overrules = True

    def let_go(self, hub):
        """Follow the session no more, and tell nobody of changes."""
        for helper in (self._data_helper, self._attribute_helper, self._regions_helper):
            hub.unsubscribe_all(helper)
        self.clear_callbacks()

    @property
    def has_thresholds(self):
        """Whether the chosen detection compares with a threshold at all."""
        return CleanSettings(detection=self.detection).high is not None

    @property
    def high_unit(self):
        """What the thresholds of the chosen detection are in."""
        return "of the median" if self.detection == "percentile" else "sigma"

    @property
    def default_limit(self):
        """In how many frames a pixel may be rejected where no number is given."""
        minority = CleanSettings(detection=self.detection).by_noise
        return "fewer than half of the frames" if minority else "as many frames as the test finds"

    @property
    def has_low(self):
        """Whether the chosen detection uses the threshold beside a stronger pixel."""
        return CleanSettings(detection=self.detection).low is not None

    @property
    def has_overrules(self):
        """Whether the last cleaning of what is chosen was overruled somewhere."""
        last = self._last_cleaning()
        return last is not None and has_overrules(last)

    def _overrules(self):
        last = self._last_cleaning()
        return (None, None) if last is None else find_overrules(last)

    def _last_cleaning(self):
        if self.images or self.data is None or self.attribute is None:
            return None
        found = [
            attached
            for attached in find_attached(self._collection, self.data)
            if attached.cube is self.data and attached.source is self.attribute and attached.axis == self.axis
        ]
        return found[-1] if found else None

    def uses(self, name):
        """Whether the chosen detection or repair uses this setting."""
        choice, options = USED_BY[name]
        return getattr(self, choice) in options

    def settings(self):
        """The choices as `CleanSettings`; raises what that raises."""
        high = low = None
        if self.has_thresholds:
            high = (self.high_bright if self.bright else OFF, self.high_dark if self.dark else OFF)
        if self.has_low:
            low = (self.low_bright if self.bright else OFF, self.low_dark if self.dark else OFF)
        # what is not used keeps its default: a record of the settings shows nothing that had no part in the result
        used = {name: getattr(self, name) for name in USED_BY if self.uses(name)}
        if "maxiters" in used:
            used["maxiters"] = self.maxiters or None
        return CleanSettings(
            detection=self.detection,
            high=high,
            low=low,
            grow=self.grow,
            normalize=self.normalize,
            repair=self.repair,
            max_rejected=self.max_rejected or None,
            min_frames=self.min_frames,
            kinds=self.kinds,
            keep=tuple(kind for kind in KINDS if kind in self.keep) if self.kinds else (),
            **used,
        )

    def chosen_outputs(self):
        """The outputs to attach; without a repair there is no cleaned frame to show."""
        useless = {"cleaned"} if self.repair == "none" else set()
        return tuple(name for name in OUTPUTS if name in self.outputs and name not in useless)

    @property
    def on_demand(self):
        """Whether what is chosen is read from files when it is asked for, and cleaned into files."""
        known = not self.images and self.data is not None and self.attribute is not None
        return known and frames_of(self.data, self.attribute) is not None

    def output(self):
        """Where the files go: an `Output` that was checked; None where the set is in memory.

        Raises
        ------
        ValueError, TypeError, OSError
            Where the folder cannot serve, or other choices cannot be used.
        """
        if not self.on_demand:
            return None
        output = self._output()
        # settings decide only whether a cleaning that was stopped can go on
        asked = (output.folder, output.overwrite, output.others, self.data, self.attribute)
        if self._looked[0] != asked:
            try:
                output.check(written_folders(self._collection))
                self._looked = asked, ""
            except (ValueError, OSError) as error:
                self._looked = asked, str(error)
        if self._looked[1]:
            raise ValueError(self._looked[1])
        return output

    def look_again(self):
        """Look at the folder anew: files come and go."""
        self._looked = None, None

    def describe_output(self):
        """In words: what is read and written; '' where that cannot be told."""
        try:
            return self._output().describe() if self.on_demand else ""
        except (ValueError, TypeError, OSError):  # `problem` tells
            return ""

    def _output(self):
        gain, readnoise = self._given_noise(self.data)
        return Output(self._opened_set(), self.folder, self.replace, self.settings(), gain, readnoise)

    def _opened_set(self):
        asked = self.data, self.attribute, self.axis
        if self._opened[0] is None or any(a is not b for a, b in zip(self._opened[0], asked, strict=True)):
            self._opened = asked, image_set_from_cube(self.data, self.attribute, axis=self.axis)
        return self._opened[1]

    def problem(self):
        """Why these choices cannot run; '' where they can. Reads no pixels."""
        try:
            self._check()
            self.output()
        except (ValueError, TypeError, OSError) as error:
            return str(error)
        return ""

    def _check(self):
        if self.images is None and self.data is None:
            raise ValueError("The session holds no data with three axes (frame, y, x); load an image set.")
        if self.attribute is None:
            name = (self.images[0] if self.images else self.data).label
            raise ValueError(f"'{name}' has no numeric attribute.")
        if self.images is None and self.data.shape[self.axis] < 2:
            raise ValueError(
                f"Axis {self.axis} of '{self.data.label}' holds 1 frame; one frame cannot be compared with itself. "
                "Choose another axis."
            )
        self.settings()
        if self.has_thresholds and not (self.bright or self.dark):
            raise ValueError("Neither bright nor dark outliers are looked for; switch one of them on.")
        # the headers of separate images are read with them, when they are stacked
        if self.images is None or self.noise != "header":
            self._given_noise(self.data)
        if not self.chosen_outputs():
            raise ValueError("Nothing is chosen to be added to the session; tick at least one output.")

    def _given_noise(self, data):
        if self.noise == "set":
            return None, None
        if self.noise == "header":
            return header_noise(data)
        if not (self.gain or self.readnoise):
            raise ValueError("Give the gain, the read noise or both, or let them be found from the set.")
        for name in ("gain", "readnoise"):
            per_frame(name, getattr(self, name) or None, 1)
        return self.gain or None, self.readnoise or None

    def prepare(self, known=None):
        """The choices as a `CleanJob`.

        Parameters
        ----------
        known : dict, optional
            Keeps what was read for one call and serves the next, while data and subsets stay as they are.

        Raises
        ------
        ValueError, TypeError
            Where the choices or the frames cannot be used; nothing in the session has changed.
        """
        self._check()
        known = {} if known is None else known
        what = (*(image.uuid for image in self.images or [self.data]), self.attribute.uuid, self.axis)

        def once(key, function, *args, **options):
            if (what, key) not in known:
                known[what, key] = function(*args, **options)
            return known[what, key]

        data, attribute, axis = once("cube", self._cube)
        gain, readnoise = self._given_noise(data)
        image_set = once("frames", image_set_from_cube, data, attribute, axis=axis)
        if self.normalize == "exptime" and image_set.exptime is None:
            raise ValueError(
                f"The exposure times of '{data.label}' are not known; choose another normalisation than 'exptime'."
            )
        protect, ignore = (
            None if group is None else once(group, self._region, group, data, axis)
            for group in (self.protect, self.ignore)
        )
        restored = reject = None
        if self.keep_overrules:
            restored, reject = once("overrules", self._overrules)
            protect = restored if protect is None else protect if restored is None else either(protect, restored)
        return CleanJob(
            image_set=image_set,
            settings=self.settings(),
            gain=gain,
            readnoise=readnoise,
            data=data,
            attribute=attribute,
            axis=axis,
            outputs=self.chosen_outputs(),
            images=self.images,
            protect=protect,
            ignore=ignore,
            reject=reject,
            restored=restored,
        )

    def _region(self, group, data, axis):
        mask = selected_pixels(group, data, axis, self.images)
        # the worker asks glue for nothing
        return PackedFlags(pack_flags(mask), mask.shape) if isinstance(mask, FramesOnDemand) else mask

    def _cube(self):
        if not self.images:
            return self.data, self.attribute, self.axis
        attributes = [_same_attribute(image, self.attribute) for image in self.images]
        data = stack_images(self.images, attributes)
        return data, data.main_components[0], 0

    def _use_defaults(self, *_):
        settings, noise = CleanSettings(detection=self.detection), CleanSettings()
        self.keep = settings.keep
        # what a method does not have is shown as that of the noise model, but not used
        self.high_bright, self.high_dark = (noise if settings.high is None else settings).high_pair
        self.low_bright, self.low_dark = (noise if settings.low is None else settings).low_pair

    def _use_data(self, *_):
        self._attribute_helper.set_multiple_data([] if self.data is None else [self.data])
        CleanState.axis.set_choices(self, [] if self.data is None else [0, 1, 2])
        if self.data is not None:
            self.axis = 0
        self.folder = default_folder(self._opened_set()) if self.on_demand else ""

    def _describe_axis(self, axis):
        n = self.data.shape[axis]
        ny, nx = (length for i, length in enumerate(self.data.shape) if i != axis)
        return f"axis {axis}: {n} frame{'s' if n > 1 else ''} of {nx} x {ny} pixels"


class _SubsetGroupChoices(HubListener):
    """Keeps the subset groups of a session, and None, as the choices of some properties of a state."""

    def __init__(self, state, names, collection):
        self._properties = [getattr(type(state), name) for name in names]
        self._state, self._collection = state, collection
        for choice in self._properties:
            choice.set_display_func(state, lambda group: "none" if group is None else group.label)
        self._refresh()
        collection.hub.subscribe(self, SubsetCreateMessage, handler=self._refresh)
        collection.hub.subscribe(self, SubsetDeleteMessage, handler=self._refresh)
        collection.hub.subscribe(
            self, SubsetUpdateMessage, handler=self._refresh, filter=lambda message: message.attribute == "label"
        )

    def _refresh(self, *_):
        for choice in self._properties:
            choice.set_choices(self._state, [None, *self._collection.subset_groups])


def _same_attribute(image, attribute):
    components = image.main_components
    same = [component for component in components if component.label == attribute.label]
    if not same and len(components) == 1:
        same = components
    if not same:
        raise ValueError(f"'{image.label}' has no attribute '{attribute.label}'; choose one that all images have.")
    return same[0]
