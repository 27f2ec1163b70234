"""The dialog: what it offers, what it refuses, what a run does to the session."""

import threading
import time

import numpy as np
import pytest
from glue.core import Data

from glue_cleanset.core.settings import CENTRES, DETECTIONS, NORMALIZATIONS, REPAIRS, CleanSettings
from glue_cleanset.io import registration
from glue_cleanset.qt.actions import clean_from_menu
from glue_cleanset.qt.dialog import CleanDialog
from glue_cleanset.qt.state import NOISES, CleanState
from glue_cleanset.viewer.attach import OUTPUTS


@pytest.fixture
def dialog(application, cube):
    return clean_from_menu(application.session, application.data_collection)


def contents(application):
    """All that a cleaning could change in a session."""
    return [(data.label, [cid.label for cid in data.components]) for data in application.data_collection]


def test_an_untouched_dialog_gives_the_default_settings(dialog, cube):
    state = dialog.state
    assert state.settings() == CleanSettings()
    assert (state.data, state.attribute, state.axis) == (cube, cube.id["flux"], 0)
    assert state.noise == "set"
    assert state.chosen_outputs() == tuple(OUTPUTS)
    assert state.problem() == ""
    assert dialog.button_run.isEnabled()


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("detection", DETECTIONS),
        ("centre", CENTRES),
        ("normalize", NORMALIZATIONS),
        ("repair", REPAIRS),
        ("noise", NOISES),
    ],
)
def test_every_option_is_offered_with_its_text(dialog, name, choices):
    combo = getattr(dialog, f"combosel_{name}")
    texts = [combo.itemText(i) for i in range(combo.count())]
    assert texts == [f"{option}: {text}" for option, text in choices.items()]
    for i, option in enumerate(choices):
        combo.setCurrentIndex(i)
        assert getattr(dialog.state, name) == option


@pytest.mark.parametrize("detection", DETECTIONS)
def test_choosing_a_detection_puts_its_thresholds(dialog, detection):
    dialog.state.high_bright = 77.0
    dialog.state.detection = "mad" if detection != "mad" else "noise"
    dialog.state.detection = detection
    assert dialog.state.settings() == CleanSettings(detection=detection)
    expected = CleanSettings(detection=detection)
    assert dialog.value_high_bright.isEnabled() == (expected.high is not None)
    for widget in (dialog.label_low, dialog.value_low_bright, dialog.value_low_dark):
        assert widget.isVisible() == (detection == "noise")
    if expected.high is not None:
        assert dialog.value_high_bright.value() == expected.high_pair[0]


def test_the_widgets_set_the_settings(dialog):
    dialog.value_high_bright.setValue(6)
    dialog.value_low_dark.setValue(3)
    dialog.value_grow.setValue(2)
    dialog.value_max_rejected.setValue(1)
    dialog.value_min_frames.setValue(3)
    dialog.combosel_repair.setCurrentIndex(list(REPAIRS).index("constant"))
    dialog.value_constant.setValue(-7.5)
    assert dialog.state.settings() == CleanSettings(
        high=(6.0, 4.5),
        low=(CleanSettings().low, 3.0),
        grow=2,
        max_rejected=1,
        min_frames=3,
        repair="constant",
        constant=-7.5,
    )


def test_the_widgets_of_the_clip_set_the_settings(dialog):
    dialog.state.detection = "sigma"
    dialog.combosel_centre.setCurrentIndex(list(CENTRES).index("mean"))
    dialog.value_maxiters.setValue(2)
    dialog.bool_add_noise.setChecked(True)
    dialog.value_seed.setValue(8)
    assert dialog.state.settings() == CleanSettings("sigma", centre="mean", maxiters=2, add_noise=True, seed=8)
    dialog.value_maxiters.setValue(0)
    assert dialog.value_maxiters.text() == "until nothing changes"
    assert dialog.state.settings().maxiters is None


