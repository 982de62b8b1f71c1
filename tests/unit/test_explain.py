"""The error catalogue in its two halves, the tables of others' errors, and what `rootlet explain` makes of them."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from host_tools import catalogue_mbedtls as mbed
from host_tools.catalogue import ENTRIES, GROUPS
from host_tools.catalogue_texts import ALERTS, CONNACK, ERRNO, TEXTS, WLAN
from host_tools.explain import as_json, board_text, explain, find, listing, near, render, wlan_statuses
from host_tools.failure import Exit, Failure
from rootlet import mbedtls
from rootlet.catalogue import CATALOGUE
from rootlet.errors import RootletError, words
from tests.device_runner import command
from tests.unit.test_commands import run, three_lines

# With these Mbed TLS does not fail but tries again.
_AGAIN = {"SSL_WANT_READ", "SSL_WANT_WRITE", "SSL_CONTINUE_PROCESSING"}
# Parts that MicroPython leaves out; newer names that it has not taken over.
_LEFT_OUT = (
    "PEM_", "PKCS12_", "PKCS7_", "DHM_", "HKDF_", "HMAC_DRBG_", "LMS_", "ARIA_", "SHA3_", "CAMELLIA_", "DES_", "NET_",
    "CCM_", "CHACHA", "POLY1305_", "THREADING_", "BASE64_",
)  # fmt: skip

_NEWER = {"SSL_CERTIFICATE_VERIFICATION_WITHOUT_HOSTNAME", "SSL_RECEIVED_EARLY_DATA"}


def codes(text: str) -> list[str]:
    return [row.code for row in find(text)]


def test_both_halves_have_the_same_codes() -> None:
    assert set(ENTRIES) == set(CATALOGUE)
    for code, entry in ENTRIES.items():
        what, fix = words(code)
        assert what and fix and entry.fact and entry.causes, code
        assert entry.group in GROUPS
        for cause in entry.causes:
            assert cause[0].isupper() and cause.endswith("."), (code, cause)
        assert not entry.background or entry.background.endswith(".")
        assert "|" not in fix and "; " not in what
        assert board_text(code) == str(RootletError(code, entry.fact))


def test_every_code_of_others_leads_to_one_of_ours() -> None:
    lists = [row.codes for row in TEXTS]
    lists += [row.codes for rows in ERRNO.values() for row in rows]
    lists += [found for _, found in CONNACK.values()] + [found for _, _, found in ALERTS.values()]
    assert {code for row in lists for code in row} | set(WLAN.values()) <= set(CATALOGUE)
    assert all(row.codes for row in TEXTS)
    states = {state for rows in wlan_statuses().values() for state, _ in rows}
    assert set(WLAN) <= states
    assert states - set(WLAN) == {"idle", "joining", "got_ip"}


def test_texts_are_told_apart() -> None:
    assert len({row.text.lower() for row in TEXTS}) == len(TEXTS)
    for row in TEXTS:
        assert codes(f"1732: some tool: {row.text}: and more")[0] == row.codes[0], row.text


def test_numbers_of_mbed_tls() -> None:
    assert len(mbed.ERRORS) == len(mbed.NUMBERS) == 231
    for number, (name, meaning) in mbed.ERRORS.items():
        assert number & 0x7F == 0 or number < 0x80, name
        assert meaning.strip() and meaning[-1] != ".", name
        code = mbedtls.catalogue_code(-number)
        assert code in CATALOGUE
        if number > 255:
            assert codes(str(-number))[0] == codes(f"{-number:#x}")[0] == codes(f"{number:#x}")[0] == code, name
            assert code in codes("MBEDTLS_ERR_" + name)
        if name.endswith("ALLOC_FAILED"):
            assert mbed.code_of_name(name) == "TLS_MEMORY"


def test_the_names_are_those_that_micropython_prints() -> None:
    numbers = {number for number, (name, _) in mbed.ERRORS.items() if number > 255 and name not in _AGAIN}
    numbers |= {0x7A00 + number for number in mbed.ERRORS if number < 256}
    numbers |= {0x262E, 0x4290, 0x3D62}
    script = Path(__file__).parent / "mbedtls_names.py"
    arguments = [*command("micropython"), str(script), *map(str, sorted(numbers))]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=True)
    rows = [line.split(" ", 2) for line in done.stdout.splitlines()]
    assert {int(row[0]) for row in rows} == numbers
    printed = 0
    for first, raised, *rest in rows:
        number = int(first)
        if raised == "ValueError":
            assert (number, rest[0]) in ((0x2800, "invalid cert"), (0x3E80, "invalid key"))
        elif raised == "12":
            assert number == 0x7F00
        elif "UNKNOWN (0x" in rest[0]:
            names = [mbed.ERRORS[part][0] for part in mbedtls.split(number) if part]
            assert any(name.startswith(_LEFT_OUT) or name in _NEWER for name in names), (names, rest)
        else:
            assert raised == str(-number)
            assert rest[0] == mbed.name(number)
            assert codes(f"OSError: ({raised}, '{rest[0]}')"), rest
            printed += 1
    assert printed > 150


def test_errno_on_the_board_and_in_the_table_agree() -> None:
    for number, rows in ERRNO.items():
        on_board = mbedtls.catalogue_code(number)
        if number > 0 and on_board != "TLS_FAILED":
            assert on_board in [code for row in rows for code in row.codes], number


@pytest.mark.parametrize(
    ("text", "code", "fact"),
    [
        ("cert_name", "CERT_NAME", ""),
        (" `CERT_NAME`: ", "CERT_NAME", ""),
        (
            "00:12 error CERT_NAME: the certificate is for another name; you asked for a, it is for b; c; try: x",
            "CERT_NAME",
            "you asked for a, it is for b; c",
        ),
        ("DNS: the host name could not be resolved; no address for 'x'; try: y", "DNS", "no address for 'x'"),
        ("TLS_NOT_TLS: the port answers; broker, code -29184; try: z", "TLS_NOT_TLS", "broker, code -29184"),
        ("  File \"x.py\", line 3\nRootletError: TLS_REFUSED\n", "TLS_REFUSED", "RootletError: TLS_REFUSED"),
        ("OSError: (-30592, 'MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE')", "TLS_REFUSED", None),
        ("OSError: -30336", "TLS_NO_ROOTS", None),
        ("(-30336,)", "TLS_NO_ROOTS", ""),
        ("OSError: (-9774, 'MBEDTLS_ERR_X509_UNKNOWN_SIG_ALG+MBEDTLS_ERR_OID_NOT_FOUND')", "CERT_WEAK_SIGNATURE", None),
        ("E (812) esp-tls: mbedtls_ssl_handshake returned -0x7F00", "TLS_MEMORY", None),
        ("OSError: [Errno 111] ECONNREFUSED", "TCP_REFUSED", None),
        ("OSError: [Errno 113] EHOSTUNREACH", "TCP", None),
        ("OSError: -202", "DNS", None),
        ("OSError: 16", "TLS_MEMORY", None),
        ("etimedout", "TCP_TIMEOUT", ""),
        ("unknown_ca", "TLS_REFUSED", ""),
        ("MQTTException: 5", "MQTT_REFUSED", None),
        ("umqtt.simple.MQTTException: 128", "MQTT_SUBSCRIBE", None),
        ("ValueError: The certificate validity starts\n in the future\n", "CERT_NOT_YET_VALID", None),
        (
            "ssl.SSLCertVerificationError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: "
            "unable to get local issuer certificate (_ssl.c:1006)",
            "CERT_UNKNOWN_CA",
            None,
        ),
        ("certificate verify failed: self-signed certificate in certificate chain", "CERT_UNKNOWN_CA", None),
        ("certificate verify failed: self-signed certificate", "CERT_SELF_SIGNED", None),
        ("OpenSSL Error[0]: error:0A000418:SSL routines::tlsv1 alert unknown ca", "CERT_UNKNOWN_CA", None),
        ("error:0A000410:SSL routines::sslv3 alert handshake failure:SSL alert number 40", "TLS_VERSION", None),
        ("error:0A00009C:SSL routines::http request", "TLS_NOT_TLS", None),
        ("Client pico1 already connected, closing old connection.", "MQTT_CLOSED", None),
        ("WIFI_FAILED: it failed; 'a': failed (status 203); try: a", "WIFI_FAILED", "'a': failed (status 203)"),
    ],
)  # fmt: skip
def test_what_people_paste(text: str, code: str, fact: str | None) -> None:
    best = explain(text)[0]
    assert best.code == code
    assert best.fact == (" ".join(text.split()) if fact is None else fact)


def test_several_matches_best_first() -> None:
    assert codes("The certificate is not correctly signed by the trusted CA") == [
        "CERT_UNKNOWN_CA", "CERT_INCOMPLETE", "TLS_MEMORY",
    ]  # fmt: skip
    assert codes("-2") == ["DNS", "WIFI_NO_AP"]
    assert set(codes("5")) == {"TCP", "MQTT_REFUSED"}
    assert codes("113")[:2] == ["TCP", "NET_CLOSED"]
    text = render(explain("-30592"))
    assert "It may also be:\nTLS_VERSION: " in text
    assert "MicroPython does not say which alert came" in text


def readme_rows() -> list[str]:
    """The first cells of the README's table of frequent texts."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    table = readme.partition("| the text says |")[2].partition("\n\n")[0]
    return [line.split(" | ")[0] for line in table.splitlines()[2:]]


