"""Overruling a set that stays in its files by the tools of its viewers, cleaning it again, writing what came out."""

import threading

import numpy as np
import pytest
from astropy.io import fits
from glue.core.data_factories import load_data
from glue.core.roi import RectangularROI
from glue_qt.viewers.image import ImageViewer
from qtpy import QtCore, QtWidgets

from glue_cleanset import clean_image_set, overrule
from glue_cleanset.core import overrule as overruled
from glue_cleanset.io import registration
from glue_cleanset.qt import MENU_LABEL, WRITE_LABEL, export, files
from glue_cleanset.qt.dialog import CleanDialog
from glue_cleanset.qt.export import WriteDialog
from glue_cleanset.qt.tools import RejectTool, RestoreTool
from glue_cleanset.viewer import factories, ondemand
from glue_cleanset.viewer import overrule as overruling
from glue_cleanset.viewer.attach import find_attached


@pytest.fixture
def night(application, tmp_path, frames, monkeypatch):
    """A directory with frames that are taken for too large for memory, opened."""
    monkeypatch.setattr(registration, "registration_warning", lambda image_set, **options: "")
    monkeypatch.setattr(factories, "LARGEST_IN_MEMORY", 1)
    monkeypatch.setattr(ondemand, "_PART", 1000)
    folder = tmp_path / "night"
    folder.mkdir()
    for i, frame in enumerate(frames, start=1):
        fits.writeto(folder / f"n{i}.fits", frame)
    application.add_datasets([load_data(str(folder))])
    return folder


@pytest.fixture
def open_dialog(application, turn):
    def open_from_menu():
        trigger(application, MENU_LABEL)
        turn()
        return next(dialog for dialog in application.findChildren(CleanDialog) if dialog.isVisible())

    return open_from_menu


@pytest.fixture
def attached(night, open_dialog, run):
    summary = run(open_dialog())
    assert "'Write result into files…' writes all of it into another folder" in summary.folder.text()
    summary.close()
    return summary.attached


def trigger(application, label):
    next(action for action in application._actions["plugins"] if action.text() == label).trigger()


def boxes():
    """The boxes that show progress."""
    windows = QtWidgets.QApplication.topLevelWidgets()
    return [one for one in windows if isinstance(one, QtWidgets.QProgressDialog) and one.isVisible()]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def use(viewer, tool, turn):
    said = []
    viewer.set_status, kept = said.append, viewer.set_status
    viewer.toolbar.actions[tool.tool_id].trigger()
    turn()
    viewer.set_status = kept
    return said[-1]


def by_hand(application, attached, turn):
    """Restore what is in frame 4, and reject two pixels of it."""
    viewer = application.new_data_viewer(ImageViewer, data=attached.cube)
    turn()
    viewer.state.slices = (3, 0, 0)
    viewer.state.layers[0].attribute = attached.cleaned
    viewer.apply_roi(RectangularROI(-0.5, 49.5, -0.5, 39.5))
    told = [use(viewer, RestoreTool, turn)]
    viewer.apply_roi(RectangularROI(9.5, 11.5, 29.5, 30.5))
    told.append(use(viewer, RejectTool, turn))
    return viewer, told


def test_the_tools_overrule_and_no_file_changes(application, attached, night, frames, turn, tmp_path):
    before = contents(night / "cleaned")
    viewer, told = by_hand(application, attached, turn)
    assert told == [
        "1 pixel restored; no file is changed; Edit > Undo takes it back",
        "2 pixels rejected by hand; no file is changed; Edit > Undo takes it back",
    ]
    result = clean_image_set(frames)
    restore, reject = np.zeros((2, *frames.shape), bool)
    restore[3], reject[3, 30, 10:12] = True, True
    restore[3, 30, 10:12] = False
    expected = overrule(overrule(result, frames, restore=restore), frames, reject=reject)
    np.testing.assert_array_equal(attached.values(attached.cleaned)[:], expected.cleaned)
    np.testing.assert_array_equal(attached.values(attached.rejected)[:], expected.rejected)
    np.testing.assert_array_equal(viewer.state.layers[0].get_sliced_data(), expected.cleaned[3])
    np.testing.assert_array_equal(attached.map["rejected frame"], expected.rejection_map)
    assert viewer.state.slices[0] == 3
    path = tmp_path / "night.glu"
    application.save_session(str(path))
    again = type(application).restore_session(str(path), show=False)
    try:
        (found,) = find_attached(again.data_collection)
        np.testing.assert_array_equal(found.values(found.cleaned)[:], expected.cleaned)
    finally:
        again.close()
    for _ in range(4):  # (a region is a step too)
        application._actions["undo"].trigger()
        turn()
    np.testing.assert_array_equal(attached.values(attached.cleaned)[:], result.cleaned)
    np.testing.assert_array_equal(viewer.state.layers[0].get_sliced_data(), result.cleaned[3])
    assert contents(night / "cleaned") == before


def test_the_window_lives_meanwhile(application, attached, turn, monkeypatch):
    shown, plan = threading.Event(), overruling.plan_overrule

    def look():
        if any(box.labelText() == "Comparing the frames again…" for box in boxes()):
            shown.set()

    def slow(*args, **said):
        assert shown.wait(30)  # by the window, which is not in this thread
        return plan(*args, **said)

    monkeypatch.setattr(overruling, "plan_overrule", slow)
    timer = QtCore.QTimer(application)
    timer.timeout.connect(look)
    timer.start(20)
    _, told = by_hand(application, attached, turn)
    timer.stop()
    assert told[0].startswith("1 pixel restored")


