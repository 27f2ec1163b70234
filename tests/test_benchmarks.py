"""The scorer of the benchmarks against truth made by hand, the injection, and the command on a tiny set."""

import importlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from glue_cleanset.core.simulate import SimulatedSet

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # run from the checkout, not installed
scorer = importlib.import_module("benchmarks.score")
real = importlib.import_module("benchmarks.real")
peers = importlib.import_module("benchmarks.peers")


@pytest.fixture
def truth():
    """2 frames of 20 x 30 pixels, noise 2 ADU, one star; deposits of 7, 1 (faint) and 8 ADU (on the star), and -40."""
    frames = np.full((2, 20, 30), 100.0, np.float32)
    deposits = np.zeros_like(frames)
    deposits[0, 2, 3], deposits[0, 2, 4] = 7.0, 1.0
    deposits[1, 10, 12], deposits[1, 17, 27] = 12.0, -40.0
    return SimulatedSet(
        frames=frames + deposits,
        deposits=deposits,
        sigma=np.full_like(frames, 2.0),
        stars=np.array([[10.0, 10.0, 2e4]]),
        scales=np.ones(2),
        offsets=np.zeros(2),
        gain=1.0,
        readnoise=0.5,
    )


def test_near_stars_counts_pixel_centres():
    near = scorer.near_stars((20, 30), [(10.0, 10.0, 1.0), (0.4, 29.0, 1.0), (-50.0, 5.0, 1.0)])
    y, x = np.mgrid[:20, :30]
    expected = ((y - 10) ** 2 + (x - 10) ** 2 <= 9) | ((y - 0.4) ** 2 + (x - 29) ** 2 <= 9)
    np.testing.assert_array_equal(near, expected)


def test_perfect_rejection_scores_one(truth):
    figures = scorer.score(truth, np.abs(truth.deposits) > 6)
    assert figures == {"f1": 1.0, "missed": 0.0, "false": 0.0, "false_stars": 0.0, "found_stars": 1.0}


def test_faint_deposits_count_neither_way(truth):
    assert scorer.score(truth, truth.deposits != 0) == scorer.score(truth, np.abs(truth.deposits) > 6)


def test_nothing_rejected_scores_zero(truth):
    figures = scorer.score(truth, np.zeros(truth.frames.shape, bool))
    assert (figures["f1"], figures["missed"], figures["false"], figures["found_stars"]) == (0.0, 1.0, 0.0, 0.0)


def test_counts_by_hand(truth):
    rejected = np.zeros(truth.frames.shape, bool)
    rejected[0, 2, 3] = rejected[1, 17, 27] = True  # two of three found
    rejected[0, 10, 10] = rejected[0, 0, 0] = True  # two false, one of them on the star
    figures = scorer.score(truth, rejected)
    assert figures["f1"] == pytest.approx(2 * 2 / (2 * 2 + 1 + 2))
    assert figures["missed"] == pytest.approx(1 / 3)
    assert figures["false"] == pytest.approx(2 / (2 * 20 * 30 - 4))
    assert figures["false_stars"] == pytest.approx(1 / (2 * 29 - 1))  # 29 centres lie within 3 px of a centre
    assert figures["found_stars"] == 0.0


def test_pixels_that_are_not_finite_count_neither_way(truth):
    frames = truth.frames.copy()
    frames[1, 10, 12] = frames[0, 0, 0] = np.nan
    rejected = np.abs(truth.deposits) > 6
    rejected[1, 10, 12], rejected[0, 0, 0] = False, True
    figures = scorer.score(replace(truth, frames=frames), rejected)
    assert (figures["f1"], figures["false"]) == (1.0, 0.0)
    assert np.isnan(figures["found_stars"])


def test_light_of_a_mover_counts_neither_way(truth):
    light = np.zeros_like(truth.frames)
    light[0, 5, 5] = 50.0
    rejected = np.abs(truth.deposits) > 6
    rejected[0, 5, 5] = True
    assert scorer.score(truth, rejected)["f1"] < 1
    assert scorer.score(replace(truth, mover_light=light), rejected)["f1"] == 1.0


def test_untouched_stars_have_no_bias_and_a_hit_left_in_shows(truth):
    figures = scorer.score_stars(truth, truth.frames)
    assert figures["bias_bright"] == figures["mean_bright"] == 0.0
    assert np.isnan(figures["bias_faint"])
    # 12 ADU left in an aperture of 49 pixels with a variance of photons of 4 - 0.25 each
    assert figures["repaired"] == pytest.approx(12 / np.sqrt(49 * 3.75), rel=1e-5)
    assert scorer.score_stars(truth, truth.frames - truth.deposits)["repaired"] == 0.0


