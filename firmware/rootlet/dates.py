"""Dates as seconds from 1970 and back, in UTC, the same on every port whatever its epoch."""


def unix_time(year, month, day, hour=0, minute=0, second=0):
    """Seconds from 1970-01-01 to a date of the proleptic Gregorian calendar."""
    y = year - (month <= 2)
    era = y // 400
    of_era = y - era * 400
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    days = era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468
    return ((days * 24 + hour) * 60 + minute) * 60 + second


def date(seconds):
    """Unix seconds as "YYYY-MM-DD"."""
    days = seconds // 86400 + 719468
    era = days // 146097
    of_era = days - era * 146097
    year = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    month = (5 * of_year + 2) // 153
    day = of_year - (153 * month + 2) // 5 + 1
    month = month + 3 if month < 10 else month - 9
    return "%04d-%02d-%02d" % (year + era * 400 + (month <= 2), month, day)


def timestamp(seconds):
    """Unix seconds as "YYYY-MM-DDTHH:MM:SSZ" (RFC 3339)."""
    s = seconds % 86400
    return "%sT%02d:%02d:%02dZ" % (date(seconds), s // 3600, s // 60 % 60, s % 60)


def dates(one, other):
    """Two moments (Unix seconds) as texts that differ: dates, or with the time where they are on one day."""
    tell = date if one // 86400 != other // 86400 else timestamp
    return tell(one), tell(other)
