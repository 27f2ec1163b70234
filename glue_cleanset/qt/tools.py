"""Tools of glue's toolbars: of image viewers blink, all frames at once, kinds, tracks, restore, reject; of tables next
and previous event, one kind alone, restore, keep and repair."""

from pathlib import Path

import numpy as np
from glue.core.hub import HubListener
from glue.core.message import (
    ComponentsChangedMessage,
    DataCollectionMessage,
    ExternallyDerivableComponentsChangedMessage,
    NumericalDataChangedMessage,
)
from glue.viewers.common.tool import Tool
from glue_qt.utils import messagebox_on_error
from qtpy import QtCore, QtGui, QtWidgets
from qtpy.QtCore import Qt

from glue_cleanset.viewer.kinds import shown_kind
from glue_cleanset.viewer.legend import FrameLegend
from glue_cleanset.viewer.overrule import (
    keep_object,
    reject_selected,
    repair_object,
    restore_event,
    restore_selected,
)
from glue_cleanset.viewer.track_lines import clear_tracks, draw_tracks, find_tracks
from glue_cleanset.viewer.views import KIND, blink, blinking_layer, map_layer, switch_map

from .actions import frame_in_viewer, frame_on_display, waiting
from .browse import EventTable, TrackTable
from .kinds import ALL, KindMenu, fill_correction, kind_icon

__all__ = [
    "IMAGE_TOOLS",
    "TABLE_TOOLS",
    "BlinkTool",
    "KeepObjectTool",
    "KindsTool",
    "NextEventTool",
    "OverlapTool",
    "PreviousEventTool",
    "RejectTool",
    "RepairObjectTool",
    "RestoreEventTool",
    "RestoreTool",
    "ShowKindTool",
    "TracksTool",
    "icon_path",
    "lend_key",
]

ICONS = Path(__file__).parent / "icons"


def icon_path(name):
    """Full path of one of our icons, as glue's tools take it."""
    return str(ICONS / f"{name}.png")


def lend_key(tool):
    """Let the key of a tool work in all of its viewer: glue's keys work only while the toolbar has the focus."""
    action = tool.viewer.toolbar.actions[tool.tool_id]
    action.setShortcutContext(Qt.WidgetWithChildrenShortcut)
    tool.viewer.addAction(action)


class _OwnTool(Tool):
    """A tool that is there only where it has something to do, and leaves the active tool of the toolbar active."""

    def __init__(self, viewer=None):
        super().__init__(viewer)
        viewer.toolbar_added.connect(self._added)

    def needed(self):
        """Whether there is something to do."""
        raise NotImplementedError

    def refresh(self):
        """Appear or vanish."""
        if self.viewer is not None:
            self.enabled = self.needed()

    @property
    def action(self):
        """In the toolbar of the viewer."""
        return self.viewer.toolbar.actions[self.tool_id]

    @property
    def button(self):
        """In the toolbar of the viewer."""
        return self.viewer.toolbar.widgetForAction(self.action)

    def _added(self):
        action = self.action
        # glue's toolbar would end the tool that is active, such as a selection
        action.triggered.disconnect()
        action.triggered.connect(lambda *_: self.activate())
        lend_key(self)
        self.refresh()


class _ImageTool(_OwnTool, HubListener):
    """A tool of an image viewer that depends on what was cleaned."""

    messages = ()  # of glue, that make it look again beside what all of these tools follow

    def __init__(self, viewer=None):
        super().__init__(viewer)
        self._timer = QtCore.QTimer(viewer)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.refresh)
        for name in ("layers", "x_att", "y_att"):
            viewer.state.add_callback(name, self._later)
        hub = viewer.session.hub
        for message in (
            DataCollectionMessage,
            ComponentsChangedMessage,
            ExternallyDerivableComponentsChangedMessage,
            *self.messages,
        ):
            hub.subscribe(self, message, handler=self._later)

    def _later(self, *_):
        # a result tells of itself when all of it is in place
        if self.viewer is not None:
            self._timer.start(0)

    def close(self):
        """Look after the viewer no more."""
        self._timer.stop()
        self.viewer.session.hub.unsubscribe_all(self)
        super().close()


