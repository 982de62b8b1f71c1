"""Planted secrets must not come out: not in what commands print, start or leave behind, not when they fail either.

A new command adds its rows to COMMANDS; a new secret goes into `Lab`.
"""

import base64
import contextlib
import fnmatch
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_der_private_key

from host_tools import ca, certs, psk
from host_tools.broker import Broker, choose
from host_tools.failure import Failure
from host_tools.sim.board import VirtualBoard
from tests.canaries import Canaries, Lookout, exposed, of_git

# Where secrets may lie: files that are theirs, and nobody else's to read.
PRIVATE = ("*/config.json", "*.key.der", "*.key.pem", "*.psk", "*/psk/*.key", "*/flash/*", "*/secret-*", "*.bak",
           "*/broker/psk.txt")  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One command.

    name: for the report. line: its arguments; {names} are attributes of Lab. code: how it ends; None: any.
    stdin: text, as `line`. until: it is interrupted when it has said this, or this|that. env: variables, as `line`.
    program: other than `rootlet`, a file of Lab.
    """

    name: str
    line: str
    code: int | None = 0
    stdin: str = ""
    until: str = ""
    env: tuple[tuple[str, str], ...] = ()
    program: str = ""

    def __str__(self) -> str:
        return self.name


GOOD, WRONG = "--passphrase-file {passphrase}", "--passphrase-file {wrong}"
DEPLOY = "deploy --no-wait --port {port} --trust {trust}"
BROKER = "watch localhost:{broker_port} --ca {ca}/ca.crt.pem --timeout 5"
LOGIN = f"{BROKER} --user dev-1 --password-file"
COMMANDS = [
    Row("ca-init", f"ca init --dir {{new}}/a {GOOD}"),
    Row("ca-init-by-environment", "ca init --dir {new}/b --passphrase", env=(("ROOTLET_CA_PASSPHRASE", "{phrase}"),)),
    Row("ca-init-again", f"ca init --dir {{ca}} {GOOD}", 1),
    Row("ca-issue-device", f"ca issue device dev-7 --force --dir {{ca}} {GOOD}"),
    Row("ca-issue-server", f"ca issue server a.example --force --dir {{ca}} {GOOD}"),
    Row("ca-issue-wrong-passphrase", f"ca issue device dev-8 --dir {{ca}} {WRONG}", 1),
    Row("ca-issue-no-passphrase", "ca issue device dev-8 --dir {ca}", 2),
    Row("ca-issue-passphrase-as-name", f"ca issue server -- -{{phrase_file_text}} --dir {{ca}} {GOOD}", None),
    Row("ca-list", "ca list --dir {ca}"),
    Row("ca-show-key", "ca show {device}.key.pem --dir {ca}", None),
    Row("certs-embed", "certs embed {ca}/ca.crt.pem -o {new}/trust_roots.py"),
    Row("certs-embed-key", "certs embed {device}.key.pem -o {new}/x.py", None),
    Row("certs-embed-ca-key", "certs embed {ca}/ca.key.pem -o {new}/x.py", None),
    Row("certs-pin-key", "certs pin {device}.key.der", None),
    Row("certs-store", "certs store --root ISRG -o {new}/roots.bin"),
    Row("certs-store-key", "certs store --bundle {device}.key.pem -o {new}/x.bin", None),
    Row("certs-audit", "certs audit --timeout 1 --ca {ca}/ca.crt.pem {config}", None),
    Row("certs-audit-key", "certs audit --timeout 1 {device}.key.der {device}.key.pem", None),
    Row("certs-rotate-wrong-passphrase", f"certs rotate dev-1 --port {{port}} --dir {{ca}} --wait 1 {WRONG}", None),
    Row("psk-new", "psk new dev-2 --force --dir {ca}"),
    Row("psk-again", "psk new dev-1 --dir {ca}", 1),
    Row("psk-list", "psk list --dir {ca}"),
    Row("deploy", f"{DEPLOY} --config {{config}} --cert {{device}}.crt.der --key {{device}}.key.der"),
    Row("deploy-psk", f"{DEPLOY} --config {{config_psk}} --psk {{psk_raw}}"),
    Row("deploy-no-port", "deploy --port /dev/ttyNONE7 --config {config}", 3),
    Row("deploy-other-key", f"{DEPLOY} --config {{config}} --cert {{other}}.crt.der --key {{device}}.key.der", 1),
    Row("deploy-key-as-cert", f"{DEPLOY} --cert {{device}}.key.der --key {{device}}.key.der", 1),
    Row("deploy-pem-as-key", f"{DEPLOY} --cert {{device}}.crt.der --key {{device}}.key.pem", 1),
    Row("deploy-key-as-config", f"{DEPLOY} --config {{device}}.key.der", 1),
    Row("deploy-pem-as-config", f"{DEPLOY} --config {{device}}.key.pem", 1),
    Row("deploy-key-as-trust", f"{DEPLOY} --roots {{device}}.key.der", None),
    Row("deploy-hex-psk", f"{DEPLOY} --psk {{psk_hex}}", None),
    Row("deploy-key-as-psk", f"{DEPLOY} --psk {{device}}.key.der", None),
    *(Row(f"deploy-config-{bad}", f"{DEPLOY} --config {{bad}}/{bad}/config.json", 1) for bad in (
        "long-password", "password-list", "networks-by-name", "password-without-user", "torn", "name-and-password",
    )),
    Row("inspect", "inspect localhost:{broker_port} --ca {ca}/ca.crt.pem --timeout 5", None),
    Row("inspect-key-as-ca", "inspect localhost:{broker_port} --ca {device}.key.pem", None),
    Row("flash-key-as-firmware", "flash --board pico_w --firmware {device}.key.der --dry-run", None),
    Row("flash-key-as-tree", "flash --board pico_w --firmware {device}.key.der --full {ca} -o {new}/x.uf2", None),
    Row("doctor", "doctor --timeout 5", None),
    Row("boards", "boards --port {port} --ask", None),
    Row("explain-argument", "explain TLS_REFUSED"),
    Row("explain", "explain -", None, stdin="error: DNS: no address for {wifi} password {mqtt}\n"),
    Row("explain-nothing", "explain -", 2, stdin="what is {mqtt} and {wifi} and {psk_text}\n"),
    Row("explain-json", "explain --json -", stdin="OSError: [Errno 104] key {key_text} {wifi}\n"),
    Row("logs", "logs --port {talking} --seconds 2"),
    Row("logs-json", "logs --port {talking} --seconds 2 --json"),
    Row("logs-no-port", "logs --port /dev/ttyNONE7", 3),
    Row("watch-wrong-password", f"{LOGIN} {{wrong}}", 1),
    Row("watch-wrong-key", f"{BROKER} --cert {{device}}.key.pem --key {{device}}.key.pem", 2),
    Row("watch", f"{LOGIN} {{password}} --topic rootlet/dev-1/cmd/#", until="rootlet/dev-1/cmd/x"),
    Row("watch-json", f"{LOGIN} {{password}} --json --topic rootlet/dev-1/cmd/#", until="rootlet/dev-1/cmd/x"),
    Row("broker-psk", "broker --engine mosquitto --ca-dir {ca} --name localhost --psk {ca} --port 0 --psk-port 0",
        None, until="private brokers only"),
    Row("sim", "sim --fs {new}/flash --script {script}", until="serial port|/tty|link"),
    Row("demo", "", program="{demo}"),
]  # fmt: skip

_TALK = """
import time
words = {words!r}
while True:
    print("[%8.3f] error: WIFI_WRONG_PASSWORD: x; " % 1.0, *words)
    for word in words:
        print("password is", word, "and", repr(word))
    time.sleep_ms(100)
