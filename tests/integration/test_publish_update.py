"""`rootlet publish-update` against a real broker: devices that are played here fetch, verify, and say what they run."""

import contextlib
import hashlib
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from host_tools import ca, update_keys
from host_tools.broker import Broker
from host_tools.paths import ROOT
from rootlet import manifest

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "firmware")]), "NO_COLOR": "1"}
SETTINGS = """\
[[brokers]]
name = "home"
host = "localhost"
port = %d
[wifi]
networks = [{ ssid = "home" }]
[update]
key = "update.pub"
[[sensors]]
kind = "internal_temperature"
name = "chip"
"""
COUNT = 12


class Device:
    """A board as the broker and the web server see it. how: "good", "back" (the new version fails), or "deaf"."""

    def __init__(self, folder: Path, name: str, port: int, how: str = "good") -> None:
        self.name, self.how, self.folder, self.version, self.asked = name, how, folder, 1, 0
        self.heard: list[dict[str, Any]] = []
        self.ready = threading.Event()
        self.context = ssl.create_default_context(cafile=str(folder / "ca-data" / "ca.crt.pem"))
        own = ssl.create_default_context(cafile=str(folder / "ca-data" / "ca.crt.pem"))
        issued = folder / "identities"
        own.load_cert_chain(issued / f"{name}.crt.pem", issued / f"{name}.key.pem")
        self.client = paho.Client(CallbackAPIVersion.VERSION2)
        self.client.tls_set_context(own)
        self.client.on_connect = lambda *_: self.client.subscribe(f"rootlet/{name}/cmd", qos=1)
        self.client.on_subscribe = lambda *_: self.ready.set()
        self.client.on_message = lambda _c, _d, message: self.command(json.loads(message.payload))
        self.client.connect("localhost", port)
        self.client.loop_start()
        assert self.ready.wait(10)
        self.say("status", self.status()).wait_for_publish(10)

    def status(self, **more: Any) -> dict[str, Any]:
        found = {
            "status": "online",
            "version": "0.1.0",
            "tree_version": self.version,
            "trial": False,
            "rolled_back": None,
        }
        return {**found, **more}

    def say(self, what: str, data: dict[str, Any]) -> Any:
        return self.client.publish(f"rootlet/{self.name}/{what}", json.dumps(data), qos=1, retain=what == "status")

    def get(self, url: str) -> bytes:
        with urllib.request.urlopen(url, timeout=10, context=self.context) as response:
            data: bytes = response.read()
        return data

    def command(self, said: dict[str, Any]) -> None:
        self.heard.append(said)
        if self.how == "deaf":
            return
        self.say("reply", {"id": said["id"], "command": "update", "ok": True})
        key = (self.folder / "build" / "devices" / self.name / "update.pub").read_bytes()
        data = manifest.checked(manifest.opened(self.get(said["url"]), key))
        manifest.allow(data, "pico_w", 2822, self.version, None, False)
        for name, (size, digest) in list(data["files"].items())[:3]:
            body = self.get(said["url"].rpartition("/")[0] + "/" + digest)
            assert (len(body), hashlib.sha256(body).hexdigest()) == (size, digest), name
        if self.how == "back":
            self.say("status", self.status(tree_version=data["version"], trial=True))
            self.say("status", self.status(rolled_back=data["version"]))
        else:
            self.version = data["version"]
            self.say("status", self.status(trial=True))
            self.say("status", self.status())

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "host_tools", *words], cwd=folder, env=ENVIRONMENT, text=True,
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=90, check=False)  # fmt: skip


def good(folder: Path, *words: str) -> str:
    done = run(folder, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """A provisioned project of twelve devices, and its broker."""
    folder = tmp_path_factory.mktemp("project")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    names = [f"dev-{i:02}" for i in range(COUNT)]
    text = SETTINGS % port + "".join(f'[[devices]]\nid = "{name}"\n' for name in names)
    (folder / "rootlet.toml").write_text(text)
    # Without the key there is nothing to provision it from.
    done = run(folder, "provision", "--all")
    assert done.returncode == 2 and "rootlet ca update-key" in done.stderr
    said = good(folder, "ca", "update-key")
    assert "whoever has it runs code on every board" in said
    assert (folder / "ca-data" / "update.key.pem").stat().st_mode & 0o777 == 0o600
    assert run(folder, "ca", "update-key").returncode == 1  # never overwritten unasked
    good(folder, "provision", "--all")
    authority = ca.load(folder / "ca-data")
    server = authority.issue_server(["localhost"], ["127.0.0.1"])
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        load_der_private_key,
    )

    (folder / "identities").mkdir()
    for name in names:
        out = folder / "build" / "devices" / name
        assert (out / "update.pub").read_bytes() == update_keys.public(folder / "ca-data")
        cert = (folder / "ca-data" / "issued" / f"device-{name}.crt.pem").read_bytes()
        (folder / "identities" / f"{name}.crt.pem").write_bytes(cert)
        key = load_der_private_key((out / "device.key.der").read_bytes(), None)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / "identities" / f"{name}.key.pem").write_bytes(pem)
    with Broker(server.cert_pem, server.key_pem, authority.cert_pem, workdir=folder, port=port):
        yield folder, port


