"""The review layout: original, cleaned and rejection map side by side, the tracks of what moves drawn over them; below
the tables and a plot of the frames."""

from uuid import uuid4

import numpy as np
from echo import delay_callback
from glue.core.hub import HubListener
from glue.core.message import ComponentsChangedMessage
from glue.viewers.common.utils import get_viewer_tools
from glue_qt.utils import set_cursor_cm
from glue_qt.viewers.image import ImageViewer
from glue_qt.viewers.scatter import ScatterViewer
from glue_qt.viewers.table import TableViewer
from qtpy import QtCore, QtWidgets

from glue_cleanset.viewer.attach import find_attached
from glue_cleanset.viewer.browse import ORDER
from glue_cleanset.viewer.colors import frame_colormap
from glue_cleanset.viewer.views import frames_title, map_title, show_rejected_frame

from .browse import sort_table
from .tools import IMAGE_TOOLS, OverlapTool
from .trace import TraceTool

__all__ = ["ReviewViewer", "open_review", "show_limits"]

# room around an image for its tick labels [inch]: left, right, bottom, top
MARGINS = (0.5, 0.12, 0.3, 0.12)
SKY_MARGINS = (0.75, 0.12, 0.35, 0.12)
LEAST_HEIGHT, LEAST_TABLE, LEAST_COLUMN = 300, 180, 40  # [screen pixels]
LOOKED_AT = 20  # rows of a table that tell how wide its columns are
SAMPLE = 1_000_000
PLOT_MARGINS = (0.75, 0.12, 0.45, 0.12)
PLOT_COLOR = "#3b8ec8"  # seen on light and on dark
MANY_FRAMES = 60  # whose markers would touch each other
# of the width, without and with tracks: the events have the most columns
LOWER_WIDTHS = {3: (9, 6, 5), 4: (21, 10, 10, 10)}
# what tells an event or an object from another is seen without scrolling
EVENT_COLUMNS = ("event", ORDER, "frame", "kind", "pixels", "peak", "polarity", "x", "y")
TRACK_COLUMNS = ("track", "rate", "position angle", "sky rate", "sky position angle", "frames", ORDER)
LIMITS = ("x_min", "x_max", "y_min", "y_max")


def open_review(session, attached):
    """Open a new tab with the original frames, the cleaned ones and the rejection map.

    Frame and visible region of the three go together; original and cleaned have the same
    limits. Below are the events, the strongest first, the tracks of moving objects, which are drawn over the images
    too, the frames, and a plot of what was rejected from each.

    Parameters
    ----------
    session : glue.core.Session
    attached : glue_cleanset.viewer.attach.Attached
        What a cleaning added; what it did not add is left out.

    Returns
    -------
    list of ImageViewer
        In their order from the left.

    Raises
    ------
    ValueError
        Where the result is not in the session any more.
    """
    _check_present(session, attached)
    with set_cursor_cm(QtCore.Qt.WaitCursor):
        return _open_review(session, attached)


def _open_review(session, attached):
    application, cube = session.application, attached.cube
    n_frames = cube.shape[attached.axis]
    y, x = (cube.pixel_component_ids[i] for i in range(3) if i != attached.axis)

    size = application.size()
    application.new_tab()
    application.tab_bar.setTabText(application.tab_count - 1, f"Review{attached.suffix} of {cube.label}")
    viewers = []
    limits = show_limits(cube, attached.source if attached.cleaned is None else attached.cleaned)
    for attribute in (attached.source, attached.cleaned):
        if attribute is not None:
            # what an undo shows instead has the same limits
            viewer = _show(application, cube, (attached.source, attribute), limits)
            viewer.state.x_att, viewer.state.y_att = x, y
            viewers.append(viewer)
    if attached.map is not None:
        frame_colormap(n_frames)  # a style editor knows the maps that were there before it
        viewer = _show(application, attached.map, (attached.map.id["rejected frame"],), (0, n_frames))
        show_rejected_frame(viewer.state.layers[0], attached)
        viewers.append(viewer)
    lower = []
    for part in ("events", "tracks", "frames"):
        if getattr(attached, part) is not None:
            lower.append(application.new_data_viewer(TableViewer, data=getattr(attached, part)))
            # the windows are narrow: what tells one from the other comes first
            lower[-1].state.title = f"{part.capitalize()}{attached.suffix}: {cube.label}"
    if attached.frames is not None:
        lower.append(_plot(application, attached.frames))
    _arrange(lower, attached)
    application.current_tab.setActiveSubWindow(viewers[0].parent())
    QtWidgets.QApplication.processEvents()
    # the panel of the plot wanted more room than that of an image
    application.resize(size)
    _tile(application, viewers, lower, cube.shape[y.axis] / cube.shape[x.axis])
    _couple(viewers, attached)
    # glue's panels take the title that the viewer has when it is activated
    application.current_tab.subWindowActivated.emit(viewers[0].parent())
    return viewers


