"""A person's word against the machine's: what is restored and what is rejected by hand."""

import numpy as np
import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from glue_cleanset import CleanSettings, clean_image_set, overrule
from glue_cleanset.core import detect
from glue_cleanset.core.imageset import ImageSet
from glue_cleanset.core.ondemand import marked
from glue_cleanset.core.overrule import Compared, work_out
from glue_cleanset.core.settings import KINDS
from glue_cleanset.core.simulate import VARIANTS, simulate_set

SHAPE = (48, 60)


def simulated(n=6, **changes):
    return simulate_set(n, SHAPE, seed=n, **{**VARIANTS["hard"], **changes}).frames


def check_whole(frames, result):
    """All parts of a result tell the same."""
    n = len(frames)
    rejected = result.rejected
    np.testing.assert_array_equal(result.cleaned[~rejected], frames[~rejected])
    assert np.array_equal(result.summary["pixels"], rejected.sum(axis=(1, 2)))
    np.testing.assert_allclose(result.summary["percent"], 100 * rejected.mean(axis=(1, 2)))
    assert np.array_equal(result.rejection_count, rejected.sum(axis=0))
    assert np.array_equal(result.rejection_map > 0, rejected.any(axis=0))
    labels = result.event_labels()
    kept = np.isin(labels, result.events["event"][result.events["kept"]])
    assert np.array_equal(result.event_pixels, np.flatnonzero(rejected | kept))
    assert np.array_equal(labels > 0, rejected | kept)
    assert not (rejected & kept).any()
    assert np.array_equal(result.kind_map > 0, (rejected | kept).any(axis=0))
    assert len(set(result.events["event"])) == len(result.events)
    numbers, pixels = np.unique(labels[labels > 0], return_counts=True)
    assert np.array_equal(result.events["event"], numbers)
    assert np.array_equal(result.events["pixels"], pixels)
    for row in result.events:
        assert labels[row["frame"] - 1, int(row["y_peak"]), int(row["x_peak"])] == row["event"]
    left = result.events["frame"][~result.events["kept"]]
    assert np.array_equal(result.summary["events"], [np.count_nonzero(left == i) for i in range(1, n + 1)])
    for kind in KINDS:
        counts = np.bincount(result.events["frame"][result.events["kind"] == kind], minlength=n + 1)[1:]
        assert np.array_equal(result.summary[kind.replace(" ", "_")], counts)


def test_a_restored_event_is_back_bit_for_bit_and_gone_from_all_tables():
    frames = simulated()
    result = clean_image_set(frames)
    number = result.events["event"][np.argmax(result.events["peak_significance"])]
    event = result.event_labels() == number
    again = overrule(result, frames, restore=event)
    check_whole(frames, again)
    assert np.array_equal(again.rejected, result.rejected & ~event)
    assert np.array_equal(again.cleaned[event], frames[event])
    assert number not in again.events["event"]
    assert set(again.events["event"]) == set(result.events["event"]) - {number}
    untouched = ~event.any(axis=0)
    assert np.array_equal(again.cleaned[:, untouched], result.cleaned[:, untouched])
    assert np.array_equal(again.reference[untouched], result.reference[untouched])
    assert again.overrules == (f"{event.sum()} pixels restored".replace("1 pixels", "1 pixel"),)
    # and nothing of the first was changed
    check_whole(frames, result)