@pytest.mark.parametrize(
    "text",
    [
        "hello", "404", "HTTP status 200", "exit code 5", "error 404", "OSError: [Errno 2] ENOENT", "0x3ffb1234", "",
        "DNS: fine", "invalid certificate number", "the EIOU", "return code 1", "99999999999999999999", "-0x8000",
        "http request done", "\x00\xff", "TLS", "*",
    ],
)  # fmt: skip
def test_no_guess(text: str) -> None:
    assert find(text) == []
    with pytest.raises(Failure) as e:
        explain(text)
    assert e.value.code == Exit.USAGE


@pytest.mark.parametrize("row", readme_rows())
def test_each_text_of_the_readmes_table_is_known(row: str) -> None:
    for text in re.findall(r"`([^`]+)`", row):
        assert find(text), text


def test_a_part_of_a_text_is_recognised() -> None:
    assert find("does not match with the expected CN")[0].code == "CERT_NAME"
    assert find("`validity has\n expired`")[0].code == "CERT_EXPIRED"
    assert find("has expired") == find("idity has exp") == []


def test_codes_spelt_alike_are_suggested() -> None:
    assert near("CERT_NAEM")[0] == "CERT_NAME"
    assert "ECONNRESET" in near("econreset")
    with pytest.raises(Failure, match="nothing is known") as e:
        explain("TLS_REFUSD")
    assert "TLS_REFUSED" in e.value.try_


