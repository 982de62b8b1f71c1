"""`rootlet new` and `rootlet provision` as processes: killed, repeated, watched for secrets; what boards take of it."""

import csv
import fcntl
import os
import pty
import re
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from cryptography import x509

from host_tools import ca, deploy, project, provision, psk, root_store
from host_tools.broker import Broker
from host_tools.failure import Failure
from host_tools.paths import ROOT
from host_tools.servers import SntpServer
from host_tools.sim.board import VirtualBoard
from host_tools.watch import Watcher
from tests.integration.test_gateway import SCRIPT, readings

CANARY = "canary-51d0c8ee"
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "firmware")]), "NO_COLOR": "1"}
SETTINGS = """\
[[brokers]]
name = "home"
host = "broker.home"
[[brokers]]
name = "shared"
host = "10.0.0.2"
auth = "psk"
[[brokers]]
name = "hired"
host = "mqtt.example.org"
auth = "password"
password = { secret = "mqtt" }
[wifi]
networks = [{ ssid = "home", password = { secret = "wifi" } }]
[[sensors]]
kind = "internal_temperature"
name = "chip"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / project.FILE).write_text(SETTINGS)
    secrets = tmp_path / "secrets.toml"
    secrets.touch(0o600)
    secrets.write_text(f'wifi = "{CANARY}-wifi"\nmqtt = "{CANARY}-mqtt"\n')
    return tmp_path


def fleet(folder: Path, count: int) -> None:
    rows = "".join(f"gw-{i:04},S{i:05},site {i % 7}\n" for i in range(count))
    (folder / "fleet.csv").write_text("id,serial,wifi.networks[0].ssid\n" + rows)


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "host_tools", *words]


def run(folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*words), cwd=folder, env={**ENVIRONMENT, **more}, stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=110, check=False,
    )  # fmt: skip


def good(folder: Path, *words: str, **more: str) -> str:
    done = run(folder, *words, **more)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # no progress bar without a terminal
    return done.stdout


def add(folder: Path, *ids: str, more: str = "") -> None:
    path = folder / project.FILE
    path.write_text(path.read_text() + "".join(f'[[devices]]\nid = "{name}"\n{more}' for name in ids))


def state(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file of every device: bytes and inode."""
    files = [path for path in (folder / "build" / "devices").rglob("*") if path.is_file()]
    return {f"{path.parent.name}/{path.name}": (path.read_bytes(), path.stat().st_ino) for path in files}


def manifest(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "build" / "manifest.csv").open() as stream:
        return {row["device"]: row for row in csv.DictReader(stream)}


def check_whole(folder: Path) -> None:
    """Each device folder is complete, and each certificate is the device's own, under this CA, and there once."""
    authority = ca.load(folder / "ca-data")
    serials: set[int] = set()
    for device in (folder / "build" / "devices").iterdir():
        assert {path.name for path in device.iterdir()} == {
            "config.json", "device.crt.der", "device.key.der", "trust_roots.py", "trust_roots.mpy"}  # fmt: skip
        pair = (device / "device.crt.der").read_bytes(), (device / "device.key.der").read_bytes()
        assert provision._valid_from(authority, device.name, *pair), device
        serials.add(x509.load_der_x509_certificate(pair[0]).serial_number)
    assert len(serials) == len(list((folder / "build" / "devices").iterdir()))


def check_modes(folder: Path) -> None:
    for path in (folder / "build").rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        if path.parent.name == "devices":
            assert mode == 0o700, path
        if re.search(r"config\.json|\.key|\.psk", path.name):
            assert mode == 0o600, path
    assert stat.S_IMODE((folder / "ca-data" / "ca.key.pem").stat().st_mode) == 0o400
    assert stat.S_IMODE((folder / "ca-data").stat().st_mode) == 0o700