def test_an_object_is_kept_and_repaired_by_hand():
    frames = simulate_set(6, (200, 220), seed=2, mover=True, star_density=1e-3).frames
    result = clean_image_set(frames)
    number = result.tracks["track"][0]
    own = np.isin(result.event_labels(), result.events["event"][result.events["track"] == number])
    assert own.any()
    repaired = overrule(result, frames, reject=own)
    check_whole(frames, repaired)
    assert repaired.rejected[own].all()
    rows = repaired.events[repaired.events["track"] == number]
    assert set(rows["kind"]) == {"moving object"}
    assert not rows["kept"].any()
    assert np.array_equal(rows["event"], result.events["event"][result.events["track"] == number])
    again = overrule(repaired, frames, keep=own)
    check_whole(frames, again)
    for part in ("cleaned", "rejected", "rejection_map", "rejection_count", "peak_significance", "kind_map"):
        np.testing.assert_array_equal(getattr(again, part), getattr(result, part))
    assert np.array_equal(again.event_labels(), result.event_labels())
    assert again.overrules == (f"{own.sum()} pixels rejected by hand", f"{own.sum()} pixels kept")


def test_what_is_rejected_by_hand_is_repaired_by_the_same_method():
    """Frames that differ by a known scale: a good pixel is replaced by the median of the others, on its own scale."""
    scale = np.array([0.8, 0.9, 1.0, 1.1, 1.2])
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:80, :90]
    scene = 500 + 200 * np.sin(x / 9.0) * np.cos(y / 7.0)
    frames = scale[:, None, None] * (scene + rng.normal(0, 3, (5, 80, 90)))
    result = clean_image_set(frames)
    reject = np.zeros(frames.shape, bool)
    reject[1, 30, 40] = True
    assert not result.rejected[:, 30, 40].any()
    again = overrule(result, frames, reject=reject)
    check_whole(frames, again)
    others = np.delete(frames[:, 30, 40] / scale, 1)
    assert again.cleaned[1, 30, 40] == pytest.approx(scale[1] * np.median(others), rel=2e-3)
    new = again.events[again.events["event"] == again.event_labels()[1, 30, 40]]
    assert (new["frame"][0], new["y_peak"][0], new["x_peak"][0], new["pixels"][0]) == (2, 30, 40, 1)
    assert again.reference[30, 40] == pytest.approx(others.mean(), rel=2e-3)
    back = overrule(again, frames, restore=reject)
    assert np.array_equal(back.cleaned, result.cleaned)
    np.testing.assert_allclose(back.reference, result.reference, rtol=1e-6)


def test_of_an_event_cut_in_two_the_first_part_keeps_the_number():
    frames = 100 + np.random.default_rng(2).normal(0, 2, (7, 40, 50))
    frames[2, 10, 10:15] += 300
    result = clean_image_set(frames)
    number = result.event_labels()[2, 10, 10]
    middle = np.zeros(frames.shape, bool)
    middle[2, 10, 12] = True
    again = overrule(result, frames, restore=middle)
    check_whole(frames, again)
    labels = again.event_labels()[2, 10, 10:15]
    assert labels[0] == labels[1] == number
    assert labels[2] == 0
    assert labels[3] == labels[4] == result.events["event"].max() + 1
    # and joined again
    joined = overrule(again, frames, reject=middle)
    check_whole(frames, joined)
    assert set(joined.event_labels()[2, 10, 10:15]) == {number}


@pytest.mark.parametrize("repair", ["mean", "neighbours", "zero", "nan", "constant", "none"])
def test_every_repair(repair):
    frames = simulated().astype("f4")
    settings = CleanSettings(repair=repair, constant=-7.0)
    result = clean_image_set(frames, settings)
    reject = np.zeros(SHAPE, bool)
    reject[20:22, 30:32] = True
    again = overrule(result, frames, reject=reject & (np.arange(6) == 3)[:, None, None])
    check_whole(frames, again)
    values = again.cleaned[3, 20:22, 30:32]
    expected = {"zero": 0, "nan": np.nan, "constant": -7, "none": frames[3, 20:22, 30:32]}.get(repair)
    if expected is None:
        assert np.isfinite(values).all()
        assert not (values == frames[3, 20:22, 30:32]).any()
    else:
        np.testing.assert_array_equal(values, np.broadcast_to(expected, (2, 2)).astype("f4"))


