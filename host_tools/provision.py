"""`rootlet provision`: everything a device needs, in a folder of its own; right after any interruption, for thousands.

A device exists when its folder does: a folder is made whole elsewhere and then renamed into place. What was interrupted
leaves nothing but a staging folder, which the next run removes. The manifest is read off the folders each time.
"""

import contextlib
import csv
import fcntl
import hashlib
import io
import json
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, load_der_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from host_tools import ca, certinfo, certs, former, psk, revocation, root_store, update_keys
from host_tools.failure import Exit, Failure
from host_tools.project import BOARD_CERT, BOARD_KEY, BOARD_PSK, Device, Project, Trust
from host_tools.project_secrets import FILE as SECRETS_FILE
from host_tools.safe_write import PRIVATE, PUBLIC, File, make_directory, write_all
from host_tools.x509_build import PrivateKey, key_bytes
from rootlet import store

CONFIG, MODULE, COMPILED, ROOTS = "config.json", "trust_roots.py", "trust_roots.mpy", "roots.bin"
_SECRET_FILES = (CONFIG, BOARD_KEY, BOARD_PSK, f"{BOARD_KEY}.bak")
_IDENTITY = (BOARD_CERT, BOARD_KEY)
_LARGEST_CONFIG = 16384  # what the board reads
_IN_ONE_PROCESS = 8  # so few devices are done before a second process has started
_WORKERS = ".workers.lock"
_ORPHANS_S = 20.0
_SOON = timedelta(days=60)
_COLUMNS = ("device", "auth", "serial_number", "sha256", "not_after")


@dataclass(frozen=True)
class Options:
    """How to provision. passphrase: of the CA's key. days: life of new certificates. renew: new identities."""

    renew: bool = False
    days: int | None = None
    jobs: int = 0
    passphrase: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Report:
    """What was done: how many devices were `made`, `renewed`, `changed` or `kept`; notes and warnings for a person."""

    counts: dict[str, int]
    notes: tuple[str, ...]
    manifest: Path
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Job:
    """One device. trust: the folder with its trust files. update: public key of remote updates, or None."""

    id: str
    auth: str
    trust: Path
    config: bytes = field(repr=False)
    update: bytes | None = field(repr=False, default=None)


@dataclass(frozen=True)
class _Site:
    """What all devices of a run share."""

    devices: Path
    staging: Path
    ca_dir: Path
    options: Options
    authority: ca.Authority | None = field(default=None, repr=False)


Say = Callable[[str], None]
Tick = Callable[[], None]


def run(project: Project, devices: Iterable[Device], options: Options, say: Say, tick: Tick | None = None) -> Report:
    """Provision devices.

    Args:
        devices: those of the project to do. say: takes each line for a person. tick: called after each device.
    Raises: Failure. It may be run again after any interruption; what is complete is kept.
    """
    wanted = list(devices)
    _check_git(project.folder)
    configs = [_config(device) for device in wanted]  # all secrets are asked for before anything is written
    build = project.folder / "build"
    for folder in (build, build / "devices", build / "staging"):
        make_directory(folder)
    with _only_one(build / ".provision.lock"):
        _orphans_gone(build / _WORKERS)
        _recover(build)
        authority = _authority(project, options, say)
        trusted = {trust: _trust_files(project, trust, authority, options) for trust in {d.trust for d in wanted}}
        public = {device.id: _update_key(project, config) for device, config in zip(wanted, configs, strict=True)}
        jobs = [
            _Job(device.id, device.auth, trusted[device.trust], config, public[device.id])
            for device, config in zip(wanted, configs, strict=True)
        ]
        site = _Site(build / "devices", build / "staging", project.ca_dir, options, authority)
        warnings = tuple(_revoked(project, wanted))
        counts: Counter[str] = Counter()
        try:
            for done in _all(site, jobs):
                counts[done] += 1
                if tick:
                    tick()
        finally:
            manifest, soon = write_manifest(project)
    return Report(dict(counts), tuple(_notes(project, wanted, soon)), manifest, warnings)


def _config(device: Device) -> bytes:
    data = json.dumps(device.config, indent=1, ensure_ascii=False).encode() + b"\n"
    if len(data) > _LARGEST_CONFIG:
        raise Failure(f"the configuration of {device.id} is too large", f"{len(data)} bytes, a board reads 16384",
                      "fewer sensors or networks", Exit.USAGE)  # fmt: skip
    return data


