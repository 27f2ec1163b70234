"""The live preview and the regions of the dialog, through their state and their widgets."""

import threading

import numpy as np
import pytest
from glue.core import Data
from glue.core.message import ApplicationClosedMessage, NumericalDataChangedMessage, SubsetCreateMessage
from glue.core.roi import RectangularROI
from glue.core.subset import MaskSubsetState, RoiSubsetState
from glue_qt.viewers.image import ImageViewer

from glue_cleanset.core import clean, inspect
from glue_cleanset.core.settings import DETECTIONS, CleanSettings
from glue_cleanset.qt.actions import clean_from_menu, clean_layers
from glue_cleanset.qt.preview import ThresholdSlider
from glue_cleanset.qt.state import CleanState
from glue_cleanset.viewer.colors import frame_colormap

# what the preview, the dialog and the choices of regions are told by glue
LISTENS = NumericalDataChangedMessage, ApplicationClosedMessage, SubsetCreateMessage


@pytest.fixture
def dialog(application, cube):
    return clean_from_menu(application.session, application.data_collection)


@pytest.fixture
def settle(wait):
    """Wait until the preview shows what was wished for."""

    def settle_down(dialog):
        wait(lambda: not dialog.preview.waiting)
        return dialog.preview

    return settle_down


@pytest.fixture
def viewer(application, cube):
    viewer = application.new_data_viewer(ImageViewer, data=cube)
    viewer.state.aspect = "auto"  # limits stay as they are set
    return viewer


def look_at(viewer, rows, columns, frame=None):
    """Set the limits of a viewer to some pixels (first, last + 1)."""
    state = viewer.state
    state.x_min, state.x_max = columns[0] - 0.5, columns[1] - 0.5
    state.y_min, state.y_max = rows[0] - 0.5, rows[1] - 0.5
    if frame is not None:
        state.slices = (frame, 0, 0)


def region(application, cube, x0, x1, y0, y1, label="region"):
    """A subset: the pixels x0 ... x1 - 1, y0 ... y1 - 1 of all frames."""
    _, y, x = cube.pixel_component_ids
    roi = RectangularROI(x0 - 0.5, x1 - 0.5, y0 - 0.5, y1 - 0.5)
    return application.data_collection.new_subset_group(label, RoiSubsetState(x, y, roi))


@pytest.fixture
def calls(monkeypatch):
    """The arguments of every call of the core: what was learned, what was judged."""
    found = {"learn_model": [], "preview": []}
    for module, name in ((clean, "learn_model"), (inspect, "preview")):

        def spy(*args, function=getattr(module, name), name=name):
            assert threading.current_thread() is not threading.main_thread()
            found[name].append(args)
            return function(*args)

        monkeypatch.setattr(module, name, spy)
    return found


class Pause:
    """Learns when it is let on, unless it was cancelled."""

    def __init__(self, function):
        self.function = function
        self.started = threading.Event()
        self.go_on = threading.Event()

    def __call__(self, *args):
        self.started.set()
        assert self.go_on.wait(30)
        return self.function(*args)


@pytest.fixture
def pause(monkeypatch):
    learning = Pause(clean.learn_model)
    monkeypatch.setattr(clean, "learn_model", learning)
    yield learning
    learning.go_on.set()


def painted(panel, frame, y, x):
    """The colour on the screen at a pixel of the image, and whether it is that of the frame."""
    at = panel._axes.transData.transform((x, y))
    buffer = np.asarray(panel.canvas.buffer_rgba())
    color = buffer[len(buffer) - 1 - int(at[1]), int(at[0]), :3]
    return np.abs(color - 255 * np.array(frame_colormap(len(panel.flags))(frame + 1)[:3])).max() < 3


# ---- what is shown