def test_protected_and_rejected_before_a_run():
    frames = simulated()
    plain = clean_image_set(frames)
    region = np.zeros(SHAPE, bool)
    region[10:40, 20:50] = True
    assert plain.rejected[:, region].any()
    one = np.zeros(frames.shape, bool)
    one[4, 5, 5] = True
    result = clean_image_set(frames, protect=region, reject=one)
    check_whole(frames, result)
    assert not result.rejected[:, region].any()
    assert np.array_equal(result.rejected[:, ~region], (plain.rejected | one)[:, ~region])
    assert len(result.overrules) == 1


def test_masked_pixels_are_rejected_by_nobody():
    frames = simulated()
    frames[2, 7, 8] = np.nan
    mask = np.zeros(SHAPE, bool)
    mask[9, 9] = True
    result = clean_image_set(frames, mask=mask)
    again = overrule(result, frames, reject=np.ones(SHAPE, bool) & (np.arange(6) == 2)[:, None, None])
    assert not again.rejected[2, 7, 8]
    assert not again.rejected[:, 9, 9].any()
    assert again.rejected[2].sum() == frames[0].size - 2


def test_a_pixel_rejected_in_all_frames_takes_its_neighbours():
    frames = 100 + np.random.default_rng(3).normal(0, 2, (4, 30, 30))
    result = clean_image_set(frames)
    region = np.zeros((30, 30), bool)
    region[15, 15] = True
    again = overrule(result, frames, reject=region)
    check_whole(frames, again)
    assert again.rejected[:, 15, 15].all()
    assert np.abs(again.cleaned[:, 15, 15] - 100).max() < 8


def test_wrong_masks_are_told_before_any_work():
    frames = simulated()
    result = clean_image_set(frames)
    with pytest.raises(ValueError, match=r"restore has shape \(3, 3\)"):
        overrule(result, frames, restore=np.zeros((3, 3), bool))
    with pytest.raises(ValueError, match="frames have the shape"):
        overrule(result, frames[:, :20], restore=np.zeros((20, 60), bool))
    with pytest.raises(ValueError, match=r"protect has shape \(3, 3\)"):
        clean_image_set(frames, protect=np.zeros((3, 3), bool))


class Overrules(RuleBasedStateMachine):
    """After any sequence of overrules all parts agree, and only the last word on each pixel counts."""

    @initialize(n=st.sampled_from([2, 3, 5]))
    def clean(self, n):
        self.frames = simulated(n)
        self.frames[0, 3, 4] = np.nan
        self.first = self.result = clean_image_set(self.frames)
        self.flags = self.result.rejected.copy()

    @rule(seed=st.integers(0, 99), share=st.sampled_from([0.1, 0.6, 1.0]))
    def restore(self, seed, share):
        some = np.random.default_rng(seed).random(self.frames.shape) < share
        self.result = overrule(self.result, self.frames, restore=some)
        self.flags &= ~some

    @rule(seed=st.integers(0, 99), share=st.sampled_from([0.1, 0.6, 1.0]))
    def keep(self, seed, share):
        some = np.random.default_rng(seed).random(self.frames.shape) < share
        before = self.result.event_labels() > 0
        self.result = overrule(self.result, self.frames, keep=some)
        assert np.array_equal(self.result.event_labels() > 0, before)
        self.flags &= ~some

    @rule(seed=st.integers(0, 99), share=st.sampled_from([0.001, 0.05]))
    def reject(self, seed, share):
        some = np.random.default_rng(seed).random(self.frames.shape) < share
        self.result = overrule(self.result, self.frames, reject=some)
        self.flags |= some & np.isfinite(self.frames)

    @invariant()
    def agrees(self):
        check_whole(self.frames, self.result)
        assert np.array_equal(self.result.rejected, self.flags)

    def teardown(self):
        if hasattr(self, "first"):
            events = self.result.event_labels() > 0
            at_once = overrule(self.first, self.frames, keep=events & ~self.flags, reject=events)
            at_once = overrule(at_once, self.frames, restore=~events)
            # (where no frame survives, the neighbours of that moment were taken)
            survives = (np.isfinite(self.frames) & ~self.flags).any(axis=0)
            np.testing.assert_array_equal(at_once.cleaned[:, survives], self.result.cleaned[:, survives])
            np.testing.assert_allclose(at_once.reference, self.result.reference, rtol=1e-6)


