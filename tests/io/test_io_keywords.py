import numpy as np
import pytest
from astropy.io import fits

from glue_cleanset.io.keywords import frame_facts


def facts(**cards):
    header = fits.Header()
    for keyword, value in cards.items():
        header[keyword.replace("_", "-")] = value
    return frame_facts(header)


@pytest.mark.parametrize("keyword", ["GAIN", "EGAIN", "E_GAIN", "CCDGAIN", "ATODGAIN", "HIERARCH ESO DET OUT1 CONAD"])
def test_gain(keyword):
    assert facts(**{keyword: 1.5})["gain"] == 1.5


def test_electrons_per_adu_before_the_setting_of_the_camera():
    assert facts(GAIN=139, EGAIN=0.8)["gain"] == 0.8


@pytest.mark.parametrize("keyword", ["RDNOISE", "READNOIS", "HIERARCH READNOISE", "READNSE", "RON", "ENOISE"])
def test_readnoise(keyword):
    assert facts(**{keyword: 6})["readnoise"] == 6


@pytest.mark.parametrize("keyword", ["EXPTIME", "EXPOSURE", "TEXPTIME"])
def test_exptime(keyword):
    assert facts(**{keyword: 60})["exptime"] == 60


@pytest.mark.parametrize("text", ["060.00", " 60.0 s", "6.D1", "+6E1 / seconds"])
def test_numbers_written_as_text(text):
    assert facts(EXPTIME=text)["exptime"] == 60


@pytest.mark.parametrize("value", [0, -1.0, "unknown", "", True, None])
def test_impossible_gain_is_not_known(value):
    assert np.isnan(facts(GAIN=value)["gain"])
    assert facts(GAIN=value, CCDGAIN=2.0)["gain"] == 2


def test_a_bias_has_an_exposure_time_of_zero():
    assert facts(EXPTIME=0.0)["exptime"] == 0


def test_silent_header():
    silent = facts()
    assert silent["date"] == silent["filter"] == ""
    assert np.isnan([silent["gain"], silent["readnoise"], silent["exptime"]]).all()


@pytest.mark.parametrize(
    ("cards", "date"),
    [
        ({"DATE_OBS": "2020-01-02T03:04:05.5"}, "2020-01-02T03:04:05.500"),
        ({"DATE_OBS": "2020-01-02", "TIME_OBS": "03:04:05.5"}, "2020-01-02T03:04:05.500"),
        ({"DATE_OBS": "2020-01-02", "UT": "3:04:05"}, "2020-01-02T03:04:05.000"),
        ({"DATE_OBS": "2020-01-02T03:04:05", "UT_OBS": "03:04:05"}, "2020-01-02T03:04:05.000"),
        ({"DATE_OBS": "2017-12-19T20:51:12.097-0700"}, "2017-12-20T03:51:12.097"),
        ({"UT_OBS": "2017-12-20T03:51:12.097-0000", "DATE_OBS": "2017-12-19T20:51:12"}, "2017-12-20T03:51:12.097"),
        ({"DATE_OBS": "31/12/98", "TIME_OBS": "01:02:03"}, "1998-12-31T01:02:03.000"),
        ({"DATE_OBS": "2020-01-02"}, "2020-01-02"),
        ({"MJD_OBS": 51544.5}, "2000-01-01T12:00:00.000"),
        ({"DATE_OBS": "last night"}, "last night"),
    ],
)
def test_date(cards, date):
    assert facts(**cards)["date"] == date


@pytest.mark.parametrize(
    ("cards", "name"),
    [
        ({"FILTER": " V "}, "V"),
        ({"FILTER": 3}, "3"),
        ({"FILTER1": "CLEAR1L", "FILTER2": "F814W"}, "F814W"),
        ({"FILTER1": "F555W", "FILTER2": "POL0V"}, "F555W+POL0V"),
        ({"FILTER1": "Clear", "FILTER2": "Clear"}, "Clear"),
    ],
)
def test_filter(cards, name):
    assert facts(**cards)["filter"] == name


def test_a_card_that_cannot_be_read_says_nothing():
    header = fits.Header.fromstring("GAIN    = 1.5.3.2 nonsense".ljust(80) + "EXPTIME = 060.00 / s".ljust(80))
    known = frame_facts(header)
    assert np.isnan(known["gain"])
    assert known["exptime"] == 60