"""
_DEMO = """
from pathlib import Path
from host_tools import demo
demo._WIFI_PASSWORD = Path({wifi!r}).read_text()
demo.run(print, folder=Path({folder!r}) / "demo")
"""


class Lab:
    """Files with a canary wherever a secret can be; attributes are what COMMANDS refer to."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.folder = folder
        self.new, self.bad, self.home, self.tmp = (folder / name for name in ("new", "bad", "home", "tmp"))
        for path in (self.new, self.bad, self.home, self.tmp):
            path.mkdir()
        self.wifi, self.mqtt, self.phrase = (
            f"canary-{name}-{secrets.token_hex(10)}" for name in ("wifi", "mqtt", "phrase")
        )
        self.wrong_phrase = f"canary-wrong-{secrets.token_hex(10)}"
        self.passphrase, self.wrong = self.secret("phrase", self.phrase), self.secret("wrong", self.wrong_phrase)
        self.password, wifi_file = self.secret("mqtt", self.mqtt), self.secret("wifi", self.wifi)
        self.phrase_file_text = "not-the-phrase"
        authority = ca.init(folder / "ca-data", subject="/CN=Canary CA", passphrase=self.phrase)
        self.ca = authority.directory
        server = authority.issue_server(["localhost"])
        issued = authority.issue_device("dev-1")
        self.device = str(issued.key_der).removesuffix(".key.der")
        self.other = str(authority.issue_device("dev-3").key_der).removesuffix(".key.der")
        shared = psk.new("dev-1", self.ca)
        self.psk_raw, self.psk_hex = shared.raw_file, shared.hex_file
        self.trust = certs.embed([authority.cert_pem], folder / "trust_roots.py").module
        private = load_der_private_key(issued.key_der.read_bytes(), None)
        scalar = private.private_numbers().private_value.to_bytes(32, "big")  # type: ignore[union-attr]
        self.psk_text, self.key_text = self.psk_hex.read_text().strip(), base64.b64encode(scalar).decode()
        self.canaries = Canaries(
            wifi=self.wifi.encode(), mqtt=self.mqtt.encode(), passphrase=self.phrase.encode(),
            psk=self.psk_raw.read_bytes(), key=scalar, wrong=self.wrong_phrase.encode(),
        )  # fmt: skip
        self.config = self.configure(folder, self.settings())
        self.config_psk = self.configure(folder / "with-psk", self.settings(psk=True))
        self._bad_configs()
        broker = stack.enter_context(
            Broker(server.cert_pem, server.key_pem, authority.cert_pem, workdir=folder, mtls=False,
                   users={"dev-1": self.mqtt}, engine=choose("mosquitto"))
        )  # fmt: skip
        self.broker_port = broker.port
        self.port = stack.enter_context(VirtualBoard(folder / "flash" / "1")).port
        (folder / "flash" / "2").mkdir(mode=0o700)
        words = [self.wifi, self.mqtt, self.psk_text, self.key_text]
        (folder / "flash" / "2" / "main.py").write_text(_TALK.format(words=words))
        self.talking = stack.enter_context(VirtualBoard(folder / "flash" / "2")).port
        script = {"wifi": {"networks": {"lab": {"password": self.wifi}}}}
        self.script = self.secret("script", json.dumps(script))
        self.demo = self.secret("demo", _DEMO.format(wifi=str(wifi_file), folder=str(folder)))

    def secret(self, name: str, text: str) -> Path:
        path = self.folder / f"secret-{name}"
        path.touch(0o600)
        path.write_text(text)
        return path

    def settings(self, psk: bool = False) -> dict[str, object]:
        mqtt: dict[str, object] = {"host": "localhost", "port": 1, "user": "dev-1", "password": self.mqtt}
        mqtt |= {"psk": "device.psk"} if psk else {"cert": "device.crt.der", "key": "device.key.der"}
        return {
            "device": "dev-1",
            "wifi": {"networks": [{"ssid": "lab", "password": self.wifi}]},
            "mqtt": mqtt,
            "sensors": [{"kind": "simulated", "name": "sim"}],
        }

    def configure(self, folder: Path, settings: object) -> Path:
        folder.mkdir(exist_ok=True, parents=True)
        path = folder / "config.json"
        path.touch(0o600)
        path.write_text(settings if isinstance(settings, str) else json.dumps(settings))
        return path

    def _bad_configs(self) -> None:
        good = self.settings()
        network = {"ssid": "lab", "password": self.wifi}
        mqtt = {"host": "localhost", "password": self.mqtt}
        for name, settings in {
            "long-password": {**good, "wifi": {"networks": [{"ssid": "lab", "password": self.wifi * 3}]}},
            "password-list": {**good, "wifi": {"networks": [{"ssid": "lab", "password": [self.wifi]}]}},
            "networks-by-name": {**good, "wifi": {"networks": {"lab": self.wifi}}},
            "password-without-user": {**good, "mqtt": mqtt},
            "torn": json.dumps(good)[:-9],
            "name-and-password": {**good, "wifi": {"networks": [network], "password": {"is": self.wifi}}},
        }.items():
            self.configure(self.bad / name, settings)

    def fill(self, text: str) -> str:
        return text.format_map(vars(self))


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    old = os.umask(0o022)
    try:
        choose("mosquitto")
    except Failure:
        pytest.skip("Mosquitto is not installed and could not be")
    with contextlib.ExitStack() as stack:
        yield Lab(tmp_path_factory.mktemp("canaries"), stack)
    os.umask(old)