def test_a_device_from_nothing(folder: Path) -> None:
    add(folder, "pico-1")
    old_umask = os.umask(0)
    try:
        said = good(folder, "provision")
    finally:
        os.umask(old_umask)
    assert "made         pico-1" in said
    wanted = re.search(r"rootlet (ca issue server broker\.home --dir ca-data)", said)
    assert wanted, said
    check_modes(folder)
    check_whole(folder)
    out = folder / "build" / "devices" / "pico-1"
    pem = out.parent / "x.pem"
    pem.write_bytes(x509.load_der_x509_certificate((out / "device.crt.der").read_bytes()).public_bytes(ca.Encoding.PEM))
    subprocess.run(
        ["openssl", "verify", "-purpose", "sslclient", "-CAfile", folder / "ca-data" / "ca.crt.pem", pem],
        check=True, capture_output=True, timeout=30,
    )  # fmt: skip
    pem.unlink()
    tree = deploy.stage(
        folder / "tree", config=out / "config.json", trust=out / "trust_roots.mpy", cert=out / "device.crt.der",
        key=out / "device.key.der",
    )  # fmt: skip
    assert (tree / "device.key.der").is_file()
    good(folder, *wanted[1].split())
    before = state(folder)
    said = good(folder, "provision")
    assert "kept         pico-1" in said and "note" not in said
    assert state(folder) == before  # not even written again
    assert "device  pico-1" in good(folder, "ca", "list")


def test_a_revoked_device_is_named(folder: Path) -> None:
    add(folder, "pico-1", "pico-2")
    good(folder, "provision", "--all")
    said = good(folder, "ca", "revoke", "pico-2")
    assert "--write again" in said
    done = run(folder, "provision", "--all")
    assert done.returncode == 0 and "kept         1" in done.stdout and "renewed      1" in done.stdout
    assert "warning      pico-2 was revoked" in done.stderr and "pico-1" not in done.stderr
    assert "rootlet deploy pico-2" in done.stderr
    again = run(folder, "provision", "--all")
    assert "kept         2" in again.stdout and not again.stderr


def test_what_changes_and_what_stays(folder: Path) -> None:
    add(folder, "pico-1", "pico-2")
    assert "made         2" in good(folder, "provision", "--all")
    first = state(folder)
    add(folder, "pico-3", more="[devices.mqtt]\nqueue = 100\n")
    text = (folder / project.FILE).read_text()
    (folder / project.FILE).write_text(text.replace('id = "pico-2"\n', 'id = "pico-2"\nclock = { timeout_s = 9 }\n'))
    said = good(folder, "provision", "--all")
    assert [said.count(words) for words in ("made         1", "changed      1", "kept         1")] == [1, 1, 1], said
    second = state(folder)
    assert second["pico-1/config.json"] == first["pico-1/config.json"]
    for name in ("pico-2/device.key.der", "pico-2/device.crt.der"):
        assert second[name][0] == first[name][0]
    assert b'"timeout_s": 9' in second["pico-2/config.json"][0]
    assert "renewed      pico-1" in good(folder, "provision", "pico-1", "--renew", "--days", "20")
    third = state(folder)
    for name in ("device.key.der", "device.crt.der"):
        assert third[f"pico-1/{name}.bak"][0] == first[f"pico-1/{name}"][0]
        assert third[f"pico-1/{name}"][0] != first[f"pico-1/{name}"][0]
    said = good(folder, "provision", "pico-1")
    assert "kept         pico-1" in said
    assert "rootlet provision pico-1 --renew" in said  # it ends soon
    assert state(folder) == third
    check_modes(folder)


def test_an_identity_that_is_not_valid_is_replaced(folder: Path) -> None:
    add(folder, "pico-1")
    good(folder, "provision")
    out = folder / "build" / "devices" / "pico-1"
    key = (out / "device.key.der").read_bytes()
    (out / "device.key.der").write_bytes(key[:50])
    assert "renewed" in good(folder, "provision")
    good(folder, "ca", "init", "--force")
    os.chmod(out, 0o755)
    assert "renewed" in good(folder, "provision")
    check_modes(folder)
    authority = ca.load(folder / "ca-data")
    cert, der = (out / "device.crt.der").read_bytes(), (out / "device.key.der").read_bytes()
    assert provision._valid_from(authority, "pico-1", cert, der)
    assert authority.cert.fingerprint(x509.base.hashes.SHA256()).hex() in (out / "trust_roots.py").read_text()


