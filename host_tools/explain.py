"""Finds what an error code, a number or a pasted console line means. It knows or it says that it does not."""

import difflib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache

from host_tools import catalogue_mbedtls as mbed
from host_tools.catalogue import ENTRIES, GROUPS
from host_tools.catalogue_texts import ALERT_NOTE, ALERTS, CONNACK, ERRNO, TEXTS, WLAN
from host_tools.failure import Exit, Failure
from rootlet import mbedtls
from rootlet.catalogue import CATALOGUE
from rootlet.errors import words

LARGEST = 65536
_FACT = 160
# Texts that only say that something went wrong; the words beside them say what.
_GENERIC = ("certificate verify failed", "A TLS error occurred")


@dataclass(frozen=True)
class Found:
    """One thing that was recognised.

    code: of the catalogue. said: the words or the number recognised. note: what they mean. fact: what was observed.
    score: how sure, 0 to 100. span: where in the text.
    """

    code: str
    said: str
    note: str = ""
    fact: str = ""
    score: float = 100
    span: tuple[int, int] = (0, 0)


def _spread(codes: tuple[str, ...], found: Found) -> Iterator[Found]:
    """The same find for each code it may lead to, less and less likely."""
    for rank, code in enumerate(codes):
        yield replace(found, code=code, score=found.score - 8 * rank)


@cache
def wlan_statuses() -> dict[int, list[tuple[str, str]]]:
    """WLAN status number: (state, boards) for each meaning it has."""
    from host_tools.boards import all_boards

    boards: dict[tuple[int, str], list[str]] = {}
    for board in all_boards():
        for status, state in board["wlan"]["status"].items():
            boards.setdefault((int(status), state), []).append(board["id"])
    table: dict[int, list[tuple[str, str]]] = {}
    for (number, state), ids in sorted(boards.items()):
        table.setdefault(number, []).append((state, ", ".join(ids)))
    return table


def _mbedtls(number: int, said: str, score: float = 85) -> Iterator[Found]:
    """number: of either sign, 256 or more without it."""
    number = -abs(number)
    high, low = mbedtls.split(number)
    if number < -0x7FFF or high not in mbed.ERRORS or (low and low not in mbed.ERRORS):
        return
    name = mbed.name(number)
    note = f"{name} (-0x{-number:04X}, {number}): {mbed.meaning(number)}."
    codes: tuple[str, ...] = (mbedtls.catalogue_code(number),)
    if "FATAL_ALERT" in name:
        codes = ("TLS_REFUSED", "TLS_VERSION")
        note += " " + ALERT_NOTE
    elif "PK_KEY_INVALID_FORMAT" in name:
        codes = ("CERT_MALFORMED", "TLS_IDENTITY")
    elif codes == ("NET_CLOSED",):
        codes = ("NET_CLOSED", "TLS_CLOSED", "TLS_REFUSED")
    yield from _spread(codes, Found("", said, note, score=score))


def _errno(number: int, said: str, score: float = 75) -> Iterator[Found]:
    for row in ERRNO.get(number, ()):
        yield from _spread(row.codes, Found("", said, f"{number} is {row.name} ({row.where}).", score=score))


def _os_error(number: int, said: str) -> Iterator[Found]:
    yield from _errno(number, said) if -256 < number < 256 else _mbedtls(number, said)


def _status(number: int, said: str, score: float = 70) -> Iterator[Found]:
    for state, boards in wlan_statuses().get(number, ()):
        if state in WLAN:
            yield Found(WLAN[state], said, f"WLAN status {number} is {state} ({boards}).", score=score)


def _connack(number: int, said: str, score: float = 75) -> Iterator[Found]:
    meaning, codes = CONNACK.get(number, ("", ()))
    yield from _spread(codes, Found("", said, f"MQTT return code {number}: {meaning}.", score=score))


def _alert(number: int, said: str, score: float = 75) -> Iterator[Found]:
    name, meaning, codes = ALERTS.get(number, ("", "", ()))
    note = f"TLS alert {number}, {name}: {meaning}. {ALERT_NOTE}"
    yield from _spread(codes, Found("", said, note, score=score))