def publish(lab: Lab, stop: threading.Event) -> None:
    """Say the secrets by MQTT until told to stop, as a device with a fault would."""
    import ssl

    import paho.mqtt.client as paho
    from paho.mqtt.enums import CallbackAPIVersion

    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.tls_set_context(ssl.create_default_context(cafile=str(lab.ca / "ca.crt.pem")))
    client.username_pw_set("dev-1", lab.mqtt)
    client.connect("localhost", lab.broker_port)
    client.loop_start()
    while not stop.wait(0.1):
        said = {"value": lab.wifi, "password": lab.mqtt, "psk": lab.psk_text, "key": lab.key_text}
        client.publish("rootlet/dev-1/cmd/x", json.dumps(said))
    client.disconnect()
    client.loop_stop()


def run(lab: Lab, row: Row, debug: bool, environment: dict[str, str]) -> tuple[int, bytes]:
    """(exit code, all that it printed)."""
    line = [lab.fill(row.program)] if row.program else ["-m", "host_tools", *(["--debug"] if debug else [])]
    line += [lab.fill(word) for word in row.line.split()]
    environment |= {"TMPDIR": str(lab.tmp), "HOME": str(lab.home), **{k: lab.fill(v) for k, v in row.env}}
    process = subprocess.Popen(
        [sys.executable, *line], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        cwd=lab.folder, env=environment,
    )  # fmt: skip
    assert process.stdin and process.stdout
    said = b""
    killer = threading.Timer(90, process.kill)
    killer.start()
    try:
        if row.until:
            process.stdin.close()
            while piece := process.stdout.readline():
                said += piece
                if any(word.encode() in piece for word in row.until.split("|")):
                    process.send_signal(signal.SIGINT)
                    break
            said += process.stdout.read()
        else:
            said = process.communicate(lab.fill(row.stdin).encode())[0]
        return process.wait(), said
    finally:
        killer.cancel()
        process.stdout.close()