def test_scale_noise_is_of_the_ccd_model(dialog):
    dialog.state.detection = "ccd"
    dialog.value_scale_noise.setValue(0.02)
    assert dialog.state.settings() == CleanSettings("ccd", scale_noise=0.02)


def test_thresholds_show_their_unit(dialog):
    dialog.state.detection = "percentile"
    assert (dialog.value_high_bright.text(), dialog.value_high_dark.text()) == ("0.30 of the median",) * 2
    dialog.value_high_bright.setValue(0.5)
    assert dialog.state.settings() == CleanSettings("percentile", high=(0.5, 0.3))
    dialog.state.detection = "mad"
    assert dialog.value_high_bright.text() == "10.00 sigma"


def test_the_default_limit_is_that_of_the_detection(dialog):
    assert dialog.value_max_rejected.text() == "fewer than half of the frames"
    dialog.state.detection = "winsorized"
    assert dialog.value_max_rejected.text() == "as many frames as the test finds"
    dialog.state.detection = "ccd"
    assert dialog.value_max_rejected.text() == "fewer than half of the frames"


def test_one_side_can_be_switched_off(dialog):
    dialog.bool_dark.setChecked(False)
    assert dialog.state.settings().high_pair == (4.5, np.inf)
    assert not dialog.value_high_dark.isEnabled()
    assert dialog.value_high_bright.isEnabled()
    dialog.bool_bright.setChecked(False)
    assert "switch one of them on" in dialog.message.text()
    assert not dialog.button_run.isEnabled()


@pytest.mark.parametrize("option", [*DETECTIONS, *REPAIRS])
def test_settings_are_shown_and_used_only_where_they_have_a_part(dialog, option):
    state = dialog.state
    state.centre, state.maxiters, state.scale_noise = "mean", 3, 0.01
    state.constant, state.add_noise, state.seed = 9.0, True, 4
    setattr(state, "detection" if option in DETECTIONS else "repair", option)
    default, settings = CleanSettings(), state.settings()
    for widget, where, values in (
        (dialog.combosel_centre, {"sigma"}, {"centre": "mean"}),
        (dialog.value_maxiters, {"sigma", "mad", "winsorized"}, {"maxiters": 3}),
        (dialog.value_scale_noise, {"ccd"}, {"scale_noise": 0.01}),
        (dialog.value_constant, {"constant"}, {"constant": 9.0}),
        (dialog.bool_add_noise, {"median", "mean"}, {"add_noise": True, "seed": 4}),
    ):
        used = not where.isdisjoint({state.detection, state.repair})
        assert widget.isVisible() == used
        for name, value in values.items():
            assert getattr(settings, name) == (value if used else getattr(default, name))


def test_values_are_enabled_only_where_they_are_used(dialog):
    assert not dialog.value_gain.isEnabled()
    assert not dialog.value_seed.isEnabled()
    dialog.state.add_noise = True
    assert dialog.value_seed.isEnabled()
    dialog.state.noise = "given"
    assert dialog.value_gain.isEnabled()
    assert dialog.value_readnoise.isEnabled()
    dialog.state.repair = "none"
    assert "cleaned" not in dialog.state.chosen_outputs()
    dialog.state.repair = "median"
    assert "cleaned" in dialog.state.chosen_outputs()