def test_what_the_ca_issued_before_is_taken(folder: Path) -> None:
    add(folder, "pico-1")
    good(folder, "ca", "init")
    good(folder, "ca", "issue", "device", "pico-1")
    good(folder, "provision")
    issued = folder / "ca-data" / "issued"
    out = folder / "build" / "devices" / "pico-1"
    assert (issued / "device-pico-1.key.der").read_bytes() == (out / "device.key.der").read_bytes()
    good(folder, "provision", "--renew")
    assert not (issued / "device-pico-1.key.der").exists() and (issued / "device-pico-1.key.der.bak").exists()
    assert len(list(issued.glob("device-*.crt.pem"))) == 1
    assert "kept" in good(folder, "provision")


def test_a_revoked_certificate_is_not_given_again(folder: Path) -> None:
    add(folder, "pico-1")
    good(folder, "ca", "init")
    good(folder, "ca", "issue", "device", "pico-1")
    good(folder, "provision")
    out = folder / "build" / "devices" / "pico-1" / "device.crt.der"
    before = out.read_bytes()
    good(folder, "ca", "revoke", "pico-1")
    done = run(folder, "provision")
    assert "renewed      pico-1" in done.stdout and "pico-1 was revoked" in done.stderr and out.read_bytes() != before
    assert "revoked" not in next(line for line in good(folder, "ca", "list").splitlines() if " pico-1 " in line)
    assert "kept" in good(folder, "provision")


def test_shared_keys_passwords_and_public_roots(folder: Path) -> None:
    add(folder, "s", more='broker = "shared"\n')
    add(folder, "p", more='broker = "hired"\ntrust = { own_ca = false, public_roots = ["ISRG Root"] }\n')
    good(folder, "provision", "--all")
    shared, hired = (folder / "build" / "devices" / name for name in ("s", "p"))
    assert sorted(os.listdir(shared)) == ["config.json", "device.psk", "trust_roots.mpy", "trust_roots.py"]
    assert sorted(os.listdir(hired)) == ["config.json", "roots.bin"]
    raw = (shared / "device.psk").read_bytes()
    assert psk.mosquitto_lines(folder / "ca-data") == f"s:{raw.hex()}\n"
    deploy.stage(folder / "tree", config=shared / "config.json", psk=shared / "device.psk")
    assert root_store.opened(hired / "roots.bin").count >= 1
    rows = manifest(folder)
    assert [rows["s"]["auth"], rows["p"]["auth"], rows["s"]["sha256"]] == ["psk", "password", ""]
    (folder / "ca-data" / "psk" / "s.psk").unlink()  # as an interruption leaves it
    before = state(folder)
    assert "kept         2" in good(folder, "provision", "--all")
    assert state(folder) == before
    assert "renewed      s" in good(folder, "provision", "s", "--renew")
    assert (shared / "device.psk").read_bytes() != raw
    check_modes(folder)


def test_a_provisioned_board_publishes(folder: Path) -> None:
    """A real broker with the project's CA, the real firmware with the files as they were made."""
    local = SETTINGS.replace("broker.home", "localhost").replace('ssid = "home"', 'ssid = "lab"')
    (folder / project.FILE).write_text(local)
    (folder / "secrets.toml").write_text('wifi = "lab-password"\n')
    add(folder, "pico-1")
    good(folder, "provision", "--all")
    good(folder, "ca", "issue", "server", "localhost")
    good(folder, "ca", "issue", "device", "observer")
    issued, roots = folder / "ca-data" / "issued", folder / "ca-data" / "ca.crt.pem"
    names = issued / "server-localhost.crt.pem", issued / "server-localhost.key.pem"
    with Broker(*names, roots, workdir=folder / "broker") as broker, SntpServer() as sntp:
        text = (folder / project.FILE).read_text().replace('"localhost"', f'"localhost"\nport = {broker.port}')
        (folder / project.FILE).write_text(f'{text}[clock]\nservers = ["127.0.0.1:{sntp.port}"]\n')
        assert "changed      1" in good(folder, "provision", "--all")
        loaded = project.load(folder)
        out = loaded.out("pico-1")
        flash = deploy.stage(
            folder / "flash", board=loaded.device("pico-1").board, config=out / "config.json",
            trust=out / "trust_roots.mpy", cert=out / "device.crt.der", key=out / "device.key.der",
        )  # fmt: skip
        mine = issued / "device-observer.crt.pem", issued / "device-observer.key.pem"
        watcher = Watcher("localhost", broker.port, roots, *mine)
        with watcher, VirtualBoard(flash, script=SCRIPT):
            [reading] = readings(watcher, 1)
    assert (reading["device"], reading["sensor"]) == ("pico-1", "chip")


