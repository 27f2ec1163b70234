"""The whole of a cleaning: what a result holds, promises that hold to the bit, progress and cancel."""

import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from astropy import units as u
from core_oracles import DTYPES, add_hits, assert_same_bits, compare, label_by_frame_and_polarity, noise_frames, sky

import glue_cleanset
from glue_cleanset.core import clean
from glue_cleanset.core.clean import CleanCancelled, clean_image_set, must_compile
from glue_cleanset.core.imageset import ImageSet
from glue_cleanset.core.settings import DETECTIONS, REPAIRS, CleanSettings

HIT_FRAMES, HITS = add_hits(noise_frames(5, (24, 31)))


def test_public_names():
    for name in ("clean_image_set", "CleanSettings", "CleanResult", "ImageSet"):
        assert getattr(glue_cleanset, name).__name__ == name
    assert glue_cleanset.clean_image_set is clean_image_set


@pytest.mark.parametrize(
    ("dtype", "repair"), [(dtype, "median") for dtype in DTYPES] + [("<f4", repair) for repair in REPAIRS]
)
def test_outside_the_rejected_pixels_nothing_changes(dtype, repair):
    frames = np.clip(HIT_FRAMES, 0, 250).astype(dtype)
    before = frames.tobytes()
    result = clean_image_set(frames, CleanSettings(repair=repair))
    assert frames.tobytes() == before
    assert result.cleaned.dtype.kind == "f"
    assert result.cleaned.dtype.isnative
    if frames.dtype.kind == "f":
        assert result.cleaned.dtype == frames.dtype.newbyteorder("=")
    assert result.rejected.sum() >= 0.9 * HITS.sum()
    stays = ~result.rejected
    assert_same_bits(result.cleaned[stays], frames[stays].astype(result.cleaned.dtype))
    np.testing.assert_array_equal(result.cleaned[stays].astype(frames.dtype), frames[stays])


def test_dtype_makes_no_difference_to_what_is_rejected():
    frames = np.clip(HIT_FRAMES, 0, 250).astype("u1")  # numbers that every type holds
    rejected = [clean_image_set(frames.astype(dtype)).rejected for dtype in DTYPES]
    assert rejected[0].sum() >= HITS.sum()
    for other in rejected[1:]:
        np.testing.assert_array_equal(other, rejected[0])


def test_large_integers_survive():
    frames = HIT_FRAMES.astype("i8") + 2**40
    result = clean_image_set(frames)
    np.testing.assert_array_equal(result.cleaned[~result.rejected].astype("i8"), frames[~result.rejected])
    assert result.rejected[HITS].all()


def layouts(tmp_path):
    frames = HIT_FRAMES.astype("f4")
    yield "list", list(frames)
    yield "nested lists", frames.tolist()
    yield "Fortran order", np.asfortranarray(frames)
    wide = np.zeros((5, 48, 62), "f4")
    wide[:, ::2, ::2] = frames
    yield "strided", wide[:, ::2, ::2]
    yield "backwards", np.ascontiguousarray(frames[:, ::-1, ::-1])[:, ::-1, ::-1]
    yield "axes moved", np.moveaxis(np.ascontiguousarray(np.moveaxis(frames, 0, -1)), -1, 0)
    frozen = frames.copy()
    frozen.flags.writeable = False
    yield "not writeable", frozen
    np.save(tmp_path / "set.npy", frames)
    yield "memory map", np.load(tmp_path / "set.npy", mmap_mode="r")
    np.save(tmp_path / "big.npy", frames.astype(">f4"))
    yield "big-endian memory map", np.load(tmp_path / "big.npy", mmap_mode="r")
    yield "ImageSet", ImageSet(frames)


def test_layout_in_memory_makes_no_difference(tmp_path):
    expected = clean_image_set(HIT_FRAMES.astype("f4"))
    assert expected.rejected[HITS].all()
    for name, frames in layouts(tmp_path):
        result = clean_image_set(frames)
        assert np.array_equal(result.rejected, expected.rejected), name
        # lists of Python floats are double precision, and so is what comes out of them
        rtol = 1e-6 if name == "nested lists" else 0
        np.testing.assert_allclose(result.cleaned, expected.cleaned, rtol=rtol, err_msg=name)