def test_restore_defaults_and_nothing_is_remembered(application, dialog, cube):
    state = dialog.state
    state.detection = "sigma"
    state.high_bright = 9.0
    state.centre = "mean"
    state.maxiters = 0
    state.scale_noise = 0.1
    state.grow = 3
    state.max_rejected = 2
    state.min_frames = 1
    state.noise = "given"
    state.gain = 2.0
    state.repair = "zero"
    state.constant = 1.0
    state.add_noise = True
    state.seed = 5
    state.outputs = ("map",)
    state.axis = 2
    second = clean_from_menu(application.session, application.data_collection)
    assert second.state.settings() == CleanSettings()
    assert second.state.chosen_outputs() == tuple(OUTPUTS)
    dialog.button_defaults.click()
    assert not dialog.bool_add_noise.isChecked()
    # each of them uses some of the settings that are not shown now
    for detection, repair in (("noise", "median"), ("sigma", "mean"), ("ccd", "constant")):
        state.detection, state.repair = detection, repair
        assert state.settings() == CleanSettings(detection, repair=repair)
    assert state.noise == "set"
    assert state.chosen_outputs() == tuple(OUTPUTS)
    assert dialog.state.axis == 2  # what is cleaned is no setting


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"low_bright": 9.0}, "low (9) is above high (4.5) for bright outliers"),
        ({"high_dark": 0.0}, "thresholds are positive"),
        ({"noise": "given"}, "Give the gain, the read noise or both"),
        ({"noise": "header"}, "gain"),
        ({"outputs": ()}, "tick at least one output"),
    ],
)
def test_what_cannot_run_is_said_at_once(application, dialog, change, message):
    before = contents(application)
    for name, value in change.items():
        setattr(dialog.state, name, value)
    assert message in dialog.message.text()
    assert not dialog.button_run.isEnabled()
    dialog.run()
    assert not dialog.running
    assert contents(application) == before
    dialog.state.restore_defaults()
    assert dialog.message.text() == ""
    assert dialog.button_run.isEnabled()


def test_an_axis_of_one_frame_is_refused(application):
    data = Data(label="single", flux=np.random.default_rng(0).normal(size=(1, 8, 9)))
    application.data_collection.append(data)
    dialog = clean_from_menu(application.session, application.data_collection)
    assert "axis 0: 1 frame of 9 x 8 pixels" in dialog.combosel_axis.currentText()
    assert "cannot be compared with itself" in dialog.message.text()
    assert not dialog.button_run.isEnabled()
    dialog.state.axis = 2
    assert dialog.button_run.isEnabled()


def test_frames_that_cannot_be_cleaned_are_named(application):
    frames = np.random.default_rng(0).normal(size=(3, 8, 9))
    frames[1] = 5
    application.data_collection.append(Data(label="broken", flux=frames))
    dialog = clean_from_menu(application.session, application.data_collection)
    before = contents(application)
    dialog.run()
    assert not dialog.running
    assert "frame 2 is constant" in dialog.message.text()
    assert contents(application) == before


def test_data_that_is_removed_disappears_from_the_choices(application, dialog, cube):
    application.data_collection.remove(cube)
    assert dialog.state.data is None
    assert not dialog.button_run.isEnabled()
    assert "load an image set" in dialog.message.text()


def test_tables_images_and_texts_are_no_choice(application, cube):
    application.data_collection.append(Data(label="table", a=[1, 2, 3]))
    application.data_collection.append(Data(label="image", a=np.eye(4)))
    state = CleanState(application.data_collection)
    assert CleanState.data.get_choices(state) == [cube]
    assert CleanState.attribute.get_choices(state) == [cube.id["flux"]]


def test_a_run_attaches_the_result_and_shows_the_summary(application, dialog, cube, frames, quick_core, run):
    before = contents(application)
    summary = run(dialog)
    labels = [cid.label for cid in cube.main_components]
    assert labels == ["flux", "flux cleaned", "flux rejected", "flux event"]
    rejected = cube[cube.id["flux rejected"]]
    assert rejected.sum() == 5 + 100
    for k in range(5):
        assert rejected[k, 5 + 6 * k, 10 + 7 * k] == 1
    assert np.array_equal(cube[cube.id["flux"]], frames)
    assert [data.label for data in application.data_collection] == [
        "field",
        "field rejection map",
        "field events",
        "field frames",
    ]
    assert summary.isVisible()
    with pytest.raises(RuntimeError, match="deleted"):
        dialog.isVisible()
    application._actions["undo"].trigger()
    assert contents(application) == before
    application._actions["redo"].trigger()
    assert [cid.label for cid in cube.main_components] == labels


