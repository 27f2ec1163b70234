"""What each event is, and what is kept: against the truth of simulated sets."""

import numpy as np
import pytest

from glue_cleanset import CleanSettings, clean_image_set, overrule
from glue_cleanset.core.settings import KINDS
from glue_cleanset.core.simulate import VARIANTS, Mover, Trail, draw_movers, simulate_set

SHAPE = (300, 320)
QUIET = {"hit_fraction": 0.0, "hot_fraction": 0.0, "cold_fraction": 0.0}
NOTHING_KEPT = CleanSettings(keep=())


def truth_at_peaks(simulated, events):
    where = tuple(np.asarray(events[name], int) for name in ("frame", "y_peak", "x_peak"))
    codes = simulated.kinds[where[0] - 1, where[1], where[2]]
    return np.array(["nothing", *KINDS])[codes]


@pytest.fixture(scope="module")
def mixed():
    movers = draw_movers(2, np.arange(7.0), SHAPE, seed=4, rates=(3, 12), peaks=(15, 40))
    changes = {"movers": movers, "trail": True, "star_density": 1e-3, **VARIANTS["hard"]}
    simulated = simulate_set(7, SHAPE, seed=4, kinds=True, **changes)
    return simulated, clean_image_set(simulated.frames)


@pytest.mark.parametrize(
    ("kind", "recall", "precision"),
    [("cosmic ray", 0.95, 0.9), ("hot pixel", 0.95, 0.97), ("cold pixel", 0.9, 0.9), ("moving object", 0.99, 0.99)],
)
def test_kinds_are_told_apart(mixed, kind, recall, precision):
    simulated, result = mixed
    told, truth = np.asarray(result.events["kind"]), truth_at_peaks(simulated, result.events)
    # what faint deposits are is not to be known
    clear = np.abs(result.events["peak_significance"]) > 5
    right = np.count_nonzero(clear & (told == kind) & (truth == kind))
    assert right > 10
    assert right >= recall * np.count_nonzero(clear & (truth == kind))
    assert right >= precision * np.count_nonzero(clear & (told == kind))


def test_what_the_parts_tell_of_kinds_agrees(mixed):
    simulated, result = mixed
    events, labels = result.events, result.event_labels()
    kept = np.isin(labels, events["event"][events["kept"]])
    assert kept.any()
    assert np.array_equal(labels > 0, result.rejected | kept)
    assert not (result.rejected & kept).any()
    assert np.array_equal(result.cleaned[~result.rejected], simulated.frames[~result.rejected])
    assert np.array_equal(result.rejection_map > 0, result.rejected.any(axis=0))
    assert np.array_equal(result.rejection_count, result.rejected.sum(axis=0))
    assert np.array_equal(result.kind_map > 0, (labels > 0).any(axis=0))
    for kind in KINDS:
        of_kind = events[events["kind"] == kind]
        counts = np.bincount(of_kind["frame"], minlength=8)[1:]
        assert np.array_equal(result.summary[kind.replace(" ", "_")], counts)
    assert set(events["kind"][events["kept"]]) == {"moving object"}
    assert ((events["track"] > 0) == (events["kind"] == "moving object")).all()
    assert set(events["track"]) == {0, *result.tracks["track"]}
    for row in events:
        y, x = int(row["y_peak"]), int(row["x_peak"])
        if result.rejection_count[y, x] + kept[:, y, x].sum() == 1:
            assert list(KINDS)[result.kind_map[y, x] - 1] == row["kind"]


def test_a_moving_object_is_kept_and_without_keeping_it_is_lost():
    simulated = simulate_set(6, SHAPE, seed=2, mover=True, **QUIET)
    light = simulated.mover_light > simulated.sigma
    result = clean_image_set(simulated.frames)
    assert len(result.tracks) == 1
    np.testing.assert_allclose(result.track_positions[0], simulated.mover, atol=0.1)
    assert not result.rejected[light].any()
    lost = clean_image_set(simulated.frames, NOTHING_KEPT)
    assert lost.rejected[light].mean() > 0.9
    assert np.array_equal(lost.events["kind"], result.events["kind"])
    assert np.count_nonzero(lost.events["kind"] == "moving object") == 6
    assert not lost.events["kept"].any()


