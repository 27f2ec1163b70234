"""Tools of glue's toolbars: blink, the view of all frames at once, restore and reject, next and previous event."""

from pathlib import Path

import numpy as np
from glue.core.hub import HubListener
from glue.core.message import (
    ComponentsChangedMessage,
    DataCollectionMessage,
    ExternallyDerivableComponentsChangedMessage,
)
from glue.viewers.common.tool import Tool
from glue_qt.utils import messagebox_on_error
from qtpy import QtCore

from glue_cleanset.viewer.browse import attached_of
from glue_cleanset.viewer.legend import FrameLegend
from glue_cleanset.viewer.overrule import reject_selected, restore_event, restore_selected
from glue_cleanset.viewer.views import blink, blinking_layer, map_layer, switch_map

from .actions import frame_in_viewer, frame_on_display
from .browse import EventTable

__all__ = [
    "IMAGE_TOOLS",
    "TABLE_TOOLS",
    "BlinkTool",
    "NextEventTool",
    "OverlapTool",
    "PreviousEventTool",
    "RejectTool",
    "RestoreEventTool",
    "RestoreTool",
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
    action.setShortcutContext(QtCore.Qt.WidgetWithChildrenShortcut)
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

    def _added(self):
        action = self.viewer.toolbar.actions[self.tool_id]
        # glue's toolbar would end the tool that is active, such as a selection
        action.triggered.disconnect()
        action.triggered.connect(lambda *_: self.activate())
        lend_key(self)
        self.refresh()


class _ImageTool(_OwnTool, HubListener):
    """A tool of an image viewer that depends on what was cleaned."""

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


class _OverruleTool(_ImageTool):
    """A tool that overrules the cleaning where the current subsets are."""

    def needed(self):
        return frame_in_viewer(self.viewer) is not None or self.mapped() is not None

    def mapped(self):
        """The cleaning whose map the viewer shows; None where it shows none."""
        return map_layer(self.viewer.state.layers, self.viewer.session.data_collection)[1]

    def activate(self):
        messagebox_on_error(self.action_text)(self.overrule)()

    def overrule(self):
        """Overrule with each of the current subsets."""
        session = self.viewer.session
        groups = session.data_collection.subset_groups
        # a click on an image leaves no subset active; where there is only one it is meant
        chosen = session.edit_subset_mode.edit_subset or (list(groups) if len(groups) == 1 else [None])
        errors, done = [], []
        for subset in chosen if isinstance(chosen, (list, tuple)) else [chosen]:
            try:
                done.append(self.overrule_with(session, subset).label)
            except ValueError as error:
                errors.append(error)
        # of several subsets those that select nothing are passed over
        if not done:
            raise errors[0]
        self.viewer.set_status(f"{', '.join(done)}; Edit > Undo takes it back")

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


class _EventTool(_OwnTool):
    by = 0

    def __init__(self, viewer=None):
        super().__init__(viewer)
        # one for all of these tools; the table is a browser whatever way it was opened
        if getattr(viewer, "cleanset_events", None) is None:
            viewer.cleanset_events = EventTable(viewer)
        viewer.cleanset_events.changed.connect(self.refresh)

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
        messagebox_on_error(self.action_text)(self.restore)()

    def restore(self):
        """Restore the current event of this table."""
        table = self.viewer.cleanset_events
        number = table.browser.number_in(table.events)
        if number is None:
            raise ValueError("No event is chosen; click a row of the table first.")
        order = table.order
        after = order[np.flatnonzero(order == number)[0] + 1 :]
        command = restore_event(
            self.viewer.session, attached_of(self.viewer.session.data_collection, table.events), number
        )
        self.viewer.set_status(f"Event {number}: {command.label}; Edit > Undo takes it back")
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


IMAGE_TOOLS = (BlinkTool, OverlapTool, RestoreTool, RejectTool)
TABLE_TOOLS = (PreviousEventTool, NextEventTool, RestoreEventTool)