def _number(number: int, said: str) -> Iterator[Found]:
    """A number alone: everything that it could be."""
    if abs(number) >= 256:
        yield from _mbedtls(number, said)
        yield from _status(number, said)
        yield from _errno(number, said)
        return
    yield from _errno(number, said)
    yield from _status(number, said, 65)
    yield from _connack(number, said, 60)
    yield from _alert(number, said, 40)
    if number and not ERRNO.get(number) and -number not in ERRNO and mbed.meaning(number):
        name = mbed.name(number)
        note = f"as a number of Mbed TLS, {name}: {mbed.meaning(number)}."
        yield Found(mbed.code_of_name(name.removeprefix(mbed.PREFIX)), said, note, score=30)


def _name(name: str, said: str) -> Iterator[Found]:
    """Names of Mbed TLS, one or two joined by a plus sign."""
    plain = [part.removeprefix(mbed.PREFIX) for part in name.split("+")]
    known = [part for part in plain if part in mbed.NUMBERS]
    if len(known) == 1 and mbed.NUMBERS[known[0]] < 256:
        number = mbed.NUMBERS[known[0]]
        note = f"{mbed.PREFIX}{known[0]} (-0x{number:04X}): {mbed.ERRORS[number][1]}."
        yield Found(mbed.code_of_name(known[0]), said, note, score=85)
    elif known:
        yield from _mbedtls(sum(mbed.NUMBERS[part] for part in known), said)


# rp2's number where the ports differ: its rows come last.
_BY_ERRNO_NAME = {
    row.name.split(",")[0]: number
    for rp2 in (False, True)
    for number, rows in ERRNO.items()
    for row in rows
    if row.name[0] == "E" and row.where.startswith("rp2") == rp2
}
_CODES = "|".join(sorted(CATALOGUE, key=len, reverse=True))
_INT = r"[+-]?(?:0[xX][0-9a-fA-F]{1,8}|\d{1,9})"
_OURS = re.compile(rf"(?<!\w)({_CODES}): ?([^\n]*)")
_ALERT_NUMBERS = {name: number for number, (name, _, _) in ALERTS.items()}
_RULES: tuple[tuple[str, Callable[[re.Match[str]], Iterator[Found]]], ...] = (
    (r"((?:MBEDTLS_ERR_[A-Z0-9_]+\+?)+)", lambda m: _name(m[1].rstrip("+"), m[0])),
    (rf"RootletError: ({_CODES})\b", lambda m: iter((Found(m[1], m[1], score=90),))),
    (rf"OSError:? ?\(?({_INT})", lambda m: _os_error(int(m[1], 0), m[0])),
    (r"\[Errno (-?\d{1,6})\]", lambda m: _os_error(int(m[1]), m[0])),
    (rf"(?:, (?:code|error)|\(error) ({_INT})\b", lambda m: _os_error(int(m[1], 0), m[0])),
    (r"(?<!\w)(-0x[0-9a-fA-F]{4})\b", lambda m: _mbedtls(int(m[1], 16), m[0], 60)),
    (r"MQTTException:? ?\(?(\d{1,3})", lambda m: _connack(int(m[1]), m[0])),
    (r"(?:CONNACK:?|MQTT_REFUSED[^\n]{0,80}reason) (\d{1,3})\b", lambda m: _connack(int(m[1]), m[0], 70)),
    (r"alert number (\d{1,3})", lambda m: _alert(int(m[1]), m[0])),
    (rf"[Aa]lert[^\n]{{0,20}}?\b({'|'.join(_ALERT_NUMBERS)})\b", lambda m: _alert(_ALERT_NUMBERS[m[1]], m[1])),
    (r"(?:WIFI_FAILED[^\n]{0,120}|wlan\.)status\D{0,4} (-?\d{1,4})\b", lambda m: _status(int(m[1]), m[0])),
    (r"\b(E[A-Z]{2,12})\b", lambda m: _errno(_BY_ERRNO_NAME.get(m[1], 0), m[0], 72)),
)  # fmt: skip


