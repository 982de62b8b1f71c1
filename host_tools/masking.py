"""Keeps secrets out of what is shown: those that are known, and what stands after a word such as password."""

import base64
import contextlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from host_tools.failure import Failure

MASK = "[hidden]"
_WORDS = re.compile(r"pass|secret|token|psk|bindkey|^irk$", re.IGNORECASE)
_HEX_KEY = 32  # digits of a sensor's key
_LARGEST_FILE = 1 << 20
_MOST_DEVICES = 1000
# Shorter ones are words like any other: they are hidden only where they stand alone.
_SHORT = 4
_LEAST_CUT = 3
_ESCAPES = re.compile(
    # CSI, then strings (OSC, DCS, PM, APC), then the two-byte ones; an unfinished one as far as it goes.
    r"\x1b\[[0-?]*[ -/]*[@-~]?|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]?|\x9b[0-?]*[ -/]*[@-~]?"
)
_NAME = r"(?<![a-z0-9])(?:pass(?:word|wd|phrase|code)?|pwd|secret|psk|token|irk|bindkey|(?:[a-z]+[ _-])?key)[\"']?"
# A long word of small letters alone is a word.
_LONG = r"(?!sha256//)(?-i:(?=[a-z/_-]*[0-9A-Z+=])[A-Za-z0-9+/_-]{16,}={0,2})"
_PATTERNS = (
    re.compile(rf"{_NAME}\s{{0,4}}[:=]?\s{{0,4}}(?:is\s{{1,4}})?b?[\"']?(?P<secret>{_LONG})", re.IGNORECASE),
    re.compile(
        r"(?<![a-z0-9])(?:pass(?:word|wd|phrase)?|pwd|secret|token)(?:[\"']\s*:\s*|\s*=\s*)"
        r"(?:\"(?P<double>[^\"]*)|'(?P<single>[^']*)|(?P<plain>[^\s\"',;}]+))",
        re.IGNORECASE,
    ),
)
_LONGEST_KEY = 100
_KEY_START = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")
_KEY_END = re.compile(r"-----END [A-Z ]*PRIVATE KEY-----")


def harmless(text: str) -> str:
    """The text without escape sequences, and with a mark in place of all else that could steer a terminal."""
    if text.isprintable():
        return text
    text = _ESCAPES.sub("", text).replace("\t", "    ")
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _forms(secret: str | bytes) -> Iterator[str]:
    """How a secret may be written."""
    raw = secret.encode() if isinstance(secret, str) else secret
    if isinstance(secret, str):
        yield from (secret, harmless(secret), json.dumps(secret)[1:-1], repr(secret)[1:-1], quote(secret, safe=""))
    if len(raw) >= _SHORT:
        plain = base64.b64encode(raw).decode().rstrip("=")
        yield from (raw.hex(), raw.hex(" "), plain, plain.replace("+", "-").replace("/", "_"), repr(raw)[2:-1])


class Masker:
    """Hides secrets in one line at a time.

    Args: secrets: texts and bytes that must not be shown, in whatever form they are written.
    """

    def __init__(self, secrets: Iterable[str | bytes] = ()) -> None:
        forms = {form for secret in secrets for form in _forms(secret) if form}
        self._forms = sorted(((form, form.lower()) for form in forms), key=lambda pair: (-len(pair[0]), pair[0]))
        self._longest = max(map(len, forms), default=0)
        self._in_key = 0

    def text(self, line: str, cut: bool = False) -> str:
        """The line with its secrets hidden. cut: it may end in the middle of one."""
        if self._in_key or _KEY_START.search(line):
            # A key has an end; where it does not come, the rest must not stay hidden for ever.
            self._in_key = 0 if _KEY_END.search(line) else (self._in_key or _LONGEST_KEY) - 1
            return MASK
        line = self._without_secrets(line)
        if cut:
            line = self._without_start_of_secret(line)
        for pattern in _PATTERNS:
            line = pattern.sub(_hide, line)
        return line

    def restarted(self) -> None:
        """What comes next does not continue what came before."""
        self._in_key = 0

    def _without_secrets(self, line: str) -> str:
        low = line.lower()
        there = [form for form, small in self._forms if small in low]
        if not there:
            return line
        parts = [re.escape(f) if len(f) >= _SHORT else rf"(?<!\w){re.escape(f)}(?!\w)" for f in there]
        # Hexadecimal digits and URLs are written with letters of either size.
        return re.sub("|".join(parts), MASK, line, flags=re.IGNORECASE)

    def _without_start_of_secret(self, line: str) -> str:
        end = line[len(line) - self._longest :] if self._longest < len(line) else line
        low = end.lower()
        least = len(line)
        for _, small in self._forms:
            if small[:_LEAST_CUT] in low:
                lengths = range(min(len(small), len(low)), _LEAST_CUT - 1, -1)
                found = next((n for n in lengths if low.endswith(small[:n])), 0)
                least = min(least, len(line) - found)
        return line[:least] + MASK if least < len(line) else line