def show_limits(data, attribute, percent=99.5):
    """Limits that show the faint and do not follow a few hot pixels.

    Returns
    -------
    v_min, v_max : float
        Percentiles of an even sample of the attribute's finite values; never equal.
    """
    step = max(1, round((data.size / SAMPLE) ** (1 / data.ndim)))
    values = data.get_data(attribute, view=(slice(None, None, step),) * data.ndim)
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    v_min, v_max = (float(v) for v in np.percentile(values, [100 - percent, percent]))
    return (v_min, v_max) if v_max > v_min else (v_min, v_min + 1.0)


def _check_present(session, attached):
    cube = attached.cube
    needed = [cid for cid in (attached.source, attached.cleaned) if cid is not None]
    if (
        any(data not in session.data_collection for data in (cube, *attached.datasets))
        # not `in`: the comparison of two ids is a subset state, which is true
        or not all(any(cid is known for known in cube.components) for cid in needed)
    ):
        raise ValueError(f"The result of cleaning '{cube.label}' is not in the session any more; redo it first.")


class ReviewViewer(ImageViewer):
    """An image viewer of a review, which a session brings back as it was, together with the others.

    Attributes
    ----------
    together : _Together or None
        The review it belongs to.
    """

    together = None
    cleanset_tracks_shown = True  # see the tool
    # the windows are narrow: what a review is for comes first
    inherit_tools = False
    tools = (
        ["mpl:home", "mpl:zoom", "select:rectangle"]
        + [tool.tool_id for tool in (TraceTool, *IMAGE_TOOLS)]
        + [tool for tool in get_viewer_tools(ImageViewer)[0] if not tool.startswith("cleanset:")]
    )
    subtools = get_viewer_tools(ImageViewer)[1]

    def __gluestate__(self, context):
        record = super().__gluestate__(context)
        margins = list(self.axes.resizer.margins)
        record["tracks"] = self.cleanset_tracks_shown
        record["review"] = self.together and [self.together.name, len(self.together.viewers), margins]
        return record

    @classmethod
    def __setgluestate__(cls, record, context):
        kept = {name: record["state"]["values"][name] for name in (*LIMITS, "x_axislabel", "y_axislabel")}
        viewer = super().__setgluestate__(record, context)
        viewer.cleanset_tracks_shown = record.get("tracks", True)
        if record["review"]:
            name, size, margins = record["review"]
            viewer.axes.resizer.margins = margins
            # what opens the session lives as long as that takes: there the viewers of a review meet
            parts = vars(context).setdefault("cleanset_reviews", {}).setdefault(name, [])
            parts.append((viewer, {key: context.object(value) for key, value in kept.items()}))
            if len(parts) == size:
                # when the windows are in their tabs, if they are still open then
                timer = QtCore.QTimer(viewer)
                timer.setSingleShot(True)
                timer.timeout.connect(lambda: _reopen(parts))
                viewer.window_closed.connect(timer.stop)
                timer.start(0)
        return viewer


def _reopen(parts):
    """Put a review from a session together again; `parts`: its viewers, and what their states were."""
    viewers = [viewer for viewer, _ in parts]
    for viewer, state in parts:
        # glue has set the limits anew, with the coordinates
        viewer.axes.resizer.on_resize(None)
        viewer.state._set_axes_aspect_ratio(viewer.axes_ratio)
        with delay_callback(viewer.state, *LIMITS):
            for name, value in state.items():
                setattr(viewer.state, name, value)
    session = viewers[0].session
    shown = [viewer.state.layers[0] for viewer in viewers]
    found = find_attached(session.data_collection)[::-1]
    # of several cleanings the one whose parts are shown
    found.sort(key=lambda one: -sum(layer.attribute is one.cleaned or layer.layer is one.map for layer in shown))
    if found:
        tab = next(tab for tab in session.application.viewers if any(viewer is viewers[0] for viewer in tab))
        _arrange(tab, found[0])
        _couple(viewers, found[0])


def _couple(viewers, attached):
    """Let the viewers of a review move together, and follow undo and redo with their titles and attributes."""
    together = _Together(viewers)
    for viewer in viewers:
        viewer.together = together
        layer = viewer.state.layers[0]
        title = map_title if layer.layer is attached.map else frames_title
        _entitle(viewer, lambda attribute, title=title: title(attached, attribute))
        if layer.attribute is attached.cleaned and attached.cleaned is not None:
            _Returning(viewer, attached.cube, attached, viewer.session.hub)