def test_two_thousand_in_two_minutes(folder: Path) -> None:
    fleet(folder, 2000)
    start = time.monotonic()
    said = good(folder, "provision", "--csv", "fleet.csv", "--jobs", "2")
    took = time.monotonic() - start
    print(f"2000 devices: {took:.1f} s")
    assert "made         2000" in said and took < 120
    rows = manifest(folder)
    assert len(rows) == 2000 and len({row["sha256"] for row in rows.values()}) == 2000


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def killed(folder: Path, when: int) -> None:
    """Start provisioning, kill it by SIGKILL when so many devices are there (0: when the first file is)."""
    devices = folder / "build" / "devices"
    process = subprocess.Popen(
        command("provision", "--csv", "fleet.csv", "--jobs", "2"), cwd=folder, env=ENVIRONMENT,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while process.poll() is None:
        # Nothing tells when a folder of another process appears.
        if devices.is_dir() and len(os.listdir(devices)) >= when:
            break
        time.sleep(0.001)
    workers = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.send_signal(signal.SIGKILL)
    assert process.wait(30) == -signal.SIGKILL, "it ended before it was killed"
    # Workers end with their parent: nothing goes on issuing behind the back of the next run.
    psutil.wait_procs(workers, timeout=20)
    assert not [worker for worker in workers if alive(worker)]


def test_killed_at_any_moment_and_repeated(folder: Path) -> None:
    fleet(folder, 600)
    kept: dict[str, tuple[bytes, int]] = {}
    for when in (0, 1, 100, 200, 300):
        killed(folder, when)
        now = state(folder)
        assert {name: now.get(name) for name in kept} == kept  # what was complete is untouched
        if (folder / "ca-data").exists():
            check_whole(folder)
        kept = now
    done = len({name.split("/")[0] for name in kept})
    assert 300 <= done < 600
    said = good(folder, "provision", "--csv", "fleet.csv", "--jobs", "2")
    assert f"kept         {done}" in said and f"made         {600 - done}" in said
    now = state(folder)
    assert {name: now[name] for name in kept} == kept
    check_whole(folder)
    check_modes(folder)
    rows = manifest(folder)
    assert len(rows) == 600 and len({row["serial_number"] for row in rows.values()}) == 600
    for name, row in rows.items():
        cert = x509.load_der_x509_certificate((folder / "build" / "devices" / name / "device.crt.der").read_bytes())
        assert (f"{cert.serial_number:x}", cert.fingerprint(x509.base.hashes.SHA256()).hex()) == (
            row["serial_number"], row["sha256"])  # fmt: skip
        shown = x509.load_pem_x509_certificate((folder / "ca-data" / "issued" / f"device-{name}.crt.pem").read_bytes())
        assert shown == cert
    assert os.listdir(folder / "build" / "staging") == []
    # The manifest is no record of its own: without it, it comes back the same.
    text = (folder / "build" / "manifest.csv").read_bytes()
    (folder / "build" / "manifest.csv").write_text("device\nnonsense\n")
    good(folder, "provision", "--csv", "fleet.csv", "--jobs", "2")
    assert (folder / "build" / "manifest.csv").read_bytes() == text


def test_interrupted_while_a_device_is_replaced(folder: Path) -> None:
    add(folder, "pico-1")
    good(folder, "provision")
    before = state(folder)
    staging = folder / "build" / "staging"
    os.rename(folder / "build" / "devices" / "pico-1", staging / "old-pico-1")
    (staging / "new-abc").mkdir()
    assert "kept         pico-1" in good(folder, "provision")
    assert state(folder) == before and os.listdir(staging) == []


def test_a_worker_that_is_killed(folder: Path) -> None:
    fleet(folder, 2000)
    with subprocess.Popen(
        command("provision", "--csv", "fleet.csv", "--jobs", "2"), cwd=folder, env=ENVIRONMENT,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        devices = folder / "build" / "devices"
        while process.poll() is None and not (devices.is_dir() and len(os.listdir(devices)) > 20):
            time.sleep(0.001)
        worker = next(p for p in psutil.Process(process.pid).children() if "spawn_main" in " ".join(p.cmdline()))
        worker.kill()
        _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert [line.split(":")[0] for line in error.splitlines()] == ["error", "because", "try"], error
    assert len(manifest(folder)) == len(os.listdir(devices)) < 2000
    check_whole(folder)


def test_one_at_a_time(folder: Path) -> None:
    add(folder, "pico-1")
    loaded = project.load(folder)
    (folder / "build").mkdir()
    with provision._only_one(folder / "build" / ".provision.lock"), pytest.raises(Failure, match="being provisioned"):
        provision.run(loaded, loaded.devices, provision.Options(), print)
    assert not (folder / "ca-data").exists()
    assert provision.run(loaded, loaded.devices, provision.Options(), print).counts == {"made": 1}


def test_it_waits_for_workers_of_a_killed_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(folder, "pico-1")
    loaded = project.load(folder)
    (folder / "build").mkdir()
    with (folder / "build" / provision._WORKERS).open("w") as worker:
        fcntl.flock(worker, fcntl.LOCK_SH)
        monkeypatch.setattr(provision, "_ORPHANS_S", 0.05)
        with pytest.raises(Failure, match="an earlier run has not ended"):
            provision.run(loaded, loaded.devices, provision.Options(), print)
        assert not (folder / "ca-data").exists()
        monkeypatch.undo()
        releasing = threading.Timer(0.3, lambda: fcntl.flock(worker, fcntl.LOCK_UN))
        releasing.start()
        assert provision.run(loaded, loaded.devices, provision.Options(), print).counts == {"made": 1}
        assert not releasing.is_alive() or releasing.finished.is_set()


def test_no_terminal_no_question(folder: Path) -> None:
    add(folder, "pico-1")
    secret = folder / "pass"
    secret.write_text("correct horse\n")
    good(folder, "provision", "--passphrase-file", "pass")
    assert ca.is_encrypted(folder / "ca-data")
    done = run(folder, "provision", "--renew")
    assert done.returncode == 2 and "--passphrase-file" in done.stderr and done.stdout == ""
    fleet(folder, 12)
    assert "made         12" in good(folder, "provision", "--csv", "fleet.csv", ROOTLET_CA_PASSPHRASE="correct horse")
    done = run(folder, "provision", "--csv", "fleet.csv", ROOTLET_CA_PASSPHRASE="wrong horse")
    assert done.returncode == 1 and "the passphrase is wrong" in done.stderr and "horse" not in done.stderr


def test_several_devices_and_none_named(folder: Path) -> None:
    add(folder, "pico-1", "pico-2")
    done = run(folder, "provision")
    assert done.returncode == 2 and "rootlet provision --all" in done.stderr and "pico-2" in done.stderr
    assert not (folder / "build").exists()
    assert run(folder / "..", "provision").returncode == 2  # no project there


def test_a_progress_bar_on_a_terminal(folder: Path) -> None:
    fleet(folder, 30)
    ours, theirs = pty.openpty()
    try:
        subprocess.run(
            command("provision", "--csv", "fleet.csv", "--jobs", "1"), cwd=folder, stderr=theirs, check=True,
            env={**ENVIRONMENT, "TERM": "xterm", "COLUMNS": "80"}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            timeout=60,
        )  # fmt: skip
        os.set_blocking(ours, False)
        assert b"30/30" in os.read(ours, 1 << 20)
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.fixture
def processes() -> Iterator[set[str]]:
    """The command lines of all processes, sampled while a test runs."""
    seen: set[str] = set()
    end = threading.Event()

    def sample() -> None:
        while not end.is_set():
            for name in os.listdir("/proc"):
                if name.isdigit():
                    try:
                        seen.add(Path(f"/proc/{name}/cmdline").read_bytes().decode(errors="replace"))
                    except OSError:
                        continue
            end.wait(0.005)

    if not Path("/proc/self/cmdline").exists():
        pytest.skip("no /proc here")
    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield seen
    finally:
        end.set()
        thread.join()


def test_no_secret_gets_out(folder: Path, processes: set[str]) -> None:
    fleet(folder, 60)
    (folder / "pass").write_text(f"{CANARY}-pass\n")
    os.chmod(folder / "pass", 0o600)
    with (folder / project.FILE).open("a") as text:
        text.write('[[devices]]\nid = "p"\nbroker = "hired"\n')
    run(folder, "new", "other")
    (folder / ".gitignore").write_text((folder / "other" / ".gitignore").read_text() + "pass\n")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True, timeout=30)
    said = []
    for words in (["--csv", "fleet.csv", "--jobs", "2"], ["p", "--renew", "--debug"], ["--all", "--debug"]):
        said.append(run(folder, "provision", *words, "--passphrase-file", "pass"))
        assert said[-1].returncode == 0, said[-1].stderr
    secrets = folder / "secrets.toml"
    clean = secrets.read_text()
    # Wrong in every way, with tracebacks.
    for text in (clean.replace('"\n', "\n"), clean.replace("-wifi", "x" * 80), clean.replace("wifi =", "wiffi ="),
                 f"[{CANARY}]\n{clean}", clean + f'"{CANARY}" = {CANARY}'):  # fmt: skip
        secrets.write_text(text)
        for debug in ((), ("--debug",)):
            said.append(run(folder, "provision", "--all", "--passphrase-file", "pass", *debug))
            assert said[-1].returncode != 0
    secrets.write_text(clean)
    helper = folder / "helper.py"
    helper.write_text("import sys; print(open('secrets.toml').read().split('\"')[1]); sys.exit(len(sys.argv) > 2)")
    for ending in ("", " fail"):
        said.append(run(folder, "provision", "--all", "--passphrase-file", "pass", "--debug", "--secret-cmd",
                        f"{sys.executable} helper.py{ending}"))  # fmt: skip
    assert [done.returncode == 0 for done in said[-2:]] == [True, False]
    assert any("Traceback" in done.stderr for done in said)
    assert all(CANARY not in done.stdout + done.stderr for done in said)
    lines = "\n".join(processes)
    assert "host_tools\0provision" in lines and "spawn_main" in lines  # the sampler saw both
    assert CANARY not in lines
    # On disk: only in files that nobody else can read, and in none that git takes.
    holding = [path for path in folder.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]
    assert {path.name for path in holding} == {"secrets.toml", "config.json", "pass"}
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in holding)
    subprocess.run(["git", "add", "-A"], cwd=folder, check=True, timeout=30)
    tracked = subprocess.run(["git", "ls-files"], cwd=folder, check=True, timeout=30, capture_output=True, text=True)
    assert project.FILE in tracked.stdout and "secrets" not in tracked.stdout and "build" not in tracked.stdout
    assert subprocess.run(["git", "grep", "--cached", "-q", CANARY], cwd=folder, check=False).returncode == 1


def test_secrets_that_git_would_take(folder: Path) -> None:
    add(folder, "pico-1")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True, timeout=30)
    done = run(folder, "provision")
    assert done.returncode == 1 and "git does not ignore" in done.stderr and ".gitignore" in done.stderr
    subprocess.run(["git", "add", "secrets.toml"], cwd=folder, check=True, timeout=30)
    done = run(folder, "provision")
    assert done.returncode == 1 and "rm --cached secrets.toml" in done.stderr
    assert not (folder / "build").exists()