def _hide(match: re.Match[str]) -> str:
    for name, value in match.groupdict().items():
        if value and value != MASK:
            start, end = match.start(name) - match.start(), match.end(name) - match.start()
            return match[0][:start] + MASK + match[0][end:]
    return match[0]


def in_config(config: object) -> Iterator[str | bytes]:
    """The secrets of a board's configuration: every text under a name such as password or token; keys as bytes, too."""
    if isinstance(config, dict):
        for key, value in config.items():
            # mqtt.psk and mqtt.key name files.
            if isinstance(value, str) and _WORDS.search(str(key)) and not value.endswith((".psk", ".der")):
                yield value
                if len(value) == _HEX_KEY:
                    with contextlib.suppress(ValueError):
                        yield bytes.fromhex(value)
            else:
                yield from in_config(value)
    elif isinstance(config, list):
        for value in config:
            yield from in_config(value)


def in_files(folder: Path) -> Iterator[str | bytes]:
    """The secrets of a board's files in a folder: config.json, secrets.toml, *.psk, *.key.der."""
    for path in sorted(folder.glob("*")) if folder.is_dir() else ():
        try:
            if not path.is_file() or path.stat().st_size > _LARGEST_FILE:
                continue
            if path.name == "config.json":
                yield from in_config(json.loads(path.read_bytes()))
            elif path.name == "secrets.toml":
                import tomllib

                yield from _texts(tomllib.loads(path.read_text(encoding="utf-8")))
            elif path.name.endswith(".psk"):
                yield path.read_bytes()
            elif path.name.endswith(".key.der"):
                yield from _of_key(path.read_bytes())
        except (OSError, ValueError, TypeError, RecursionError):
            continue


def _of_key(der: bytes) -> Iterator[bytes]:
    """A private key, and the numbers of it that are secret."""
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_der_private_key

    yield der
    key = load_der_private_key(der, None)
    numbers: tuple[int, ...] = ()
    if isinstance(key, EllipticCurvePrivateKey):
        numbers = (key.private_numbers().private_value,)
    elif isinstance(key, RSAPrivateKey):
        parts = key.private_numbers()
        numbers = (parts.p, parts.q, parts.d)
    for number in numbers:
        yield number.to_bytes((number.bit_length() + 7) // 8, "big")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def known(project: Any = None, folder: Path | None = None, device: str | None = None) -> list[str | bytes]:
    """All secrets within reach: of a project and its provisioned boards, of a folder, and of the environment.

    Args: device: only this one of the project. A secret that cannot be had hides nothing, and is no failure here.
    """
    found: list[str | bytes] = [
        value for name, value in os.environ.items() if name.startswith("ROOTLET_") and _WORDS.search(name)
    ]
    if project is not None:
        found += [*in_files(project.folder), *_of_ca(project.ca_dir)]
        for one in [d for d in project.devices if device in (None, d.id)][:_MOST_DEVICES]:
            found += in_files(project.out(one.id))
            with contextlib.suppress(Failure):
                found += in_config(one.config)
    if folder is not None:
        found += [*in_files(folder), *_of_ca(folder / "ca-data")]
    return found


def _of_ca(folder: Path) -> Iterator[str | bytes]:
    """The keys that were issued to devices."""
    yield from in_files(folder / "issued")
    yield from in_files(folder / "psk")
