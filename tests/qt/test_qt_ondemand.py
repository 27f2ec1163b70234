"""The dialog on sets that are read on demand: where the files go, what it says beforehand, stopping and going on."""

import errno
import re
import shutil
import threading

import numpy as np
import pytest
from astropy.io import fits
from glue.core.data_factories import load_data

from glue_cleanset import clean_image_set
from glue_cleanset.core.settings import CleanSettings
from glue_cleanset.io import registration, stream
from glue_cleanset.io.stream import RUN_FOLDER
from glue_cleanset.qt import MENU_LABEL, output, worker
from glue_cleanset.qt.dialog import CleanDialog
from glue_cleanset.qt.output import REPLACE
from glue_cleanset.viewer import factories
from glue_cleanset.viewer.attach import find_attached
from glue_cleanset.viewer.factories import image_set_from_files


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setattr(registration, "registration_warning", lambda image_set, **options: "")


@pytest.fixture
def night(tmp_path, frames, monkeypatch):
    """A directory with the frames, which glue is told are too large for memory."""
    monkeypatch.setattr(factories, "LARGEST_IN_MEMORY", 1)
    folder = tmp_path / "night"
    folder.mkdir()
    for i, frame in enumerate(frames, start=1):
        fits.writeto(folder / f"n{i}.fits", frame)
    return folder


@pytest.fixture
def data(application, night):
    found = load_data(str(night))
    application.add_datasets([found])
    return found


@pytest.fixture
def open_dialog(application, turn):
    def open_from_menu():
        next(action for action in application._actions["plugins"] if action.text() == MENU_LABEL).trigger()
        turn()
        return next(dialog for dialog in application.findChildren(CleanDialog) if dialog.isVisible())

    return open_from_menu


@pytest.fixture
def dialog(data, open_dialog):
    return open_dialog()


@pytest.fixture
def stop(monkeypatch, wait):
    """Run a dialog up to a step, and cancel it there by its button."""

    def run_and_stop(dialog, step):
        there, go_on = threading.Event(), threading.Event()
        clean = stream.clean_to_files

        def clean_and_pause(*args, tell, **options):
            def pause(text):
                tell(text)
                if text.startswith(step) and not there.is_set():
                    there.set()
                    assert go_on.wait(30)

            return clean(*args, tell=pause, **options)

        with monkeypatch.context() as patch:
            patch.setattr(stream, "clean_to_files", clean_and_pause)
            dialog.run()
            wait(there.is_set)
            dialog.button_cancel.click()
            go_on.set()
            wait(lambda: not dialog.running)

    return run_and_stop


def contents(application):
    return [(data.label, [cid.label for cid in data.components]) for data in application.data_collection]


