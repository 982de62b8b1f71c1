"""Whatever was published, as values that are safe to hand on: bounded, harmless, and fit for JSON."""

import math
from datetime import UTC, datetime
from functools import cache
from itertools import islice
from typing import Any

from host_tools.readings import short, whole

NAME = 64
TEXT = 200
MOST_FACTS = 64
MOST_CODES = 16
_LARGEST = 1e300
_DEPTH = 3
_YEARS = (0.0, 4102444800.0)  # 1970 to 2100


def value(said: Any) -> int | float | str:
    """A value as a number that JSON can say, else as text."""
    if isinstance(said, int | float) and not isinstance(said, bool) and abs(said) <= _LARGEST:
        return said
    return short(said, TEXT)


def number(said: Any) -> int | float | None:
    """A number that JSON can say, else None."""
    found = value(said)
    return None if isinstance(found, str) else found


def count(said: Any) -> int:
    """A count, 0 where it is none."""
    return said if whole(said) and said > 0 else 0


def unix(said: Any) -> float | None:
    """Unix seconds of a time, which is text as in RFC 3339 or Unix seconds itself; None where it is none."""
    if isinstance(said, str) and len(said) <= 40:
        try:
            when = datetime.fromisoformat(said)
            said = when.replace(tzinfo=when.tzinfo or UTC).timestamp()
        except (ValueError, OverflowError):
            return None
    if isinstance(said, bool) or not isinstance(said, int | float):
        return None
    return float(said) if _YEARS[0] < said < _YEARS[1] else None


def flat(said: dict[Any, Any], before: str = "", depth: int = _DEPTH) -> dict[str, Any]:
    """An object of objects as one of plain values, `outbox.depth`; at most MOST_FACTS."""
    facts: dict[str, Any] = {}
    for key, item in said.items():
        name = short(f"{before}{short(key)}", NAME)
        if isinstance(item, dict) and item and depth > 1:
            facts |= flat(item, f"{name}.", depth - 1)
        else:
            facts[name] = item if item is None or isinstance(item, bool) else value(item)
        if len(facts) >= MOST_FACTS:
            break
    return dict(islice(facts.items(), MOST_FACTS))


def codes(said: Any) -> dict[str, int]:
    """How often by error code; at most MOST_CODES."""
    rows = list(said.items())[:MOST_CODES] if isinstance(said, dict) else []
    return {short(code): n for code, n in rows if count(n)}


def pair(said: Any) -> list[str] | None:
    """Two texts, such as protocol and cipher; else None."""
    fits = isinstance(said, list) and len(said) == 2 and all(isinstance(text, str) and text for text in said)
    return [short(text, NAME) for text in said] if fits else None


def failure(said: Any) -> tuple[str, str] | None:
    """(code, fact) of a failure that a device tells; None where there is none."""
    if not isinstance(said, dict) or not isinstance(said.get("code"), str) or not said["code"]:
        return None
    fact = said.get("fact")
    return short(said["code"]), short(fact, TEXT) if isinstance(fact, str) else ""


@cache
def _catalogue() -> dict[str, tuple[str, str]]:
    from rootlet.catalogue import CATALOGUE

    return {code: (text.partition("|")[0], text.partition("|")[2]) for code, text in CATALOGUE.items()}


def expanded(code: str, fact: str) -> dict[str, Any]:
    """A failure with what happened and what to do; both are empty for a code that is not in the catalogue."""
    what, fix = _catalogue().get(code, ("", ""))
    return {"code": code, "fact": fact, "what": what, "fix": fix}


def tidy(numbers: Any) -> list[int | float]:
    """Numbers for a chart; whole ones as such, which are shorter."""
    return [int(n) if n.is_integer() and abs(n) < 1e15 else n for n in numbers if math.isfinite(n)]