@contextlib.contextmanager
def fleet(site: tuple[Path, int], **how: str) -> Iterator[dict[str, Device]]:
    with contextlib.ExitStack() as stack:
        devices = {}
        for i in range(COUNT):
            name = f"dev-{i:02}"
            devices[name] = Device(site[0], name, site[1], how.get(f"d{i}", "good"))
            stack.callback(devices[name].close)
        yield devices


def test_a_plan_changes_nothing(site: tuple[Path, int]) -> None:
    said = good(site[0], "publish-update", "--serve", "localhost:8443", "--dry-run", "--version", "7")
    assert "12 x pico_w: version 7, https://localhost:" in said
    assert "stage 1: 1 device, stops after more than 0" in said and "stage 3: 10 devices" in said
    assert not (site[0] / "build" / "updates" / "manifest-pico_w-7.signed").exists()


def test_a_whole_fleet(site: tuple[Path, int]) -> None:
    with fleet(site) as devices:
        said = good(site[0], "publish-update", "--serve", "localhost:0", "--version", "20")
        assert re.search(r"confirmed +12", said)
        assert [len(device.heard) for device in devices.values()] == [1] * COUNT
        assert len({device.heard[0]["id"] for device in devices.values()}) == 1
        # All have it already.
        said = good(site[0], "publish-update", "--resume", "--serve", "localhost:0")
        assert "12 done already" in said
        assert [len(device.heard) for device in devices.values()] == [1] * COUNT


def test_it_stops_at_the_first_and_goes_on_later(site: tuple[Path, int]) -> None:
    with fleet(site, d0="back") as devices:
        done = run(site[0], "publish-update", "--serve", "localhost:0", "--version", "30")
        assert done.returncode == 1
        assert "dev-00: failed: it went back from this version" in done.stdout
        assert "1 failed in stage 1" in done.stderr and "--resume" in done.stderr
        assert not any(device.heard for device in devices.values() if device.name != "dev-00")
        # The device is mended; its retained status still says what it went back from.
        devices["dev-00"].how = "good"
        assert run(site[0], "publish-update", "--resume", "--serve", "localhost:0").returncode == 1
        said = good(site[0], "publish-update", "--resume", "--again", "--serve", "localhost:0")
        assert devices["dev-00"].heard[-1]["url"].endswith("#again")
        assert re.search(r"confirmed +12", said)


def test_devices_that_say_nothing(site: tuple[Path, int]) -> None:
    with fleet(site, d1="deaf") as devices:
        arguments = ["--serve", "localhost:0", "--version", "40", "--timeout", "2", "dev-00", "dev-01", "dev-02"]
        done = run(site[0], "publish-update", *arguments)
        assert done.returncode == 1 and "dev-01: failed: it did not report the new version in time" in done.stdout
        devices["dev-01"].how = "good"
        said = good(site[0], "publish-update", "--resume", "--serve", "localhost:0", "dev-00", "dev-01", "dev-02")
        assert re.search("[12] done already", said) and len(devices["dev-00"].heard) == 1


def test_published_for_another_web_server(site: tuple[Path, int], tmp_path: Path) -> None:
    said = good(site[0], "publish-update", "--version", "50", "--out", str(tmp_path / "www"))
    assert "--resume --url https://HOST/PATH/" in said
    names = sorted(path.name for path in (tmp_path / "www").iterdir())
    assert "manifest-pico_w-50.signed" in names and "rollout-50.json" in names
    arguments = ["--resume", "--out", str(tmp_path / "www"), "--dry-run", "--url"]
    assert "https://example.org/up/manifest-pico_w-50.signed" in good(
        site[0], "publish-update", *arguments, "https://example.org/up"
    )
    for bad in ("http://example.org", "https://a b/", "ftp://x", "https://me@host/"):
        done = run(site[0], "publish-update", *arguments, bad)
        assert done.returncode == 2 and "boards cannot fetch from there" in done.stderr, bad


def test_what_cannot_be_used(site: tuple[Path, int], tmp_path: Path) -> None:
    for words in (
        ["--serve", "localhost:0", "--url", "https://x/"],
        ["--serve", "nonsense:port"],
        ["--serve", "localhost:0", "--stages", "10,5,100"],
        ["--serve", "localhost:0", "--stages", "x"],
        ["--resume", "--out", str(tmp_path)],
        ["nobody"],
    ):
        done = run(site[0], "publish-update", *words)
        assert done.returncode == 2, (words, done.stdout + done.stderr)
        assert [line.split(":")[0] for line in done.stderr.splitlines()[-3:]] == ["error", "because", "try"]
