"""x509 reads what `cryptography` writes, the same on CPython and on MicroPython."""

import json
import subprocess

import pytest

from host_tools.paths import FIRMWARE
from rootlet import x509
from tests import samples
from tests.device_runner import command

SCRIPT = """
import binascii, json, sys
sys.path.insert(0, sys.argv[1])
from rootlet import x509
def plain(value):
    if isinstance(value, (bytes, memoryview)):
        return binascii.hexlify(value).decode()
    return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value
for line in open(sys.argv[2]):
    der = binascii.unhexlify(line.strip())
    cert = x509.parse(memoryview(der))
    named = list(x509.alt_names(der, cert))
    cert.dns = [x509.text(der, start, end).lower() for tag, start, end in named if tag == x509.DNS_NAME]
    cert.ips = [der[start:end] for tag, start, end in named if tag == x509.IP_ADDRESS]
    out = {name: plain(getattr(cert, name)) for name in json.loads(sys.argv[3])}
    out["label"] = x509.label(cert.subject)
    print(json.dumps(out))
"""


@pytest.fixture(scope="module")
def described():
    return samples.described()


@pytest.mark.parametrize("interpreter", ["cpython", "micropython"])
def test_every_shape_is_read_right(interpreter, described, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "certs").write_text("".join(der.hex() + "\n" for der, _ in described))
    names = sorted({name for _, expected in described for name in expected} | {"not_before", "not_after"})
    done = subprocess.run(
        [*command(interpreter), "script.py", str(FIRMWARE), "certs", json.dumps(names)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(described)
    for got, (_, expected) in zip(found, described, strict=True):
        assert {name: got[name] for name in expected} == expected
    assert [row["label"] for row in found] == ["leaf", "root", "none", "weak", "ed", "(no name)"]
    start = int(samples.START.timestamp())
    assert (found[0]["not_before"], found[0]["not_after"]) == (start, start + 365 * 86400)


def test_names_cannot_disturb_a_log():
    der = samples.certificates()[0].replace(b"leaf", b"\x1b[2J")
    assert x509.label(x509.parse(der).subject) == "?[2J"
