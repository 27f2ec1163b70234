"""Everything that knows Qt: the menu, the dialog, the worker, the review layout, the tools."""

__all__ = ["register"]

MENU_LABEL = "Clean image set…"
LAYER_LABEL = "Clean as image set…"
REVIEW_LABEL = "Open review layout"
WRITE_LABEL = "Write result into files…"
RESTORE_LABEL = "Restore selected events"
REJECT_LABEL = "Reject selected pixels"


def register():
    """Put our entries into glue's menus and our tools into its toolbars; once."""
    from glue_qt.config import layer_action, menubar_plugin
    from glue_qt.utils import messagebox_on_error

    from glue_cleanset.viewer import overrule

    from .actions import (
        clean_from_menu,
        clean_layers,
        reject_layer,
        restore_layer,
        review_from_menu,
        review_layer,
        write_from_menu,
        write_layer,
    )
    from .worker import wait_for

    overrule.wait_for = wait_for
    if not any(label == MENU_LABEL for label, _ in menubar_plugin.members):
        menubar_plugin(MENU_LABEL)(messagebox_on_error("Clean image set")(clean_from_menu))
        menubar_plugin(REVIEW_LABEL)(messagebox_on_error("Open review layout")(review_from_menu))
        menubar_plugin(WRITE_LABEL)(messagebox_on_error("Write result")(write_from_menu))
    if not any(item.label == LAYER_LABEL for item in layer_action.members):
        tip = "Compare the frames of a cube, or several images of one shape, and clean each of outliers"
        layer_action(LAYER_LABEL, tooltip=tip)(messagebox_on_error("Clean as image set")(clean_layers))
        for label, function, tip in (
            (
                REVIEW_LABEL,
                review_layer,
                "Original, cleaned and rejection map of a cleaned set side by side, in a new tab",
            ),
            (
                WRITE_LABEL,
                write_layer,
                "Cleaned frames, masks, map and tables of a cleaned set, with all that was overruled",
            ),
        ):
            action = layer_action(label, tooltip=tip, single=True, data=True)
            action(messagebox_on_error(label.rstrip("…"))(function))
        for label, function, tip in (
            (RESTORE_LABEL, restore_layer, "The rejected pixels of this subset get their original values back"),
            (REJECT_LABEL, reject_layer, "The pixels of this subset are repaired in the frame on display"),
        ):
            action = layer_action(label, tooltip=tip, single=True, subset=True, subset_group=True)
            action(messagebox_on_error(label)(function))
    _register_tools()


def _register_tools():
    from glue.config import viewer_tool
    from glue_qt.viewers.image import ImageViewer
    from glue_qt.viewers.table import TableViewer

    from .browse import register_keys
    from .tools import IMAGE_TOOLS, TABLE_TOOLS
    from .trace import TraceTool

    for viewer, tools in ((ImageViewer, (TraceTool, *IMAGE_TOOLS)), (TableViewer, TABLE_TOOLS)):
        for tool in tools:
            if tool.tool_id not in viewer.tools:
                viewer_tool(tool)
                viewer.tools = [*viewer.tools, tool.tool_id]
    register_keys()
