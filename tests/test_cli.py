import gzip
import io
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from glue_cleanset import cli
from glue_cleanset.core.settings import CENTRES, DETECTIONS, NORMALIZATIONS, REPAIRS, CleanSettings

SHARED = Path(__file__).parents[1].parent / "shared" / "data"
HITS = [(0, 10, 20), (1, 30, 5), (2, 30, 6), (4, 50, 40)]


@pytest.fixture
def folder(tmp_path):
    """Five frames in tmp_path/set: noise of a CCD on a sloping sky, and four hits."""
    rng = np.random.default_rng(4)
    level = np.linspace(200, 2000, 48) * np.ones((64, 1))
    (tmp_path / "set").mkdir()
    for i in range(5):
        frame = rng.normal(level, np.sqrt(level / 1.5 + (6 / 1.5) ** 2))
        for k, y, x in HITS:
            if k == i:
                frame[y, x] += 3000
        header = fits.Header({"GAIN": 1.5, "RDNOISE": 6.0, "EXPTIME": 30.0, "OBJECT": "sky"})
        fits.PrimaryHDU(np.round(frame).astype(np.uint16), header).writeto(tmp_path / "set" / f"f{i}.fits")
    return tmp_path / "set"


def run(*arguments):
    return cli.main([str(argument) for argument in arguments])


def error_of(capsys):
    """The one line that an error is told in."""
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if "error" in line]
    assert len(lines) == 1, captured.err
    assert "Traceback" not in captured.err
    return lines[0]


