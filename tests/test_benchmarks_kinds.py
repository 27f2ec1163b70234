"""The scorer of kinds, tracks and trails against results that are made from the truth, and spoilt by hand."""

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.table import Table, vstack
from scipy import ndimage

from glue_cleanset.core.settings import KINDS
from glue_cleanset.core.simulate import Mover, Trail, simulate_set

sys.path.insert(0, str(Path(__file__).parents[1]))  # run from the checkout, not installed
scorer = importlib.import_module("benchmarks.kinds")

NAMES = list(KINDS)
KEPT = ("moving object", "variable star")


@pytest.fixture(scope="module")
def truth():
    movers = [Mover(20.0, 15.0, 4.0, 300.0, 40.0), Mover(60.0, 70.0, 2.0, 10.0, 12.0)]
    return simulate_set(
        5, (90, 100), seed=8, star_density=0, hot_fraction=1e-3, cold_fraction=5e-4, movers=movers, kinds=True,
        trail=Trail(width=2.0), bad={1: "clouded"},
    )  # fmt: skip


def result_of(codes, simulated, grown=0):
    """What a cleaning would give that takes all pixels of a kind that hang together for an event of that kind."""
    events, numbers = [], np.zeros(codes.shape, int)
    for code in np.unique(codes[codes > 0]):
        for i, frame in enumerate(codes):
            here = frame == code
            if NAMES[code - 1] == "trail" and grown:
                here = ndimage.binary_dilation(here, iterations=grown)
            labels, count = ndimage.label(here, np.ones((3, 3)))
            for k in range(1, count + 1):
                y, x = np.argwhere(labels == k)[0]
                events.append((i + 1, NAMES[code - 1], y, x))
            numbers[i][here] = labels[here] + len(events) - count
    table = Table(rows=events, names=("frame", "kind", "y_peak", "x_peak"))
    pixels = np.flatnonzero(numbers)
    flat = numbers.reshape(-1)[pixels]
    rejected = np.zeros(codes.size, bool)
    rejected[pixels] = ~np.isin(table["kind"][flat - 1], KEPT)
    tracks = Table(
        {
            "first": np.ones(len(simulated.mover_rates), int),
            "last": np.full(len(simulated.mover_rates), len(codes)),
            "rate": simulated.mover_rates,
            "position_angle": simulated.mover_angles,
        }
    )
    return SimpleNamespace(
        events=table,
        event_pixels=pixels,
        event_numbers=flat,
        rejected=rejected.reshape(codes.shape),
        tracks=tracks,
        track_positions=simulated.mover_positions.copy(),
        summary=Table({"remark": np.array(["", "bad frame: clouded", "", "many pixels", ""])}),
    )


@pytest.fixture
def perfect(truth):
    return result_of(truth.kinds, truth)


def event_at(truth, result, code):
    """The first event (0-based) on pixels of a kind in a good frame."""
    good = np.asarray(result.events["frame"]) != 2
    return np.flatnonzero(good & (np.asarray(result.events["kind"]) == NAMES[code - 1]))[0]


def test_the_truth_is_on_the_diagonal(truth, perfect):
    counts = scorer.count_kinds(truth, perfect)
    assert counts[0].sum() == 0
    np.testing.assert_array_equal(counts[1:], np.diag(np.diag(counts[1:])))
    assert counts.sum() == len(perfect.events)
    for kind in ("cosmic ray", "hot pixel", "cold pixel", "moving object", "trail", "bad frame"):
        assert counts[1 + NAMES.index(kind), NAMES.index(kind)] > 0


def test_a_wrong_kind_is_off_the_diagonal(truth, perfect):
    event = event_at(truth, perfect, 2)
    before = scorer.count_kinds(truth, perfect)
    perfect.events["kind"][event] = "cosmic ray"
    change = scorer.count_kinds(truth, perfect) - before
    assert (change[2, 0], change[2, 1], np.abs(change).sum()) == (1, -1, 2)


def test_an_event_on_nothing_is_noise(truth, perfect):
    y, x = np.argwhere(truth.kinds[0] == 0)[40]
    perfect.events.add_row((1, "cosmic ray", y, x))
    perfect.event_pixels = np.append(perfect.event_pixels, np.ravel_multi_index((0, y, x), truth.kinds.shape))
    perfect.event_numbers = np.append(perfect.event_numbers, len(perfect.events))
    assert scorer.true_kinds(truth, perfect)[-1] == 0


def test_most_pixels_decide_and_the_peak_where_they_are_even():
    kinds = np.zeros((1, 2, 6), np.uint8)
    kinds[0, 0, :5] = 1, 1, 4, 0, 0  # two of a hit, one of a mover, nothing on two
    kinds[0, 1, :2] = 1, 4
    events = Table(rows=[(1, "other", 0, 2), (1, "other", 1, 1)], names=("frame", "kind", "y_peak", "x_peak"))
    result = SimpleNamespace(
        events=events, event_pixels=np.array([0, 1, 2, 3, 4, 6, 7]), event_numbers=np.array([1, 1, 1, 1, 1, 2, 2])
    )
    np.testing.assert_array_equal(scorer.true_kinds(SimpleNamespace(kinds=kinds, bad={}), result), [1, 4])


def test_all_of_a_bad_frame_may_be_told_so(truth, perfect):
    bad = np.asarray(perfect.events["frame"]) == 2
    perfect.events["kind"][bad] = "bad frame"
    counts = scorer.count_kinds(truth, perfect)
    column = NAMES.index("bad frame")
    assert counts[1 + column, column] == counts[:, column].sum() == bad.sum()
    perfect.events["kind"][~bad] = "bad frame"
    assert scorer.count_kinds(truth, perfect)[1 + column, column] == bad.sum()


