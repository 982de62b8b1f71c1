"""docs/troubleshooting.md, made from the error catalogue."""

from collections.abc import Iterator

from host_tools import catalogue_mbedtls as mbed
from host_tools.catalogue import ENTRIES, GROUPS
from host_tools.catalogue_texts import ALERT_NOTE, ALERTS, BOARD, CONNACK, ERRNO, OPENSSL, OTHERS, WLAN, Text
from host_tools.explain import board_text, wlan_statuses
from rootlet import mbedtls
from rootlet.errors import words

_HEAD = """# Troubleshooting

<!-- Made by `rootlet explain --markdown`; edit host_tools/catalogue*.py and firmware/rootlet/catalogue.py instead. -->

The board prints `CODE: what happened; the observed fact; try: what to do`. Find the code below, or paste what you see:

<!-- run: folder; expect: TLS_REFUSED -->
```sh
rootlet explain "OSError: (-30592, 'MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE')"
```

It takes a code, a number, or any line of a board's console or a broker's log. Looking for an exact text that is not
Rootlet's? See the [texts of MicroPython and Mbed TLS](#texts-of-micropython-and-mbed-tls), of
[OpenSSL and Python](#texts-of-openssl-and-pythons-ssl), of [brokers and systems](#texts-of-brokers-and-systems), and
the numbers of [Mbed TLS](#numbers-of-mbed-tls), [sockets](#numbers-of-sockets), [WiFi](#numbers-of-wifi),
[MQTT](#numbers-of-mqtt) and [TLS alerts](#numbers-of-tls-alerts).
"""


def _link(codes: tuple[str, ...]) -> str:
    return ", ".join(f"[`{code}`](#{code.lower()})" for code in codes)


def _table(*heads: str) -> Iterator[str]:
    yield ""
    yield "| " + " | ".join(heads) + " |"
    yield "|" + "---|" * len(heads)


def _texts(rows: tuple[Text, ...]) -> Iterator[str]:
    yield from _table("text", "look at", "")
    for row in sorted(rows, key=lambda row: row.text.lower()):
        yield f"| `{row.text}` | {_link(row.codes)} | {row.note} |"


def _entry(code: str) -> Iterator[str]:
    what, fix = words(code)
    entry = ENTRIES[code]
    yield f"\n### `{code}`\n"
    yield f"```\n{board_text(code)}\n```\n"
    yield f"**What happened:** {what}.\n"
    yield "**Likely causes:**\n"
    yield from (f"- {cause}" for cause in entry.causes)
    yield f"\n**What to do:** {fix}."
    if entry.background:
        yield "\n" + entry.background


def _lines() -> Iterator[str]:
    yield _HEAD
    yield from (f"- [{title}](#{title.lower().replace(' ', '-')}): "
                + _link(tuple(code for code, entry in ENTRIES.items() if entry.group == group))
                for group, title in GROUPS.items())  # fmt: skip
    for group, title in GROUPS.items():
        yield f"\n## {title}"
        for code, entry in ENTRIES.items():
            if entry.group == group:
                yield from _entry(code)
    yield "\n## Texts of MicroPython and Mbed TLS"
    yield from _texts(BOARD)
    yield "\n## Texts of OpenSSL and Python's ssl"
    yield from _texts(OPENSSL)
    yield "\n## Texts of brokers and systems"
    yield from _texts(OTHERS)
    yield "\n## Numbers of Mbed TLS\n"
    yield (
        "MicroPython raises `OSError(number, name)`. A number may be a sum of two: -0x262E is -0x2600 with -0x002E. "
        "The small ones, up to 127, come only in such sums."
    )
    yield from _table("number", "", "name", "meaning", "look at")
    for number, (name, meaning) in sorted(mbed.ERRORS.items()):
        code = mbed.code_of_name(name) if number < 256 else mbedtls.catalogue_code(-number)
        yield f"| -0x{number:04X} | {-number} | `{mbed.PREFIX}{name}` | {meaning} | {_link((code,))} |"
    yield "\n## Numbers of sockets\n"
    yield "In an `OSError`; they differ by port, and name look-ups have negative ones."
    yield from _table("number", "name", "port", "look at")
    for number, rows in ERRNO.items():
        yield from (f"| {number} | `{row.name}` | {row.where} | {_link(row.codes)} |" for row in rows)
    yield "\n## Numbers of WiFi\n"
    yield "What `WLAN.status()` returns."
    yield from _table("number", "state", "boards", "look at")
    for number, states in sorted(wlan_statuses().items()):
        yield from (
            f"| {number} | {state} | {boards} | {_link((WLAN[state],)) if state in WLAN else ''} |"
            for state, boards in states
        )
    yield "\n## Numbers of MQTT\n"
    yield "The return code of CONNACK and, as 128, of SUBACK (MQTT 3.1.1); umqtt raises `MQTTException(number)`."
    yield from _table("number", "meaning", "look at")
    yield from (f"| {number} | {meaning} | {_link(codes)} |" for number, (meaning, codes) in CONNACK.items())
    yield "\n## Numbers of TLS alerts\n"
    yield ALERT_NOTE + " What the board reports for it:"
    yield from _table("number", "name", "meaning", "look at")
    yield from (f"| {n} | `{name}` | {meaning} | {_link(codes)} |" for n, (name, meaning, codes) in ALERTS.items())


def page() -> str:
    """The whole page."""
    return "\n".join(_lines()) + "\n"