def test_the_result_is_no_view_of_the_input():
    frames = HIT_FRAMES.astype("f4")
    for repair in ("none", "zero"):
        assert not np.shares_memory(clean_image_set(frames, CleanSettings(repair=repair)).cleaned, frames)


def test_the_same_call_gives_the_same_bits(small_set, small_result):
    again = clean_image_set(small_set.frames)
    for name in ("cleaned", "rejected", "rejection_map", "peak_significance", "reference", "scales", "offsets"):
        assert_same_bits(getattr(again, name), getattr(small_result, name))


@pytest.mark.parametrize("detection", DETECTIONS)
@pytest.mark.parametrize("n", [2, 3, 8])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i2"])
def test_identical_frames_give_no_event(n, dtype, detection):
    scene = noise_frames(1, (20, 25), level=300, sigma=20)[0]
    scene[4, 5] += 5000
    result = clean_image_set(np.stack([scene.astype(dtype)] * n), CleanSettings(detection=detection))
    assert not result.rejected.any()
    assert len(result.events) == 0
    assert not result.rejection_map.any()
    np.testing.assert_allclose(result.scales, 1, rtol=1e-6)
    np.testing.assert_allclose(result.offsets, 0, atol=1e-3)


def test_shapes_and_dtypes_of_a_result(small_set, small_result):
    n, ny, nx = small_set.frames.shape
    expected = {
        "cleaned": ((n, ny, nx), "f4"),
        "rejected": ((n, ny, nx), "?"),
        "rejection_map": ((ny, nx), "u2"),
        "rejection_count": ((ny, nx), "u2"),
        "peak_significance": ((ny, nx), "f4"),
        "reference": ((ny, nx), "f4"),
        "scales": ((n,), "f8"),
        "offsets": ((n,), "f8"),
    }
    for name, (shape, dtype) in expected.items():
        value = getattr(small_result, name)
        assert (value.shape, value.dtype) == (shape, np.dtype(dtype)), name
    assert small_result.settings == CleanSettings()
    assert small_result.noise.gain.shape == small_result.noise.readnoise.shape == (n,)


def test_maps_follow_from_the_rejected_pixels(small_set, small_result):
    result = small_result
    np.testing.assert_array_equal(result.rejection_count, result.rejected.sum(axis=0))
    hit = result.rejected.any(axis=0)
    np.testing.assert_array_equal(result.rejection_map > 0, hit)
    np.testing.assert_array_equal(result.peak_significance > 0, hit)


def test_the_map_names_the_frame_of_the_greatest_significance():
    frames = noise_frames(9, (40, 50))
    rng = np.random.default_rng(3)
    hits = rng.uniform(size=frames.shape) < 0.03
    frames[hits] += rng.choice([-1, 1], hits.sum()) * rng.uniform(50, 500, hits.sum())
    result = clean_image_set(frames, CleanSettings(normalize="none"))
    *_, significance = compare(result, frames)
    significance[~result.rejected] = 0
    strongest = significance.max(axis=0)
    assert (result.rejection_count > 1).sum() > 50
    y, x = np.nonzero(result.rejection_count)
    np.testing.assert_allclose(significance[result.rejection_map[y, x] - 1, y, x], strongest[y, x], rtol=1e-3)
    # the noise is inflated in places, and only then is a significance less
    ratio = result.peak_significance[y, x] / strongest[y, x]
    assert ratio.max() < 1.02
    assert np.median(ratio) > 0.9


def test_a_map_where_two_frames_were_hit():
    frames = noise_frames(7, (15, 15), sigma=3)
    frames[[1, 4, 5], 7, 7] += [300, 900, 600]
    result = clean_image_set(frames)
    assert result.rejection_count[7, 7] == 3
    assert result.rejection_map[7, 7] == 5


def test_reference_is_the_expected_image(small_set, small_result):
    _, mean, _ = compare(small_result, small_set.frames)
    noise = small_result.noise.sigma(200.0).mean() / 3
    assert np.percentile(np.abs(small_result.reference - mean), 99) < 0.2 * noise


def test_reference_where_no_frame_is_good():
    frames = HIT_FRAMES.copy()
    frames[:, 3, 4] = np.nan
    result = clean_image_set(frames)
    assert np.isnan(result.reference[3, 4])
    assert np.isfinite(np.delete(result.reference.ravel(), 3 * 31 + 4)).all()