def _update_key(project: Project, config: bytes) -> bytes | None:
    """The public key of remote updates, where the device takes them."""
    name = json.loads(config).get("update", {}).get("key")
    if name is None:
        return None
    if name != update_keys.PUBLIC:
        raise Failure("the update key cannot be placed", f"update.key is {name!r}",
                      f'key = "{update_keys.PUBLIC}" in [update]', Exit.USAGE)  # fmt: skip
    return update_keys.public(project.ca_dir)


def _check_git(folder: Path) -> None:
    """That git neither keeps the secrets nor would. Raises Failure."""
    path = folder / SECRETS_FILE
    if not path.is_file():
        return

    def git(*words: str) -> int:
        command = ["git", "-C", str(folder), *words]
        try:
            return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=20,
                                  check=False).returncode  # fmt: skip
        except (OSError, subprocess.SubprocessError):
            return 128

    where = shlex.quote(str(folder))
    if git("ls-files", "--error-unmatch", SECRETS_FILE) == 0:
        raise Failure(f"git keeps {path}", "whoever reads the repository reads the secrets",
                      f"git -C {where} rm --cached {SECRETS_FILE}, and change every secret in it")  # fmt: skip
    if git("check-ignore", "-q", SECRETS_FILE) == 1:
        raise Failure(f"git does not ignore {path}", "the next `git add` would take it",
                      f"echo {SECRETS_FILE} >> {shlex.quote(str(folder / '.gitignore'))}")  # fmt: skip


@contextlib.contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """A lock that ends with the process that holds it, however that ends."""
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "rb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Failure("this project is being provisioned", f"another process holds {path}",
                          "the same command when that one has ended") from None  # fmt: skip
        yield


def _orphans_gone(path: Path) -> None:
    """Wait for workers whose parent was killed: until then one could still put a device into place. Raises Failure."""
    end = time.monotonic() + _ORPHANS_S
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "rb") as stream:
        while True:
            try:
                return fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if time.monotonic() > end:
                    raise Failure("an earlier run has not ended", f"one of its workers holds {path}",
                                  f"lsof {shlex.quote(str(path))}") from None  # fmt: skip
                time.sleep(0.01)  # flock has no timeout


def _recover(build: Path) -> None:
    """Undo what an interrupted run left: a folder that was moved aside goes back if nothing took its place."""
    for path in (build / "staging").iterdir():
        device = build / "devices" / path.name.removeprefix("old-")
        if path.name.startswith("old-") and not device.exists():
            os.rename(path, device)
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _authority(project: Project, options: Options, say: Say) -> ca.Authority:
    folder = project.ca_dir
    if (folder / "ca.key.pem").exists() or (folder / "ca.crt.pem").exists():
        return ca.load(folder, options.passphrase)
    subject = f"/O={project.name}/CN={project.name} CA"
    if folder.exists() and any(folder.iterdir()):
        made = ca.init(folder, subject=subject, passphrase=options.passphrase)
    else:
        # Four files that belong together: made elsewhere, so that an interruption leaves none of them.
        temporary = Path(tempfile.mkdtemp(prefix="new-", dir=project.folder / "build" / "staging"))
        ca.init(temporary, subject=subject, passphrase=options.passphrase)
        os.rename(temporary, folder)
        made = ca.load(folder, options.passphrase)
    kind = "encrypted" if options.passphrase else "not encrypted: keep the folder to yourself"
    say(f"made the CA  {folder} ({certinfo.cert_key_name(made.cert)}, until "
        f"{made.cert.not_valid_after_utc:%Y-%m-%d}; its key is {kind})")  # fmt: skip
    return made


def _trust_files(project: Project, trust: Trust, authority: ca.Authority, options: Options) -> Path:
    """Make what boards verify by, once for all that have the same; returns the folder."""
    folder = project.folder / "build" / "trust" / hashlib.sha256(repr(trust).encode()).hexdigest()[:12]
    make_directory(folder)
    files = [authority.cert_pem] if trust.own_ca else []
    files += [project.folder / name for name in trust.ca_files]
    module, roots = folder / MODULE, folder / ROOTS
    if files:
        _steady(module, _module_time, lambda moment: certs.embed(files, module, moment), options.renew)
    if trust.public_roots == "none":
        return folder
    names = [] if isinstance(trust.public_roots, str) else list(trust.public_roots)

    def make(moment: int | None) -> None:
        root_store.make(roots, bundles=[], names=names, hosts=[], deny=list(trust.deny), max_bytes=trust.max_bytes,
                        build_time=moment)  # fmt: skip

    _steady(roots, _store_time, make, options.renew)
    return folder


