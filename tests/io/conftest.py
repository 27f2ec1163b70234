from pathlib import Path

import pytest
from fits_files import image, write_frame

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


@pytest.fixture
def shared():
    if not SHARED.is_dir():
        pytest.skip("the real image sets are not here")
    return SHARED


@pytest.fixture
def frames(tmp_path):
    """Three files f1.fits ... f3.fits with gain, read noise and exposure time."""
    folder = tmp_path / "frames"
    folder.mkdir()
    return [
        write_frame(
            folder / f"f{i + 1}.fits",
            image(i),
            GAIN=1.5,
            RDNOISE=6.0,
            EXPTIME=60.0 + i,
            FILTER="R",
            DATE_OBS=f"2020-01-0{i + 1}T01:02:03",
            BUNIT="adu",
        )
        for i in range(3)
    ]