class BlinkTool(_ImageTool):
    """Switches a viewer between the original frames and the cleaned ones."""

    tool_id = "cleanset:blink"
    icon = icon_path("blink")
    action_text = "Blink original and cleaned"
    tool_tip = "Blink: show the original frames in place of the cleaned ones, or back"
    shortcut = "B"
    _cleaned = None  # what was left for the original

    def needed(self):
        return blinking_layer(self.viewer.state.layers, self.viewer.session.data_collection)[0] is not None

    def activate(self):
        state, collection = self.viewer.state, self.viewer.session.data_collection
        layer, found = blinking_layer(state.layers, collection)
        if any(attached.cleaned is layer.attribute for attached in found):
            self._cleaned = layer.attribute
        blink(state, collection, back_to=self._cleaned)


class OverlapTool(_ImageTool):
    """Switches a rejection map between the frame rejected and the significance over all frames."""

    tool_id = "cleanset:overlap"
    icon = icon_path("overlap")
    action_text = "All frames at once"
    tool_tip = "All frames at once: show the peak significance over all frames in place of the frame rejected, or back"
    shortcut = "A"

    def __init__(self, viewer=None):
        super().__init__(viewer)
        self.legend = FrameLegend(viewer)

    def needed(self):
        return map_layer(self.viewer.state.layers, self.viewer.session.data_collection)[0] is not None

    def activate(self):
        switch_map(self.viewer.state, self.viewer.session.data_collection)

    def close(self):
        self.legend.close()
        super().close()


class KindsTool(_ImageTool):
    """Switches a rejection map between the frame rejected and the kinds of the events; its menu shows one of them."""

    tool_id = "cleanset:kinds"
    icon = icon_path("kinds")
    action_text = "Kinds of events"
    tool_tip = "Kinds: show what each event is in place of the frame rejected, or back; its arrow: only one kind"
    shortcut = "K"

    def needed(self):
        attached = self._attached()
        return attached is not None and attached.column("map", KIND) is not None

    def activate(self):
        switch_map(self.viewer.state, self.viewer.session.data_collection, to=KIND)

    def _attached(self):
        return map_layer(self.viewer.state.layers, self.viewer.session.data_collection)[1]

    def _added(self):
        super()._added()
        self.action.setMenu(KindMenu(self.viewer.session, self._attached, self.viewer))
        self.button.setPopupMode(QtWidgets.QToolButton.MenuButtonPopup)


class TracksTool(_ImageTool):
    """Draws the tracks of moving objects over the image, as long as it is checked."""

    tool_id = "cleanset:tracks"
    icon = icon_path("tracks")
    action_text = "Show tracks"
    tool_tip = "Tracks: draw the way of every moving object through the frames; the circle is where it is in this one"
    shortcut = "S"
    messages = (NumericalDataChangedMessage,)

    @property
    def shown(self):
        """Whether tracks are drawn where there are any."""
        return self.viewer.cleanset_tracks_shown

    @shown.setter
    def shown(self, shown):
        self.viewer.cleanset_tracks_shown = shown
        self.refresh()

    def needed(self):
        return find_tracks(self.viewer, self.viewer.session.data_collection) is not None

    def refresh(self):
        """Draw what there is now."""
        super().refresh()
        if self.viewer is not None:
            self.action.setChecked(self.shown)
            if self.shown:
                draw_tracks(self.viewer, self.viewer.session.data_collection)
            else:
                clear_tracks(self.viewer)

    def activate(self):
        self.shown = not self.shown

    def _added(self):
        if not hasattr(self.viewer, "cleanset_tracks_shown"):
            self.viewer.cleanset_tracks_shown = False
        self.action.setCheckable(True)
        super()._added()


class _OverruleTool(_ImageTool):
    """A tool that overrules the cleaning where the current subsets are."""

    def needed(self):
        return frame_in_viewer(self.viewer) is not None or self.mapped() is not None

    def mapped(self):
        """The cleaning whose map the viewer shows; None where it shows none."""
        return map_layer(self.viewer.state.layers, self.viewer.session.data_collection)[1]

    def activate(self):
        messagebox_on_error(self.action_text)(waiting(self.overrule))()

    def overrule(self):
        """Overrule with each of the current subsets."""
        session = self.viewer.session
        groups = session.data_collection.subset_groups
        # a click on an image leaves no subset active; where there is only one it is meant
        chosen = session.edit_subset_mode.edit_subset or (list(groups) if len(groups) == 1 else [None])
        errors, done = [], []
        for subset in chosen if isinstance(chosen, (list, tuple)) else [chosen]:
            try:
                done.append(self.overrule_with(session, subset))
            except ValueError as error:
                errors.append(error)
        # of several subsets those that select nothing are passed over
        if not done:
            raise errors[0]
        self.viewer.set_status(f"{', '.join(command.label for command in done)}; {done[0].remark}")

    def overrule_with(self, session, subset):
        """Overrule with one subset."""
        raise NotImplementedError