def test_events_are_the_connected_pixels(small_set, small_result):
    result = small_result
    _, mean, _ = compare(result, small_set.frames)
    expected = mean * result.scales[:, None, None] + sky(result)
    residual = small_set.frames - expected
    labels = label_by_frame_and_polarity(result.rejected, residual < 0)
    np.testing.assert_array_equal(result.event_labels(), labels)
    events = result.events
    np.testing.assert_array_equal(events["event"], np.arange(1, labels.max() + 1))
    for row in events:
        i, y, x = np.nonzero(labels == row["event"])
        assert set(i + 1) == {row["frame"]}
        assert row["pixels"] == y.size
        values = residual[i, y, x]
        assert row["polarity"] == ("dark" if values[0] < 0 else "bright")
        np.testing.assert_allclose(row["total"], values.sum(), rtol=2e-3, atol=values.size)
        weight = np.abs(values)
        np.testing.assert_allclose(row["y"], np.sum(weight * y) / weight.sum(), atol=0.02)
        np.testing.assert_allclose(row["x"], np.sum(weight * x) / weight.sum(), atol=0.02)
        peak = int(row["y_peak"]), int(row["x_peak"])
        assert peak in set(zip(y.tolist(), x.tolist(), strict=True))
        np.testing.assert_allclose(row["peak"], residual[row["frame"] - 1][peak], rtol=2e-3, atol=1)
        assert (row["peak_significance"] > 0) == (row["polarity"] == "bright")
        there = result.peak_significance[peak]
        assert there >= abs(row["peak_significance"]) * (1 - 1e-5)


def test_strongest_event_of_a_pixel_is_the_peak_significance(small_result):
    strongest = small_result.peak_significance.max()
    np.testing.assert_allclose(np.abs(small_result.events["peak_significance"]).max(), strongest, rtol=1e-5)


def test_events_have_units(small_result):
    events = small_result.events
    assert {events[name].unit for name in ("y", "x")} == {u.pix}
    assert {events[name].unit for name in ("total", "peak")} == {u.adu}


def test_no_event_leaves_an_empty_table():
    result = clean_image_set(np.stack([noise_frames(1, (9, 9))[0]] * 3))
    assert len(result.events) == 0
    assert {"event", "frame", "y", "x", "pixels", "peak_significance", "polarity"} <= set(result.events.colnames)
    assert list(result.summary["events"]) == [0, 0, 0]
    assert not result.event_labels().any()


def test_summary_counts(small_set, small_result):
    summary, result = small_result.summary, small_result
    n = len(small_set.frames)
    np.testing.assert_array_equal(summary["frame"], np.arange(1, n + 1))
    np.testing.assert_array_equal(summary["pixels"], result.rejected.sum(axis=(1, 2)))
    np.testing.assert_array_equal(summary["events"], [np.sum(result.events["frame"] == i + 1) for i in range(n)])
    np.testing.assert_allclose(summary["percent"].value, 100 * result.rejected.mean(axis=(1, 2)))
    assert summary["percent"].unit == u.percent
    np.testing.assert_array_equal(summary["scale"], result.scales)
    np.testing.assert_array_equal(summary["offset"], result.offsets)


def test_names_of_an_image_set_are_in_the_summary():
    names = ["a.fits", "b.fits", "a much longer name.fits", "d", "e"]
    assert list(clean_image_set(ImageSet(HIT_FRAMES, names=names)).summary["name"]) == names


def test_a_frame_that_lost_many_pixels_is_reported():
    frames = noise_frames(6, (40, 40))
    frames[3, 10:20, 5:35] += 300
    names = [f"n{i}.fits" for i in range(6)]
    result = clean_image_set(ImageSet(frames, names=names))
    (text,) = [text for text in result.warnings if "pixels were rejected" in text]
    percent = result.summary["percent"][3]
    assert percent > 15
    assert f"n3.fits ({percent:.1f} %)" in text
    assert not any(name in text for name in names if name != "n3.fits")
    assert not any("pixels were rejected" in text for text in clean_image_set(noise_frames(6, (40, 40))).warnings)