def test_a_hit_on_a_moving_object_is_repaired_with_the_light_of_the_object():
    simulated = simulate_set(8, SHAPE, seed=3, mover=True, **QUIET)
    frames, (y, x) = simulated.frames.copy(), np.rint(simulated.mover[4]).astype(int)
    hit = 4, y, x + 1
    frames[hit] += 1500
    result = clean_image_set(frames)
    assert result.rejected[hit]
    assert result.rejected[4, y - 4 : y + 5, x - 4 : x + 5].sum() == 1
    number = result.event_labels()[hit]
    assert result.events["kind"][result.events["event"] == number] == "cosmic ray"
    truth = frames[hit] - 1500
    assert abs(result.cleaned[hit] - truth) < 5 * simulated.sigma[hit] + 0.1 * simulated.mover_light[hit]
    assert simulated.mover_light[hit] > 8 * simulated.sigma[hit]
    # also when something else at this place is overruled
    other = np.zeros(frames.shape, bool)
    other[(hit[0] + 2) % len(frames), *hit[1:]] = True
    again = overrule(result, frames, reject=other)
    assert again.rejected[hit]
    assert abs(again.cleaned[hit] - result.cleaned[hit]) < 3 * simulated.sigma[hit]
    assert again.cleaned[hit] != result.cleaned[hit]


@pytest.fixture(scope="module")
def with_variable_star():
    """A star that is half as bright in three frames of nine, and one hit on it in another."""
    simulated = simulate_set(9, SHAPE, seed=8, star_density=1.5e-3, **QUIET)
    inside = ((simulated.stars[:, :2] > 20) & (simulated.stars[:, :2] < np.array(SHAPE) - 20)).all(axis=1)
    alone = np.array([np.sort(np.hypot(*(simulated.stars[:, :2] - s[:2]).T))[1] > 15 for s in simulated.stars])
    star = simulated.stars[np.flatnonzero(inside & alone & (simulated.stars[:, 2] < 40000))]
    star = star[np.argmax(star[:, 2])]
    y, x = np.rint(star[:2]).astype(int)
    frames = simulated.frames.copy()
    around = np.hypot(*(np.mgrid[: SHAPE[0], : SHAPE[1]] - star[:2, None, None])) < 12
    faint = [1, 4, 6]
    sky = np.median(frames, axis=(1, 2))
    for i in faint:
        frames[i][around] = sky[i] + 0.5 * (frames[i][around] - sky[i])
    frames[7, y, x + 1] += 4000
    return frames, (y, x), faint


def test_a_variable_star_is_kept_and_a_hit_on_it_is_not(with_variable_star):
    frames, (y, x), faint = with_variable_star
    result = clean_image_set(frames)
    variable = result.events[result.events["kind"] == "variable star"]
    assert set(variable["frame"] - 1) == set(faint)
    assert variable["kept"].all()
    assert not result.rejected[faint, y, x].any()
    assert result.rejected[7, y, x + 1]
    repaired = clean_image_set(frames, NOTHING_KEPT)
    assert repaired.rejected[faint, y, x].all()


@pytest.mark.parametrize("fault", ["trailed", "defocused", "clouded"])
def test_a_bad_frame_is_named_and_no_other(fault):
    simulated = simulate_set(8, (400, 400), seed=2, bad={3: fault}, star_density=1e-3, **VARIANTS["hard"])
    result = clean_image_set(simulated.frames)
    named = [i for i, remark in enumerate(result.summary["remark"]) if remark.startswith("bad frame: ")]
    assert named == [3]
    assert set(result.events["frame"][result.events["kind"] == "bad frame"]) <= {4}
    assert any(result.summary["name"][3] in message for message in result.warnings)


def test_no_frame_is_bad_where_exposures_differ():
    """Half the exposure: half of the stars and of the sky."""
    simulated = simulate_set(6, SHAPE, seed=1, star_density=1e-3, spread=0.0, sky=400.0)
    frames = simulated.frames * np.array([1, 1, 1, 0.5, 1, 1], np.float32)[:, None, None]
    assert not any(clean_image_set(frames).summary["remark"])


def test_a_trail_is_one_event_of_all_its_pixels(mixed):
    simulated, result = mixed
    trails = result.events[result.events["kind"] == "trail"]
    # (crumbs of its rim aside)
    assert np.count_nonzero(trails["pixels"] > 30) == 1
    light = simulated.trail_light > simulated.sigma
    own = result.event_labels() == trails["event"][np.argmax(trails["pixels"])]
    assert own[light].mean() > 0.95
    hits = simulated.deposits > simulated.trail_light + 1
    assert np.count_nonzero(own & ~light & ~hits) < 0.01 * own.sum()
    assert result.rejected[own].all()


def test_without_kinds_nothing_is_told_or_kept(mixed):
    simulated, _ = mixed
    result = clean_image_set(simulated.frames, CleanSettings(kinds=False))
    assert set(result.events["kind"]) == {"other"}
    assert not result.events["kept"].any()
    assert not result.events["confidence"].any()
    assert len(result.tracks) == 0
    assert np.array_equal(result.event_labels() > 0, result.rejected)