def _steady(path: Path, time_of: Callable[[Path], int | None], make: Callable[[int | None], object], new: bool) -> None:
    """Make a file anew only where its content, but for its build time, would be another."""
    before = path.read_bytes() if path.exists() and not new and "SOURCE_DATE_EPOCH" not in os.environ else None
    moment = time_of(path) if before else None
    if moment is not None:
        make(moment)
        if path.read_bytes() == before:
            return
    make(None)


def _module_time(path: Path) -> int | None:
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines()[:5]:
        name, _, value = line.partition(" = ")
        if name == "BUILD_TIME" and value.isdigit():
            return int(value)
    return None


def _store_time(path: Path) -> int | None:
    with path.open("rb") as stream:
        head = stream.read(16)
    return int.from_bytes(head[8:16], "big") if head[:8] == store.MAGIC and len(head) == 16 else None


_site: _Site | None = None


def _start(site: _Site) -> None:
    """What a worker does first: open the CA, and end when its parent ends, even by kill -9."""
    import multiprocessing
    from dataclasses import replace

    global _site  # noqa: PLW0603
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101

    def follow() -> None:
        parent.join()
        os._exit(1)

    # Held as long as this process lives: the next run waits for it.
    fcntl.flock(os.open(site.staging.parent / _WORKERS, os.O_RDWR | os.O_CREAT, 0o600), fcntl.LOCK_SH)
    if not parent.is_alive():
        os._exit(1)
    threading.Thread(target=follow, daemon=True).start()
    _site = replace(site, authority=ca.load(site.ca_dir, site.options.passphrase))


def _in_worker(job: _Job) -> tuple[str, tuple[str, str, str, int] | None]:
    assert _site is not None  # noqa: S101
    try:
        return _one(_site, job), None
    except Failure as failure:  # an exception with several arguments does not survive the way to the parent
        return "", (failure.what, failure.because, failure.try_, int(failure.code))


def _all(site: _Site, jobs: list[_Job]) -> Iterator[str]:
    """Do all jobs, in processes where they are many. Yields what was done, a word each."""
    workers = min(site.options.jobs or os.cpu_count() or 1, 64, len(jobs))
    if workers <= 1 or len(jobs) <= _IN_ONE_PROCESS:
        for job in jobs:
            yield _one(site, job)
        return
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from dataclasses import replace

    # "spawn": a worker must inherit neither the lock nor anything else that is open here.
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_start, initargs=(replace(site, authority=None),)
    )
    try:
        for done, failed in pool.map(_in_worker, jobs, chunksize=8):
            if failed:
                raise Failure(*failed[:3], Exit(failed[3]))
            yield done
    except BrokenProcessPool:
        raise Failure("a worker process ended", "it was stopped from outside, or memory ran out",
                      "the same command again: it goes on where it was") from None  # fmt: skip
    finally:
        pool.shutdown(cancel_futures=True)


def _one(site: _Site, job: _Job) -> str:
    """Bring one device's folder up to date. Returns "made", "renewed", "changed" or "kept"."""
    target = site.devices / job.id
    there = _contents(target)
    files = {CONFIG: job.config}
    for name in (MODULE, COMPILED, ROOTS):
        with contextlib.suppress(FileNotFoundError):
            files[name] = (job.trust / name).read_bytes()
    if job.update:
        files[update_keys.PUBLIC] = job.update
    new_identity = False
    if job.auth == "mtls":
        identity, new_identity = _identity(site, job.id, there)
        files |= zip(_IDENTITY, identity, strict=True)
        if new_identity and there:
            files |= {f"{name}.bak": there[name] for name in _IDENTITY if name in there}
        else:
            files |= {name: data for name, data in there.items() if name.endswith(".bak")}
    elif job.auth == "psk":
        files[BOARD_PSK], new_identity = _shared_key(site, job.id, there)
    if files != there or not _private(target, files):
        _place(site, job.id, files)
    if job.auth == "mtls":
        _publish(site, job.id, files[BOARD_CERT])
    if not there:
        return "made"
    return "renewed" if new_identity else "kept" if files == there else "changed"