def files_in(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_set_in_memory_knows_no_folder(application, cube, open_dialog):
    dialog = open_dialog()
    assert dialog.button_run.isEnabled()
    assert not dialog.text_folder.isVisible()
    assert dialog.state.output() is None
    assert dialog.state.folder == ""


def test_what_is_read_and_written_is_said_before(dialog, night, monkeypatch):
    assert dialog.text_folder.isVisible()
    assert dialog.text_folder.text() == str(night / "cleaned")
    read = sum(path.stat().st_size for path in night.iterdir())
    text = dialog.label_costs.text()
    assert f"Reads {read / 1e3:.0f} kB and writes" in text
    costs = stream.expected_costs(dialog.state.prepare().image_set, night)
    assert f"writes {costs.written / 1e3:.0f} kB into this folder" in text
    assert "blocks of 150 MB" in text
    usage = shutil.disk_usage(night)
    # what is said follows the folder
    monkeypatch.setattr(
        stream.shutil, "disk_usage", lambda folder: usage._replace(free=7_300_000_000 if folder == night else 12 << 30)
    )
    dialog.text_folder.setText(str(night / "elsewhere"))
    dialog.text_folder.editingFinished.emit()
    assert dialog.state.folder == str(night / "elsewhere")
    assert "where 7.3 GB are free" in dialog.label_costs.text()
    assert not (night / "elsewhere").exists()


def test_the_folder_that_is_picked(dialog, tmp_path, monkeypatch):
    from glue_cleanset.qt import files

    asked = []

    def pick(parent, title, begin):
        asked.append(begin)
        return answers.pop()

    answers = [str(tmp_path / "there"), ""]
    monkeypatch.setattr(files.QtWidgets.QFileDialog, "getExistingDirectory", pick)
    before = dialog.state.folder
    dialog.button_choose.click()
    assert dialog.state.folder == before  # cancelled
    dialog.button_choose.click()
    assert dialog.text_folder.text() == str(tmp_path / "there")
    assert asked[0] == str(tmp_path / "night")  # the folder itself is not there yet


def test_the_default_is_a_folder_that_is_not_there(data, night, open_dialog):
    (night / "cleaned").mkdir()
    assert open_dialog().state.folder == str(night / "cleaned_2")


def test_frames_where_nothing_can_be_written(data, open_dialog, monkeypatch, tmp_path):
    monkeypatch.setattr(output.os, "access", lambda path, mode: False)
    monkeypatch.setattr(output.Path, "home", lambda: tmp_path)
    assert open_dialog().state.folder == str(tmp_path / "cleaned")


def test_a_cleaning_is_written_attached_and_opened_again(application, dialog, data, night, frames, run, tmp_path):
    summary = run(dialog)
    assert str(night / "cleaned") in summary.folder.text()
    expected = clean_image_set(frames)
    attached = summary.attached
    assert attached.on_demand
    assert np.array_equal(data[attached.cleaned], expected.cleaned)
    assert np.array_equal(data[attached.rejected], expected.rejected)
    for i in range(1, 6):
        assert np.array_equal(fits.getdata(night / "cleaned" / f"n{i}_crclean.fits"), expected.cleaned[i - 1])
    assert not (night / "cleaned" / RUN_FOLDER).exists()
    summary.button_review.click()
    path = tmp_path / "night.glu"
    application.save_session(str(path))
    assert path.stat().st_size < 400_000
    again = type(application).restore_session(str(path), show=False)
    try:
        (found,) = find_attached(again.data_collection)
        assert found.on_demand
        assert np.array_equal(found.cube[found.cleaned], expected.cleaned)
    finally:
        again.close()
    application._actions["undo"].trigger()
    assert [cid.label for cid in data.main_components] == ["image"]


def test_progress_is_told_in_frames_and_bytes(dialog, night, monkeypatch, wait):
    times = iter(range(0, 10_000_000, 20))  # each word takes 20 s
    monkeypatch.setattr(worker, "monotonic", lambda: next(times))
    said = []
    dialog.run()
    dialog.worker.progress.connect(lambda permille, text: said.append((permille, text)))
    wait(lambda: not dialog.running)
    texts = [text for _, text in said]
    read = f"{sum(path.stat().st_size for path in night.glob('*.fits')) / 1e3:.1f} kB"
    # (two frames may be done before it is told of one)
    assert any(re.match(rf"Reading frame [1-5] of 5, .* of {read}, ", text) for text in texts)
    assert any(text.startswith("Comparing the frames, ") and text.endswith(" left") for text in texts)
    assert any(text.startswith("Writing frame 5 of 5, ") for text in texts)
    bar = [permille for permille, _ in said]
    assert bar == sorted(bar)
    assert bar[-1] == 1000


@pytest.mark.parametrize(
    ("seconds", "words"), [(3, "some seconds"), (32, "30 s"), (70, "1 min"), (3000, "50 min"), (9000, "2.5 h")]
)
def test_time_left_in_words(seconds, words):
    assert worker._describe_time(seconds) == words


@pytest.mark.parametrize("step", ["reading", "comparing", "writing"])
def test_a_cleaning_that_is_cancelled_goes_on(application, dialog, night, frames, stop, run, open_dialog, step):
    before, session = files_in(night), contents(application)
    stop(dialog, step)
    folder = night / "cleaned"
    assert dialog.isVisible()
    assert dialog.message.text() == (
        f"Cancelled; nothing in the session was changed. What is done stays in {folder}; 'Clean' goes on from there."
    )
    assert "Goes on with the cleaning that was stopped there." in dialog.label_costs.text()
    assert contents(application) == session
    assert files_in(night) == before
    assert files_in(folder) == {}  # nothing has its own name
    copies = {path.name: path.stat().st_mtime_ns for path in (folder / RUN_FOLDER).iterdir() if path.is_file()}
    assert "run.json" in copies
    dialog.close()
    again = open_dialog()  # which finds the folder
    assert again.state.folder == str(folder)
    assert again.button_run.isEnabled()
    attached = run(again).attached
    assert np.array_equal(attached.cube[attached.cleaned], clean_image_set(frames).cleaned)


def test_work_that_is_done_is_not_done_again(dialog, night, stop, run, monkeypatch):
    stop(dialog, "comparing")
    assert len([*(night / "cleaned" / RUN_FOLDER).glob("frame_*.npy")]) == 5

    def fail(file, values):
        raise AssertionError("a frame was copied again")

    monkeypatch.setattr(stream, "_save_array", fail)
    assert run(dialog) is not None


def test_a_stopped_cleaning_with_other_settings(application, dialog, night, frames, stop, run):
    stop(dialog, "comparing")
    dialog.state.high_bright = 9.0
    assert dialog.message.text() == (
        f"{night / 'cleaned'} holds a cleaning that was stopped, one with another setting high=4.5. Choose another "
        f"folder, or tick '{REPLACE}' to begin anew."
    )
    assert not dialog.button_run.isEnabled()
    dialog.state.high_bright = CleanSettings().high_pair[0]
    assert dialog.button_run.isEnabled()
    dialog.state.high_bright = 9.0
    dialog.bool_replace.setChecked(True)
    assert dialog.button_run.isEnabled()
    assert "Begins anew" in dialog.label_costs.text()
    attached = run(dialog).attached
    assert np.array_equal(attached.cube[attached.cleaned], clean_image_set(frames, attached.settings).cleaned)
    assert attached.settings.high_pair[0] == 9.0


def test_a_stopped_cleaning_with_another_region(application, dialog, data, night, stop, run):
    stop(dialog, "comparing")
    before = contents(application)
    group = application.data_collection.new_subset_group("corner", data.pixel_component_ids[2] < 9)
    dialog.state.ignore = group
    assert run(dialog) is None
    assert "another mask" in dialog.message.text()
    assert f"tick '{REPLACE}'" in dialog.message.text()
    assert contents(application) == before
    dialog.state.replace = True
    attached = run(dialog).attached
    assert data[attached.rejected][:, :, :9].sum() == 0


def test_files_that_are_there_are_replaced_only_where_it_is_said(dialog, night, run):
    (night / "cleaned").mkdir()
    (night / "cleaned" / "n1_crclean.fits").write_text("mine")
    dialog.state.look_again()
    dialog.state.grow = 1
    assert "n1_crclean.fits exists already" in dialog.message.text()
    assert f"tick '{REPLACE}'" in dialog.message.text()
    assert not dialog.button_run.isEnabled()
    dialog.run()
    assert not dialog.running
    dialog.bool_replace.setChecked(True)
    assert dialog.message.text() == ""
    assert run(dialog) is not None
    assert (night / "cleaned" / "n1_crclean.fits").read_bytes() != b"mine"


def test_frames_that_the_session_shows_are_never_replaced(application, dialog, night, run, open_dialog):
    run(dialog).close()
    before = files_in(night / "cleaned")
    again = open_dialog()
    assert again.state.folder == str(night / "cleaned_2")
    again.state.replace = True
    again.state.folder = str(night / "." / "cleaned")
    assert "that this session shows; choose another folder" in again.message.text()
    assert not again.button_run.isEnabled()
    again.run()
    assert not again.running
    assert files_in(night / "cleaned") == before
    again.state.folder = str(night / "cleaned_2")
    assert run(again) is not None
    assert len(find_attached(application.data_collection)) == 2


def test_folders_that_cannot_be_used(dialog, night):
    for folder, message in (("", "Choose the folder"), (f"{night}/n1.fits/x", "n1.fits is a file"), (f"{night}", "")):
        dialog.state.folder = folder
        assert message in dialog.message.text()
        assert dialog.button_run.isEnabled() == (not message)


def test_a_disk_without_room(application, dialog, night, monkeypatch, turn):
    usage = shutil.disk_usage(night)
    monkeypatch.setattr(stream.shutil, "disk_usage", lambda folder: usage._replace(free=1000))
    dialog.state.look_again()
    dialog.state.grow = 1
    assert "needs" in dialog.message.text()
    assert "are free; free some space or choose another folder" in dialog.message.text()
    assert not dialog.button_run.isEnabled()
    monkeypatch.undo()
    dialog.state.look_again()
    dialog.state.grow = 0
    assert dialog.message.text() == ""


@pytest.mark.parametrize("fault", ["full", "damaged"])
def test_what_goes_wrong_is_said_once(application, dialog, night, frames, monkeypatch, run, fault):
    before = contents(application)
    if fault == "full":

        def fail(file, values):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(stream, "_save_array", fail)
    else:
        (night / "n3.fits").write_bytes((night / "n3.fits").read_bytes()[:5000])
    assert run(dialog) is None
    text = dialog.message.text()
    assert {"full": "no space is left for", "damaged": "n3.fits has changed since it was opened"}[fault] in text
    assert "Nothing in the session was changed." in text
    assert "--resume" not in text
    assert contents(application) == before
    assert application.session.command_stack.can_undo_redo() == (False, False)
    assert files_in(night / "cleaned") == {}
    if fault == "full":
        monkeypatch.undo()
        monkeypatch.setattr(factories, "LARGEST_IN_MEMORY", 1)
        attached = run(dialog).attached  # goes on
        assert np.array_equal(attached.cube[attached.cleaned], clean_image_set(frames).cleaned)


def test_closing_glue_leaves_what_can_go_on(application, dialog, night, monkeypatch, wait):
    there, go_on = threading.Event(), threading.Event()
    clean = stream.clean_to_files

    def clean_and_pause(*args, tell, **options):
        def pause(text):
            tell(text)
            there.set()
            assert go_on.wait(30)

        return clean(*args, tell=pause, **options)

    monkeypatch.setattr(stream, "clean_to_files", clean_and_pause)
    dialog.run()
    running = dialog.worker
    wait(there.is_set)
    threading.Timer(0.2, go_on.set).start()
    application.close()
    assert running.isFinished()
    assert (night / "cleaned" / RUN_FOLDER / "run.json").exists()
    assert files_in(night / "cleaned") == {}


def test_the_preview_does_not_ask_for_a_folder(application, dialog, night, wait):
    dialog.state.folder = ""
    assert not dialog.button_run.isEnabled()
    dialog.state.preview = True
    dialog.preview.settle()
    assert dialog.preview.flags.any()
    assert not dialog.text_folder.isVisible()
    assert "Choose the folder" in dialog.message.text()


def test_a_selection_of_files(application, night, open_dialog, run):
    application.add_datasets(image_set_from_files(sorted(map(str, night.glob("*.fits")))))
    dialog = open_dialog()
    assert dialog.state.folder == str(night / "cleaned")
    assert run(dialog).attached.on_demand


def test_another_set_has_another_folder(cube, data, open_dialog, night):
    dialog = open_dialog()
    assert dialog.state.data is cube
    assert not dialog.text_folder.isVisible()
    dialog.state.data = data
    assert dialog.state.folder == str(night / "cleaned")
    assert dialog.text_folder.isVisible()
    assert "Reads" in dialog.label_costs.text()
    dialog.state.data = cube
    assert not dialog.text_folder.isVisible()
    assert dialog.state.output() is None


def test_other_axes_are_refused(dialog):
    dialog.state.axis = 1
    assert "choose axis 0" in dialog.message.text()
    assert not dialog.button_run.isEnabled()
    assert dialog.label_costs.text() == ""
