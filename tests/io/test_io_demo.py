"""The bundled set as files."""

import numpy as np
import pytest
from astropy.io import fits
from fits_files import mounted

from glue_cleanset.io.demo import write_demo_set
from glue_cleanset.io.read import read_image_set


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_demo_set(tmp_path_factory.mktemp("demo") / "set")


def test_it_is_a_set_with_header_facts(written):
    image_set = read_image_set(written)
    assert image_set.frames.shape == (9, 400, 500)
    assert image_set.names == tuple(f"demo_{i:02d}" for i in range(1, 10))
    gain, readnoise = image_set.header_noise()
    assert (gain > 0).all()
    assert (readnoise > 0).all()
    assert list(image_set.exptime) == [300] * 9
    assert image_set.wcs is not None
    assert sorted(path.name for path in written.iterdir()) == [f"demo_{i:02d}.fits" for i in range(1, 10)]


def test_written_again_nothing_changes(written):
    before = {path: path.stat().st_mtime_ns for path in written.iterdir()}
    write_demo_set(written)
    assert {path: path.stat().st_mtime_ns for path in written.iterdir()} == before


def test_a_missing_frame_is_made_again(written):
    path = written / "demo_04.fits"
    before = fits.getdata(path)
    path.unlink()
    write_demo_set(written)
    np.testing.assert_array_equal(fits.getdata(path), before)


def test_a_folder_with_other_frames_is_left_alone(tmp_path):
    mine = tmp_path / "mine.fit"
    fits.writeto(mine, np.ones((4, 5)))
    (tmp_path / "notes.txt").write_text("seeing 2 arcsec")
    with pytest.raises(FileExistsError, match=r"holds other FITS files, such as mine.fit.*give another folder"):
        write_demo_set(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    mine.unlink()
    assert len(list(write_demo_set(tmp_path).glob("*.fits"))) == 9


def test_a_demo_that_does_not_fit_on_the_disk_leaves_whole_files(written, tmp_path):
    sizes = {path.name: path.stat().st_size for path in written.iterdir()}
    most = sum(sizes.values())
    with mounted(tmp_path / "disk", f"size={most // 2}") as disk:
        with pytest.raises(OSError, match="No space left"):
            write_demo_set(disk)
        found = {path.name: path.stat().st_size for path in disk.iterdir()}
    assert 0 < len(found) < len(sizes)
    assert found.items() <= sizes.items()