def test_bias_is_that_of_frames_without_a_hit(truth):
    cleaned = truth.frames.copy()
    cleaned[:, 10, 10] -= 200.0  # 1 % of the star, in the frame with the hit as well
    figures = scorer.score_stars(truth, cleaned)
    assert figures["bias_bright"] == pytest.approx(-1.0)
    assert figures["repaired"] == pytest.approx(188 / np.sqrt(49 * 3.75), rel=1e-5)
    assert figures["within_2"] == 0.0


def test_faint_stars_are_counted_apart(truth):
    star = np.array([[10.0, 10.0, 5e3]])
    cleaned = truth.frames.copy()
    cleaned[0, 10, 10] += 50.0
    figures = scorer.score_stars(replace(truth, stars=star), cleaned)
    assert figures["bias_faint"] == pytest.approx(1.0)
    assert np.isnan(figures["bias_bright"])


def test_common_scale_takes_scales_and_offsets_out(small_set):
    frames, error = peers.common_scale(small_set)
    sky = np.median(frames, axis=(1, 2))
    assert np.ptp(np.median(small_set.frames, axis=(1, 2))) > 10
    assert np.ptp(sky) < 1
    quiet = small_set.deposits == 0
    scaled_truth = small_set.sigma / small_set.scales[:, None, None]
    np.testing.assert_allclose(np.median(error[quiet] / scaled_truth[quiet]), 1, atol=0.01)


@pytest.mark.parametrize("name", ["astropy mean/std", "astropy median/MAD", "numpy median/MAD"])
def test_tuning_never_makes_a_peer_worse(small_set, name):
    peer = next(peer for peer in peers.installed_peers() if peer.name == name)
    scaled = peers.common_scale(small_set)
    tuned = peers.tune(peer, small_set)
    tuned_f1 = scorer.score(small_set, peer.run(*scaled, **tuned))["f1"]
    assert tuned_f1 >= scorer.score(small_set, peer.run(*scaled, **peer.start))["f1"]
    assert tuned_f1 > 0.4


def test_injected_footprints_are_whole_numbers_below_the_largest():
    frames = np.full((3, 200, 200), 32700, np.int16)
    injected, deposits = real.inject_footprints(frames, gain=2.0, seed=1)
    assert injected.dtype == np.int16
    assert injected.max() == 32767
    np.testing.assert_array_equal(injected - frames, deposits)
    assert (np.count_nonzero(deposits, axis=(1, 2)) > 50).all()
    assert len({one.tobytes() for one in deposits}) == 3


def run_command(*args):
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *args], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_command_prints_the_tables():
    done = run_command(
        "accuracy", "speed", "--quick", "--no-peers", "--variants", "base", "--frames", "5", "--size", "96"
    )
    assert done.returncode == 0, done.stderr
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines() if "|" in line]
    accuracy = dict(zip(rows[0], rows[2], strict=True))
    assert (accuracy["set"], accuracy["N"]) == ("base", "5")
    assert 0.8 < float(accuracy["F1"]) <= 1
    methods = {row[0] for row in rows}
    assert {"parallel copy", "ours"} <= methods
    assert "stcal resampled" not in methods


def test_command_goes_from_files_to_files():
    done = run_command("streaming", "--quick", "--size", "64")
    assert done.returncode == 0, done.stderr
    rows = [line.split("|") for line in done.stdout.splitlines() if line.startswith("| 5 x")]
    assert [row[1].strip() for row in rows] == ["5 x 32^2", "5 x 64^2"]
    assert all(float(row[5]) > 0 for row in rows)


def test_command_waits_for_the_panel():
    pytest.importorskip("glue_qt")
    done = run_command("interaction", "--quick", "--size", "96")
    assert done.returncode == 0, done.stderr
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("| pixel trace")]
    median, most, longest = (float(cell) for cell in row.split("|")[2:5])
    assert 0 < median <= most <= longest


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["nonsense"], "unknown part 'nonsense'"),
        (["--frames", "1"], "at least 2 frames"),
        (["--variants", "x"], "choose"),
    ],
)
def test_command_refuses_what_it_cannot_do(args, message):
    done = run_command(*args)
    assert done.returncode == 2
    assert message in done.stderr
