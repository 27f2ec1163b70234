"""Everything that knows Qt: the menu, the dialog, the worker, the review layout."""

__all__ = ["register"]

MENU_LABEL = "Clean image set…"
LAYER_LABEL = "Clean as image set…"
REVIEW_LABEL = "Open review layout"


def register():
    """Put *Clean image set…*, *Clean as image set…* and *Open review layout* into glue's menus; once.

    And *Trace pixel* into the toolbar of image viewers.
    """
    from glue_qt.config import layer_action, menubar_plugin
    from glue_qt.utils import messagebox_on_error

    from .actions import clean_from_menu, clean_layers, review_from_menu, review_layer

    if not any(label == MENU_LABEL for label, _ in menubar_plugin.members):
        menubar_plugin(MENU_LABEL)(messagebox_on_error("Clean image set")(clean_from_menu))
        menubar_plugin(REVIEW_LABEL)(messagebox_on_error("Open review layout")(review_from_menu))
    if not any(item.label == LAYER_LABEL for item in layer_action.members):
        tip = "Compare the frames of a cube, or several images of one shape, and clean each of outliers"
        layer_action(LAYER_LABEL, tooltip=tip)(messagebox_on_error("Clean as image set")(clean_layers))
        tip = "Original, cleaned and rejection map of a cleaned set side by side, in a new tab"
        action = layer_action(REVIEW_LABEL, tooltip=tip, single=True, data=True)
        action(messagebox_on_error("Open review layout")(review_layer))
    _register_tools()


def _register_tools():
    from glue.config import viewer_tool
    from glue_qt.viewers.image import ImageViewer

    from .trace import TraceTool

    if TraceTool.tool_id not in ImageViewer.tools:
        viewer_tool(TraceTool)
        # a list of its own: other viewers may share this one
        ImageViewer.tools = [*ImageViewer.tools, TraceTool.tool_id]
