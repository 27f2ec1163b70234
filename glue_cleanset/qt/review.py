"""The review layout: original, cleaned and rejection map side by side."""

import numpy as np
from echo import keep_in_sync
from glue_qt.viewers.image import ImageViewer
from qtpy import QtWidgets

from glue_cleanset.viewer.colors import show_frames

__all__ = ["open_review", "show_limits"]

# what a viewer needs around its axes: title, tool bar, status bar and tick labels [screen pixels]
CHROME_HEIGHT = 150
CHROME_WIDTH = 80
SAMPLE = 1_000_000


def open_review(session, attached, axis=0):
    """Open a new tab with the original frames, the cleaned ones and the rejection map.

    Frame and zoom of the three go together, the limits of original and cleaned are the same.

    Parameters
    ----------
    session : glue.core.Session
    attached : glue_cleanset.viewer.attach.Attached
        What a cleaning added; what it did not add is left out.
    axis : int
        The axis of the cube that holds the frames.

    Returns
    -------
    list of ImageViewer

    Raises
    ------
    ValueError
        Where the result is not in the session any more.
    """
    cube = attached.cube
    _check_present(session, attached)
    application = session.application
    y, x = (cube.pixel_component_ids[i] for i in range(3) if i != axis)
    limits = show_limits(cube, attached.source if attached.cleaned is None else attached.cleaned)

    application.new_tab()
    application.tab_bar.setTabText(application.tab_count - 1, f"Review of {cube.label}")
    viewers = []
    for title, attribute in (("Original", attached.source), ("Cleaned", attached.cleaned)):
        if attribute is None:
            continue
        viewer = application.new_data_viewer(ImageViewer, data=cube)
        viewer.state.title = f"{title}: {cube.label}"
        if axis != 0:
            viewer.state.x_att, viewer.state.y_att = x, y
        layer = viewer.state.layers[0]
        layer.attribute = attribute
        layer.percentile = "Custom"
        layer.v_min, layer.v_max = limits
        viewers.append(viewer)
    if attached.map is not None:
        viewer = application.new_data_viewer(ImageViewer, data=attached.map)
        viewer.state.title = f"Rejected in frame 1 to {cube.shape[axis]}: {cube.label}"
        layer = viewer.state.layers[0]
        layer.attribute = attached.map.id["rejected frame"]
        layer.percentile = "Custom"
        show_frames(layer, cube.shape[axis])
        viewers.append(viewer)

    _tile(application, viewers, cube.shape[y.axis], cube.shape[x.axis])
    _link(viewers)
    application.current_tab.setActiveSubWindow(viewers[0].parent())
    return viewers


def show_limits(data, attribute, percent=99.5):
    """Limits that show the faint and do not follow a few hot pixels.

    Returns
    -------
    v_min, v_max : float
        Percentiles of an even sample of the attribute's finite values; never equal.
    """
    steps = [max(1, round((data.size / SAMPLE) ** (1 / data.ndim)))] * data.ndim
    values = data.get_data(attribute, view=tuple(slice(None, None, step) for step in steps))
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    v_min, v_max = (float(v) for v in np.percentile(values, [100 - percent, percent]))
    return (v_min, v_max) if v_max > v_min else (v_min, v_min + 1.0)


def _check_present(session, attached):
    cube = attached.cube
    parts = [attached.source, attached.cleaned]
    missing = cube not in session.data_collection or any(
        cid is not None and not any(cid is known for known in cube.components) for cid in parts
    )
    if missing or (attached.map is not None and attached.map not in session.data_collection):
        raise ValueError(f"The result of cleaning '{cube.label}' is not in the session any more; redo it first.")


def _tile(application, viewers, ny, nx):
    """Side by side from the top, as wide as the tab allows and as high as the image wants."""
    tab = application.current_tab
    QtWidgets.QApplication.processEvents()  # the tab gets its size
    width = tab.viewport().width() // len(viewers)
    height = min(tab.viewport().height(), CHROME_HEIGHT + round((width - CHROME_WIDTH) * ny / nx))
    for i, viewer in enumerate(viewers):
        window = viewer.parent()
        window.setGeometry(i * width, 0, width, max(height, 320))
    QtWidgets.QApplication.processEvents()
    for viewer in viewers:
        viewer.state.reset_limits()


def _link(viewers):
    """Keep the frame of the cubes together, and the visible region of all."""
    cubes = [viewer for viewer in viewers if viewer.state.reference_data.ndim == 3]
    syncs = [keep_in_sync(cubes[0].state, "slices", other.state, "slices") for other in cubes[1:]]
    cubes[0].review_links = syncs  # they live as long as the viewer