def _arrange(viewers, attached):
    """The tables and the plot among the viewers, as a review has them."""
    for viewer in viewers:
        if isinstance(viewer, TableViewer):
            if viewer.data is attached.events:
                sort_table(viewer, ORDER)
                _lead(viewer, EVENT_COLUMNS)
            elif viewer.data is attached.tracks:
                _lead(viewer, TRACK_COLUMNS)
            _fit_columns(viewer)
        elif isinstance(viewer, ScatterViewer):
            viewer.axes.xaxis.get_major_locator().set_params(integer=True)
            viewer.axes.resizer.margins = PLOT_MARGINS
            viewer.axes.resizer.on_resize(None)


def _show(application, data, attributes, limits):
    """A viewer of the last of the attributes, with these limits for all of them."""
    viewer = application.new_data_viewer(ReviewViewer, data=data)
    layer = viewer.state.layers[0]
    layer.alpha = 1.0
    for attribute in attributes:
        layer.attribute = attribute
        layer.percentile = "Custom"
        layer.v_min, layer.v_max = limits
    return viewer


def _plot(application, frames):
    """A viewer of the percentage rejected from each frame."""
    viewer = application.new_data_viewer(ScatterViewer, data=frames)
    number, percent = frames["frame"], frames["percent"]
    state = viewer.state
    state.x_att, state.y_att = frames.id["frame"], frames.id["percent"]
    layer = state.layers[0]
    layer.color = PLOT_COLOR
    layer.size, layer.alpha, layer.line_visible = (6 if number.size <= MANY_FRAMES else 3), 1.0, True
    with delay_callback(state, *LIMITS):
        state.x_min, state.x_max = 0.5, float(number.max()) + 0.5
        highest = float(np.nanmax(percent))
        state.y_min, state.y_max = 0.0, 1.15 * highest if highest > 0 else 1.0
    state.title = "Rejected from each frame [percent]"
    return viewer


def _entitle(viewer, title_of):
    """Let the title say what is shown, also after an undo or where a person chooses another attribute."""
    layer = viewer.state.layers[0]

    def follow(attribute):
        viewer.state.title = title_of(attribute)

    layer.add_callback("attribute", follow)
    # the state of a closed viewer lives on for a while, its window does not
    viewer.window_closed.connect(lambda: layer.remove_callback("attribute", follow))
    follow(layer.attribute)


def _tile(application, viewers, lower, ratio):
    """The images side by side, as high as their `ratio` (ny / nx) wants, tables and plot in the rest."""
    area = application.current_tab.viewport()
    QtWidgets.QApplication.processEvents()  # the tab gets its size
    coords = [viewer.state.reference_data.coords for viewer in viewers]
    # the sky has longer labels than pixels have
    sky = any(any(known.world_axis_physical_types) for known in coords if known is not None)
    legends = [viewer.toolbar.tools[OverlapTool.tool_id].legend.width for viewer in viewers]
    for viewer, legend in zip(viewers, legends, strict=True):
        viewer.state.x_axislabel = viewer.state.y_axislabel = ""
        left, right, bottom, top = SKY_MARGINS if sky else MARGINS
        viewer.axes.resizer.margins = (left, right + legend, bottom, top)
    # a window with a legend is so much wider: the images have one scale
    legends = [round(legend * viewers[0].figure.dpi) for legend in legends]
    widths = [(area.width() - sum(legends)) / len(viewers) + legend for legend in legends]
    _place([viewer.parent() for viewer in viewers], area.width(), 0, LEAST_HEIGHT, widths)
    QtWidgets.QApplication.processEvents()

    canvas = viewers[0].figure.canvas
    left, right, bottom, top = (inch * viewers[0].figure.dpi for inch in viewers[0].axes.resizer.margins)
    frame = viewers[0].parent().height() - canvas.height()
    wanted = round(frame + bottom + top + ratio * (canvas.width() - left - right))
    room = area.height() - (LEAST_TABLE if lower else 0)
    height = max(LEAST_HEIGHT, min(wanted, room))
    _place([viewer.parent() for viewer in viewers], area.width(), 0, height, widths)
    if lower:
        widths = LOWER_WIDTHS[max(len(lower), 3)][-len(lower) :]
        _place(
            [viewer.parent() for viewer in lower],
            area.width(),
            height,
            max(LEAST_TABLE, area.height() - height),
            widths,
        )
    QtWidgets.QApplication.processEvents()
    for viewer in lower:
        if isinstance(viewer, ScatterViewer):
            viewer.axes.resizer.on_resize(None)
    for viewer in viewers:
        viewer.axes.resizer.on_resize(None)
        viewer.state._set_axes_aspect_ratio(viewer.axes_ratio)
        viewer.state.reset_limits()  # else square pixels stay cropped to the first size