def test_only_the_chosen_outputs_are_attached(application, dialog, cube, quick_core, run):
    for name, box in dialog._output_boxes.items():
        box.setChecked(name == "map")
    run(dialog)
    assert [cid.label for cid in cube.main_components] == ["flux"]
    assert [data.label for data in application.data_collection] == ["field", "field rejection map"]


def test_what_is_chosen_reaches_the_core(application, dialog, quick_core, quick_clean, run):
    seen = {}

    def spy(image_set, settings, **options):
        seen.update(options, settings=settings, shape=image_set.shape, thread=threading.current_thread())
        return quick_clean(image_set, settings, **options)

    quick_core(spy)
    dialog.state.noise = "given"
    dialog.state.gain = 2.5
    dialog.state.axis = 1
    dialog.state.grow = 1
    run(dialog)
    assert seen["settings"] == CleanSettings(grow=1)
    assert (seen["gain"], seen["readnoise"]) == (2.5, None)
    assert seen["shape"] == (40, 5, 50)
    assert seen["thread"] is not threading.main_thread()


def test_noise_from_the_header(application, dialog, cube, quick_core, quick_clean, run):
    cube.meta["frame gain"] = [1.0, 2.0, 3.0, 4.0, 5.0]
    cube.meta["frame readnoise"] = [6.0] * 5
    seen = {}

    def spy(image_set, settings, *, gain, readnoise, progress):
        seen.update(gain=gain, readnoise=readnoise)
        return quick_clean(image_set, settings, progress=progress)

    quick_core(spy)
    dialog.state.noise = "header"
    assert dialog.message.text() == ""
    run(dialog)
    assert list(seen["gain"]) == [1, 2, 3, 4, 5]
    assert list(seen["readnoise"]) == [6] * 5


class Pause:
    """A core that reports, waits to be let on, and then looks whether it goes on."""

    def __init__(self, clean):
        self.clean = clean
        self.started = threading.Event()
        self.go_on = threading.Event()

    def __call__(self, image_set, settings, *, progress, **options):
        progress(1, 4)
        self.started.set()
        assert self.go_on.wait(30)
        return self.clean(image_set, settings, progress=progress, **options)


@pytest.fixture
def pause(quick_core, quick_clean):
    core = Pause(quick_clean)
    quick_core(core)
    yield core
    core.go_on.set()


def test_glue_stays_alive_and_progress_is_shown(application, dialog, pause, wait):
    dialog.run()
    wait(lambda: dialog.progress.value() == 475)  # a quarter of the cleaning
    assert dialog.message.text() == "Cleaning…"
    assert dialog.progress.isVisible()
    assert not dialog.button_run.isEnabled()
    assert not dialog.isModal()
    application.new_tab()  # the window answers while the worker waits
    assert application.tab_count == 2
    pause.go_on.set()
    wait(lambda: not dialog.running)
    assert dialog.summary.isVisible()


def test_cancel_in_the_middle_changes_nothing(application, dialog, pause, wait, run):
    before = contents(application)
    dialog.run()
    wait(pause.started.is_set)
    dialog.button_cancel.click()
    pause.go_on.set()
    wait(lambda: not dialog.running)
    assert dialog.isVisible()
    assert dialog.message.text() == "Cancelled; nothing was changed."
    assert contents(application) == before
    assert application.session.command_stack.can_undo_redo() == (False, False)
    assert dialog.button_run.isEnabled()
    assert run(dialog) is not None  # and it runs the next time


