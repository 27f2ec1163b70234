"""The tables of events and tracks as browsers: the row a person stands on is what the image viewers show."""

import numpy as np
from glue.core.hub import HubListener
from glue.core.message import NumericalDataChangedMessage
from qtpy import QtCore, QtGui, QtWidgets
from qtpy.QtCore import Qt

from glue_cleanset.core.settings import KINDS
from glue_cleanset.viewer.attach import find_attached, flat_viewers
from glue_cleanset.viewer.browse import EventBrowser, attached_of, event_of_track

from .kinds import SIZE, kind_icon

__all__ = ["EventTable", "TrackTable", "find_browser", "register_keys", "sort_table", "step_event"]


def find_browser(application):
    """The browser of a glue window: it knows which event is the current one.

    Parameters
    ----------
    application : glue_qt.app.GlueApplication

    Returns
    -------
    EventBrowser
        The same one each time.
    """
    browser = getattr(application, "cleanset_browser", None)
    if browser is None:
        # it lives as long as the window does
        browser = application.cleanset_browser = EventBrowser(application)
    return browser


def step_event(session, by):
    """Go to the next event (`by` = 1) or the previous one (-1), in the order of the table that shows it.

    Where there is no such table the order is that of the peak significance, the strongest first. Without a current
    event it begins with the newest result in the session; where nothing was cleaned nothing is done.

    Returns
    -------
    int or None
        The number of the event shown.
    """
    browser = find_browser(session.application)
    tables = event_tables(session.application)
    if browser.current is not None:
        events = browser.current[0]
    elif tables:
        events = tables[-1].events
    else:
        found = [attached.events for attached in find_attached(session.data_collection)]
        events = next((events for events in found[::-1] if events is not None), None)
    if events is None:
        return None
    order = next((table.order for table in tables[::-1] if table.events is events), None)
    return browser.step(events, by, order)


def event_tables(application):
    """The `EventTable` of every open table viewer that shows events, those of the visible tab last."""
    viewers = [viewer for tab in application.viewers for viewer in tab]
    shown = application.viewers[application.tab_widget.currentIndex()] if viewers else ()
    viewers.sort(key=lambda viewer: any(viewer is one for one in shown))
    tables = [getattr(viewer, "cleanset_events", None) for viewer in viewers]
    return [table for table in tables if table is not None and table.events is not None]


def sort_table(viewer, label, order=Qt.DescendingOrder):
    """Sort a table viewer by one of its columns, as a click on the heading does."""
    labels = [cid.label for cid in viewer.model.columns]
    viewer.ui.table.sortByColumn(labels.index(label), order)


def register_keys():
    """N and Shift+N in image viewers: next and previous event; Escape: no event. Once."""
    from glue_qt.config import keyboard_shortcut
    from glue_qt.viewers.image import ImageViewer
    from glue_qt.viewers.table import TableViewer

    from .review import ReviewViewer

    # (glue looks for the very class)
    for key, viewer, function in (
        (Qt.Key_N, ImageViewer, _step_by_key),
        (Qt.Key_N, ReviewViewer, _step_by_key),
        (Qt.Key_Escape, ImageViewer, _leave_by_key),
        (Qt.Key_Escape, ReviewViewer, _leave_by_key),
        (Qt.Key_Escape, TableViewer, _leave_by_key),
    ):
        if key not in keyboard_shortcut.members.get(viewer, {}):
            keyboard_shortcut.add([viewer], key, function)


def _step_by_key(session):
    # glue asks for the key alone
    step_event(session, -1 if QtWidgets.QApplication.keyboardModifiers() & Qt.ShiftModifier else 1)


def _leave_by_key(session):
    find_browser(session.application).leave()