TestOverrules = Overrules.TestCase
TestOverrules.settings = hypothesis_settings(max_examples=15, stateful_step_count=6, deadline=None)


@pytest.mark.parametrize("repair", ["neighbours", "median"])
def test_what_is_taken_from_neighbours_follows_them(repair):
    """Whatever the order of the words, a pixel without survivors holds what its good neighbours say."""
    frames = 100 + np.random.default_rng(5).normal(0, 2, (5, 40, 40))
    frames[2, 20, 20] += 500
    frames[:, 19:22, 19:22] += 40
    settings = CleanSettings(repair=repair)
    result = clean_image_set(frames, settings)
    core, ring = np.zeros((2, *frames.shape), bool)
    core[:, 20, 20] = True
    ring[2, 19:22, 19:22] = True
    ring[2, 20, 20] = False
    one = overrule(overrule(result, frames, reject=core), frames, reject=ring)
    other = overrule(overrule(result, frames, reject=ring), frames, reject=core)
    at_once = clean_image_set(frames, settings, reject=core | ring)
    np.testing.assert_array_equal(one.cleaned, other.cleaned)
    np.testing.assert_array_equal(one.cleaned, at_once.cleaned)
    assert abs(one.cleaned[2, 20, 20] - 100) < 8  # not from the ring, which is 40 brighter
    for each in (one, other, at_once):
        check_whole(frames, each)


def test_added_noise_is_that_of_the_pixel_whatever_else_is_repaired():
    frames = 100 + np.random.default_rng(6).normal(0, 5, (8, 50, 60))
    result = clean_image_set(frames, CleanSettings(add_noise=True, seed=3))
    some = np.zeros(frames.shape, bool)
    some[2, 10:30, 10:40] = True
    at_once = overrule(result, frames, reject=some)
    half = some & (np.arange(60) < 25)
    steps = overrule(overrule(result, frames, reject=half), frames, reject=some)
    np.testing.assert_array_equal(at_once.cleaned, steps.cleaned)
    replaced = at_once.cleaned[some]
    assert replaced.std() == pytest.approx(5, rel=0.1)
    assert abs(replaced.mean() - 100) < 1
    others = clean_image_set(frames, CleanSettings(add_noise=True, seed=4))
    assert not np.array_equal(overrule(others, frames, reject=some).cleaned[some], replaced)


@pytest.mark.parametrize(("what", "kind"), [("mover", "moving object"), ("trail", "trail")])
def test_an_event_keeps_its_pixels_whatever_it_is_called(what, kind):
    """The faint sides of an object are of both signs: one event as an object, and as what a person calls it as well."""
    frames = simulate_set(6, (200, 220), seed=2, star_density=1e-3, **{what: True}).frames
    result = clean_image_set(frames)
    table = result.events.copy()
    mine = table["kind"] == kind
    assert mine.any()
    table["kind"][mine], table["track"][mine] = "cosmic ray", 0
    # elsewhere a pixel is restored
    other = table["event"][(table["kind"] == "hot pixel") & (table["pixels"] == 1)][0]
    change = work_out(
        Compared(ImageSet(frames), result.settings, result.model), np.flatnonzero(result.rejected), result.reference,
        (result.event_pixels, result.event_numbers), table, restore=result.event_labels() == other, light=result.light,
    )  # fmt: skip
    left = result.events[result.events["event"] != other]
    assert np.array_equal(change.events["event"], left["event"])
    assert np.array_equal(change.events["pixels"], left["pixels"])