@pytest.mark.parametrize("debug", [False, True], ids=["", "debug"])
@pytest.mark.parametrize("row", COMMANDS, ids=str)
def test_no_canary_comes_out(row: Row, debug: bool, lab: Lab) -> None:
    if debug and (row.code == 0 or row.until):
        pytest.skip("there is no traceback")
    stop = threading.Event()
    publisher = threading.Thread(target=publish, args=(lab, stop), daemon=True)
    lookout = Lookout(lab.canaries, [lab.folder], lab.home / "secret-log")
    try:
        if row.name.startswith("watch"):
            publisher.start()
        with lookout:
            code, said = run(lab, row, debug, lookout.environment(lab.home / "hook"))
    finally:
        stop.set()
        if publisher.ident:
            publisher.join()
    assert lab.canaries.within(said) == [], said[-2000:].decode(errors="replace")
    assert lookout.leaks == set()
    for path in lab.folder.rglob("*"):
        where = path.relative_to(lab.folder.parent).as_posix()
        if not any(fnmatch.fnmatch(where, pattern) for pattern in PRIVATE):
            assert lab.canaries.in_file(path) == [], path
    if row.code is not None:
        expected = 1 if debug and row.code else row.code
        assert code == expected, said[-2000:].decode(errors="replace")
    if row.code:
        assert (b"Traceback" in said) == debug, said[-2000:].decode(errors="replace")


def test_git_has_no_canary(lab: Lab) -> None:
    paths = of_git()
    assert len(paths) > 100
    assert [path for path in paths if lab.canaries.in_file(path)] == []


@pytest.mark.parametrize("name", ["wifi", "psk", "key"])
def test_the_search_finds_what_is_there(name: str, lab: Lab, tmp_path: Path) -> None:
    """Each way to leak is found."""
    secret = lab.canaries.secrets[name]
    writings = [secret, secret.hex().encode(), repr(secret).encode(), base64.b64encode(b"x" + secret + b"yz")]
    writings += [base64.encodebytes(b"ab" + secret), str(list(secret)).encode()]
    for text in writings:
        assert lab.canaries.within(b"before " + text + b" after") == [name]
    tmp_path.chmod(0o755)
    (tmp_path / "file").write_bytes(secret)
    (tmp_path / "file").chmod(0o644)
    assert list(exposed(tmp_path)) == [tmp_path / "file"]
    code = "import subprocess, sys, time; subprocess.run(['true', sys.stdin.read()]); time.sleep(0.5)"
    lookout = Lookout(lab.canaries, [tmp_path], tmp_path / "log")
    environment = lookout.environment(tmp_path / "hook")
    with lookout:
        text = secret.hex().encode()
        subprocess.run([sys.executable, "-c", code], input=text, env=environment, check=True, timeout=30)
        subprocess.run([sys.executable, "-c", "import time; time.sleep(0.5)", text], check=True, timeout=30)
    assert lookout.seen >= 1
    assert {leak.split(" in ", 1)[1].split(",")[0] for leak in lookout.leaks} == {
        "the command line of a process", "what a command starts", str(tmp_path / "file"),
    }  # fmt: skip
