"""The kinds of events in menus and tables: their colours, how many there are, one of them shown alone."""

from functools import cache

import numpy as np
from echo import delay_callback
from glue_qt.utils import messagebox_on_error
from glue_qt.viewers.image import ImageViewer
from glue_qt.viewers.table import TableViewer
from qtpy import QtGui, QtWidgets

from glue_cleanset.core.settings import KINDS
from glue_cleanset.viewer.attach import flat_viewers
from glue_cleanset.viewer.colors import colormap_kind, kind_color
from glue_cleanset.viewer.kinds import KindState, set_kind, show_kind, shown_kind
from glue_cleanset.viewer.views import KIND, entitle_map, map_layer, show_kind_map

from .actions import waiting

__all__ = ["ALL", "KindMenu", "count_kinds", "fill_correction", "kind_icon", "show_only_kind"]

ALL = "all kinds"
SIZE = 12  # of a square [screen pixels]


@cache
def kind_icon(kind):
    """A square in the colour of a kind."""
    picture = QtGui.QPixmap(SIZE, SIZE)
    picture.fill(QtGui.QColor(kind_color(kind)))
    painter = QtGui.QPainter(picture)
    painter.setPen(QtGui.QColor("#808080"))
    painter.drawRect(0, 0, SIZE - 1, SIZE - 1)
    painter.end()
    return QtGui.QIcon(picture)


def count_kinds(attached):
    """How many events there are of each kind that occurs: a dict in the order of `KINDS`; empty where that is not
    known."""
    column = attached.column("events", "kind")
    if column is None:
        return {}
    there, counts = np.unique(attached.events.get_component(column).labels, return_counts=True)
    found = dict(zip(there.tolist(), counts.tolist(), strict=True))
    return {kind: found[kind] for kind in KINDS if kind in found}


def show_only_kind(session, attached, kind):
    """Show the events of one kind only: the rows of tables, the pixels of maps, and a subset in the frames.

    What is drawn next is not added to that subset, and does not replace it.

    Parameters
    ----------
    session : glue.core.Session
    attached : glue_cleanset.viewer.attach.Attached
    kind : str or None
        None = all of them again.
    """
    mode = session.edit_subset_mode
    active = mode.edit_subset
    show_kind(session, attached, kind)
    groups = session.data_collection.subset_groups
    mode.edit_subset = [group for group in active or () if any(group is one for one in groups)]
    for viewer in flat_viewers(session.application.viewers):
        state = viewer.state
        if isinstance(viewer, TableViewer) and viewer.data is attached.events:
            with delay_callback(state, "regex", "filter_att", "filter"):
                state.regex, state.filter_att, state.filter = False, attached.column("events", KIND), kind or ""
            viewer.ui.table.scrollToTop()
        for layer in state.layers:
            # what is in the table is of this kind, and every frame has some of most kinds
            if (
                isinstance(getattr(layer.layer, "subset_state", None), KindState)
                and layer.layer.data is not attached.cube
            ):
                layer.visible = False
        if isinstance(viewer, ImageViewer):
            layer, shown = map_layer(state.layers, session.data_collection)
            mine = layer is not None and shown.map is attached.map and attached.column("map", KIND) is not None
            if mine and (kind is not None or colormap_kind(layer.cmap) is not None):
                show_kind_map(layer, attached, kind)
                entitle_map(state, layer, attached)


class KindMenu(QtWidgets.QMenu):
    """A choice of the kinds that occur; the one that is shown alone is ticked.

    Parameters
    ----------
    session : glue.core.Session
    find : callable
        Gives the result whose events are meant.
    parent : QWidget
    """

    def __init__(self, session, find, parent):
        super().__init__(parent)
        self._session, self._find = session, find
        self.aboutToShow.connect(self.fill)

    def fill(self):
        """Put in what there is now."""
        self.clear()
        attached = self._find()
        if attached is None:
            return
        shown, counts = shown_kind(self._session, attached), count_kinds(attached)
        self._add(attached, None, f"{ALL}  ({sum(counts.values()):,})", shown)
        self.addSeparator()
        for kind, count in counts.items():
            self._add(attached, kind, f"{kind}  ({count:,})", shown)

    def _add(self, attached, kind, text, shown):
        action = self.addAction(text)
        if kind is not None:
            action.setIcon(kind_icon(kind))
        if kind == shown:
            font = action.font()
            font.setBold(True)
            action.setFont(font)
        show = messagebox_on_error("Show only a kind")(show_only_kind)
        action.triggered.connect(lambda *_: show(self._session, attached, kind))


def fill_correction(menu, session, attached, number, done=None):
    """Put into a menu what an event could be; choosing one corrects it.

    Parameters
    ----------
    menu : QMenu
    session : glue.core.Session
    attached : glue_cleanset.viewer.attach.Attached
    number : int
        Of the event.
    done : callable, optional
        Called with the command.
    """

    @messagebox_on_error("Correct kind")
    @waiting
    def correct(kind):
        command = set_kind(session, attached, [number], kind)
        if done is not None:
            done(command)

    for kind in KINDS:
        menu.addAction(kind_icon(kind), kind).triggered.connect(lambda *_, kind=kind: correct(kind))