def _fit_columns(viewer):
    """Columns as wide as their headings and numbers need, so that many are seen."""
    table = viewer.ui.table
    header, model = table.horizontalHeader(), table.model()
    header.setMinimumSectionSize(LEAST_COLUMN)
    # a few rows are enough: of each row asked for, glue works out the masks of all subsets; and Qt would ask all of
    # them where the table is not laid out yet
    rows = range(min(model.rowCount(), LOOKED_AT))
    for column in range(model.columnCount()):
        hints = [table.sizeHintForIndex(model.index(row, column)).width() + 1 for row in rows]
        table.setColumnWidth(column, max([header.sectionSizeHint(column), *hints]))


def _lead(viewer, labels):
    """Show the columns of these labels first, in this order; a person can move columns too."""
    header = viewer.ui.table.horizontalHeader()
    header.setSectionsMovable(True)
    known = [cid.label for cid in viewer.model.columns]
    for place, label in enumerate(labels):
        if label in known:
            header.moveSection(header.visualIndex(known.index(label)), place)


def _place(windows, width, top, height, widths):
    """Windows side by side, in the proportion of their `widths`."""
    ends = np.cumsum([0, *widths])
    ends = (ends * width / ends[-1]).round().astype(int).tolist()
    for window, left, right in zip(windows, ends, ends[1:], strict=False):
        window.setGeometry(left, top, right - left, height)


class _Together:
    """What a person moves in one viewer moves in the others: the frame, and the visible region."""

    def __init__(self, viewers):
        self.name = uuid4().hex  # in a session
        self.viewers = list(viewers)
        self.busy = False
        for viewer in viewers:
            viewer.window_closed.connect(lambda viewer=viewer: self._forget(viewer))
            for name in ("slices", *LIMITS):
                viewer.state.add_callback(name, lambda _, viewer=viewer: self._follow(viewer))

    def _forget(self, viewer):
        if viewer in self.viewers:
            self.viewers.remove(viewer)

    def _follow(self, leader):
        # the others adjust their limits to their own shape; that must not come back to the leader
        if self.busy or leader not in self.viewers:
            return
        if leader.toolbar.tools[OverlapTool.tool_id].legend.making_room:
            # that is no wish of a person: it is fitted to the others, when it has its new shape
            QtCore.QTimer.singleShot(0, lambda: self._fit(leader))
            return
        self.busy = True
        try:
            for viewer in self.viewers:
                if viewer is leader:
                    continue
                if viewer.state.reference_data is leader.state.reference_data:
                    viewer.state.slices = leader.state.slices
                with delay_callback(viewer.state, *LIMITS):
                    for name, value in zip(LIMITS, _limits_for(viewer, leader.state), strict=True):
                        setattr(viewer.state, name, value)
        finally:
            self.busy = False

    def _fit(self, viewer):
        others = [one for one in self.viewers if one is not viewer]
        if others and len(others) < len(self.viewers):
            self._follow(others[0])


def _limits_for(viewer, state):
    """What shows the same columns of pixels as a state does, with as many rows as there is room for: an image beside a
    wide legend is narrower than the others."""
    limits = [getattr(state, name) for name in LIMITS]
    if viewer.state.aspect == "equal":
        x_min, x_max, y_min, y_max = limits
        half = abs(x_max - x_min) / 2 * viewer.axes_ratio * np.sign(y_max - y_min)
        limits[2:] = (y_min + y_max) / 2 - half, (y_min + y_max) / 2 + half
    return limits


class _Returning(HubListener):
    """Shows the cleaned frames again when a redo brings them back."""

    def __init__(self, viewer, cube, attached, hub):
        self.layer, self.cube, self.attached = viewer.state.layers[0], cube, attached
        self.present = True
        # after the choices of the layer were made anew
        hub.subscribe(
            self,
            ComponentsChangedMessage,
            handler=self._look,
            filter=lambda message: message.sender is cube,
            priority=0,
        )
        viewer.window_closed.connect(lambda: hub.unsubscribe_all(self))

    def _look(self, _):
        was, self.present = self.present, any(cid is self.attached.cleaned for cid in self.cube.components)
        if self.present and not was and self.layer.attribute is self.attached.source:
            self.layer.attribute = self.attached.cleaned