def _pattern(text: str) -> str:
    """A text with any white space between its words, as a line that a terminal has wrapped."""
    return r"(?<!\w)" + r"\s+".join(map(re.escape, text.split())) + r"(?!\w)"


@cache
def _texts() -> list[tuple[re.Pattern[str], int]]:
    return [(re.compile(_pattern(row.text), re.IGNORECASE), i) for i, row in enumerate(TEXTS)]


def _line_around(text: str, span: tuple[int, int]) -> str:
    start = text.rfind("\n", 0, span[0]) + 1
    end = text.find("\n", span[1])
    line = " ".join(text[start : end if end >= 0 else None].split())
    return line[:_FACT] + "…" if len(line) > _FACT else line


def _within(text: str) -> Iterator[Found]:
    for match in _OURS.finditer(text):
        if "_" not in match[1] and not match[2].startswith(words(match[1])[0]):
            continue  # "DNS: …" may be anybody's
        rest = match[2].partition("; try: ")[0].split("; ", 1)
        yield Found(match[1], match[1], "", rest[1] if len(rest) > 1 else "", 95, match.span(1))
    for rule, make in _RULES:
        for match in re.finditer(rule, text):
            for found in make(match):
                yield replace(found, span=match.span(1), fact=_line_around(text, match.span()))
    for pattern, i in _texts():
        for match in pattern.finditer(text):
            row = TEXTS[i]
            score = 45 if row.text in _GENERIC else 75 + min(len(row.text), 40) / 8
            found = Found("", row.text, row.note, _line_around(text, match.span()), score, match.span())
            yield from _spread(row.codes, found)


def _whole(text: str) -> Iterator[Found]:
    """The whole query as one code, number or name."""
    plain = text.strip().strip("`'\"(),:").strip()
    upper = plain.upper()
    if upper in CATALOGUE:
        yield Found(upper, upper)
    elif re.fullmatch(_INT, plain):
        yield from _number(int(plain, 0) if "x" in plain.lower() else int(plain), plain)
    elif upper.split("+")[0].removeprefix(mbed.PREFIX) in mbed.NUMBERS:
        yield from _name(upper, upper)
    elif upper in _BY_ERRNO_NAME:
        for number, rows in ERRNO.items():
            if upper in [row.name.split(",")[0] for row in rows]:
                yield from _errno(number, upper)
    else:
        for number, (name, _, _) in ALERTS.items():
            if plain.lower() == name:
                yield from _alert(number, plain)


def _part(text: str) -> Iterator[Found]:
    """The query as a part of one of the texts: three words or more of it, as one types what one has read."""
    words_ = text.strip().strip("`'\"(),:…. ").split()
    if not 3 <= len(words_) <= 40:
        return
    wanted = re.compile(_pattern(" ".join(words_)), re.IGNORECASE)
    for row in TEXTS:
        if wanted.search(row.text):
            yield from _spread(row.codes, Found("", row.text, row.note, score=60))


def find(text: str) -> list[Found]:
    """What is recognised in a text, best first, each code once.

    Args: text: a code, a number, a name, or lines of a console or log, at most 65,536 characters.
    Returns an empty list where nothing is recognised. Raises Failure for a text too long.
    """
    if len(text) > LARGEST:
        because = f"it has {len(text)} characters, {LARGEST} are read"
        raise Failure("the text is too long", because, "paste the last lines only", Exit.USAGE)
    found = list(_whole(text)) or list(_within(text)) or list(_part(text))
    # A text inside a longer one that was recognised says nothing of its own.
    spans = {row.span for row in found}
    found = [row for row in found if not any(_inside(row.span, span) for span in spans)]
    found.sort(key=lambda row: (-row.score, -row.span[0]))
    best: dict[str, Found] = {}
    for row in found:
        first = best.get(row.code)
        if first is None:
            best[row.code] = row
        elif row.note and row.note not in first.note:
            best[row.code] = replace(first, note=f"{first.note} {row.note}".strip(), fact=first.fact or row.fact)
    return list(best.values())


