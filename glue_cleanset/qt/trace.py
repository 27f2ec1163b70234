"""The pixel trace in glue's window: the tool in the toolbar, the panel, and the cross-hair in the viewers."""

import weakref
from functools import partial

import numpy as np
from glue.config import settings
from glue.core.hub import HubListener
from glue.core.message import (
    ApplicationClosedMessage,
    ComponentsChangedMessage,
    DataCollectionMessage,
    ExternallyDerivableComponentsChangedMessage,
    NumericalDataChangedMessage,
    SettingsChangeMessage,
)
from glue.viewers.matplotlib.mpl_axes import init_mpl, update_appearance_from_settings
from glue.viewers.matplotlib.toolbar_mode import ToolbarModeBase
from glue_qt.viewers.image import ImageViewer
from glue_qt.viewers.matplotlib.widget import MplWidget
from qtpy import QtCore, QtGui, QtWidgets
from qtpy.QtCore import Qt

from glue_cleanset.viewer.attach import find_attached
from glue_cleanset.viewer.browse import attached_of, find_peak
from glue_cleanset.viewer.regions import shown_index
from glue_cleanset.viewer.trace import (
    Tracer,
    TraceState,
    describe,
    find_traced,
    frame_times,
    pixel_of,
    place_of,
    summarize,
)
from glue_cleanset.viewer.trace_plot import TracePlot

from .browse import find_browser
from .tools import icon_path, lend_key

__all__ = ["TracePanel", "TraceTool", "open_trace"]

INVITATION = "Move the mouse over an image of a cleaned set; click to pin a pixel."
# room around the plot for its labels [inch]: left, right, bottom, top
MARGINS = (0.9, 0.15, 0.45, 0.25)
LEAST_HEIGHT, HEIGHT = 120, 260  # of the plot, and of the panel at first [screen pixels]
# of the cross-hair [screen pixels]: half its size, and the least and most that it leaves free in the middle
REACH, LEAST_GAP, MOST_GAP = 22, 5, 14


class TraceTool(ToolbarModeBase):
    """Traces the pixel under the mouse while it is active; a click pins it."""

    icon = icon_path("trace")
    tool_id = "cleanset:trace"
    action_text = "Trace pixel"
    tool_tip = "Trace a pixel through the frames of a cleaned set: its values, what was allowed, why it was rejected"
    status_tip = "MOVE over a pixel to trace it, CLICK to pin it, CLICK it again or press ESC to let it go"
    shortcut = "T"

    def __init__(self, viewer, **kwargs):
        super().__init__(viewer, **kwargs)
        self._others = []  # canvases of other viewers, and the numbers of our connections to them
        viewer.toolbar_added.connect(lambda: lend_key(self))

    def activate(self):
        """Open the panel and follow the mouse, over this viewer and the others."""
        super().activate()
        panel = open_trace(self.viewer.session)
        panel.invite(self.viewer)
        for viewer in panel.viewers():
            if viewer is not self.viewer:
                canvas = viewer.figure.canvas
                self._others.append(
                    (canvas, canvas.mpl_connect("motion_notify_event", partial(self._hover, weakref.ref(viewer))))
                )

    def deactivate(self):
        """Leave the mouse; where another viewer of a cleaned set was clicked the tool goes there."""
        super().deactivate()
        while self._others:
            canvas, number = self._others.pop()
            canvas.mpl_disconnect(number)
        if self.viewer is not None:
            _pass_on(self.viewer)

    def _hover(self, viewer, event):
        viewer = viewer()
        if viewer is not None and event.inaxes is viewer.axes and self.viewer is not None:
            panel = open_trace(self.viewer.session)
            if panel.can_trace(viewer):
                panel.look(viewer, event.xdata, event.ydata)

    def move(self, event):
        """Trace what is under the mouse."""
        if event.inaxes is self.viewer.axes:
            open_trace(self.viewer.session).look(self.viewer, event.xdata, event.ydata)

    def press(self, event):
        """Pin what is under the mouse, or let it go."""
        if event.inaxes is self.viewer.axes and event.button == 1:
            open_trace(self.viewer.session).look(self.viewer, event.xdata, event.ydata, click=True)

    def release(self, event):
        """Nothing: the press has done it."""

    def key(self, event):
        """Escape lets a pinned pixel go."""
        if event.key == "escape":
            open_trace(self.viewer.session).state.pinned = False