def test_cleans_a_set(folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("clean", folder, "-o", out) == 0
    rejected = np.array([fits.getdata(out / f"f{i}_crmask.fits") & 1 for i in range(5)]) != 0
    assert all(rejected[hit] for hit in HITS)
    assert rejected.mean() < 0.005
    for i in range(5):
        cleaned, raw = fits.getdata(out / f"f{i}_crclean.fits"), fits.getdata(folder / f"f{i}.fits")
        np.testing.assert_array_equal(cleaned[~rejected[i]], raw[~rejected[i]])
        assert fits.getval(out / f"f{i}_crclean.fits", "OBJECT") == "sky"
    number = fits.getdata(out / "rejection_map.fits")
    assert [number[y, x] for _, y, x in HITS] == [k + 1 for k, _, _ in HITS]
    events = Table.read(out / "events.ecsv")
    assert {(row["frame"] - 1, row["y_peak"], row["x_peak"]) for row in events} >= set(HITS)
    printed = capsys.readouterr().out
    assert all(f"f{i}" in printed for i in range(5))
    assert f"5 frames, {len(events)} events" in printed


def test_settings_reach_the_core(folder, tmp_path, monkeypatch):
    seen = {}

    def record(image_set, outdir, settings, **keywords):
        seen.update(keywords, settings=settings, names=image_set.names)
        raise KeyboardInterrupt

    monkeypatch.setattr("glue_cleanset.io.stream.clean_to_files", record)
    run(
        *("clean", folder / "f3.fits", folder / "f1.fits", "-o", tmp_path / "out"),
        *("--detection", "sigma", "--high", "7,inf", "--low", "3", "--grow", "2", "--normalize", "scale"),
        *("--repair", "constant", "--constant", "-5.5", "--max-rejected", "1", "--gain", "2", "--readnoise", "5,6"),
    )
    assert seen["settings"] == CleanSettings(
        "sigma", high=(7, np.inf), low=3, grow=2, normalize="scale", repair="constant", constant=-5.5, max_rejected=1
    )
    assert seen["names"] == ("f3", "f1")
    assert seen["gain"] == 2
    assert seen["readnoise"] == (5, 6)
    run(
        *("clean", folder, "-o", tmp_path / "out", "--detection", "sigma", "--centre", "mean", "--maxiters", "none"),
        *("--min-frames", "2", "--add-noise", "--seed", "3"),
    )
    assert seen["settings"] == CleanSettings(
        "sigma", centre="mean", maxiters=None, min_frames=2, add_noise=True, seed=3
    )
    run(
        *("clean", folder, "-o", tmp_path / "out", "--detection", "ccd", "--scale-noise", "0.02", "--maxiters", "7"),
        "--no-add-noise",
    )
    assert seen["settings"] == CleanSettings("ccd", scale_noise=0.02, maxiters=7)
    run("clean", folder, "-o", tmp_path / "out")
    assert seen["settings"] == CleanSettings()
    assert seen["gain"] is seen["readnoise"] is None
    run("clean", folder, "-o", tmp_path / "out", "--noise", "header")
    np.testing.assert_array_equal(seen["gain"], [1.5] * 5)
    np.testing.assert_array_equal(seen["readnoise"], [6] * 5)


def test_help_comes_from_the_settings(capsys):
    with pytest.raises(SystemExit) as stop:
        run("clean", "--help")
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    text = " ".join(printed.split())
    for field in fields(CleanSettings):
        assert re.search(f"^  --{field.name.replace('_', '-')}[ ,]", printed, re.MULTILINE)
    for choices in (DETECTIONS, NORMALIZATIONS, REPAIRS, CENTRES):
        for name, meaning in choices.items():
            assert re.search(f"^ +{name}: ", printed, re.MULTILINE)
            assert f"{name}: {meaning}" in text
    assert not re.search(r"`|=['\"]|None|True|False|[A-Z]{7}", text.split("settings:")[1])  # not the words of a script
    assert "Raise it when noise is rejected" in text
    assert f"(default {CleanSettings.repair})" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{set}", "-o", "{out}", "--repair", "magic"], "invalid choice: 'magic'"),
        (["{set}", "-o", "{out}", "--high", "a,b"], "'a,b' is not a number"),
        (["{set}", "-o", "{out}", "--maxiters", "2.5"], "'2.5' is not a whole number, nor 'none'"),
        (["{set}"], "required: -o/--out"),
        ([], "required: FRAMES"),
    ],
)
def test_wrong_usage(folder, tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit) as stop:
        run("clean", *(argument.format(set=folder, out=tmp_path / "out") for argument in arguments))
    assert stop.value.code == 2
    assert message in error_of(capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{set}/f0.fits"], "one frame cannot be compared with itself"),
        (["{set}/gone.fits"], "gone.fits does not exist"),
        (["{set}/*.fit"], "no file matches"),
        (["{set}", "--extension", "SCI"], "has no extension 'SCI'"),
        (["{set}", "--high", "-1"], "high is -1.0"),
        (["{set}", "--high", "3", "--low", "4"], "low (4) is above high (3)"),
        (["{set}", "--gain", "0"], "gain is 0"),
        (["{set}", "--gain", "1,2"], "gain has 2 values for 5 frames"),
        (["{set}", "--noise", "header", "--gain", "1"], "choose one"),
    ],
)
def test_bad_input_changes_nothing(folder, tmp_path, capsys, arguments, message):
    out = tmp_path / "out"
    assert run("clean", *(argument.format(set=folder) for argument in arguments), "-o", out) == 1
    assert message in error_of(capsys)
    assert not out.exists()


def test_existing_output_is_found_before_the_work(folder, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    (out / "f2_crmask.fits").write_text("mine")
    with monkeypatch.context() as context:
        context.setattr("glue_cleanset.io.stream.clean_to_files", lambda *args, **kw: pytest.fail("work was begun"))
        assert run("clean", folder, "-o", out) == 1
        assert "f2_crmask.fits exists already" in error_of(capsys)
    assert (out / "f2_crmask.fits").read_text() == "mine"
    assert run("clean", folder, "-o", out, "--overwrite") == 0
    assert fits.getdata(out / "f2_crmask.fits").shape == (64, 48)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (KeyboardInterrupt(), "glue-cleanset: stopped\n"),
        (MemoryError("Unable to allocate 9 TiB"), "does not fit in memory: Unable to allocate 9 TiB"),
        (RuntimeError("two\nlines"), "error: RuntimeError: two lines (a fault of glue-cleanset"),
    ],
)
def test_never_a_traceback(folder, tmp_path, capsys, monkeypatch, error, message):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr("glue_cleanset.io.stream.clean_to_files", fail)
    assert run("clean", folder, "-o", tmp_path / "out") == 1
    text = capsys.readouterr().err
    assert message in text
    assert "Traceback" not in text
    assert not (tmp_path / "out").exists()


