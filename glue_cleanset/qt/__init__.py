"""Everything that knows Qt: the menu, the dialog, the worker, the review layout."""

__all__ = ["register"]

MENU_LABEL = "Clean image set…"
LAYER_LABEL = "Clean as image set…"


def register():
    """Put *Clean image set…* into the Plugins menu and *Clean as image set…* into the data list; once."""
    from glue_qt.config import layer_action, menubar_plugin
    from glue_qt.utils import messagebox_on_error

    from .actions import clean_from_menu, clean_layers

    if not any(label == MENU_LABEL for label, _ in menubar_plugin.members):
        menubar_plugin(MENU_LABEL)(messagebox_on_error("Clean image set")(clean_from_menu))
    if not any(item.label == LAYER_LABEL for item in layer_action.members):
        tip = "Compare the frames of a cube, or several images of one shape, and clean each of outliers"
        layer_action(LAYER_LABEL, tooltip=tip)(messagebox_on_error("Clean as image set")(clean_layers))
