"""Events on the sky; the oracle is FITS counting from 1, and textbook positions."""

import numpy as np
import pytest
from astropy.coordinates import FK5, SkyCoord
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from fits_files import image, make_result, write_frame

from glue_cleanset.io.read import read_image_set
from glue_cleanset.io.sky import locate_events
from glue_cleanset.io.write import write_result

SKY = {
    "CTYPE1": "RA---TAN",
    "CTYPE2": "DEC--TAN",
    "CRVAL1": 150.25,
    "CRVAL2": -60.5,
    "CRPIX1": 4.0,
    "CRPIX2": 3.0,
    "CDELT1": -0.001,
    "CDELT2": 0.001,
}


def events(y, x):
    return Table({"event": np.arange(1, len(y) + 1), "y": y, "x": x, "pixels": [3] * len(y)})


def located(header, y=(2.0, 0.25, 5.0), x=(3.0, 7.5, 1.0)):
    return locate_events(events(y, x), WCS(fits.Header(header)))


def test_centres_in_degrees():
    table = located(SKY)
    assert table.colnames == ["event", "y", "x", "ra", "dec", "pixels"]
    assert (table["ra"].unit, table["dec"].unit) == ("deg", "deg")
    assert table["ra"].description == table["dec"].description == "ICRS"
    # the reference pixel of the header, counted from 1
    assert (table["ra"][0], table["dec"][0]) == pytest.approx((150.25, -60.5), abs=1e-12)
    expected = WCS(fits.Header(SKY)).wcs_pix2world([[4, 3], [8.5, 1.25], [2, 6]], 1)
    np.testing.assert_allclose(np.transpose([table["ra"], table["dec"]]), expected, rtol=0, atol=1e-12)


def test_the_table_is_not_changed():
    table = events([2.0], [3.0])
    assert locate_events(table, WCS(fits.Header(SKY))) is not table
    assert table.colnames == ["event", "y", "x", "pixels"]


def test_galactic_axes():
    # the galactic pole and centre in ICRS, as the tables of every handbook have them
    for b, position in ((90.0, (192.85948, 27.12825)), (0.0, (266.40499, -28.93617))):
        header = SKY | {"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN", "CRVAL1": 0.0, "CRVAL2": b}
        table = located(header, [2.0], [3.0])
        assert (table["ra"][0], table["dec"][0]) == pytest.approx(position, abs=1e-4)


def test_another_equinox():
    table = located(SKY | {"RADESYS": "FK5", "EQUINOX": 1975.0}, [2.0], [3.0])
    expected = SkyCoord(150.25, -60.5, unit="deg", frame=FK5(equinox="J1975")).icrs
    assert (table["ra"][0], table["dec"][0]) == pytest.approx((expected.ra.deg, expected.dec.deg), abs=1e-9)
    assert abs(table["ra"][0] - 150.25) > 0.1


def test_declination_first():
    swapped = {key[:-1] + {"1": "2", "2": "1"}[key[-1]]: value for key, value in SKY.items()}
    table, turned = located(SKY), located(swapped, y=(3.0, 7.5, 1.0), x=(2.0, 0.25, 5.0))
    np.testing.assert_allclose(turned["ra"], table["ra"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(turned["dec"], table["dec"], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "header", [{}, {"CTYPE1": "WAVE", "CTYPE2": "OFFSET"}, {"CTYPE1": "HPLN-TAN", "CTYPE2": "HPLT-TAN"}]
)
def test_what_is_not_the_sky_of_the_stars(header):
    table = events([2.0], [3.0])
    assert locate_events(table, WCS(fits.Header(header), naxis=2)) is table


def test_no_coordinates_and_no_events():
    table = events([2.0], [3.0])
    assert locate_events(table, None) is table
    assert located(SKY, [], []).colnames == ["event", "y", "x", "ra", "dec", "pixels"]


def test_the_written_events_have_them(tmp_path):
    paths = [write_frame(tmp_path / f"f{i}.fits", image(i), **SKY) for i in range(3)]
    image_set = read_image_set(paths)
    write_result(make_result(image_set), image_set, tmp_path / "out")
    table = Table.read(tmp_path / "out" / "events.ecsv")
    # events at (y, x) = (1, 2.5) and (4, 5)
    expected = WCS(fits.Header(SKY)).wcs_pix2world([[3.5, 2], [6, 5]], 1)
    np.testing.assert_allclose(np.transpose([table["ra"], table["dec"]]), expected, rtol=0, atol=1e-12)
    assert str(table["ra"].unit) == "deg"


def test_the_written_events_of_frames_without_a_sky(tmp_path):
    paths = [write_frame(tmp_path / f"f{i}.fits", image(i)) for i in range(3)]
    image_set = read_image_set(paths)
    write_result(make_result(image_set), image_set, tmp_path / "out")
    assert Table.read(tmp_path / "out" / "events.ecsv").colnames == ["event", "frame", "y", "x", "pixels"]