def test_a_text_is_bounded_and_cannot_steer_the_terminal() -> None:
    with pytest.raises(Failure, match="too long"):
        explain("x" * 65537)
    assert len(explain("OSError: 104 " + "x" * 60000)[0].fact) < 200
    assert "\x1b" not in render(explain("\x1b[31mOSError: 104\x1b[0m"))
    with pytest.raises(Failure) as e:
        explain("\x1b[31mred")
    assert "\x1b" not in str(e.value)


def test_json_and_list() -> None:
    rows = json.loads(as_json(explain("MQTT_REFUSED: the broker refused the connection; reason 5: no; try: x")))
    assert rows[0]["code"] == "MQTT_REFUSED" and rows[0]["fact"] == "reason 5: no"
    assert rows[0]["causes"] and rows[0]["fix"] == words("MQTT_REFUSED")[1]
    assert "MQTT return code 5: not authorised" in rows[0]["note"]
    shown = listing()
    assert all(f"  {code} " in shown for code in CATALOGUE)


def test_the_command() -> None:
    for query in ("-30592", "-0x7780", "0x7780", "mbedtls_err_ssl_fatal_alert_message"):
        done = run("explain", query)
        assert done.returncode == 0 and done.stdout.startswith("TLS_REFUSED (TLS)"), (query, done.stderr)
    assert json.loads(run("explain", "--json", "OSError:", "-202").stdout)[0]["code"] == "DNS"
    assert "CERT_PIN" in run("explain", "--list").stdout
    assert "CERT_NAME" in three_lines(run("explain", "CERT_NAEM"), 2)[2]
    three_lines(run("explain"), 2)