@pytest.mark.parametrize(("detection", "high"), [("sigma", 2), ("mad", None), ("ccd", None)])
def test_detections_of_other_pipelines_reject_what_they_find(mixed, detection, high):
    simulated, _ = mixed
    told = clean_image_set(simulated.frames, CleanSettings(detection, high))
    plain = clean_image_set(simulated.frames, CleanSettings(detection, high, kinds=False))
    assert np.array_equal(told.rejected, plain.rejected)
    assert "hot pixel" in told.events["kind"]


@pytest.mark.parametrize(
    ("n", "shape", "changes"),
    [(2, SHAPE, {}), (3, (9, 11), {}), (5, (1, 300), {}), (6, SHAPE, {"flat": True}), (5, SHAPE, {"borders": True})],
)
def test_any_set_has_kinds(n, shape, changes):
    simulated = simulate_set(n, shape, seed=n, **changes)
    result = clean_image_set(simulated.frames)
    assert set(result.events["kind"]) <= set(KINDS)
    assert ((result.events["confidence"] >= 0) & (result.events["confidence"] <= 1)).all()
    assert np.isfinite(simulated.frames[result.event_labels() > 0]).all()


def slow_mover(**changes):
    """A bright object that covers each pixel of its way in most of the frames."""
    simulated = simulate_set(9, (200, 200), movers=[Mover(60, 40, 1.0, 300, 60)], star_density=1e-3, seed=3, **QUIET)
    return simulated, clean_image_set(simulated.frames, CleanSettings(**changes))


def test_limits_bind_moving_objects_too():
    _, result = slow_mover(keep=(), max_rejected=2)
    assert len(result.tracks) == 1
    assert result.rejection_count.max() == 2
    _, result = slow_mover(keep=(), min_frames=6, max_rejected=9)
    assert result.rejection_count.max() == 3


def test_a_slow_moving_object_is_no_variable_star_and_leaves_a_reference():
    simulated, result = slow_mover()
    assert set(result.events["kind"][result.events["kept"]]) == {"moving object"}
    assert np.isfinite(result.reference).all()
    assert np.array_equal(result.cleaned[simulated.mover_light > 0], simulated.frames[simulated.mover_light > 0])


def test_many_hits_make_no_star_vary():
    simulated = simulate_set(4, (400, 400), seed=1, star_density=2e-3, hit_fraction=0.02, seeing=0.05, jitter=0.1)
    told = clean_image_set(simulated.frames).rejected
    plain = clean_image_set(simulated.frames, CleanSettings(kinds=False)).rejected
    assert np.count_nonzero(plain & ~told) < 10


def test_what_is_switched_off_is_not_found_as_a_trail():
    simulated = simulate_set(6, SHAPE, seed=4, trail=True, **QUIET)
    for high in (np.inf, (np.inf, 4.5)):
        result = clean_image_set(simulated.frames, CleanSettings(high=high))
        assert not result.rejected[simulated.trail_light > simulated.sigma].any()


def test_what_has_grown_is_part_of_its_event():
    simulated = simulate_set(7, SHAPE, seed=5, hot_fraction=0.0, cold_fraction=0.0)
    plain, grown = (clean_image_set(simulated.frames, CleanSettings(grow=grow)) for grow in (0, 2))
    assert grown.rejected.sum() > 3 * plain.rejected.sum()
    dark = [np.count_nonzero(result.events["polarity"] == "dark") for result in (plain, grown)]
    assert dark[1] <= dark[0]


def test_a_new_source_is_kept():
    simulated = simulate_set(12, SHAPE, seed=6, star_density=1e-3, **QUIET)
    frames, (y, x) = simulated.frames.copy(), (150.3, 160.2)
    light = 400 * (1 + ((np.mgrid[: SHAPE[0], : SHAPE[1]] - [[[y]], [[x]]]) ** 2).sum(axis=0) / 2.94**2) ** -3.0
    frames[8:] += light.astype(np.float32)
    result = clean_image_set(frames)
    core = light > 200
    assert not result.rejected[8:, core].any()
    assert {"variable star"} <= set(result.events["kind"][result.events["kept"]])


@pytest.mark.parametrize("change", [{"trail": Trail(light=3000.0, width=2.0)}, {"hit_fraction": 0.1}])
def test_bright_trails_and_many_hits_make_no_frame_bad(change):
    simulated = simulate_set(9, (500, 500), seed=3, **(VARIANTS["hard"] | change))
    assert not any(clean_image_set(simulated.frames).summary["remark"])