def test_movers_that_are_found(truth, perfect):
    np.testing.assert_array_equal(scorer.match_tracks(truth, perfect), [0, 1])
    movers, false = scorer.measure_movers(truth, perfect)
    assert false == 0
    assert movers[0]["rate_best"] > 0.99 > movers[1]["rate_best"] > 0.5  # 40 sigma, 4 pixels; 12 sigma, 2 pixels
    for mover in movers:
        assert mover["tracks"] == 1
        assert mover["rate_error"] == mover["angle_error"] == 0
        assert mover["kept_1"] == mover["light_1"] > mover["light_3"] == mover["kept_3"] > 0
    assert movers[0]["light_1"] > movers[1]["light_1"]


def test_split_false_and_missing_tracks(truth, perfect):
    second, astray = perfect.track_positions[:1] + 1.0, perfect.track_positions[1:] + 15.0
    perfect.track_positions = np.concatenate([perfect.track_positions[:1], second, astray])
    perfect.tracks = vstack([perfect.tracks[:1], perfect.tracks[:1], perfect.tracks[1:]])
    movers, false = scorer.measure_movers(truth, perfect)
    assert [mover["tracks"] for mover in movers] == [2, 0]
    assert np.isnan([mover["rate_error"] for mover in movers]).all()
    assert false == 1


def test_a_track_counts_where_it_was_seen(truth, perfect):
    perfect.tracks["last"][0] = 3
    perfect.track_positions[0, 3:] += 50
    np.testing.assert_array_equal(scorer.match_tracks(truth, perfect), [0, 1])
    perfect.tracks["first"][0], perfect.tracks["last"][0] = 3, 5
    np.testing.assert_array_equal(scorer.match_tracks(truth, perfect), [-1, 1])


def test_errors_of_rate_and_angle(truth, perfect):
    perfect.tracks["rate"][0] *= 1.03
    perfect.tracks["position_angle"][1] += 355  # 10 + 355 = 5
    movers, _ = scorer.measure_movers(truth, perfect)
    assert movers[0]["rate_error"] == pytest.approx(0.03)
    assert movers[1]["angle_error"] == pytest.approx(5)


def test_least_error_is_that_of_a_perfect_fit():
    # many fits, by least squares, of an object whose form is known
    rng = np.random.default_rng(3)
    y, x = np.mgrid[-9:10, -9:10].astype(float)
    width = 3.0 / (2 * np.sqrt(2 ** (1 / 3) - 1))
    profile = 20.0 * (1 + (y**2 + x**2) / width**2) ** -3
    slope = -6 * x / width**2 * profile / (1 + (y**2 + x**2) / width**2)  # along x
    noise = rng.normal(size=(2000, 6, *x.shape))
    places = -(noise * slope).sum(axis=(2, 3)) / (slope**2).sum()
    rates = np.polyfit(np.arange(6.0), places.T, 1)[0]
    assert scorer.least_error(np.full(6, 20.0), np.arange(6)) == pytest.approx(rates.std(), rel=0.06)
    # a registration error that is far greater counts alone; a frame without the object does not
    jittered = scorer.least_error([1e3, 1e3, 1e3, 0.0], [0, 1, 2, 9], jitter=0.1)
    assert jittered == pytest.approx(0.1 / np.sqrt(2), rel=1e-3)


def test_rejected_light_of_a_mover_is_not_kept(truth, perfect):
    y, x = np.rint(truth.mover_positions[0, 2]).astype(int)
    perfect.rejected[2, y, x] = True
    movers, _ = scorer.measure_movers(truth, perfect)
    assert movers[0]["light_3"] - movers[0]["kept_3"] == 1
    assert movers[1]["light_1"] == movers[1]["kept_1"]


def test_a_trail_that_is_found_and_one_that_is_grown(truth, perfect):
    figures = scorer.score_trail(truth, perfect)
    assert figures["found"] == 1.0
    assert figures["told"] > 0.95  # the rest is told to be the hits on it
    assert figures["beyond"] == figures["far"] == 0.0
    figures = scorer.score_trail(truth, result_of(truth.kinds, truth, grown=3))
    assert 0.03 < figures["far"] < figures["beyond"] < 0.5
    told = NAMES.index("trail") + 1
    halved = np.where((truth.kinds == told) & (np.arange(100) > 50), 0, truth.kinds)
    figures = scorer.score_trail(truth, result_of(halved, truth))
    assert 0.3 < figures["found"] < 0.7


def test_bad_frames_are_those_whose_remark_says_so(perfect):
    assert scorer.bad_frames(perfect) == [1]


def test_tables_of_a_tiny_run(monkeypatch):
    monkeypatch.setattr(scorer, "MICROOBS", Path("nowhere"))
    tables = scorer.measure_kinds(64, (5,), 0, 1, 64, 1)
    cells = {}
    for table in tables:
        lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if "|" in line]
        cells[table.split("**")[1].split(":")[0]] = [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]
    matrix = cells["Events by what they are (rows) and what they are told to be"]
    assert [row["truth"] for row in matrix] == [*NAMES, "noise", "precision"]
    assert sum(int(row["cosmic ray"]) for row in matrix[:-1]) > 20
    (found,) = (rows for title, rows in cells.items() if title.startswith("What is found"))
    assert {row["set"]: row["sets"] for row in found} == {
        **dict.fromkeys((*scorer.MIX, *scorer.TRAILS, *(f"{name}, movers" for name in scorer.MOVING)), "1"),
        "trail": "2",
    }
    (f1,) = (rows for title, rows in cells.items() if title.startswith("F1"))
    assert {(row["set"], row["N"], row["movers"]) for row in f1} >= {("base", "5", "0"), ("hard", "3", "8")}
    assert all(float(row["F1"]) > 0.5 for row in f1)