class RestoreTool(_OverruleTool):
    """Gives the rejected pixels of the current subset back: of the frame shown, or of all where a map is."""

    tool_id = "cleanset:restore"
    icon = icon_path("restore")
    action_text = "Restore selected events"
    tool_tip = (
        "Restore: the rejected pixels of the current subset get their original values back, in the frame that this "
        "viewer shows; from the rejection map in all frames"
    )

    def overrule_with(self, session, subset):
        frame, attached = frame_in_viewer(self.viewer) or (None, self.mapped())
        return restore_selected(session, subset, attached=attached, frame=frame)


class RejectTool(_OverruleTool):
    """Repairs the pixels of the current subset in the frame shown."""

    tool_id = "cleanset:reject"
    icon = icon_path("reject")
    action_text = "Reject selected pixels"
    tool_tip = (
        "Reject: the pixels of the current subset are repaired in the frame that this viewer shows; from the "
        "rejection map in the frame shown by the viewer of the frames used last"
    )

    def overrule_with(self, session, subset):
        frame, attached = frame_in_viewer(self.viewer) or frame_on_display(session.application)
        attached = self.mapped() or attached
        return reject_selected(session, subset, frame, attached=attached)


class _TableTool(_OwnTool):
    """A tool of a table of events or of tracks."""

    def __init__(self, viewer=None):
        super().__init__(viewer)
        # one for all of these tools; the table is a browser whatever way it was opened
        if getattr(viewer, "cleanset_events", None) is None:
            viewer.cleanset_events, viewer.cleanset_tracks = EventTable(viewer), TrackTable(viewer)
        for table in (viewer.cleanset_events, viewer.cleanset_tracks):
            table.changed.connect(self.refresh)
            table.menu_wanted.connect(self.offer)

    @property
    def attached(self):
        """The result whose events or tracks are shown, or None."""
        return self.viewer.cleanset_events.attached or self.viewer.cleanset_tracks.attached

    def offer(self, menu):
        """Put what can be done with the current row into a menu."""


class _EventTool(_TableTool):
    """A tool of a table of events."""

    by = 0

    def needed(self):
        return self.viewer.cleanset_events.events is not None

    def activate(self):
        self.viewer.cleanset_events.step(self.by)


class RestoreEventTool(_EventTool):
    """Gives the pixels of the current event back."""

    tool_id = "cleanset:restore_event"
    icon = icon_path("restore")
    action_text = "Restore this event"
    tool_tip = "Restore: the pixels of the event that the image viewers show get their original values back"

    def activate(self):
        """Restore it; the row below is the current one then."""
        messagebox_on_error(self.action_text)(waiting(self.restore))()

    def offer(self, menu):
        """Restore, and what the event could be instead."""
        table = self.viewer.cleanset_events
        if table.events is None:
            return
        menu.addAction(self.action.icon(), self.action_text).triggered.connect(lambda *_: self.activate())
        correction = menu.addMenu("Correct kind")
        fill_correction(correction, self.viewer.session, table.attached, table.number, self._corrected)

    def _corrected(self, command):
        self.viewer.set_status(f"{command.label}; {command.remark}")

    def restore(self):
        """Restore the current event of this table."""
        table = self.viewer.cleanset_events
        number = table.browser.number_in(table.events)
        if number is None:
            raise ValueError("No event is chosen; click a row of the table first.")
        order = table.order
        after = order[np.flatnonzero(order == number)[0] + 1 :]
        command = restore_event(self.viewer.session, table.attached, number)
        self.viewer.set_status(f"Event {number}: {command.label}; {command.remark}")
        if len(after) and table.events is not None and after[0] in table.events["event"]:
            table.browser.choose(table.events, after[0])