def _contents(folder: Path) -> dict[str, bytes]:
    try:
        return {path.name: path.read_bytes() for path in folder.iterdir()}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise Failure(f"cannot read {folder}", error.strerror or str(error), f"ls -la {folder}") from None


def _private(folder: Path, files: Iterable[str]) -> bool:
    """Whether nobody else can read the folder nor what is secret in it."""
    secret = [folder / name for name in files if name in _SECRET_FILES]
    return all(not path.stat().st_mode & 0o077 for path in (folder, *secret))


def _identity(site: _Site, device: str, there: dict[str, bytes]) -> tuple[tuple[bytes, bytes], bool]:
    """Certificate and key (DER), and whether they are new to the folder: the valid ones that are there, or others."""
    assert site.authority is not None  # noqa: S101
    here = (there.get(BOARD_CERT, b""), there.get(BOARD_KEY, b""))
    if not site.options.renew:
        found = [here, _issued_before(site.ca_dir, device)]
        valid = [(start, pair) for pair in found if (start := _valid_from(site.authority, device, *pair))]
        if valid:
            # The first of those that start last: `certs rotate` leaves a newer one in the CA's folder.
            pair = max(valid, key=lambda row: row[0])[1]
            return pair, bool(there) and pair != here
    cert, key = site.authority.sign_device(device, days=site.options.days)
    return (certinfo.der(cert), key_bytes(key, Encoding.DER)), True


def _issued_before(ca_dir: Path, device: str) -> tuple[bytes, bytes]:
    """What `rootlet ca issue device` made."""
    stem = ca_dir / "issued" / f"device-{device}"
    try:
        return Path(f"{stem}.crt.der").read_bytes(), Path(f"{stem}.key.der").read_bytes()
    except OSError:
        return b"", b""