def open_trace(session):
    """The panel of a window, made where there is none yet.

    Parameters
    ----------
    session : glue.core.Session

    Returns
    -------
    TracePanel
        Visible.
    """
    panel = session.application.findChild(TracePanel)
    if panel is None:
        panel = TracePanel(session)
    if panel.isHidden():
        panel.show()
    return panel


def _pass_on(viewer):
    """Switch the tool on in the viewer that has the focus: glue switches it off in the one that has lost it."""
    application = viewer.session.application
    panel, window = application.findChild(TracePanel), application.current_tab.activeSubWindow()
    other = window.widget() if window is not None else None
    if panel is None or panel.isHidden() or other is viewer or not isinstance(other, ImageViewer):
        return
    if other.toolbar.active_tool is None and panel.can_trace(other):
        other.toolbar.active_tool = TraceTool.tool_id


class TracePanel(QtWidgets.QDockWidget, HubListener):
    """Shows the traced pixel, below glue's viewers; no part of sessions.

    Parameters
    ----------
    session : glue.core.Session

    Attributes
    ----------
    state : TraceState
    shown : TracedPixel or None
        What is drawn.
    """

    def __init__(self, session):
        super().__init__("Pixel trace", parent=session.application)
        self.setFeatures(QtWidgets.QDockWidget.DockWidgetClosable)
        self.session = session
        self.state = TraceState()
        self.shown = None
        self._tracer = self._times = None
        self._found = {}  # reference data of a viewer and what it shows -> Attached, or why there is none
        self._leader = None  # the state of the viewer that the pixel was traced in, weakly
        self._build()

        # one drawing for all that has changed since the last one
        self._timer = QtCore.QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._update)
        for name in ("attached", "pixel", "frame", "pinned", "by_time", "whole_range", "message"):
            self.state.add_callback(name, self._schedule)
        for message in (
            ComponentsChangedMessage,
            DataCollectionMessage,
            ExternallyDerivableComponentsChangedMessage,
            NumericalDataChangedMessage,
        ):
            session.hub.subscribe(self, message, handler=self._data_changed)
        session.hub.subscribe(self, SettingsChangeMessage, handler=self._settings_changed)
        session.hub.subscribe(self, ApplicationClosedMessage, handler=self._application_closed)
        find_browser(session.application).add_callback("current", self._event_chosen)

        _put_below_viewers(self, session.application)
        self._stale = False
        self._update()

    def _build(self):
        self.words = QtWidgets.QLabel(INVITATION)
        self.words.setTextInteractionFlags(Qt.TextSelectableByMouse)
        self.words.setWordWrap(True)
        # the plot keeps its size when a pixel has one line more to tell
        self.words.setMinimumHeight(2 * self.words.fontMetrics().lineSpacing())
        self.by_time = QtWidgets.QCheckBox("Time axis")
        self.by_time.setToolTip("Show the values against the time of their exposures; needs a date for every frame")
        self.whole_range = QtWidgets.QCheckBox("Whole range")
        self.whole_range.setToolTip("Let the axis reach to the highest value, however far it is beyond the others")
        for box, name in ((self.by_time, "by_time"), (self.whole_range, "whole_range")):
            box.toggled.connect(lambda on, name=name: setattr(self.state, name, on))
            self.state.add_callback(name, box.setChecked)
        self.canvas_widget = MplWidget()
        self.canvas_widget.setMinimumHeight(LEAST_HEIGHT)
        self.canvas = self.canvas_widget.canvas
        self.figure, self.axes = init_mpl(self.canvas.fig)
        self.axes.resizer.margins = MARGINS
        self.plot = TracePlot(self.axes)

        body = QtWidgets.QWidget()
        above = QtWidgets.QHBoxLayout()
        above.addWidget(self.words, stretch=1)
        above.addWidget(self.by_time)
        above.addWidget(self.whole_range)
        layout = QtWidgets.QVBoxLayout(body)
        layout.setContentsMargins(6, 4, 6, 0)
        layout.setSpacing(2)
        layout.addLayout(above)
        layout.addWidget(self.canvas_widget, stretch=1)
        self.setWidget(body)

    def invite(self, viewer):
        """Say what the tool can do in a viewer, or why it can do nothing; where a pixel is shown it stays."""
        if self.state.pixel is None:
            attached = self._attached_in(viewer)
            self.state.message = attached if isinstance(attached, str) else INVITATION

    def can_trace(self, viewer):
        """Whether a viewer shows a set that was cleaned."""
        return not isinstance(self._attached_in(viewer), str)

    def look(self, viewer, x, y, click=False):
        """The mouse is at a position in an image viewer.

        Parameters
        ----------
        viewer : ImageViewer
        x, y : float
            [pixels of its reference data]
        click : bool
            Whether it was clicked there.
        """
        if self.state.pinned and not click:
            return
        attached = self._attached_in(viewer)
        if isinstance(attached, str):
            self.state.clear(attached)
            return
        found = pixel_of(viewer.state, x, y, attached)
        if found is None:
            return
        frame, y, x = found
        self._follow(viewer)
        (self.state.click if click else self.state.hover)(attached, frame, y, x)

    def closeEvent(self, event):
        """The tools go with the panel."""
        self.hide()  # else the tools would go to other viewers
        for viewer in self.viewers():
            tool = viewer.toolbar.active_tool
            if isinstance(tool, TraceTool):
                viewer.toolbar.active_tool = None
        self.state.clear()
        self._leave()
        super().closeEvent(event)

    def keyPressEvent(self, event):  # Qt's name
        """Escape lets a pinned pixel go."""
        if event.key() == Qt.Key_Escape:
            self.state.pinned = False
        else:
            super().keyPressEvent(event)

    # ---- what happens elsewhere

    def _event_chosen(self, current):
        """Trace the peak of an event that is gone to."""
        attached = None if current is None or self.isHidden() else attached_of(self.session.data_collection, current[0])
        if attached is not None:
            self.state.show(attached, *find_peak(attached, current[1]))

    def _schedule(self, *_):
        self._timer.start(0)

    def _data_changed(self, _):
        # what was cleaned is looked up when all is in its place
        self._stale = True
        self._schedule()

    def _settings_changed(self, _):
        self.figure.set_facecolor(settings.BACKGROUND_COLOR)
        update_appearance_from_settings(self.axes)
        self.plot.follow_settings()
        self._tracer = None
        self._schedule()

    def _application_closed(self, _):
        self.session.hub.unsubscribe_all(self)
        self._timer.stop()
        self._leave()

    def _follow(self, viewer):
        """The frame is that of the viewer in which the pixel was traced, also when its slider moves."""
        if self._leader is not None and self._leader() is viewer.state:
            return
        self._leave()
        viewer.state.add_callback("slices", self._slice)
        self._leader = weakref.ref(viewer.state)

    def _leave(self):
        leader = self._leader and self._leader()
        self._leader = None
        if leader is not None:
            leader.remove_callback("slices", self._slice)

    def _slice(self, slices):
        attached, leader = self.state.attached, self._leader and self._leader()
        if attached is None or leader is None or leader.reference_data is not attached.cube:
            return
        if attached.axis not in (leader.x_att.axis, leader.y_att.axis):
            self.state.frame = shown_index(slices[attached.axis])

    def viewers(self):
        """The image viewers of the window."""
        return [viewer for tab in self.session.application.viewers for viewer in tab if isinstance(viewer, ImageViewer)]

    def _attached_in(self, viewer):
        """The result that a viewer shows, or why there is none."""
        state = viewer.state
        shown = tuple(getattr(layer, "attribute", None) for layer in state.layers)
        # by identity: the comparison of two attributes is a subset state
        key = id(state.reference_data), tuple(map(id, shown))
        if self._stale:
            self._renew()
        if key not in self._found:
            try:
                attached = find_traced(state, self.session.data_collection)
                known = next((a for a in self._found.values() if _is_same(a, attached)), attached)
                self._found[key] = self.state.attached if _is_same(self.state.attached, known) else known
            except ValueError as error:
                self._found[key] = str(error)
        return self._found[key]

    def _renew(self):
        """Data have come, gone or changed: the result that is traced may be another one, or none."""
        self._stale = False
        self._found.clear()
        self._tracer = None
        old = self.state.attached
        if old is None:
            return
        new = [a for a in find_attached(self.session.data_collection, old.cube) if _is_same(a, old)]
        if new:
            self.state.attached = new[-1]
        else:
            self.state.clear(f"The result of cleaning '{old.cube.label}' is not in the session any more.")

    # ---- drawing

    def _update(self):
        if self._stale:
            self._renew()
        state = self.state
        self.shown = None
        words = state.message or INVITATION
        if state.attached is not None and state.pixel is not None:
            try:
                self._trace()
            except (ValueError, TypeError) as error:
                words = str(error)
        times = self._times if self.shown is not None else None
        self.by_time.setEnabled(self.shown is None or times is not None)
        if self.shown is None:
            self.plot.clear()
        else:
            frame = self._frame
            pinned = " (pinned)" if state.pinned else ""
            name = f" – {self.shown.names[frame]}" if self.shown.names else ""
            words = f"{summarize(self.shown)}{pinned}\n{describe(self.shown, frame)}{name}"
            self.plot.show(self.shown, frame, times if state.by_time else None, state.whole_range)
        self.words.setText(words)
        self.canvas.draw()
        self._mark()

    @property
    def _frame(self):
        return self.shown.strongest if self.state.frame is None else self.state.frame

    def _trace(self):
        attached = self.state.attached
        if self._tracer is None or self._tracer.attached is not attached:
            self._tracer = Tracer(attached)
            self._times = frame_times(attached.cube) if attached.axis == 0 else None
        self.shown = self._tracer.trace(*self.state.pixel)

    def _mark(self):
        """The cross-hair in every viewer that shows the traced pixel."""
        state = self.state
        for viewer in self.viewers():
            place = None
            if self.shown is not None:
                place = place_of(viewer.state, state.attached, self._frame, *state.pixel)
            mark = viewer.figure.canvas.findChild(_CrossHair)
            if mark is None and place is not None:
                mark = _CrossHair(viewer)
            if mark is not None:
                mark.put(place)


