"""The pictures of README and guide, taken of the real glue on the way of a person: make pictures.

    python docs/pictures.py [SET [FOLDER]]

Another set, such as a directory of FITS files, into another folder. It needs a screen, which may be a virtual one.
"""

import os
import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).parent
SIZE = (1400, 900)
LEFT = 312  # pixels of glue's own panels, which a picture of the viewers leaves out


def main(directory=None, docs=DOCS):
    """Take them all."""
    os.environ["GLUE_TESTING"] = "True"  # no question on closing
    from glue._mpl_backend import set_mpl_backend

    set_mpl_backend()
    from glue import config
    from glue_qt.app import GlueApplication
    from glue_qt.utils import get_qapp

    from glue_cleanset.io.demo import write_demo_set

    with tempfile.TemporaryDirectory() as folder:
        config.CFG_DIR = folder
        get_qapp()
        config.settings.SHOW_LARGE_DATA_WARNING = False
        application = GlueApplication()
        application.start(size=SIZE, block=False, maximized=False)
        walk(application, directory or write_demo_set(Path(folder) / "asteroid_field"), Path(docs))
        path = os.path.join(folder, "session.glu")
        application.save_session(path)
        application.close()
        again = GlueApplication.restore_session(path)
        again.start(size=SIZE, block=False, maximized=False)
        take(again, Path(docs) / "reopened.png")
        again.close()
        leave_in_files(directory or Path(folder) / "asteroid_field", Path(docs))


def leave_in_files(directory, docs):
    """The dialog on a set that is taken for one larger than memory."""
    from glue.core.data_factories import load_data
    from glue_qt.app import GlueApplication

    from glue_cleanset.viewer import factories

    factories.LARGEST_IN_MEMORY = 0
    application = GlueApplication()
    application.start(size=SIZE, block=False, maximized=False)
    application.add_datasets([load_data(str(directory))])
    dialog = open_dialog(application)
    dialog.state.folder = "/data/night1/cleaned"
    take(dialog, docs / "files.png")
    dialog.close()
    application.close()


def take(widget, path, left=0, height=None):
    """A picture of a widget as it is after all is drawn, without its left part, or of its upper part only."""
    from glue_qt.utils import process_events

    process_events(wait=1.5)
    picture = widget.grab()
    picture.copy(left, 0, picture.width() - left, height or picture.height()).save(str(path))


def walk(application, directory, docs):
    """Clean, review, browse, trace, follow what moves, overrule, clean again; a picture of each step."""
    from glue.core.data_factories import load_data
    from glue.core.roi import RectangularROI
    from glue_qt.viewers.image import ImageViewer

    from glue_cleanset.qt.browse import find_browser
    from glue_cleanset.qt.tools import KindsTool, OverlapTool, RejectTool, RestoreTool
    from glue_cleanset.qt.trace import open_trace
    from glue_cleanset.viewer.browse import event_order

    application.add_datasets([load_data(str(directory))])
    dialog = open_dialog(application)
    dialog.state.preview = True
    dialog.preview.settle()
    dialog.state.preview_frame = 3
    dialog.preview.settle()
    take(dialog, docs / "dialog.png")
    summary = clean(dialog)
    take(summary, docs / "summary.png")
    attached = summary.attached
    summary.button_review.click()
    take(application, docs / "review.png")

    viewers = [viewer for viewer in application.viewers[-1] if isinstance(viewer, ImageViewer)]
    original, _, on_map = viewers
    browser = find_browser(application)
    number = event_order(attached.events)[2]
    browser.choose(attached.events, number)
    take(application, docs / "browse.png", LEFT)

    (row,) = (attached.events["event"] == number).nonzero()[0]
    y, x = (int(attached.events[name][row]) for name in ("y peak", "x peak"))
    original.toolbar.active_tool = "cleanset:trace"
    panel = open_trace(application.session)
    panel.look(original, x, y, click=True)
    take(application, docs / "trace.png", LEFT)
    original.toolbar.active_tool = None
    panel.close()
    browser.leave()

    for viewer in viewers:
        viewer.state.reset_limits()
    if attached.tracks is not None:
        on_map.toolbar.actions[KindsTool.tool_id].trigger()
        look_at(original, attached, 100)
        table = next(viewer for viewer in application.viewers[-1] if getattr(viewer, "data", None) is attached.tracks)
        table.cleanset_tracks.choose(1)
        take(application, docs / "kinds.png", LEFT)
        browser.leave()
        on_map.toolbar.actions[KindsTool.tool_id].trigger()
        original.state.slices = (0, 0, 0)
    for viewer in viewers:
        viewer.state.reset_limits()
    on_map.toolbar.actions[OverlapTool.tool_id].trigger()
    take(on_map.parent(), docs / "overlap.png")
    on_map.toolbar.actions[OverlapTool.tool_id].trigger()
    ny, nx = attached.map.shape
    on_map.apply_roi(RectangularROI(0.55 * nx, 0.9 * nx, 0.55 * ny, 0.9 * ny))
    take(on_map.parent(), docs / "selected.png")
    on_map.toolbar.actions[RestoreTool.tool_id].trigger()
    take(on_map.parent(), docs / "restored.png")
    original.apply_roi(RectangularROI(0.3 * nx, 0.33 * nx, 0.3 * ny, 0.33 * ny))
    original.toolbar.actions[RejectTool.tool_id].trigger()
    on_map.state.x_min, on_map.state.x_max = 0.25 * nx, 0.38 * nx
    on_map.state.y_min, on_map.state.y_max = 0.25 * ny, 0.38 * ny
    take(on_map.parent(), docs / "rejected.png")
    on_map.state.reset_limits()

    dialog = open_dialog(application)
    dialog.state.high_bright = dialog.state.high_dark = 8.0
    dialog.state.preview = True
    dialog.preview.settle()
    take(dialog, docs / "again.png")
    clean(dialog).close()
    if attached.tracks is not None:
        compare(application, attached, docs)