def _valid_from(authority: ca.Authority, device: str, cert_der: bytes, key_der: bytes) -> datetime | None:
    """When a certificate and its key begin to be valid, or None where they are not this device's under this CA now."""
    if not cert_der or not key_der:
        return None
    try:
        cert = x509.load_der_x509_certificate(cert_der)
        key = load_der_private_key(key_der, None)
        cert.verify_directly_issued_by(authority.cert)
        uses = cert.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return None
    names = [str(found.value) for found in cert.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    good = (
        names == [device]
        and ExtendedKeyUsageOID.CLIENT_AUTH in uses
        and isinstance(key, PrivateKey)
        and key.public_key() == cert.public_key()
        and cert.not_valid_after_utc > datetime.now(UTC)
        and not revocation.is_revoked(authority.directory, cert.serial_number)
    )
    return cert.not_valid_before_utc if good else None


def _shared_key(site: _Site, device: str, there: dict[str, bytes]) -> tuple[bytes, bool]:
    """The key shared with the broker, raw; made if there is none. The broker's file is the one that counts."""
    path = site.ca_dir / "psk" / f"{device}.key"
    if site.options.renew or not path.exists():
        psk.new(device, site.ca_dir, force=site.options.renew or path.with_suffix(".psk").exists())
    raw = bytes.fromhex(psk._read_hex(path))
    beside = path.with_suffix(".psk")
    if not beside.exists() or beside.read_bytes() != raw:
        write_all([File(beside, raw, PRIVATE)], force=True, keep_backup=False)
    return raw, bool(there) and there.get(BOARD_PSK) != raw


def _place(site: _Site, device: str, files: dict[str, bytes]) -> None:
    """Make the folder whole, then put it where the device's folder belongs."""
    target = site.devices / device
    staged = Path(tempfile.mkdtemp(prefix="new-", dir=site.staging))  # mode 0700
    try:
        for name, data in files.items():
            mode = PRIVATE if name in _SECRET_FILES else PUBLIC
            with os.fdopen(os.open(staged / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
                os.fchmod(stream.fileno(), mode)
                stream.write(data)
                stream.flush()
                if name in _IDENTITY:  # all else can be made again
                    os.fsync(stream.fileno())
        old = site.staging / f"old-{device}"
        if target.exists():
            os.rename(target, old)
        os.rename(staged, target)  # fails where another process has made it meanwhile
        if old.exists():
            shutil.rmtree(old)
    except OSError as error:
        because = error.strerror or "the disk refuses"
        raise Failure(f"cannot write {target}", because, f"df {site.devices}, then the same command") from None
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _publish(site: _Site, device: str, cert_der: bytes) -> None:
    """The certificate, not its key, where `rootlet ca list` looks. Files of a former identity become .bak."""
    folder = site.ca_dir / "issued"
    shown = folder / f"device-{device}.crt.pem"
    pem = x509.load_der_x509_certificate(cert_der).public_bytes(Encoding.PEM)
    try:
        if shown.read_bytes() == pem:
            return
    except FileNotFoundError:
        make_directory(folder)
    for ending in ("crt.der", "key.der", "key.pem"):
        old = folder / f"device-{device}.{ending}"
        if old.exists():
            os.replace(old, f"{old}.bak")
    write_all([*former.kept(shown), File(shown, pem)], force=True)


def rows(project: Project) -> list[dict[str, Any]]:
    """What exists: device, auth, serial number (hexadecimal), SHA-256 and end of its certificate; by device id."""
    found = []
    for folder in sorted((project.folder / "build" / "devices").iterdir()):
        row: dict[str, Any] = dict.fromkeys(_COLUMNS, "")
        auths = {BOARD_CERT: "mtls", BOARD_PSK: "psk"}
        row |= {"device": folder.name}
        row["auth"] = next((auth for name, auth in auths.items() if (folder / name).exists()), "password")
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, ValueError):  # a damaged one has no numbers
            cert = x509.load_der_x509_certificate((folder / BOARD_CERT).read_bytes())
            row |= {"serial_number": f"{cert.serial_number:x}", "sha256": certinfo.sha256(cert)}
            row["not_after"] = f"{cert.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"
        found.append(row)
    return found


def write_manifest(project: Project) -> tuple[Path, list[str]]:
    """Write build/manifest.csv from what exists. Returns it, and the devices whose certificate ends soon."""
    path = project.folder / "build" / "manifest.csv"
    found = rows(project)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    write_all([File(path, text.getvalue().encode())], force=True, keep_backup=False)
    limit = f"{datetime.now(UTC) + _SOON:%Y-%m-%dT%H:%M:%SZ}"
    return path, [row["device"] for row in found if row["not_after"] and row["not_after"] < limit]


def _notes(project: Project, devices: list[Device], soon: list[str]) -> Iterator[str]:
    folder = shlex.quote(os.path.relpath(project.ca_dir))
    own = [d for d in devices if d.trust.own_ca and (d.auth == "mtls" or d.trust.public_roots == "none")]
    for host in sorted({device.host for device in own if device.auth != "psk"}):
        if not _has_server(project.ca_dir, host):
            named = f"--ip {host}" if _is_ip(host) else host
            command = f"rootlet ca issue server {named} --dir {folder}"
            yield f"the CA has no valid certificate for the broker {host}: {command}"
    yield from sorted({device.note for device in devices if device.note})
    for prefix in sorted({device.discovery for device in devices if device.discovery and device.auth != "password"}):
        yield f"discovery topics need a broker that lets devices write them: rootlet broker --home-assistant {prefix}"
    mine = sorted({device.id for device in devices} & set(soon))
    if mine:
        shown = ", ".join(mine[:3]) + (f" and {len(mine) - 3} more" if len(mine) > 3 else "")
        which = mine[0] if len(mine) == 1 else "--all"
        yield f"ends within {_SOON.days} days: {shown}: rootlet provision {which} --renew, then deploy"


def _revoked(project: Project, devices: list[Device]) -> Iterator[str]:
    """What to do with devices whose certificate the CA has taken back, and who get another: not each is meant to."""
    gone = {line.serial_number for line in revocation.entries(project.ca_dir)}
    for device in devices if gone else ():
        with contextlib.suppress(FileNotFoundError, ValueError):
            cert = x509.load_der_x509_certificate((project.out(device.id) / BOARD_CERT).read_bytes())
            if device.auth == "mtls" and cert.serial_number in gone:
                fix = f"rootlet deploy {device.id} to the board that takes its place (NATS: with a new id)"
                yield f"{device.id} was revoked and has a new key and certificate: {fix}, or remove it from the project"


def _is_ip(host: str) -> bool:
    from rootlet.policy import ip_bytes

    return bool(ip_bytes(host))


def _has_server(ca_dir: Path, host: str) -> bool:
    for path in sorted((ca_dir / "issued").glob("server-*.crt.pem")):
        facts = certinfo.describe(certinfo.read_certificates(path)[0])
        wanted = {host.lower(), "*." + host.lower().partition(".")[2]}
        if wanted & {*facts["dns"], *facts["ips"]} and facts["status"] == "valid":
            return True
    return False