def test_demo_is_started(monkeypatch, capsys):
    class Demo:
        @staticmethod
        def main(picture, directory):
            return 0 if (picture, directory) == ("p.png", "d") else 1

    monkeypatch.setitem(sys.modules, "glue_cleanset.qt.demo", Demo)
    assert run("demo", "--picture", "p.png", "--directory", "d") == 0


@pytest.mark.parametrize("missing", ["glue_qt", "qtpy.QtWidgets"])
def test_demo_without_glue_or_qt_writes_nothing(missing, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("QT_QPA_PLATFORM", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    assert run("demo") == 1
    assert "pip install 'glue-cleanset[pyqt6]'" in error_of(capsys)
    assert not list(tmp_path.iterdir())


def test_no_folder_for_the_output(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    before = sorted(folder.iterdir())
    assert run("clean", folder, "-o", "") == 1
    assert "--out is empty" in error_of(capsys)
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(("option", "value"), [("gain", "0"), ("gain", "1,2"), ("readnoise", "-3")])
def test_impossible_noise_is_told_before_any_work(folder, tmp_path, monkeypatch, capsys, option, value):
    monkeypatch.setattr("glue_cleanset.io.registration.registration_warning", lambda *_: pytest.fail("worked"))
    assert run("clean", folder, "-o", tmp_path / "out", f"--{option}={value}") == 1
    assert option in error_of(capsys)
    assert not (tmp_path / "out").exists()


def test_asking_for_help_loads_nothing_heavy():
    code = (
        "import sys; from glue_cleanset import cli; cli._parser(); "
        "print([m for m in ('numba', 'glue', 'qtpy', 'skimage', 'tqdm', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_frames_that_are_not_registered(tmp_path, capsys):
    raw = SHARED / "microobs_hatp32" / "raw"
    if not raw.is_dir():
        pytest.skip("the real image sets are not here")
    names = [raw / f"HATP-32171220{time}.fits" for time in ("042112", "042412", "042712")]
    assert run("clean", *names, "-o", tmp_path / "out") == 0
    text = capsys.readouterr().err
    assert "warning: The set is not registered: 2 of 3 frames are more than 0.5 px off" in text
    assert "HATP-32171220042712 (dy +3.4" in text


# --- bad files, registration -----------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("default:2 of 5 frames are left out")
def test_bad_files_are_named_before_any_work(folder, tmp_path, capsys):
    (folder / "f1.fits").write_bytes(b"")
    (folder / "f3.fits").write_bytes((folder / "f3.fits").read_bytes()[:4000])
    assert run("clean", folder, "-o", tmp_path / "out") == 1
    message = error_of(capsys)
    assert "2 of 5 frames cannot be used" in message
    assert "f1.fits is empty" in message
    assert re.search(r"f3\.fits is truncated", message)
    assert "--skip-bad" in message
    assert not (tmp_path / "out").exists()

    assert run("clean", folder, "-o", tmp_path / "out", "--skip-bad") == 0
    captured = capsys.readouterr()
    assert "warning: 2 of 5 frames are left out: " in captured.err
    assert "3 frames, " in captured.out
    assert sorted(path.name for path in (tmp_path / "out").glob("*_crclean.fits")) == [
        f"f{i}_crclean.fits" for i in (0, 2, 4)
    ]


@pytest.fixture
def drift(tmp_path):
    """Five frames of one field of stars, each moved by whole pixels, with their WCS; a hit in the third."""
    rng = np.random.default_rng(8)
    scene = np.full((140, 160), 200.0)
    y, x = np.mgrid[:140, :160]
    for cy, cx, peak in zip(*rng.uniform(5, 135, (2, 30)), rng.uniform(300, 5000, 30), strict=True):
        scene += peak * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * 1.4**2))
    (tmp_path / "drift").mkdir()
    for i in range(5):
        frame = rng.normal(scene[2 * i : 2 * i + 128, 12 - 3 * i : 140 - 3 * i], 4)
        if i == 2:
            frame[60, 70] += 3000
        header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 50.0, "CRVAL2": 20.0})
        header.update({"CRPIX1": 64.0 + 3 * i, "CRPIX2": 64.0 - 2 * i, "CDELT1": -1 / 3600, "CDELT2": 1 / 3600})
        fits.PrimaryHDU(np.round(frame).astype(np.int16), header).writeto(tmp_path / "drift" / f"d{i}.fits")
    return tmp_path / "drift"


