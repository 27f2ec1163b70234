"""The menu entries, as a person reaches them."""

import re

import numpy as np
import pytest
from glue.core import Data
from glue_qt.config import layer_action, menubar_plugin
from qtpy import QtWidgets

import glue_cleanset
from glue_cleanset.qt import LAYER_LABEL, MENU_LABEL
from glue_cleanset.qt.actions import clean_layers, find_session
from glue_cleanset.qt.dialog import CleanDialog


def menu_action(application):
    for entry in application.menuBar().actions():
        if entry.text() == "&Plugins":
            return next(action for action in entry.menu().actions() if action.text() == MENU_LABEL)
    raise AssertionError("no Plugins menu")


def layer_menu_action(application):
    found = [a for a in application._layer_widget.ui.layerTree.actions() if a.text() == LAYER_LABEL]
    assert len(found) == 1
    return found[0]


def select(application, *layers):
    application._layer_widget.ui.layerTree.set_selected_layers(layers)


def dialogs(application):
    return [dialog for dialog in application.findChildren(CleanDialog) if dialog.isVisible()]


def test_registering_again_adds_nothing(application):
    before = len(menubar_plugin.members), len(layer_action.members)
    glue_cleanset.setup()
    glue_cleanset.setup()
    assert (len(menubar_plugin.members), len(layer_action.members)) == before
    assert [label for label, _ in menubar_plugin.members].count(MENU_LABEL) == 1


def test_the_menu_opens_the_dialog_and_a_run_goes_through(application, cube, quick_core, run):
    menu_action(application).trigger()
    (dialog,) = dialogs(application)
    assert dialog.state.data is cube
    summary = run(dialog)
    assert summary.isVisible()
    assert "flux cleaned" in [cid.label for cid in cube.components]


def test_the_menu_finds_the_cubes_among_other_data(application, cube):
    application.data_collection.append(Data(label="table", a=[1, 2]))
    other = Data(label="other", a=np.random.default_rng(0).normal(size=(3, 4, 5)))
    application.data_collection.append(other)
    menu_action(application).trigger()
    (dialog,) = dialogs(application)
    assert [dialog.combosel_data.itemText(i) for i in range(dialog.combosel_data.count())] == ["field", "other"]


@pytest.mark.parametrize("contents", [[], [Data(label="table", a=[1, 2, 3])], [Data(label="one", a=np.eye(5))]])
def test_without_a_cube_a_message_says_what_to_load(application, contents, monkeypatch):
    for data in contents:
        application.data_collection.append(data)
    shown = []
    monkeypatch.setenv("GLUE_TESTING", "False")  # so that the message box is shown as for a person
    monkeypatch.setattr(QtWidgets.QMessageBox, "exec_", lambda box: shown.append(box.text()), raising=False)
    menu_action(application).trigger()
    monkeypatch.setenv("GLUE_TESTING", "True")
    assert len(shown) == 1
    assert "three axes (frame, y, x)" in shown[0]
    assert not dialogs(application)


def test_the_layer_action_on_a_cube(application, cube):
    other = Data(label="other", a=np.random.default_rng(0).normal(size=(3, 4, 5)))
    application.data_collection.append(other)
    select(application, other)
    layer_menu_action(application).trigger()
    (dialog,) = dialogs(application)
    assert dialog.state.data is other
    assert dialog.session is application.session


def test_the_layer_action_on_several_images(application, images, frames, quick_core, run):
    select(application, *images)
    layer_menu_action(application).trigger()
    (dialog,) = dialogs(application)
    assert not hasattr(dialog, "combosel_axis")
    before = list(application.data_collection)
    run(dialog)
    made = [data for data in application.data_collection if data not in before]
    stacked = made[0]
    assert stacked.shape == frames.shape
    assert np.array_equal(stacked[stacked.id["flux"]], frames)
    assert stacked[stacked.id["flux rejected"]].sum() == 105
    assert list(dialog.summary.attached.frames["name"]) == [image.label for image in images]
    application._actions["undo"].trigger()
    assert list(application.data_collection) == before
    application._actions["redo"].trigger()
    assert [data for data in application.data_collection if data not in before] == made


def test_images_whose_attributes_have_other_names(application, frames, quick_core, run):
    images = []
    for i, frame in enumerate(frames):
        data = Data(label=f"image {i}")
        data.add_component(frame, f"PRIMARY {i}")
        images.append(data)
        application.data_collection.append(data)
    dialog = clean_layers(images, application.data_collection)
    attached = run(dialog).attached
    assert np.array_equal(attached.cube[attached.source], frames)
    other = Data(label="two", a=frames[0], b=frames[1])
    application.data_collection.append(other)
    dialog = clean_layers([images[0], other], application.data_collection)
    dialog.run()
    assert "'two' has no attribute 'PRIMARY 0'" in dialog.message.text()


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(4, 5), (4, 6)], "images differ in shape: data 1 is (4, 5), data 2 is (4, 6); register or crop"),
        ([(4, 5)], "one frame cannot be compared with itself"),
        ([(7,)], "data 1 has the shape (7,); select several images (y, x) of one shape, or one cube (frame, y, x)"),
        ([(3, 4, 5), (3, 4, 5)], "or one cube"),
    ],
)
def test_a_selection_that_is_no_set_is_refused(application, shapes, message):
    layers = [Data(label=f"data {i}", a=np.ones(shape)) for i, shape in enumerate(shapes, start=1)]
    application.data_collection.extend(layers)
    with pytest.raises(ValueError, match=re.escape(message)):
        clean_layers(layers, application.data_collection)
    assert not dialogs(application)


def test_subsets_are_refused(application, cube):
    group = application.data_collection.new_subset_group("bright", cube.id["flux"] > 300)
    with pytest.raises(ValueError, match="take bright out of the selection"):
        clean_layers([cube, group], application.data_collection)
    with pytest.raises(ValueError, match="take bright out of the selection"):
        clean_layers([cube.subsets[0]], application.data_collection)


def test_the_session_is_that_of_the_window_that_shows_the_data(application, cube):
    from glue.core import DataCollection
    from glue_qt.app import GlueApplication

    second = GlueApplication()
    try:
        assert find_session(application.data_collection) is application.session
        assert find_session(second.data_collection) is second.session
    finally:
        second.close()
    with pytest.raises(RuntimeError, match="no glue window"):
        find_session(DataCollection())


def test_picking_files(monkeypatch, qapp):
    from glue_cleanset.qt.files import pick_fits_files

    answers = iter([(["b.fits", "a.fits"], "FITS"), ([], "")])
    monkeypatch.setattr(QtWidgets.QFileDialog, "getOpenFileNames", lambda *args: next(answers))
    assert pick_fits_files() == ["a.fits", "b.fits"]
    assert pick_fits_files() == []


@pytest.mark.parametrize(("answer", "expected"), [("Yes", True), ("Cancel", False)])
def test_leaving_out_bad_frames(monkeypatch, qapp, answer, expected):
    from glue_cleanset.io.read import BadFramesError
    from glue_cleanset.qt.files import ask_to_leave_out

    box, shown = QtWidgets.QMessageBox, []
    monkeypatch.setattr(box, "question", lambda *args: shown.append(args[2]) or getattr(box, answer))
    assert ask_to_leave_out(BadFramesError("text", [f"f{i}.fits is empty" for i in range(12)], 8)) is expected
    assert shown[0].startswith("12 of 20 frames cannot be used:\nf0.fits is empty\n")
    assert "f9.fits is empty\nand 2 more\n" in shown[0]
