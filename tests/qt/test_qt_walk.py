"""The way of a person through a review: trace, browse, overrule, preview, clean again, save, open; with the real core.

On the microobs set where it is there, else on the bundled one. The pictures of the guide (docs/pictures.py) are taken
on the same way.
"""

from pathlib import Path

import numpy as np
import pytest
from glue.core.data_factories import load_data
from glue.core.roi import RectangularROI
from glue_qt.viewers.image import ImageViewer
from matplotlib.backend_bases import MouseEvent

from glue_cleanset.io.demo import write_demo_set
from glue_cleanset.qt.actions import clean_from_menu
from glue_cleanset.qt.browse import find_browser, step_event
from glue_cleanset.qt.tools import RejectTool, RestoreTool
from glue_cleanset.qt.trace import open_trace
from glue_cleanset.viewer.attach import find_attached
from glue_cleanset.viewer.overrule import find_overrules

MICROOBS = Path(__file__).parents[2].parent / "shared" / "data" / "microobs_hatp32" / "aligned"


@pytest.fixture
def directory(tmp_path):
    return MICROOBS if MICROOBS.is_dir() else write_demo_set(tmp_path / "field")


def values(attached, name):
    return attached.cube.get_data(getattr(attached, name))


def consistent(application):
    """The newest result, all of whose parts tell the same."""
    attached = find_attached(application.data_collection)[-1]
    rejected = values(attached, "rejected") > 0
    kept = ~rejected
    np.testing.assert_array_equal(values(attached, "cleaned")[kept], values(attached, "source")[kept])
    np.testing.assert_array_equal(attached.frames["pixels"], rejected.sum(axis=(1, 2)))
    np.testing.assert_array_equal(attached.frames["events"], np.bincount(attached.events["frame index"]))
    np.testing.assert_array_equal(attached.map["times rejected"], rejected.sum(axis=0))
    np.testing.assert_array_equal(values(attached, "event") > 0, rejected)
    assert attached.events["pixels"].sum() == rejected.sum()
    return attached