@pytest.mark.parametrize("options", [("wcs",), ("wcs", "--whole-pixels"), ("stars",), ("stars", "--whole-pixels")])
def test_align(drift, tmp_path, capsys, options):
    if options == ("wcs",):
        pytest.importorskip("reproject")
    assert run("clean", drift, "-o", tmp_path / "out", "--align", *options) == 0
    captured = capsys.readouterr()
    method = "whole pixels" if len(options) > 1 else "cubic spline"
    assert f"aligned by {options[0]} to d0, {method}: largest shift dy +8." in captured.out
    assert "not registered" not in captured.err
    headers = [fits.getheader(tmp_path / "out" / f"d{i}_crclean.fits") for i in range(5)]
    assert {(header["CRPIX1"], header["CRPIX2"]) for header in headers} == {(64.0, 64.0)}
    assert f"aligned by {options[0]} to d0" in "".join(str(line) for line in headers[4]["HISTORY"])
    assert fits.getdata(tmp_path / "out" / "d2_crmask.fits")[64, 64] & 1  # the hit, 4 up and 6 to the left
    if len(options) > 1:
        cleaned, raw = fits.getdata(tmp_path / "out" / "d4_crclean.fits"), fits.getdata(drift / "d4.fits")
        kept = (fits.getdata(tmp_path / "out" / "d4_crmask.fits") == 0)[8:, :-12]
        np.testing.assert_array_equal(cleaned[8:, :-12][kept], raw[:-8, 12:][kept])
        assert np.isnan(cleaned[:8]).all()


def test_nothing_is_aligned_unless_asked_for(drift, tmp_path, capsys):
    assert run("clean", drift, "-o", tmp_path / "out") == 0
    assert "aligned by" not in capsys.readouterr().out
    assert fits.getval(tmp_path / "out" / "d4_crclean.fits", "CRPIX1") == 76


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--whole-pixels"], "--whole-pixels is given without --align"),
        (["--align", "stars", "--shifts", "s.txt"], "--shifts tells how frames were registered"),
        (["--align", "wcs", "--whole-pixels"], "no celestial WCS in the header of f0, f1, f2, f3, f4; align by stars"),
        (["--align", "stars"], "f1, f2, f3, f4: no stars in common with f0"),
    ],
)
def test_what_cannot_be_aligned(folder, tmp_path, capsys, arguments, message):
    assert run("clean", folder, "-o", tmp_path / "out", *arguments) == 1
    assert message in error_of(capsys)
    assert not (tmp_path / "out").exists()


# --- runs that are stopped -------------------------------------------------------------------------------------------


@pytest.fixture
def whole(folder, tmp_path):
    """What an undisturbed run writes."""
    assert run("clean", folder, "-o", tmp_path / "whole") == 0
    return bytes_of(tmp_path / "whole")


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} if folder.exists() else {}