def compare(application, attached, docs):
    """A moving object as it is, cleaned, and cleaned by a plain rejection, which is undone afterwards."""
    import numpy as np
    from glue_qt.viewers.image import ImageViewer

    from glue_cleanset.qt.review import SKY_MARGINS
    from glue_cleanset.qt.tools import TracksTool
    from glue_cleanset.viewer.attach import find_attached

    dialog = open_dialog(application)
    dialog.state.keep = ()
    clean(dialog).close()
    plain = find_attached(application.data_collection)[-1]
    application.new_tab()
    area = application.current_tab.viewport()
    height = 360
    for place, (attribute, title) in enumerate(
        (
            (attached.source, "One of the frames"),
            (attached.cleaned, "Cleaned: the minor planet stays"),
            (plain.cleaned, "Plain rejection: it is gone"),
        )
    ):
        viewer = application.new_data_viewer(ImageViewer, data=attached.cube)
        layer = viewer.state.layers[0]
        layer.attribute, layer.alpha, layer.percentile = attribute, 1.0, "Custom"
        layer.v_min, layer.v_max = np.percentile(attached.cube[attached.source], [1, 98])
        viewer.parent().setGeometry(place * area.width() // 3, 0, area.width() // 3, height)
        viewer.state.title = title
        viewer.state.x_axislabel = viewer.state.y_axislabel = ""
        viewer.axes.resizer.margins = SKY_MARGINS
        viewer.axes.resizer.on_resize(None)
        look_at(viewer, attached, 25)
        take(viewer, docs / "kept.png")  # until all is drawn
        viewer.toolbar.actions[TracksTool.tool_id].trigger()
    take(area, docs / "kept.png", height=height)
    application.close_tab(application.tab_count - 1, warn=False)
    application.undo()


def look_at(viewer, attached, reach):
    """Show the first moving object in the middle of its way, and so many pixels on both sides of it."""
    from echo import delay_callback

    frame = attached.shape[0] // 2
    y, x = attached.track_positions[0, frame]
    viewer.state.slices = (frame, 0, 0)
    with delay_callback(viewer.state, "x_min", "x_max", "y_min", "y_max"):
        viewer.state.x_min, viewer.state.x_max = x - reach, x + reach
        viewer.state.y_min, viewer.state.y_max = y - 0.8 * reach, y + 0.8 * reach


def open_dialog(application):
    """The dialog, from the menu."""
    from glue_cleanset.qt import MENU_LABEL
    from glue_cleanset.qt.dialog import CleanDialog

    next(action for action in application._actions["plugins"] if action.text() == MENU_LABEL).trigger()
    return next(dialog for dialog in application.findChildren(CleanDialog) if dialog.isVisible())


def clean(dialog):
    """Run a dialog to its end; its summary."""
    from glue_qt.utils import process_events

    dialog.run()
    while dialog.running:
        dialog.worker.wait(20)
        process_events()
    return dialog.summary


if __name__ == "__main__":
    main(*sys.argv[1:])