def test_the_way_of_a_review(application, directory, run, turn, wait, tmp_path):
    # open, clean, lay out
    application.add_datasets([load_data(str(directory))])
    summary = run(clean_from_menu(application.session, application.data_collection))
    summary.button_review.click()
    turn()
    attached = consistent(application)
    original, cleaned, on_map = (v for v in application.viewers[-1] if isinstance(v, ImageViewer))

    # trace the strongest hit with the mouse
    strongest = int(np.argmax(attached.events["peak significance"]))
    y, x, k = (int(attached.events[name][strongest]) for name in ("y peak", "x peak", "frame index"))
    original.state.slices = (k, 0, 0)
    original.toolbar.active_tool = "cleanset:trace"
    turn()
    canvas = original.figure.canvas
    px, py = original.axes.transData.transform((x, y))
    canvas.callbacks.process("motion_notify_event", MouseEvent("motion_notify_event", canvas, px, py))
    panel = open_trace(application.session)
    wait(lambda: panel.state.pixel == (y, x))
    turn()
    number = attached.events["event"][strongest]
    assert f"event {number} " in panel.words.text()
    assert "replaced by" in panel.words.text()
    original.toolbar.active_tool = None
    panel.close()

    # browse the ten strongest
    browser = find_browser(application)
    shown = []
    for _ in range(10):
        shown.append(step_event(application.session, 1))
        turn()
        row = np.flatnonzero(attached.events["event"] == shown[-1])[0]
        assert original.state.slices[0] == cleaned.state.slices[0] == attached.events["frame index"][row]
        assert original.state.x_min < attached.events["x peak"][row] < original.state.x_max
    expected = np.sort(attached.events["peak significance"])[::-1][:10]
    np.testing.assert_array_equal(
        [attached.events["peak significance"][attached.events["event"] == n][0] for n in shown], expected
    )
    browser.leave()

    # restore what lies in a region of the map
    first = values(attached, "rejected").copy()
    depth = len(application.session.command_stack._command_stack)
    ny, nx = attached.map.shape
    on_map.apply_roi(RectangularROI(0.2 * nx, 0.6 * nx, 0.2 * ny, 0.7 * ny))
    on_map.toolbar.actions[RestoreTool.tool_id].trigger()
    turn()
    inside = np.zeros((ny, nx), bool)
    inside[int(0.2 * ny) + 2 : int(0.7 * ny) - 2, int(0.2 * nx) + 2 : int(0.6 * nx) - 2] = True
    after = values(consistent(application), "rejected").copy()
    assert first[:, inside].any()
    assert not after[:, inside].any()

    # reject a pixel by hand in the frame shown
    here = np.argwhere(~(first.any(axis=0)) & inside)[100]
    original.state.slices = (2, 0, 0)
    original.apply_roi(RectangularROI(here[1] - 0.4, here[1] + 0.4, here[0] - 0.4, here[0] + 0.4))
    original.toolbar.actions[RejectTool.tool_id].trigger()
    turn()
    both = values(consistent(application), "rejected").copy()
    assert np.argwhere(both != after).tolist() == [[2, *here]]

    # undo both, redo both
    steps = len(application.session.command_stack._command_stack) - depth
    for _ in range(steps):
        application.undo()
    turn()
    np.testing.assert_array_equal(values(consistent(application), "rejected"), first)
    for _ in range(steps):
        application.redo()
    turn()
    np.testing.assert_array_equal(values(consistent(application), "rejected"), both)

    # another threshold, with the preview; the preview keeps the overrules, and so does the run
    dialog = clean_from_menu(application.session, application.data_collection)
    dialog.state.preview = True
    dialog.preview.settle()
    before = dialog.preview.counts().sum()
    dialog.state.high_bright = dialog.state.high_dark = 8.0
    dialog.preview.settle()
    assert 0 < dialog.preview.counts().sum() < before
    assert dialog.bool_keep_overrules.isVisible()
    flags, part = dialog.preview.flags, dialog.preview.part
    run(dialog).close()
    again = consistent(application)
    assert again.cleaned is not attached.cleaned
    rejected = values(again, "rejected") > 0
    np.testing.assert_array_equal(rejected[:, slice(*part.rows), slice(*part.columns)], flags)
    assert not rejected[:, inside & (np.arange(ny)[:, None] != here[0])].any()
    assert rejected[2, here[0], here[1]]
    assert rejected.sum() < both.sum()
    # once more, with the same and without
    for keep in (True, False):
        dialog = clean_from_menu(application.session, application.data_collection)
        dialog.state.keep_overrules = keep
        run(dialog).close()
        turn()
        last = consistent(application)
        assert (values(last, "rejected")[2, here[0], here[1]] > 0) is np.bool_(keep)
        if keep:
            np.testing.assert_array_equal(values(last, "rejected"), both)
            np.testing.assert_array_equal(find_overrules(last)[1], find_overrules(attached)[1])
        else:
            np.testing.assert_array_equal(values(last, "rejected"), first)
            assert find_overrules(last) == (None, None)

    # save, open
    path = tmp_path / "review.glu"
    application.save_session(str(path))
    reopened = type(application).restore_session(str(path), show=False)
    turn()
    try:
        found = find_attached(reopened.data_collection)
        assert len(found) == 4
        np.testing.assert_array_equal(values(found[0], "rejected"), both)
        np.testing.assert_array_equal(values(found[0], "cleaned"), values(attached, "cleaned"))
        np.testing.assert_array_equal(find_overrules(found[0])[0], find_overrules(attached)[0])
        assert found[0].map.meta["overrules"] == attached.map.meta["overrules"] != []
        consistent(reopened)
        titles = [v.state.title for v in reopened.viewers[-1] if isinstance(v, ImageViewer)]
        assert titles == [viewer.state.title for viewer in (original, cleaned, on_map)]
    finally:
        reopened.close()
        turn()