class _CrossHair(QtWidgets.QWidget):
    """A cross-hair on a pixel of a viewer, above its canvas: the image need not be drawn again."""

    def __init__(self, viewer):
        canvas = viewer.figure.canvas
        super().__init__(canvas)
        self.setAttribute(Qt.WA_TransparentForMouseEvents)
        self.setAttribute(Qt.WA_NoSystemBackground)
        self.resize(2 * REACH + 1, 2 * REACH + 1)
        self.canvas, self.axes, self.place, self.gap = canvas, viewer.axes, None, LEAST_GAP
        # zoom, pan and size
        canvas.mpl_connect("draw_event", self._settle)

    def put(self, place):
        """Show it at a position (x, y) of the axes [data]; None = hide it."""
        self.place = place
        self._settle()

    def _settle(self, _=None):
        if self.place is None:
            self.hide()
            return
        transform = self.axes.transData
        x, y = transform.transform(self.place)
        inside = self.axes.bbox.contains(x, y)
        if inside:
            ratio = self.canvas.device_pixel_ratio
            size = np.abs(transform.transform(np.add(self.place, 0.5)) - (x, y)).max() / ratio
            self.gap = int(np.clip(round(size) + 2, LEAST_GAP, MOST_GAP))
            self.move(round(x / ratio) - REACH, round(self.canvas.height() - y / ratio) - REACH)
            self.update()
        self.setVisible(bool(inside))

    def paintEvent(self, _):
        painter = QtGui.QPainter(self)
        # dark beneath light can be seen on every image
        for color, width in (("#000000", 3), ("#ffffff", 1)):
            painter.setPen(QtGui.QPen(QtGui.QColor(color), width))
            for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)):
                near, far = self.gap, REACH - 2
                painter.drawLine(REACH + dx * near, REACH + dy * near, REACH + dx * far, REACH + dy * far)
        painter.end()


def _put_below_viewers(panel, application):
    """Only the viewers give room: a dock area would add to the height that the lists on the left need."""
    tabs = application.tab_widget
    beside = tabs.parent()
    widths = beside.sizes()
    column = QtWidgets.QSplitter(Qt.Vertical)
    column.setChildrenCollapsible(False)
    beside.insertWidget(beside.indexOf(tabs), column)
    column.addWidget(tabs)
    column.addWidget(panel)
    beside.setSizes(widths)
    column.setStretchFactor(0, 1)
    column.setSizes([max(1, tabs.height() - HEIGHT), HEIGHT])


def _is_same(one, other):
    """Whether two finds are of the same run: every one is a new object."""
    names = "cube", "source", "cleaned", "rejected", "event", "map"
    if isinstance(one, str) or isinstance(other, str) or one is None or other is None:
        return False
    return all(getattr(one, name) is getattr(other, name) for name in names)