class _BrowsingTable(HubListener, QtCore.QObject):
    """Lets a table viewer browse, as long as it shows one of the tables of a result.

    A click on a row or the arrow keys make its event the current one; its row is framed. What glue does with rows,
    selecting them for a subset, goes on as ever.

    Parameters
    ----------
    viewer : glue_qt.viewers.table.TableViewer
    """

    changed = QtCore.Signal()  # another table, or none
    # a person asks what can be done with the row that is the current one now
    menu_wanted = QtCore.Signal(QtWidgets.QMenu)

    def __init__(self, viewer):
        QtCore.QObject.__init__(self, viewer)
        self.viewer = viewer
        self.table = viewer.ui.table
        self.browser = find_browser(viewer.session.application)
        self.data = self._model = None
        self._busy = False
        self._delegate = _CurrentRow(self)
        self.table.installEventFilter(self)
        self.table.clicked.connect(self._clicked)
        self.table.setContextMenuPolicy(Qt.CustomContextMenu)
        self.table.customContextMenuRequested.connect(self._ask)
        viewer.state.add_callback("layers", self._look)
        viewer.window_closed.connect(self._close)
        self.browser.add_callback("current", self._follow)
        # before the viewer draws rows that are not there any more
        viewer.session.hub.subscribe(self, NumericalDataChangedMessage, handler=self._rows_changed, priority=100)
        self._look()

    label = None  # of the column that numbers what the rows are

    @property
    def attached(self):
        """The result whose table this is; None where it is none."""
        return None if self.data is None else self.find(self.data)

    def find(self, data):
        """The result whose table of this sort the data are, or None."""
        raise NotImplementedError

    def choose(self, number):
        """Make what has this number the current one."""
        raise NotImplementedError

    @property
    def number(self):
        """The number of what is the current one; None where it is none of these rows."""
        raise NotImplementedError

    @property
    def order(self):
        """The numbers of the rows, as the table shows them: sorted and filtered."""
        return self.data[self.label][self._model.order_visible]

    @property
    def current_row(self):
        """The row of the current one in the table as it is shown; None where it is not among the rows."""
        if self.data is None:
            return None
        rows = np.flatnonzero(self.order == self.number)
        return int(rows[0]) if rows.size else None

    @property
    def kind_column(self):
        """Which column tells the kind of an event, or None."""
        labels = [] if self.data is None else [cid.label for cid in self._model.columns]
        return labels.index("kind") if "kind" in labels else None

    def eventFilter(self, watched, event):  # Qt's name
        """Getting the focus by Tab is no choice: Qt would make the first row the current one."""
        if event.type() != QtCore.QEvent.FocusIn or self.data is None or self.table.currentIndex().isValid():
            return False
        self._busy = True
        try:
            self.table.focusInEvent(event)
            self.table.selectionModel().clearCurrentIndex()
        finally:
            self._busy = False
        return True

    def _look(self, *_):
        """See what the viewer shows now."""
        model = self.viewer.model
        if model is self._model:
            return
        self._model = model
        self.data = None if self.find(self.viewer.data) is None else self.viewer.data
        if self.data is not None:
            # the viewer makes a model for each data it shows, and Qt a selection for each model
            self.table.selectionModel().currentRowChanged.connect(self._moved)
            model.layoutChanged.connect(self._follow)
            self._follow()
            self.table.setItemDelegate(self._delegate)
        elif self.table.itemDelegate() is self._delegate:
            self.table.setItemDelegate(QtWidgets.QStyledItemDelegate(self.table))
        self.changed.emit()

    def _moved(self, index, _=None):
        if not self._busy and index.isValid():
            self._choose(index.row())

    def _clicked(self, index):
        # a click on the current row leads back to its event
        if self.data is not None and index.row() == self.current_row:
            self._choose(index.row())

    def _ask(self, place):
        index = self.table.indexAt(place)
        if self.attached is None or not index.isValid():
            return
        if index.row() != self.current_row:
            self.table.selectionModel().setCurrentIndex(index, QtCore.QItemSelectionModel.NoUpdate)
        menu = QtWidgets.QMenu(self.table)
        menu.aboutToHide.connect(menu.deleteLater)
        self.menu_wanted.emit(menu)
        if menu.actions():
            menu.popup(self.table.viewport().mapToGlobal(place))

    def _choose(self, row):
        self._busy = True
        try:
            self.choose(self.order[row])
        finally:
            self._busy = False
        self.table.viewport().update()

    def _follow(self, *_):
        """Stand on the row of the current one, wherever sorting has put it."""
        if self._busy or self.data is None:
            return
        self._busy = True
        try:
            row = self.current_row
            selection = self.table.selectionModel()
            if row is None:
                selection.clearCurrentIndex()
            elif row != self.table.currentIndex().row():
                column = max(self.table.currentIndex().column(), 0)
                index = self._model.index(row, column)
                selection.setCurrentIndex(index, QtCore.QItemSelectionModel.NoUpdate)
                self.table.scrollTo(index)
        finally:
            self._busy = False
        self.table.viewport().update()

    def _rows_changed(self, message):
        """glue's table sorts anew only if it was sorted, filters never, and looks at the rows before."""
        if self.data is None or message.sender is not self.data:
            return
        if len(self._model.order) != self.data.size:
            self._model.order = np.arange(self.data.size)
        self._model.filter_mask = None
        self._model.get_filter_mask()

    def _close(self):
        self.viewer.session.hub.unsubscribe_all(self)
        self.browser.remove_callback("current", self._follow)
        self.data = None


