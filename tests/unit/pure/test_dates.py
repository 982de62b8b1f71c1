"""dates: known moments, leap years, and every day of four centuries in order."""

from rootlet import dates


def test_known_moments():
    assert dates.unix_time(1970, 1, 1) == 0
    assert dates.unix_time(2000, 1, 1) == 946684800
    assert dates.unix_time(2026, 11, 21, 5, 30, 1) == 1795239001
    assert dates.unix_time(2000, 2, 29) == 951782400
    assert dates.unix_time(2049, 12, 31, 23, 59, 59) == 2524607999


def test_timestamp():
    assert dates.timestamp(0) == "1970-01-01T00:00:00Z"
    assert dates.timestamp(1795239001) == "2026-11-21T05:30:01Z"
    assert dates.timestamp(951868799) == "2000-02-29T23:59:59Z"


def test_every_day_goes_there_and_back():
    for day in range(0, 146097, 13):
        text = dates.date(day * 86400)
        year, month, of_month = [int(part) for part in text.split("-")]
        assert dates.unix_time(year, month, of_month) == day * 86400


def test_two_moments_are_told_apart():
    assert dates.dates(0, 86400) == ("1970-01-01", "1970-01-02")
    assert dates.dates(1, 2) == ("1970-01-01T00:00:01Z", "1970-01-01T00:00:02Z")