def test_keywords_take_the_place_of_what_the_image_set_knows():
    mask = np.zeros(HIT_FRAMES.shape, bool)
    mask[:, 5:9] = True
    image_set = ImageSet(HIT_FRAMES, gain=2.0, readnoise=4.0)
    kept = clean_image_set(image_set)
    assert kept.noise.gain_source == kept.noise.readnoise_source == "given"
    np.testing.assert_array_equal(kept.noise.gain, np.full(5, 2.0))
    overruled = clean_image_set(image_set, gain=3.0, readnoise=[1, 2, 3, 4, 5], mask=mask)
    np.testing.assert_array_equal(overruled.noise.gain, np.full(5, 3.0))
    np.testing.assert_array_equal(overruled.noise.readnoise, [1, 2, 3, 4, 5])
    assert not overruled.rejected[mask].any()
    assert kept.rejected[mask].any()
    np.testing.assert_array_equal(image_set.gain, np.full(5, 2.0))
    assert image_set.mask is None


class Progress:
    """Notes every call; answers or raises at the k-th."""

    def __init__(self, at=None, answer=None):
        self.calls, self.at, self.answer = [], at, answer

    def __call__(self, done, total):
        self.calls.append((done, total))
        if len(self.calls) - 1 == self.at:
            if isinstance(self.answer, BaseException):
                raise self.answer
            return self.answer
        return None


TALL = np.concatenate([HIT_FRAMES.astype("f4")] * 5, axis=1)


@pytest.mark.parametrize("detection", DETECTIONS)
def test_progress_goes_up_to_its_end(detection):
    progress = Progress()
    clean_image_set(TALL, CleanSettings(detection=detection), progress=progress)
    done, total = np.array(progress.calls).T
    assert len(set(total)) == 1
    assert done[0] == 0
    assert done[-1] == total[0]
    assert (np.diff(done) >= 0).all()
    assert len(done) >= 5


@pytest.mark.parametrize(("answer", "error"), [(False, CleanCancelled), (ZeroDivisionError("mine"), ZeroDivisionError)])
@pytest.mark.parametrize("detection", ["noise", "sigma"])
def test_cancel_at_any_time(detection, answer, error):
    settings = CleanSettings(detection=detection)
    progress = Progress()
    before = TALL.copy()
    expected = clean_image_set(TALL, settings, progress=progress)
    for at in range(len(progress.calls)):
        stopped = Progress(at, answer)
        with pytest.raises(error):
            clean_image_set(TALL, settings, progress=stopped)
        assert len(stopped.calls) == at + 1
    assert_same_bits(TALL, before)
    np.testing.assert_array_equal(clean_image_set(TALL, settings).rejected, expected.rejected)


def test_interrupt_from_the_keyboard():
    with pytest.raises(KeyboardInterrupt):
        clean_image_set(TALL, progress=Progress(3, KeyboardInterrupt()))


@pytest.mark.parametrize("answer", [None, True, 0, "stop"])
def test_only_false_stops(answer):
    assert clean_image_set(HIT_FRAMES, progress=lambda done, total: answer).rejected.any()


def test_no_copy_of_the_set_in_double_precision():
    rng = np.random.default_rng(0)
    frames = rng.standard_normal((8, 2000, 1500), np.float32)
    frames *= 5
    frames += 200
    clean_image_set(frames[:, :50])  # compiles
    tracemalloc.start()
    try:
        result = clean_image_set(frames)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    kept = result.cleaned.nbytes + result.rejected.nbytes
    # the samples that normalisation and noise model look at do not grow with the set
    assert peak - kept < frames.nbytes + 150e6


def test_a_machine_where_nothing_was_compiled(tmp_path):
    program = "from glue_cleanset.core.clean import must_compile; print(must_compile())"
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    answer = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert answer.stdout.strip() == "True"
    clean_image_set(HIT_FRAMES)
    assert not must_compile()


@pytest.mark.parametrize("first", [True, False])
def test_only_the_first_call_says_that_it_compiles(first, monkeypatch):
    said = []
    monkeypatch.setattr(clean, "must_compile", lambda: first)
    monkeypatch.setattr(clean._log, "warning", said.append)
    clean_image_set(HIT_FRAMES)
    assert ["compiled" in text for text in said] == [True] * first