def test_stopped_and_resumed(folder, tmp_path, capsys, monkeypatch, whole):
    out = tmp_path / "out"
    with monkeypatch.context() as context:
        context.setattr(cli, "_shown_by", lambda bar: _stop_at(0.6, KeyboardInterrupt()))
        assert run("clean", folder, "-o", out, "--memory", "1e-9") == 1
    assert capsys.readouterr().err.endswith("glue-cleanset: stopped; go on with the same command and --resume\n")
    assert not bytes_of(out)

    assert run("clean", folder, "-o", out) == 1
    assert f"{out} holds an unfinished run; go on with it (resume, --resume)" in error_of(capsys)
    assert run("clean", folder, "-o", out, "--resume", "--grow", "1", "--high", "5") == 1
    assert f"the unfinished run in {out} was begun with another setting grow=0, high=4.5; give" in error_of(capsys)
    (folder / "f1.fits").touch()
    assert run("clean", folder, "-o", out, "--resume") == 1
    assert "another content of f1 (changed since)" in error_of(capsys)
    assert not bytes_of(out)

    assert run("clean", folder, "-o", out, "--overwrite") == 0
    assert bytes_of(out) == whole
    capsys.readouterr()
    assert run("clean", folder, "-o", out, "--resume") == 0  # as where it was killed after its last step
    assert "nothing is left to do" in capsys.readouterr().out
    for more in (["--grow", "1"], ["--gain", "2"]):
        assert run("clean", folder, "-o", out, "--resume", *more) == 1
        assert "there is no unfinished run" in error_of(capsys)
    (folder / "f1.fits").touch()
    assert run("clean", folder, "-o", out, "--resume") == 1
    assert "there is no unfinished run" in error_of(capsys)
    assert bytes_of(out) == whole


def test_frames_of_the_same_names_are_not_taken_for_those_that_were_cleaned(folder, tmp_path, capsys, whole):
    other = tmp_path / "other"
    other.mkdir()
    for path in folder.glob("*.fits"):
        with fits.open(path) as hdus:
            fits.writeto(other / path.name, hdus[0].data[::-1].copy(), hdus[0].header)
        os.utime(other / path.name, (1e9, 1e9))  # older than what is cleaned
    assert run("clean", folder, "-o", tmp_path / "whole", "--resume") == 0
    assert "nothing is left to do" in capsys.readouterr().out
    assert run("clean", other, "-o", tmp_path / "whole", "--resume") == 1
    assert "there is no unfinished run" in error_of(capsys)
    assert bytes_of(tmp_path / "whole") == whole


def test_frames_that_were_cleaned_with_a_given_gain_are_not_those_of_a_gain_that_is_found(folder, tmp_path, capsys):
    assert run("clean", folder, "-o", tmp_path / "out", "--gain", "1.5") == 0
    assert run("clean", folder, "-o", tmp_path / "out", "--resume") == 1
    assert "there is no unfinished run" in error_of(capsys)


def test_resumed(folder, tmp_path, monkeypatch, whole):
    out = tmp_path / "out"
    for share in (0.1, 0.5, 0.9):
        with monkeypatch.context() as context:
            context.setattr(cli, "_shown_by", lambda bar, share=share: _stop_at(share, KeyboardInterrupt()))
            assert run("clean", folder, "-o", out, "--resume", "--memory", "1e-9") == 1
    assert run("clean", folder, "-o", out, "--resume") == 0
    assert bytes_of(out) == whole
    assert sorted(path.name for path in out.iterdir()) == sorted(whole)


def _stop_at(share, error):
    def progress(done, total):
        if done > share * total:
            raise error

    return progress