def test_masks_may_name_their_pixels_only(monkeypatch):
    frames = simulated()
    result = clean_image_set(frames)
    rng = np.random.default_rng(4)
    masks = [rng.random(frames.shape) < share for share in (0.3, 0.002, 0.2)]
    expected = overrule(result, frames, **dict(zip(("restore", "reject", "keep"), masks, strict=True)))
    monkeypatch.setattr(detect, "_SAMPLES", 6 * 10)  # in parts
    named = [marked(np.flatnonzero(mask), frames.shape) for mask in masks]
    found = overrule(result, frames, **dict(zip(("restore", "reject", "keep"), named, strict=True)))
    assert np.count_nonzero(expected.rejection_count != result.rejection_count) > 50
    for name in ("cleaned", "rejected", "reference", "kind_map", "event_pixels", "event_numbers"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    check_whole(frames, found)


def test_one_comparison_serves_many_overrules(monkeypatch):
    """Forth and back: the same as if the frames were compared each time, and only what changes is measured."""
    frames = simulated()
    result = clean_image_set(frames)
    compared = Compared(ImageSet(frames), result.settings, result.model)
    events = result.event_pixels, result.event_numbers
    rng = np.random.default_rng(7)
    measured, settle = [], detect._Measure.settle
    monkeypatch.setattr(
        detect._Measure, "settle", lambda *args: measured.append(np.count_nonzero(args[-1])) or settle(*args)
    )

    def say(compared, **said):
        rejected = np.flatnonzero(result.rejected)
        shares = []
        found = work_out(compared, rejected, result.reference, events, result.events, report=shares.append, **said)
        assert shares == sorted(shares)
        assert all(0 <= share <= 1 for share in shares)
        return found

    for share in (0.0, 0.01, 0.3, 0.0, 0.02):
        said = {name: rng.random(frames.shape) < share for name in ("restore", "reject", "keep")}
        expected = say(Compared(ImageSet(frames), result.settings, result.model), **said)
        measured.clear()
        found = say(compared, **said)
        for name in ("restored", "rejected", "index", "values", "numbers", "kind_map", "kept"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
        for name in ("reference", "rejection_map", "rejection_count", "peak_significance", "index", "median", "mean",
                     "residual", "significance", "missing_noise", "kept"):  # fmt: skip
            np.testing.assert_array_equal(getattr(found.outliers, name), getattr(expected.outliers, name))
        for name in found.events.colnames:
            np.testing.assert_array_equal(found.events[name], expected.events[name])
    # all that stands out was measured at first; one pixel more is two or three places
    one = np.zeros(frames.shape, bool)
    one[2, 20, 20] = True
    say(compared, reject=one)
    measured.clear()
    say(compared, reject=np.roll(one, 1, axis=2))
    assert 0 < sum(measured) <= 2 * len(frames)


def test_a_comparison_that_was_stopped_is_taken_up_again():
    frames = simulated()
    result = clean_image_set(frames)
    compared = Compared(ImageSet(frames), result.settings, result.model)
    events = result.event_pixels, result.event_numbers
    reject = np.zeros(frames.shape, bool)
    reject[3, 20:22, 30] = True

    def say(compared, report):
        rejected = np.flatnonzero(result.rejected)
        return work_out(compared, rejected, result.reference, events, result.events, reject=reject, report=report)

    shares = []
    say(Compared(ImageSet(frames), result.settings, result.model), shares.append)
    expected = overrule(result, frames, reject=reject)
    for share in shares:

        def stop(now, share=share):
            if now >= share:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            say(Compared(ImageSet(frames), result.settings, result.model), stop)
        with pytest.raises(KeyboardInterrupt):
            say(compared, stop)
        found = say(compared, lambda share: None)
        np.testing.assert_array_equal(found.outliers.rejected, np.flatnonzero(expected.rejected))
        np.testing.assert_array_equal(found.values, expected.cleaned.ravel()[found.index])
        compared = Compared(ImageSet(frames), result.settings, result.model)