class EventTable(_BrowsingTable):
    """The table of the events of a result.

    Attributes
    ----------
    events : glue.core.Data or None
        What the viewer shows where that is a table of events.
    """

    label = "event"

    @property
    def events(self):
        return self.data

    def find(self, data):
        return attached_of(self.viewer.session.data_collection, data)

    def choose(self, number):
        self.browser.choose(self.data, number)

    @property
    def number(self):
        return self.browser.number_in(self.data)

    def step(self, by):
        """Go to the next event (1) or the previous one (-1), in the order shown."""
        return None if self.data is None else self.browser.step(self.data, by, self.order)

    def _close(self):
        events = self.data
        super()._close()
        application = self.viewer.session.application
        others = [viewer for viewer in flat_viewers(application.viewers) if viewer is not self.viewer]
        tables = [getattr(viewer, "cleanset_events", None) for viewer in others]
        alone = not any(table is not None and table.events is events for table in tables)
        if alone and events is not None and self.browser.number_in(events) is not None:
            self.browser.leave()  # nothing is left to say which event the ring is about


class TrackTable(_BrowsingTable):
    """The table of the moving objects of a result: a row leads to the event in the middle of its track."""

    label = "track"

    def find(self, data):
        found = find_attached(self.viewer.session.data_collection, data) if data is not None else []
        return next((attached for attached in found[::-1] if attached.tracks is data), None)

    def choose(self, number):
        attached = self.attached
        if attached.events is not None and number in attached.events["track"]:
            self.browser.choose(attached.events, event_of_track(attached, number))

    @property
    def number(self):
        attached = self.attached
        number = None if attached is None else self.browser.number_in(attached.events)
        if number is None:
            return None
        mine = attached.events["track"][attached.events["event"] == number]
        return int(mine[0]) if mine.size and mine[0] else None


class _CurrentRow(QtWidgets.QStyledItemDelegate):
    """Frames the row of the current event, and puts the colour beside the name of a kind; the colours of glue's subsets
    stay."""

    def __init__(self, owner):
        super().__init__(owner.table)
        self.owner = owner

    def initStyleOption(self, option, index):  # Qt's name
        super().initStyleOption(option, index)
        if index.column() == self.owner.kind_column and option.text in KINDS:
            option.features |= QtWidgets.QStyleOptionViewItem.HasDecoration
            option.icon, option.decorationSize = kind_icon(option.text), QtCore.QSize(SIZE, SIZE)

    def sizeHint(self, option, index):  # Qt's name
        """Room for every kind: few of them are among the rows that are looked at."""
        hint = super().sizeHint(option, index)
        if index.column() == self.owner.kind_column:
            hint.setWidth(SIZE + 16 + max(option.fontMetrics.horizontalAdvance(kind) for kind in KINDS))
        return hint

    def paint(self, painter, option, index):
        super().paint(painter, option, index)
        current = self.owner.table.currentIndex()
        if not current.isValid() or index.row() != current.row() or self.owner.current_row != index.row():
            return
        color = option.palette.color(QtGui.QPalette.Highlight)
        box = option.rect.adjusted(0, 1, 0, -1)
        painter.save()
        painter.setPen(QtGui.QPen(color, 2))
        painter.drawLine(box.topLeft(), box.topRight())
        painter.drawLine(box.bottomLeft(), box.bottomRight())
        color.setAlpha(50)
        painter.fillRect(box, color)
        painter.restore()