def test_a_full_disk_is_told_in_one_line(folder, tmp_path, capsys, monkeypatch, whole):
    out = tmp_path / "out"
    with monkeypatch.context() as context:
        context.setattr("numpy.savez", lambda *args: _fail(OSError(28, "No space left on device")))
        assert run("clean", folder, "-o", out) == 1
    assert "no space is left for" in error_of(capsys)
    assert not bytes_of(out)
    assert run("clean", folder, "-o", out, "--resume") == 0
    assert bytes_of(out) == whole

    with monkeypatch.context() as context:
        context.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
        assert run("clean", folder, "-o", tmp_path / "other") == 1
    assert re.search(r"needs 0.000\d+ GB on the disk, 1e-06 GB are free", error_of(capsys))
    assert not (tmp_path / "other").exists()


def _fail(error):
    raise error


@pytest.mark.parametrize("memory", ["0", "-1", "nan", "inf", "much"])
def test_memory_is_a_number_of_gigabytes(folder, tmp_path, capsys, memory):
    with pytest.raises(SystemExit):
        run("clean", folder, "-o", tmp_path / "out", f"--memory={memory}")
    assert "is not a positive number of GB" in error_of(capsys)


@pytest.mark.filterwarnings("default:6 of 11 frames are left out")
def test_bad_files_of_every_kind(folder, tmp_path, capsys):
    """Named all at once, before any work, and left out on demand."""
    good = fits.getdata(folder / "f0.fits")
    rng = np.random.default_rng(1)
    bad = {
        "b1": fits.PrimaryHDU(good[:50]),
        "b2": fits.PrimaryHDU(np.full(good.shape, np.nan, "f4")),
        "b3": fits.PrimaryHDU(np.full(good.shape, 7, "i2")),
        "b4": fits.PrimaryHDU(good),
    }
    for name, hdu in bad.items():
        hdu.writeto(folder / f"{name}.fits")
    (folder / "b4.fits").write_bytes((folder / "b4.fits").read_bytes()[:5000])
    # damage that shows only where all of it is read
    noise = rng.normal(1000, 30, good.shape).astype("i2")
    packed = bytearray(gzip.compress(fits_bytes(fits.PrimaryHDU(noise))))
    packed[len(packed) // 2] ^= 255
    (folder / "b5.fits.gz").write_bytes(packed)
    tiles = fits_bytes(fits.PrimaryHDU(), fits.CompImageHDU(noise, compression_type="GZIP_1"))
    with fits.open(io.BytesIO(tiles), disable_image_compression=True) as hdus:
        begin = hdus[1].fileinfo()["datLoc"] + hdus[1].header["THEAP"] if "THEAP" in hdus[1].header else None
        begin = begin or hdus[1].fileinfo()["datLoc"] + hdus[1].header["NAXIS1"] * hdus[1].header["NAXIS2"]
    tiles = bytearray(tiles)
    tiles[begin + 2000 : begin + 2400] = bytes(400)
    (folder / "b6.fits.fz").write_bytes(tiles)
    before = bytes_of(folder)

    assert run("clean", folder, "-o", tmp_path / "out") == 1
    message = error_of(capsys)
    assert "6 of 11 frames cannot be used" in message
    for name, fault in (
        ("b1.fits", "is (50, 48), most frames are (64, 48)"),
        ("b2.fits", "has no finite unmasked pixel"),
        ("b3.fits", "is constant (7) and holds no image"),
        ("b4.fits", "is truncated"),
        ("b5.fits.gz", "cannot be read"),
        ("b6.fits.fz", "cannot be read"),
    ):
        assert re.search(rf"{re.escape(name)}[^;]* {re.escape(fault)}", message), (name, message)
    assert not (tmp_path / "out").exists()
    assert run("clean", folder, "-o", tmp_path / "out", "--skip-bad") == 0
    captured = capsys.readouterr()
    assert "6 of 11 frames are left out" in captured.err
    assert sorted(path.name for path in (tmp_path / "out").glob("*_crclean.fits")) == [
        f"f{i}_crclean.fits" for i in range(5)
    ]
    assert bytes_of(folder) == before


def fits_bytes(*hdus):
    file = io.BytesIO()
    fits.HDUList(list(hdus)).writeto(file)
    return file.getvalue()