class PreviousEventTool(_EventTool):
    """Goes to the event in the row above."""

    tool_id = "cleanset:previous_event"
    icon = icon_path("previous_event")
    action_text = "Previous event"
    tool_tip = "Previous event: the image viewers go to the event in the row above"
    shortcut = "Shift+N"
    by = -1


class NextEventTool(_EventTool):
    """Goes to the event in the row below."""

    tool_id = "cleanset:next_event"
    icon = icon_path("next_event")
    action_text = "Next event"
    tool_tip = "Next event: the image viewers go to the event in the row below"
    shortcut = "N"
    by = 1


class ShowKindTool(_EventTool):
    """A menu of the kinds that occur: one of them is shown alone, in the table, on the map and in the frames."""

    tool_id = "cleanset:show_kind"
    icon = icon_path("kinds")
    action_text = ALL
    tool_tip = "Show only one kind of events: in this table, on the rejection map, and as a subset in the frames"

    def needed(self):
        attached = self.attached
        return super().needed() and attached is not None and attached.column("events", KIND) is not None

    def refresh(self):
        """Tell which kind is shown."""
        super().refresh()
        if self.viewer is not None and self.enabled:
            kind = shown_kind(self.viewer.session, self.attached)
            self.action.setText(kind or ALL)
            self.action.setIcon(QtGui.QIcon(self.icon) if kind is None else kind_icon(kind))

    def _added(self):
        super()._added()
        self.action.setMenu(KindMenu(self.viewer.session, lambda: self.attached, self.viewer))
        self.button.setPopupMode(QtWidgets.QToolButton.InstantPopup)
        self.button.setToolButtonStyle(Qt.ToolButtonTextBesideIcon)
        for name in ("filter", "filter_att"):
            self.viewer.state.add_callback(name, lambda _: self.refresh())


class _ObjectTool(_TableTool):
    """A tool that overrules the cleaning of the moving object of the current row by ``overrule(session, attached,
    track)``."""

    def needed(self):
        return self.attached is not None and self.attached.tracks is not None

    def track(self):
        """The number of the object of the current row; raises ValueError where there is none."""
        events, tracks = self.viewer.cleanset_events, self.viewer.cleanset_tracks
        if tracks.data is not None:
            if tracks.number is None:
                raise ValueError("No object is chosen; click a row of the table first.")
            return tracks.number
        if events.number is None:
            raise ValueError("No event is chosen; click a row of the table first.")
        track = int(self.attached.events["track"][self.attached.events["event"] == events.number][0])
        if not track:
            raise ValueError(
                f"Event {events.number} belongs to no moving object; choose an event whose 'track' is not 0, or a row "
                "of the table of tracks."
            )
        return track

    def activate(self):
        messagebox_on_error(self.action_text)(waiting(self.overrule_object))()

    def overrule_object(self):
        """Overrule the object of the current row."""
        command = type(self).overrule(self.viewer.session, self.attached, self.track())
        self.viewer.set_status(f"{command.label}; {command.remark}")

    def offer(self, menu):
        """Offer it where the row belongs to an object."""
        if not self.needed():
            return
        action = menu.addAction(self.action.icon(), self.action_text)
        action.triggered.connect(lambda *_: self.activate())
        try:
            self.track()
        except ValueError:
            action.setEnabled(False)


class KeepObjectTool(_ObjectTool):
    """Gives a moving object its original values back, in all frames."""

    tool_id = "cleanset:keep_object"
    icon = icon_path("keep_object")
    action_text = "Keep this object"
    tool_tip = "Keep: the moving object of this row gets its original values back in all frames, and stays an event"
    overrule = staticmethod(keep_object)


class RepairObjectTool(_ObjectTool):
    """Repairs a moving object in all frames."""

    tool_id = "cleanset:repair_object"
    icon = icon_path("repair_object")
    action_text = "Repair this object"
    tool_tip = "Repair: the pixels of the moving object of this row are repaired in all frames"
    overrule = staticmethod(repair_object)


IMAGE_TOOLS = (BlinkTool, OverlapTool, KindsTool, TracksTool, RestoreTool, RejectTool)
TABLE_TOOLS = (PreviousEventTool, NextEventTool, RestoreEventTool, KeepObjectTool, RepairObjectTool, ShowKindTool)