@pytest.mark.parametrize("way", ["cancel", "close glue"])
def test_nothing_waits_for_the_check_of_registration(application, dialog, quick_core, monkeypatch, wait, way):
    from glue_cleanset.core import clean

    started = threading.Event()

    def warn(image_set, *, progress):
        end = time.monotonic() + 30
        while time.monotonic() < end:
            started.set()
            if progress(1, 3) is False:
                raise clean.CleanCancelled
            time.sleep(0.001)
        raise AssertionError("it was not cancelled")

    monkeypatch.setattr(registration, "registration_warning", warn)
    before = contents(application)
    dialog.run()
    worker = dialog.worker
    wait(started.is_set)
    if way == "cancel":
        wait(lambda: dialog.progress.value() == 100)
        assert dialog.message.text() == "Comparing the positions of the frames…"
        dialog.button_cancel.click()
        wait(lambda: not dialog.running)
        assert dialog.message.text() == "Cancelled; nothing was changed."
        assert contents(application) == before
    else:
        application.close()
        assert worker.isFinished()
    assert dialog.summary is None


@pytest.mark.parametrize("way", ["close", "reject"])  # the button of the window, the escape key
def test_closing_the_dialog_ends_the_run(application, dialog, pause, wait, turn, way):
    before = contents(application)
    dialog.run()
    worker = dialog.worker
    wait(pause.started.is_set)
    getattr(dialog, way)()
    assert not dialog.isVisible()
    assert worker.isRunning()  # glue does not wait for it
    pause.go_on.set()
    wait(lambda: not dialog.running)
    assert worker.isFinished()
    turn()
    with pytest.raises(RuntimeError, match="deleted"):
        dialog.isVisible()
    assert contents(application) == before
    assert application.session.command_stack.can_undo_redo() == (False, False)


def test_closing_glue_ends_the_run(application, dialog, pause, wait, qapp):
    dialog.run()
    worker = dialog.worker
    wait(pause.started.is_set)
    threading.Timer(0.2, pause.go_on.set).start()
    application.close()
    assert worker.isFinished()
    qapp.processEvents()


def test_an_error_of_the_core_is_shown(application, dialog, quick_core, run):
    def fail(*args, **kwargs):
        raise ValueError("max_rejected is 9 but the set has 5 frames")

    quick_core(fail)
    before = contents(application)
    assert run(dialog) is None
    assert dialog.isVisible()
    assert "max_rejected is 9" in dialog.message.text()
    assert contents(application) == before
    assert dialog.button_run.isEnabled()


def test_an_error_while_attaching_leaves_the_session_as_it_was(application, dialog, quick_core, monkeypatch, run):
    from glue_cleanset.viewer import attach

    def fail(*args, **kwargs):
        raise RuntimeError("no room")

    monkeypatch.setattr(attach, "link_parts", fail)
    before = contents(application)
    assert run(dialog) is None
    assert "no room" in dialog.message.text()
    assert contents(application) == before


def test_data_removed_during_the_run_is_said(application, dialog, cube, pause, wait):
    dialog.run()
    wait(pause.started.is_set)
    application.data_collection.remove(cube)
    pause.go_on.set()
    wait(lambda: not dialog.running)
    assert "field was removed" in dialog.message.text()
    assert len(application.data_collection) == 0


def test_a_set_that_is_not_registered_is_said_with_the_result(application, dialog, quick_core, monkeypatch, run):
    threads = []

    def warn(image_set, *, progress):
        threads.append(threading.current_thread())
        return "frame 3 is off by 4.2 pixels"

    monkeypatch.setattr(registration, "registration_warning", warn)
    summary = run(dialog)
    assert summary.warnings[0] == "frame 3 is off by 4.2 pixels"
    assert threads[0] is not threading.main_thread()


def test_the_dialog_says_what_to_raise_and_lower(application, cube):
    dialog = CleanDialog(application.session)
    numbers = ("high_bright", "low_bright", "grow", "max_rejected", "min_frames", "maxiters", "scale_noise")
    for name in (*numbers, "gain", "readnoise"):
        tip = getattr(dialog, f"value_{name}").toolTip().lower()
        assert "raise" in tip
        assert "lower" in tip or "0 " in tip
    for name in ("data", "attribute", "axis", "detection", "centre", "noise", "normalize", "repair"):
        assert getattr(dialog, f"combosel_{name}").toolTip()
