"""One pixel, or a part, judged again: the same verdict as in the whole set."""

import json

import numpy as np
import pytest

from glue_cleanset import CleanSettings, ImageSet, clean_image_set
from glue_cleanset.core.clean import CleanCancelled, learn_model
from glue_cleanset.core.inspect import preview, trace_pixel
from glue_cleanset.core.model import SetModel
from glue_cleanset.core.simulate import VARIANTS, simulate_set


def cleaned(n=7, variant="hard", settings=CleanSettings(), **changes):
    options = {**VARIANTS[variant], **changes}
    image_set = ImageSet(simulate_set(n, (120, 150), seed=n, **options).frames)
    return image_set, clean_image_set(image_set, settings)


@pytest.mark.parametrize(("n", "variant"), [(2, "base"), (3, "hard"), (9, "gradients"), (8, "saturated stars")])
@pytest.mark.parametrize(
    "settings",
    [
        CleanSettings(),
        CleanSettings(grow=2),
        CleanSettings(detection="ccd", scale_noise=0.01),
        CleanSettings(detection="sigma", high=2),
    ],
    ids=lambda settings: settings.detection + str(settings.grow),
)
def test_a_part_is_judged_as_in_the_whole(n, variant, settings):
    image_set, result = cleaned(n, variant, settings)
    for rows, columns in (((40, 90), (30, 100)), ((0, 20), (130, 150)), ((119, 120), (0, 150))):
        part = preview(image_set, result.model, settings, rows, columns)
        assert np.array_equal(part, result.rejected[:, slice(*rows), slice(*columns)])
    assert result.rejected.any() or n == 2


def test_a_preview_follows_the_settings():
    image_set, result = cleaned()
    counts = [
        preview(image_set, result.model, CleanSettings(high=high), (0, 120), (0, 150)).sum() for high in (3, 4.5, 9)
    ]
    assert counts[0] > counts[1] > counts[2] > 0


def test_the_model_is_kept_as_plain_values():
    image_set, result = cleaned(variant="gradients")
    again = SetModel.from_record(json.loads(json.dumps(result.model.to_record())))
    assert again.full == result.model.full
    rejected = preview(image_set, again, CleanSettings(), (0, 120), (0, 150))
    assert np.array_equal(rejected, result.rejected)


def test_a_trace_tells_what_a_frame_should_have_been():
    """Frames of known level and noise: frame = scale * 500 + offset, Gaussian of 4 ADU on the mean scale."""
    rng = np.random.default_rng(4)
    scale, offset = np.array([0.8, 0.9, 1.0, 1.0, 1.1, 1.2]), np.array([-10.0, -5, 0, 0, 5, 10])
    field = 500 + 300 * np.exp(-((np.arange(90) - 45.0) ** 2) / 200)[:, None] * np.ones(100)
    frames = scale[:, None, None] * (field + rng.normal(0, 4, (6, 90, 100))) + offset[:, None, None]
    frames[3, 20, 30] += 200
    frames[1, 20, 30] = np.nan
    image_set = ImageSet(frames)
    result = clean_image_set(image_set)
    trace = trace_pixel(image_set, result.model, result.settings, 20, 30, result.rejected[:, 20, 30])
    assert trace.rejected.tolist() == [False, False, False, True, False, False]
    assert np.isnan(trace.value[1])
    good = [0, 2, 3, 4, 5]
    assert np.array_equal(trace.value[good], frames[good, 20, 30])
    assert trace.expected[good] == pytest.approx(scale[good] * field[20, 0] + offset[good], abs=10)
    # the noise of one frame, and of the three or four others it is compared with
    assert trace.sigma[good] == pytest.approx(4 * scale[good] * np.sqrt(1.3), rel=0.2)
    assert trace.highest[good] == pytest.approx(trace.expected[good] + 4.5 * trace.sigma[good])
    assert trace.lowest[good] == pytest.approx(trace.expected[good] - 4.5 * trace.sigma[good])
    row = result.events[(result.events["y_peak"] == 20) & (result.events["x_peak"] == 30)]
    assert trace.significance[3] == pytest.approx(row["peak_significance"][0], rel=1e-4)
    assert trace.reference == pytest.approx(result.reference[20, 30], rel=1e-6)


def test_every_strong_hit_lies_outside_the_band():
    image_set, result = cleaned()
    high = result.settings.high
    strong = np.flatnonzero(result.events["peak_significance"] > high)[:50]
    for row in result.events[strong]:
        y, x, i = (int(row[name]) for name in ("y_peak", "x_peak", "frame"))
        i -= 1
        trace = trace_pixel(image_set, result.model, result.settings, y, x, result.rejected[:, y, x])
        assert trace.value[i] > trace.highest[i]
        survives = ~trace.rejected
        # (a pixel beside it may be rejected on its word, or one excused: the band is for a pixel on its own)
        assert np.mean((trace.value < trace.highest)[survives]) > 0.8
    assert len(strong) > 20


@pytest.mark.parametrize(
    ("detection", "inside"), [("sigma", True), ("mad", True), ("percentile", True), ("esd", False)]
)
def test_clips_have_the_band_they_cut_at(detection, inside):
    settings = CleanSettings(detection=detection)
    image_set, result = cleaned(12, "base", settings)
    y, x = np.argwhere(result.rejection_count > 0)[0]
    trace = trace_pixel(image_set, result.model, settings, y, x, result.rejected[:, y, x])
    if not inside:
        assert np.isnan(trace.lowest).all()
        return
    kept = ~trace.rejected
    assert ((trace.value >= trace.lowest) & (trace.value <= trace.highest))[kept].all()
    assert not ((trace.value >= trace.lowest) & (trace.value <= trace.highest))[trace.rejected].any()


def test_a_pixel_outside_is_told():
    image_set, result = cleaned()
    with pytest.raises(ValueError, match="y=120, x=3 lies outside the image of 120 x 150"):
        trace_pixel(image_set, result.model, result.settings, 120, 3, np.zeros(7, bool))


@pytest.mark.parametrize(
    ("settings", "given"),
    [
        (CleanSettings(), {}),
        (CleanSettings(detection="sigma", normalize="offset", grow=1), {}),
        (CleanSettings(detection="ccd"), {"gain": 1.5, "readnoise": np.full(7, 6.0)}),
    ],
)
def test_what_is_learned_without_cleaning_is_what_a_cleaning_learns(settings, given):
    image_set, _ = cleaned()
    model = learn_model(image_set, settings, **given)
    cleaning = clean_image_set(image_set, settings, **given)
    assert model.to_record() == cleaning.model.to_record()
    # the detection has no part in it: one model serves all
    other = learn_model(image_set, CleanSettings(normalize=settings.normalize), **given)
    assert np.array_equal(preview(image_set, other, settings, (20, 90), (10, 70)), cleaning.rejected[:, 20:90, 10:70])


def test_learning_reports_and_can_be_stopped():
    image_set, _ = cleaned()
    seen = []
    learn_model(image_set, progress=lambda done, total: seen.append(done / total))
    assert seen[0] == 0
    assert seen[-1] == 1
    assert seen == sorted(seen)
    for most in range(len(seen)):
        left = iter(range(most))
        with pytest.raises(CleanCancelled):
            learn_model(image_set, progress=lambda done, total, left=left: next(left, None) is not None)
