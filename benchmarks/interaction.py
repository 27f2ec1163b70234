"""How long a person waits in glue's window: from an event of the mouse to the panel that is drawn."""

import os
from importlib.util import find_spec
from time import perf_counter

import numpy as np

from glue_cleanset import clean_image_set
from glue_cleanset.core.simulate import simulate_set

from .table import markdown

__all__ = ["measure_interaction"]

FRAMES = 20
PATIENCE = 30  # [s]


def measure_interaction(size=2048, frames=FRAMES, seed=0, moves=100):
    """Time what follows the mouse, in a real window that needs no screen.

    Parameters
    ----------
    size : int
        Frames of size x size pixels, float32, cleaned with default settings.
    frames : int
        Number of frames.
    seed : int
        Of the set and of the way of the mouse.
    moves : int
        How often each is measured.

    Returns
    -------
    list of str
        A table (markdown); empty where glue's window is not installed.
    """
    if find_spec("glue_qt") is None:
        return []
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    os.environ["GLUE_TESTING"] = "True"  # glue asks nothing when it is closed
    simulated = simulate_set(frames, (size, size), seed=seed)
    window, attached = _open_window(simulated.frames)
    del simulated
    try:
        times = {
            "pixel trace: mouse move to drawn panel": _trace_times(window, attached, moves, seed),
            "preview: threshold to drawn image of 512 x 512 pixels": _preview_times(window, moves, seed),
        }
    finally:
        window.close()
    rows = [
        {
            "what": what,
            "median, ms": f"{1e3 * np.median(found):.1f}",
            "95 %, ms": f"{1e3 * np.percentile(found, 95):.1f}",
            "longest, ms": f"{1e3 * max(found):.1f}",
        }
        for what, found in times.items()
    ]
    return [markdown(f"{frames} frames of {size} x {size} pixels, float32, {moves} times each", rows)]


def _open_window(frames):
    """glue's window with a cleaned set."""
    from glue._mpl_backend import set_mpl_backend

    set_mpl_backend()
    from glue.config import settings
    from glue.core import Data
    from glue_qt.app import GlueApplication
    from glue_qt.utils import get_qapp

    import glue_cleanset
    from glue_cleanset.viewer.attach import OUTPUTS, AttachResult

    get_qapp()
    glue_cleanset.setup()
    settings.SHOW_LARGE_DATA_WARNING = False
    window = GlueApplication()
    window.resize(1600, 1000)
    window.show()
    cube = Data(label="simulated")
    cube.add_component(frames, "image")
    window.data_collection.append(cube)
    result = clean_image_set(frames)
    command = AttachResult(data=cube, attribute="image", result=result, axis=0, outputs=tuple(OUTPUTS), images=None)
    window.session.command_stack.do(command)
    return window, command.attached


def _trace_times(window, attached, moves, seed):
    """From a move of the mouse to the painted panel [s]; every other move is to a rejected pixel."""
    from glue_qt.viewers.image import ImageViewer
    from qtpy import QtCore, QtWidgets

    from glue_cleanset.qt.trace import TraceTool, open_trace

    app = QtWidgets.QApplication.instance()
    cube = attached.cube
    viewer = window.new_data_viewer(ImageViewer, data=cube)
    viewer.state.aspect = "auto"  # the whole image is in the window
    viewer.toolbar.active_tool = TraceTool.tool_id
    panel = open_trace(window.session)

    class Painted(QtCore.QObject):
        count = 0

        def eventFilter(self, _, event):
            self.count += event.type() == QtCore.QEvent.Paint
            return False

    painted = Painted()
    panel.canvas.installEventFilter(painted)
    _settle(app)
    viewer.state.reset_limits()
    _settle(app)

    rng = np.random.default_rng(seed)
    rejected = np.argwhere(np.asarray(cube[attached.rejected]).any(axis=0))
    pixels = rng.integers(0, cube.shape[1:], (moves + 1, 2))
    pixels[::2] = rejected[rng.integers(0, len(rejected), len(pixels[::2]))]
    times = []
    for y, x in pixels:
        old, before = panel.shown, painted.count
        event = _move(viewer, x, y)
        start = perf_counter()
        QtWidgets.QApplication.sendEvent(viewer.figure.canvas, event)
        while panel.shown is old or panel.shown is None or painted.count == before:
            app.processEvents()
            if perf_counter() - start > PATIENCE:
                raise RuntimeError(f"the panel was not drawn within {PATIENCE} s of a move to y={y}, x={x}")
        times.append(perf_counter() - start)
        _settle(app)
    return times[1:]  # the first one looks at the whole set


def _preview_times(window, moves, seed):
    """From a threshold in the dialog to the painted preview [s]."""
    from glue_cleanset.qt.actions import clean_from_menu

    dialog = clean_from_menu(window.session, window.data_collection)
    dialog.state.preview = True
    dialog.preview.settle()
    times = []
    for high in np.random.default_rng(seed).uniform(3, 12, moves).round(2):
        start = perf_counter()
        dialog.state.high_bright = high
        dialog.preview.settle()
        times.append(perf_counter() - start)
    dialog.close()
    return times


def _move(viewer, x, y):
    """The event that Qt sends when the mouse gets to a pixel of an image viewer."""
    from qtpy import QtCore, QtGui

    canvas = viewer.figure.canvas
    across, up = viewer.axes.transData.transform((x, y)) / canvas.device_pixel_ratio
    here = QtCore.QPointF(across, canvas.height() - up)
    there = QtCore.QPointF(canvas.mapToGlobal(here.toPoint()))
    none = QtCore.Qt.NoButton
    return QtGui.QMouseEvent(QtCore.QEvent.MouseMove, here, there, none, none, QtCore.Qt.NoModifier)


def _settle(app):
    for _ in range(5):
        app.processEvents()
