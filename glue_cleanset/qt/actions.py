"""What the menu entries do: find the data that was meant and open the dialog on it."""

from contextlib import suppress
from functools import wraps

from glue.core import Data
from glue_qt.utils import set_cursor
from qtpy import QtCore, QtWidgets

from glue_cleanset.core.threads import CleanCancelled
from glue_cleanset.viewer.attach import find_attached
from glue_cleanset.viewer.overrule import reject_selected, restore_selected
from glue_cleanset.viewer.regions import shown_index
from glue_cleanset.viewer.stack import check_images

__all__ = [
    "clean_from_menu",
    "clean_layers",
    "find_session",
    "frame_in_viewer",
    "frame_on_display",
    "reject_layer",
    "restore_layer",
    "review_from_menu",
    "review_layer",
    "waiting",
    "write_from_menu",
    "write_layer",
]


def waiting(function):
    """Show that something may take a while, as it does with a large set; where the person cancels it gives None."""
    shown = set_cursor(QtCore.Qt.WaitCursor)(function)

    @wraps(function)
    def patient(*args, **kwargs):
        with suppress(CleanCancelled):
            return shown(*args, **kwargs)

    return patient


def clean_from_menu(session, data_collection):
    """Open the dialog on the cubes of the session.

    Raises
    ------
    ValueError
        Where the session holds no cube.
    """
    from .dialog import CleanDialog

    if not any(is_cube(data) for data in data_collection):
        raise ValueError(
            "The session holds no image set, which is data with three axes (frame, y, x). Open a directory or a "
            "cube as 'Image set', or select several images in the data list and choose 'Clean as image set…' "
            "from its context menu."
        )
    dialog = CleanDialog(session, parent=session.application)
    dialog.show()
    return dialog


def clean_layers(layers, data_collection):
    """Open the dialog on what is selected in the data list: one cube, or several images of one shape.

    Raises
    ------
    ValueError
        Where the selection is no image set; the message names what was selected.
    """
    from .dialog import CleanDialog

    session = find_session(data_collection)
    data = [layer for layer in layers if isinstance(layer, Data)]
    if len(data) < len(layers):
        names = ", ".join(layer.label for layer in layers if not isinstance(layer, Data))
        raise ValueError(f"Whole images are cleaned, not subsets of them; take {names} out of the selection.")
    if len(data) == 1 and is_cube(data[0]):
        dialog = CleanDialog(session, data=data[0], parent=session.application)
    else:
        check_images(data)
        dialog = CleanDialog(session, images=data, parent=session.application)
    dialog.show()
    return dialog


def review_from_menu(session, data_collection):
    """Open the review layout of the newest result in the session.

    Raises
    ------
    ValueError
        Where nothing was cleaned.
    """
    return _review(session, _newest(data_collection))


def review_layer(layer, data_collection):
    """Open the review layout of the result that a data set is the cube or a part of: the newest.

    Raises
    ------
    ValueError
        Where it belongs to no result.
    """
    return _review(find_session(data_collection), _newest(data_collection, layer))


def write_from_menu(session, data_collection):
    """Write the newest result in the session, as it is now, into files.

    Raises
    ------
    ValueError, OSError
        Where nothing was cleaned, and as `glue_cleanset.viewer.export.prepare_writing`.
    """
    return _write(session, _newest(data_collection))


def write_layer(layer, data_collection):
    """Write the result that a data set is the cube or a part of, the newest, into files.

    Raises
    ------
    ValueError, OSError
        Where it belongs to no result, and as `glue_cleanset.viewer.export.prepare_writing`.
    """
    return _write(find_session(data_collection), _newest(data_collection, layer))


@waiting
def restore_layer(subset, data_collection):
    """Give the rejected pixels of a subset their original values back, in all frames that it selects.

    Raises
    ------
    ValueError
        As `glue_cleanset.viewer.overrule.restore_selected`.
    """
    return restore_selected(find_session(data_collection), subset)


@waiting
def reject_layer(subset, data_collection):
    """Repair the pixels of a subset in the frame that is on display.

    Raises
    ------
    ValueError
        Where no frame is on display, and as `glue_cleanset.viewer.overrule.reject_selected`.
    """
    session = find_session(data_collection)
    frame, attached = frame_on_display(session.application)
    return reject_selected(session, subset, frame, attached=attached)


def frame_on_display(application):
    """The frame (0 ... N - 1) in the image viewer of a cleaned cube that was active last, and its cleaning.

    Raises
    ------
    ValueError
        Where no viewer shows one frame of a cleaned cube.
    """
    windows = application.current_tab.subWindowList(QtWidgets.QMdiArea.ActivationHistoryOrder)
    for window in reversed(windows):
        found = frame_in_viewer(window.widget())
        if found is not None:
            return found
    raise ValueError(
        "No image viewer of a cleaned cube is in this tab, so the frame to repair is not known; show the cube and go "
        "to the frame."
    )


def frame_in_viewer(viewer):
    """The frame (0 ... N - 1) of a cleaned cube that an image viewer shows, and its cleaning: that of the attribute on
    display, else the newest. None where it shows something else."""
    state = getattr(viewer, "state", None)
    cube = getattr(state, "reference_data", None)
    if not is_cube(cube):
        return None
    found = find_attached(viewer.session.data_collection, cube)
    found = [known for known in found if known.axis not in (state.x_att.axis, state.y_att.axis)]
    if not found:
        return None
    shown = [getattr(layer, "attribute", None) for layer in state.layers if layer.visible]
    attached = next((known for known in found[::-1] if any(map(known.made, shown))), found[-1])
    return shown_index(state.slices[attached.axis]), attached


def _newest(collection, layer=None):
    """The newest result in a session, or of those that a data set is a part of."""
    found = find_attached(collection, layer)
    if not found and layer is None:
        raise ValueError("Nothing in the session was cleaned; choose 'Clean image set…' first.")
    if not found:
        raise ValueError(
            f"{layer.label} is no part of a cleaned image set; choose the cube that was cleaned or its rejection map, "
            "or clean it first."
        )
    return found[-1]


def _write(session, attached):
    from .export import write_result_of

    return write_result_of(session, attached)


def _review(session, attached):
    from .review import open_review

    return open_review(session, attached)


def is_cube(data):
    return isinstance(data, Data) and data.ndim == 3


def find_session(data_collection):
    """The session of the window that shows `data_collection`; glue passes none to layer actions."""
    from glue_qt.app import GlueApplication

    for widget in QtWidgets.QApplication.topLevelWidgets():
        if isinstance(widget, GlueApplication) and widget.data_collection is data_collection:
            return widget.session
    raise RuntimeError("no glue window shows this data collection")