def test_the_preview_shows_what_a_cleaning_rejects(dialog, frames, settle):
    assert not dialog.preview.isVisible()
    dialog.bool_preview.click()
    panel = settle(dialog)
    assert panel.isVisible()
    assert dialog.state.preview
    result = clean.clean_image_set(frames, CleanSettings())
    assert np.array_equal(panel.flags, result.rejected)
    assert (panel.part.rows, panel.part.columns) == ((0, 40), (0, 50))
    for k in range(5):
        dialog.state.preview_frame = k + 1
        assert painted(panel, k, 5 + 6 * k, 10 + 7 * k)  # the hit of this frame
        assert not painted(panel, k, 5 + 6 * (k - 1) % 30, 10 + 7 * (k - 1) % 35)
        pixels = result.rejected[k].sum()
        assert f"Frame {k + 1}: {pixels} pixels, {100 * pixels / 2000:.3f} % of the region" in panel.text.text()
        assert f"All 5 frames: {result.rejected.sum()} pixels" in panel.text.text()
        assert [round(bar.get_height(), 9) for bar in panel._bars] == list(result.rejected.sum((1, 2)) / 20)
    dialog.bool_preview.click()
    assert not panel.isVisible()


@pytest.mark.parametrize(
    "changes",
    [
        {"high_bright": 3.0, "low_bright": 2.5, "grow": 1},
        {"detection": "sigma", "maxiters": 0},
        {"detection": "ccd", "scale_noise": 0.1},
        {"normalize": "none", "bright": False},
        {"noise": "given", "gain": 0.01},
        {"max_rejected": 1, "high_bright": 2.0, "low_bright": 2.0},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_the_preview_follows_every_setting(dialog, frames, settle, changes):
    dialog.state.preview = True
    before = settle(dialog).flags
    for name, value in changes.items():
        setattr(dialog.state, name, value)
    panel = settle(dialog)
    result = clean.clean_image_set(frames, dialog.state.settings(), gain=dialog.state.gain or None)
    assert np.array_equal(panel.flags, result.rejected)
    assert not np.array_equal(panel.flags, before)


def test_what_was_learned_is_kept_while_it_holds(dialog, settle, calls):
    state = dialog.state
    state.preview = True
    settle(dialog)
    for name, value in (("high_bright", 5.0), ("detection", "mad"), ("repair", "zero"), ("grow", 1)):
        setattr(state, name, value)
        settle(dialog)
    assert len(calls["learn_model"]) == 1
    assert len(calls["preview"]) >= 5
    for name, value, times in (("normalize", "offset", 2), ("noise", "given", 2), ("gain", 1.5, 3), ("axis", 1, 4)):
        setattr(state, name, value)
        settle(dialog)
        assert len(calls["learn_model"]) == times, name
    assert calls["learn_model"][2][2:4] == (1.5, None)


def test_only_the_newest_wish_waits(dialog, settle, pause, wait, calls):
    state = dialog.state
    state.preview = True
    wait(pause.started.is_set)
    wait(lambda: "Measuring levels and noise" in dialog.preview.text.text())
    for high in np.linspace(5, 9, 20):
        state.high_bright = high
        dialog.preview._ask()  # each by itself, as in different turns of the event loop
    pause.go_on.set()
    settle(dialog)
    assert {args[2].high_pair[0] for args in calls["preview"]} == {CleanSettings().high, 9.0}


def test_what_is_learned_in_vain_is_given_up(dialog, settle, pause, wait, calls):
    dialog.state.preview = True
    wait(pause.started.is_set)
    dialog.state.high_bright = 6.0
    dialog.preview._ask()
    assert not dialog.preview._worker._cancelled.is_set()  # it serves these settings as well
    dialog.state.normalize = "none"
    dialog.preview._ask()
    assert dialog.preview._worker._cancelled.is_set()
    pause.go_on.set()
    settle(dialog)
    assert {args[2].normalize for args in calls["preview"]} == {"none"}


def test_data_that_change_are_judged_anew(dialog, cube, frames, settle):
    dialog.state.preview = True
    panel = settle(dialog)
    assert not panel.flags[2, 20, 5]
    changed = frames.copy()
    changed[2, 20, 5] += 500
    cube.update_components({cube.id["flux"]: changed})
    settle(dialog)
    assert panel.flags[2, 20, 5]


def test_a_script_can_wait_for_the_preview(dialog):
    dialog.state.preview = True
    for high in (4.0, 8.0):
        dialog.state.high_bright = high
        dialog.preview.settle()
        assert not dialog.preview.waiting
        assert "Frame 1" in dialog.preview.text.text()
    dialog.state.high_bright = 0.0
    dialog.preview.settle()
    assert "thresholds are positive" in dialog.preview.text.text()
    dialog.preview.settle()


def test_a_slider_moves_its_threshold(dialog, settle):
    slider = dialog._sliders["high", "bright"]
    assert isinstance(slider, ThresholdSlider)
    assert not slider.isVisible()
    dialog.state.preview = True
    before = settle(dialog).flags.sum()
    assert slider.isVisible()
    assert slider.value() == 45
    slider.setValue(30)
    assert dialog.state.high_bright == 3.0
    assert settle(dialog).flags.sum() > before
    dialog.state.high_bright = 123.45  # out of its reach
    assert dialog.state.high_bright == 123.45
    assert slider.value() == slider.maximum()
    dialog.state.detection = "percentile"
    assert slider.value() == 30
    slider.setValue(35)
    assert dialog.state.high_bright == pytest.approx(0.35)
    assert not dialog._sliders["low", "bright"].isVisible()
    dialog.bool_bright.setChecked(False)
    assert not slider.isEnabled()


# ---- where


def test_the_preview_follows_the_viewer(dialog, viewer, frames, settle, wait):
    look_at(viewer, (10, 30), (5, 25), frame=3)
    dialog.state.preview = True
    panel = settle(dialog)
    rejected = clean.clean_image_set(frames).rejected
    assert dialog.state.preview_frame == 4
    assert "Frame 4" in panel.text.text()
    assert np.array_equal(panel.flags, rejected[:, 10:30, 5:25])
    look_at(viewer, (0, 40), (20, 50))
    wait(lambda: panel.part.columns == (20, 50))
    settle(dialog)
    assert np.array_equal(panel.flags, rejected[:, :, 20:50])
    viewer.state.slices = (1, 0, 0)
    wait(lambda: dialog.state.preview_frame == 2)
    assert "Frame 2" in panel.text.text()
    panel.value_frame.setValue(5)  # another frame than that of the viewer, until that changes
    settle(dialog)
    assert dialog.state.preview_frame == 5
    assert viewer.state.slices[0] == 1
    viewer.close(warn=False)
    wait(lambda: panel.part.columns == (0, 50))
    assert dialog.state.preview_frame == 5


def test_the_viewer_that_was_used_last_is_followed(application, dialog, cube, viewer, settle, wait):
    second = application.new_data_viewer(ImageViewer, data=cube)
    second.state.aspect = "auto"
    look_at(viewer, (0, 10), (0, 10), frame=1)
    look_at(second, (10, 20), (10, 20), frame=2)
    dialog.state.preview = True
    assert settle(dialog).part.rows == (10, 20)
    application.current_tab.setActiveSubWindow(viewer.parent())
    wait(lambda: dialog.preview.part.rows == (0, 10))
    assert dialog.state.preview_frame == 2


def test_images_are_previewed_too(application, images, frames, settle):
    viewer = application.new_data_viewer(ImageViewer, data=images[2])
    viewer.state.aspect = "auto"
    dialog = clean_layers(images, application.data_collection)
    dialog.state.preview = True
    panel = settle(dialog)
    assert dialog.state.preview_frame == 3
    result = clean.clean_image_set(frames)
    assert np.array_equal(panel.flags, result.rejected[:, slice(*panel.part.rows), slice(*panel.part.columns)])
    assert len(application.data_collection) == 5


# ---- what cannot be


def test_what_cannot_run_is_said_and_the_last_image_fades(dialog, settle):
    state = dialog.state
    state.preview = True
    panel = settle(dialog)
    before = panel.flags
    assert painted(panel, 0, 5, 10)
    state.low_bright = 9.0
    settle(dialog)
    assert "low (9) is above high (4.5)" in panel.text.text()
    assert panel.flags is before
    assert not painted(panel, 0, 5, 10)
    state.low_bright = 2.0
    settle(dialog)
    assert panel.problem == ""
    assert "Frame 1" in panel.text.text()
    assert painted(panel, 0, 5, 10)


def test_frames_that_cannot_be_judged_are_named(application, settle):
    frames = np.random.default_rng(0).normal(size=(3, 8, 9))
    frames[1] = 5
    application.data_collection.append(Data(label="broken", flux=frames))
    dialog = clean_from_menu(application.session, application.data_collection)
    dialog.state.preview = True
    assert "frame 2 is constant" in settle(dialog).text.text()
    assert dialog.preview.flags is None


def test_an_error_of_the_core_is_said(dialog, settle, monkeypatch):
    def fail(*args):
        raise ValueError("no pixel is good in any frame that was looked at; look at the mask")

    with monkeypatch.context() as patch:
        patch.setattr(clean, "learn_model", fail)
        dialog.state.preview = True
        assert "no pixel is good" in settle(dialog).text.text()
    dialog.state.high_bright = 5.0
    assert settle(dialog).flags is not None
    assert "Frame 1" in dialog.preview.text.text()


def test_compiling_is_said(dialog, pause, wait, settle, monkeypatch):
    monkeypatch.setattr(clean, "must_compile", lambda: True)
    dialog.state.preview = True
    wait(lambda: "Compiling, this first time only" in dialog.preview.text.text())
    pause.go_on.set()
    assert "Frame 1" in settle(dialog).text.text()


# ---- the ends


@pytest.mark.parametrize("way", ["close", "reject"])
def test_closing_the_dialog_while_learning(dialog, pause, wait, turn, way):
    dialog.state.preview = True
    wait(pause.started.is_set)
    panel, worker = dialog.preview, dialog.preview._worker
    getattr(dialog, way)()
    assert not dialog.isVisible()
    assert worker.isRunning()  # glue does not wait for it
    pause.go_on.set()
    wait(lambda: not panel.busy)
    assert worker.isFinished()
    turn()
    with pytest.raises(RuntimeError, match="deleted"):
        dialog.isVisible()


def test_closing_glue_while_learning(application, dialog, pause, wait, turn):
    dialog.state.preview = True
    wait(pause.started.is_set)
    worker = dialog.preview._worker
    threading.Timer(0.2, pause.go_on.set).start()
    application.close()
    assert worker.isFinished()
    turn()


def test_closing_glue_with_the_preview_at_rest(application, dialog, cube, viewer, settle, turn):
    dialog.state.preview = True
    settle(dialog)
    application.close()
    turn()
    cube.update_components({cube.id["flux"]: cube["flux"] + 1})  # nobody listens any more
    turn()
    assert not dialog.preview._on


def test_a_closed_dialog_hears_no_more(application, dialog, cube, settle, turn):
    dialog.state.preview = True
    panel = settle(dialog)
    hub = application.session.hub
    mine = (panel, dialog, dialog.state._regions_helper)
    assert all(hub.is_subscribed(listener, message) for listener, message in zip(mine, LISTENS, strict=True))
    dialog.close()
    turn()
    assert not any(hub.is_subscribed(listener, message) for listener, message in zip(mine, LISTENS, strict=True))


def test_data_removed_while_learning(application, dialog, cube, pause, settle, wait):
    dialog.state.preview = True
    wait(pause.started.is_set)
    application.data_collection.remove(cube)
    dialog.preview._ask()
    pause.go_on.set()
    panel = settle(dialog)
    assert "load an image set" in panel.text.text()
    assert panel.flags is None
    other = Data(label="other", flux=np.random.default_rng(1).normal(100, 3, (4, 20, 30)))
    application.data_collection.append(other)
    dialog.state._data_helper.append_data(other)
    dialog.state.data = other
    assert settle(dialog).flags.shape == (4, 20, 30)


def test_folding_in_stops_it_and_out_again_goes_on(dialog, pause, settle, wait):
    dialog.state.preview = True
    wait(pause.started.is_set)
    dialog.state.preview = False
    dialog.state.high_bright = 6.0
    pause.go_on.set()
    wait(lambda: not dialog.preview.busy)
    assert dialog.preview.flags is None
    dialog.state.preview = True
    assert settle(dialog).flags is not None


def test_a_run_with_the_preview_on(application, dialog, cube, frames, quick_core, settle, run):
    dialog.state.preview = True
    settle(dialog)
    summary = run(dialog)
    assert summary is not None
    assert [cid.label for cid in cube.main_components] == ["flux", "flux cleaned", "flux rejected", "flux event"]
    with pytest.raises(RuntimeError, match="deleted"):
        dialog.isVisible()


def test_the_preview_rests_during_a_run(dialog, quick_core, settle, wait, calls):
    dialog.state.preview = True
    settle(dialog)
    quick_core(lambda *args, **options: (_ for _ in ()).throw(ValueError("no")))
    dialog.run()
    assert not dialog.preview.isEnabled()
    assert not dialog.preview._clock.isActive()
    wait(lambda: not dialog.running)
    before = len(calls["preview"])
    settle(dialog)
    assert dialog.preview.isEnabled()
    assert len(calls["preview"]) > before
    assert "no" in dialog.message.text()


@pytest.mark.parametrize("detection", DETECTIONS)
def test_it_fits_a_small_screen(dialog, settle, detection):
    dialog.state.detection = detection
    dialog.state.preview = True
    settle(dialog)
    assert dialog.minimumSizeHint().width() <= 1366
    assert dialog.height() <= 700


# ---- regions


def test_the_subsets_of_the_session_are_the_choices(application, dialog, cube):
    combo, state = dialog.combosel_protect, dialog.state

    def offered():
        assert [combo.itemText(i) for i in range(combo.count())] == [
            dialog.combosel_ignore.itemText(i) for i in range(dialog.combosel_ignore.count())
        ]
        return [combo.itemText(i) for i in range(combo.count())]

    assert offered() == ["none"]
    star = region(application, cube, 0, 5, 0, 5, label="star")
    column = region(application, cube, 7, 8, 0, 40, label="column")
    assert offered() == ["none", "star", "column"]
    assert state.protect is None
    combo.setCurrentIndex(1)
    dialog.combosel_ignore.setCurrentIndex(2)
    assert (state.protect, state.ignore) == (star, column)
    star.label = "variable"
    assert offered() == ["none", "variable", "column"]
    assert combo.currentText() == "variable"
    assert state.protect is star
    application.data_collection.remove_subset_group(star)
    assert offered() == ["none", "column"]
    assert state.protect is None
    dialog.button_defaults.click()
    assert state.ignore is None
    assert dialog.combosel_ignore.currentText() == "none"


def test_regions_reach_the_core(application, dialog, cube, quick_core, quick_clean, run):
    seen = {}

    def spy(image_set, settings, *, mask=None, protect=None, reject=None, **options):
        seen.update(mask=mask, protect=protect, reject=reject)
        return quick_clean(image_set, settings, **options)

    quick_core(spy)
    own = np.zeros(cube.shape, np.uint8)
    own[2, 3, 4] = 1
    cube.add_component(own, "bad")
    cube.meta["mask component"] = "bad"
    dialog.state.protect = region(application, cube, 10, 20, 30, 35)
    dialog.state.ignore = region(application, cube, 0, 2, 0, 40)
    run(dialog)
    protected, ignored = np.zeros((2, 5, 40, 50), bool)
    protected[:, 30:35, 10:20] = True
    ignored[:, :, :2] = True
    ignored[2, 3, 4] = True
    assert np.array_equal(seen["protect"], protected)
    assert np.array_equal(seen["mask"], ignored)
    assert seen["reject"] is None


def test_regions_of_a_cube_with_its_frames_along_another_axis(application, dialog, cube):
    dialog.state.axis = 2
    dialog.state.protect = region(application, cube, 10, 20, 30, 35)
    job = dialog.state.prepare()
    expected = np.zeros((50, 5, 40), bool)
    expected[10:20, :, 30:35] = True
    assert np.array_equal(job.protect, expected)
    assert job.image_set.shape == job.protect.shape
    assert (job.ignore, job.mask, job.reject) == (None, None, None)


def test_regions_have_their_part_in_the_preview(application, dialog, cube, frames, settle, calls):
    state = dialog.state
    state.preview = True
    before = settle(dialog).flags
    state.protect = group = region(application, cube, 8, 13, 3, 8)  # around the hit of frame 1
    panel = settle(dialog)
    expected = before.copy()
    expected[:, 3:8, 8:13] = False
    assert before[0, 5, 10]
    assert np.array_equal(panel.flags, expected)
    group.subset_state = region(application, cube, 15, 20, 9, 14).subset_state  # moved to that of frame 2
    settle(dialog)
    expected = before.copy()
    expected[:, 9:14, 15:20] = False
    assert before[1, 11, 17]
    assert np.array_equal(panel.flags, expected)
    assert len(calls["learn_model"]) == 1
    state.protect, state.ignore = None, group
    settle(dialog)
    ignored = np.zeros(frames.shape, bool)
    ignored[:, 9:14, 15:20] = True
    assert np.array_equal(panel.flags, clean.clean_image_set(frames, mask=ignored).rejected)
    assert not panel.flags[ignored].any()
    assert len(calls["learn_model"]) == 2


def test_a_subset_that_means_nothing_here_is_named(application, dialog, cube, settle, quick_core):
    table = Data(label="table", a=[1, 2, 3])
    application.data_collection.append(table)
    dialog.state.ignore = application.data_collection.new_subset_group("rows", table.id["a"] > 1)
    dialog.run()
    assert not dialog.running
    assert "The subset 'rows' selects by something that 'field' is not linked to" in dialog.message.text()
    dialog.state.preview = True
    assert "'rows'" in settle(dialog).text.text()
    image = Data(label="image", flux=np.eye(40))
    application.data_collection.append(image)
    state = MaskSubsetState(np.eye(40) > 0, image.pixel_component_ids)
    dialog.state.ignore = application.data_collection.new_subset_group("blob", state)
    assert "'blob'" in settle(dialog).text.text()
    dialog.state.ignore = None
    assert "Frame 1" in settle(dialog).text.text()


def test_overrules_of_the_last_cleaning_are_kept_if_wished(application, dialog, cube, monkeypatch, settle):
    state, box = dialog.state, dialog.bool_keep_overrules
    assert not box.isVisible()
    assert state.prepare().reject is None
    restored, rejected = np.zeros((2, *cube.shape), bool)
    restored[0, 5, 10] = rejected[3, 20, 20] = True
    restored[1, 2, 3] = rejected[1, 2, 3] = True  # in both: it stays
    rejected[2, :, 0] = True  # not to be used, in what follows
    monkeypatch.setattr(CleanState, "_overrules", lambda state: (restored, rejected))
    monkeypatch.setattr(CleanState, "has_overrules", True)
    again = clean_from_menu(application.session, application.data_collection)
    state, box = again.state, again.bool_keep_overrules
    assert box.isVisible()
    assert box.isChecked()
    job = state.prepare()
    assert np.array_equal(job.protect, restored)
    assert np.array_equal(job.reject, rejected)
    state.protect = region(application, cube, 30, 40, 30, 40)
    assert state.prepare().protect.sum() == 2 + 5 * 100
    state.protect = None
    state.ignore = region(application, cube, 0, 1, 0, 40)
    state.preview = True
    panel = settle(again)
    assert not panel.flags[0, 5, 10]
    assert panel.flags[3, 20, 20]
    assert not panel.flags[1, 2, 3]
    assert not panel.flags[:, :, 0].any()
    box.setChecked(False)
    assert (state.prepare().protect, state.prepare().reject) == (None, None)
    settle(again)
    assert panel.flags[0, 5, 10]
    assert not panel.flags[3, 20, 20]
    state.restore_defaults()
    assert state.keep_overrules
    assert state.preview  # what is looked at is no setting


def test_the_state_without_a_window_knows_the_subsets(application, cube):
    state = CleanState(application.data_collection, data=cube)
    group = region(application, cube, 0, 5, 0, 5)
    assert CleanState.protect.get_choices(state) == [None, group]
    state.let_go(application.session.hub)
    application.data_collection.remove_subset_group(group)
    assert CleanState.protect.get_choices(state) == [None, group]