def _inside(span: tuple[int, int], other: tuple[int, int]) -> bool:
    return span != other and other[0] <= span[0] and span[1] <= other[1]


def near(text: str) -> list[str]:
    """Codes and names that are spelt much like a word of the text, best first, at most five."""
    names = [*CATALOGUE, *_BY_ERRNO_NAME, *(mbed.PREFIX + name for name in mbed.NUMBERS)]
    close: list[str] = []
    words_ = re.findall(r"\b[A-Z][A-Z0-9_]{2,60}\b", text) if " " in text.strip() else [text.strip().upper()[:60]]
    for word in words_[:20]:
        close += [name for name in difflib.get_close_matches(word, names, 5, 0.7) if name not in close]
    return close[:5]


def explain(text: str) -> list[Found]:
    """As find. Raises Failure where nothing is recognised, with codes that are spelt alike."""
    found = find(text)
    if found:
        return found
    short = printable(" ".join(text.split()))
    short = short[:60] + "…" if len(short) > 60 else short
    close = near(text)
    because = "no code, number or text of the catalogue is in it"
    try_ = (
        f"did you mean {', '.join(close)}?"
        if close
        else "paste the whole line; `rootlet explain --list` shows all codes"
    )
    raise Failure(f"nothing is known about '{short}'", because, try_, Exit.USAGE)


def printable(text: str) -> str:
    """The text without what could steer a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)


def board_text(code: str) -> str:
    """A line as the board prints it, with the example of a fact."""
    what, fix = words(code)
    return f"{code}: {what}; {ENTRIES[code].fact}; try: {fix}"


def as_json(found: list[Found]) -> str:
    """All of it for a machine: an array, best first."""
    rows = []
    for row in found:
        what, fix = words(row.code)
        entry = ENTRIES[row.code]
        rows.append(
            {
                "code": row.code, "group": entry.group, "what": what, "causes": entry.causes, "fix": fix,
                "background": entry.background, "said": row.said, "note": row.note, "fact": row.fact,
                "score": row.score,
            }
        )  # fmt: skip
    return json.dumps(rows, indent=2, ensure_ascii=False)


def _item(label: str, text: str) -> list[str]:
    import textwrap

    indent = " " * (10 if text.startswith("- ") else 8)
    return textwrap.wrap(text, 100, initial_indent=label.ljust(8), subsequent_indent=indent, break_on_hyphens=False)


def _full(row: Found) -> list[str]:
    what, fix = words(row.code)
    entry = ENTRIES[row.code]
    lines = [f"{row.code} ({GROUPS[entry.group]})", *_item("what:", what)]
    if row.note:
        lines += _item("says:", printable(row.note))
    if row.fact and row.fact != row.said:
        lines += _item("fact:", printable(row.fact))
    for i, cause in enumerate(entry.causes):
        lines += _item("" if i else "causes:", "- " + cause)
    lines += _item("try:", fix)
    if entry.background:
        lines += _item("more:", entry.background)
    return lines


def render(found: list[Found]) -> str:
    """For a person: the best in full, the others in two lines each."""
    lines = _full(found[0])
    if len(found) > 1:
        lines += ["", "It may also be:"]
    for row in found[1:]:
        what, fix = words(row.code)
        lines += [f"{row.code}: {what}", *_item("", f"try: {fix}")]
        if row.note and row.note != found[0].note:
            lines += _item("", printable(row.note))
    return "\n".join(lines)


def listing() -> str:
    """All codes by group, one a line."""
    width = max(map(len, CATALOGUE)) + 2
    lines = []
    for group, title in GROUPS.items():
        lines.append(title)
        lines += [f"  {code:{width}}{words(code)[0]}" for code, entry in ENTRIES.items() if entry.group == group]
    return "\n".join(lines)