@pytest.fixture
def cancelling(application, monkeypatch):
    """A person who cancels as soon as the frames are compared, by the button; the shares that were done by then."""
    there, pressed, work_out, shares = threading.Event(), threading.Event(), overruled.work_out, []

    def press():
        if there.is_set() and not pressed.is_set() and boxes():
            (box,) = boxes()
            box.findChild(QtWidgets.QPushButton).click()
            pressed.set()

    def slow(*args):
        *args, report = args

        def wait(share):
            shares.append(share)
            if len(shares) == 2:
                there.set()
                assert pressed.wait(30)  # by the window, which is not in this thread
            report(share)

        return work_out(*args, wait)

    monkeypatch.setattr(overruled, "work_out", slow)
    timer = QtCore.QTimer(application)
    timer.timeout.connect(press)
    timer.start(20)
    yield shares
    timer.stop()


def test_an_overrule_is_cancelled(application, attached, turn, cancelling, monkeypatch):
    told = []
    monkeypatch.setenv("GLUE_TESTING", "False")  # so that a message box would be shown as for a person
    monkeypatch.setattr(QtWidgets.QMessageBox, "exec_", lambda box: told.append(box.text()), raising=False)
    values = attached.values(attached.cleaned)[:]
    viewer = application.new_data_viewer(ImageViewer, data=attached.cube)
    viewer.state.slices = (3, 0, 0)
    viewer.apply_roi(RectangularROI(-0.5, 49.5, -0.5, 39.5))
    turn()
    before = len(application.session.command_stack._command_stack)
    viewer.toolbar.actions[RestoreTool.tool_id].trigger()
    turn()
    assert len(cancelling) == 2
    assert told == []
    assert len(application.session.command_stack._command_stack) == before
    np.testing.assert_array_equal(attached.values(attached.cleaned)[:], values)
    # and the next is done
    assert use(viewer, RestoreTool, turn).startswith("1 pixel restored")


def test_writing_is_cancelled_before_it_begins(application, attached, cancelling, tmp_path, monkeypatch):
    monkeypatch.setattr(files.QtWidgets.QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path / "out"))
    trigger(application, WRITE_LABEL)
    assert len(cancelling) == 2
    assert not application.findChildren(WriteDialog)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("keep", [True, False])
def test_cleaned_again_with_what_was_overruled(application, attached, night, frames, turn, open_dialog, run, keep):
    by_hand(application, attached, turn)
    dialog = open_dialog()
    assert dialog.bool_keep_overrules.isVisible()
    assert dialog.state.folder == str(night / "cleaned_2")
    dialog.state.high_bright = dialog.state.high_dark = 7.0
    dialog.state.protect = application.data_collection.new_subset_group(
        "bright ones of frame 1", (attached.cube.id["image"] > 600) & (attached.cube.pixel_component_ids[0] < 1)
    )
    dialog.state.keep_overrules = keep
    dialog.state.preview = True
    dialog.preview.settle()
    top = dialog.preview.part.rows[0]
    assert not dialog.preview.flags[0, 5 - top, 10]
    assert dialog.preview.flags[3, 30 - top, 10:12].tolist() == [keep, keep]
    dialog.state.preview = False
    last = run(dialog).attached
    found = last.values(last.rejected)[:] > 0
    assert not found[0, 5, 10]
    assert found[1, 11, 17]
    assert found[3, 23, 31] == (not keep)
    assert found[3, 30, 10:12].tolist() == [keep, keep]
    # and they can be kept once more
    assert open_dialog().bool_keep_overrules.isVisible() == keep


def test_what_was_overruled_is_written(application, attached, night, turn, wait, tmp_path, monkeypatch):
    by_hand(application, attached, turn)
    before = contents(night / "cleaned")
    asked, answers = [], [str(tmp_path / "out"), str(tmp_path / "out"), ""]

    def pick(parent, title, begin):
        asked.append(begin)
        return answers.pop()

    monkeypatch.setattr(files.QtWidgets.QFileDialog, "getExistingDirectory", pick)
    trigger(application, WRITE_LABEL)
    assert not application.findChildren(WriteDialog)  # no folder was chosen
    trigger(application, WRITE_LABEL)
    assert asked == [str(night)] * 2
    (dialog,) = application.findChildren(WriteDialog)
    wait(lambda: dialog.button.text() == "Close")
    assert dialog.message.text() == f"13 files are in {tmp_path / 'out'}."
    assert dialog.progress.value() == dialog.progress.maximum() == 13
    dialog.button.click()
    turn()
    for i in range(5):
        written = fits.getdata(tmp_path / "out" / f"n{i + 1}_crclean.fits")
        np.testing.assert_array_equal(written, attached.values(attached.cleaned)[i])
    assert contents(night / "cleaned") == before
    told = []
    monkeypatch.setenv("GLUE_TESTING", "False")  # so that the message box is shown as for a person
    monkeypatch.setattr(export.QtWidgets.QMessageBox, "exec_", lambda box: told.append(box.text()), raising=False)
    trigger(application, WRITE_LABEL)
    monkeypatch.setenv("GLUE_TESTING", "True")
    assert "exists already; choose another output folder" in told[0]


def test_writing_is_cancelled(application, attached, turn, wait, tmp_path, monkeypatch):
    monkeypatch.setattr(files.QtWidgets.QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path / "out"))
    there, go_on = threading.Event(), threading.Event()
    report = export._WriteWorker._report

    def pause(worker, done, total):
        there.set()
        assert go_on.wait(30)
        report(worker, done, total)

    monkeypatch.setattr(export._WriteWorker, "_report", pause)
    trigger(application, WRITE_LABEL)
    (dialog,) = application.findChildren(WriteDialog)
    wait(there.is_set)
    dialog.worker.cancel()
    go_on.set()
    wait(lambda: dialog.button.text() == "Close")
    assert dialog.message.text() == "Cancelled; nothing was written."
    assert not (tmp_path / "out").exists()
    dialog.close()
