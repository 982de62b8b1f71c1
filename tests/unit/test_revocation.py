"""The CA's list of revoked certificates: signed, complete, readable by openssl, and never silently wrong."""

import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from host_tools import ca, cluster, revocation
from host_tools.failure import Exit, Failure


@pytest.fixture
def authority(tmp_path: Path) -> ca.Authority:
    made = ca.init(tmp_path / "ca")
    for name in ("pico-1", "pico-2", "Pico_3"):
        made.issue_device(name)
    return made


def test_what_is_revoked_leaves_the_list_of_devices(authority: ca.Authority) -> None:
    folder = authority.directory
    assert revocation.listed(folder) == ("Pico_3", "pico-1", "pico-2")
    assert revocation.revoked(folder) == [] and revocation.existing(folder) is None
    revocation.revoke(authority, "pico-1", "key-compromise")
    revocation.revoke(authority, str(folder / "issued" / "device-Pico_3.crt.pem"))
    assert revocation.listed(folder) == ("pico-2",)
    assert [(one.name, one.reason) for one in revocation.revoked(folder)] == [
        ("pico-1", "key-compromise"),
        ("Pico_3", "unspecified"),
    ]
    # Who knows names alone cannot tell the new certificate from the old one.
    authority.issue_device("pico-1", force=True)
    assert revocation.listed(folder) == ("pico-2",)


def test_with_an_id_the_former_certificates_go_too(authority: ca.Authority) -> None:
    """A board that was renewed has the former key and certificate on its flash still, and they have not ended."""
    issued = authority.directory / "issued" / "device-pico-1.crt.pem"
    serials = [x509.load_pem_x509_certificate(issued.read_bytes()).serial_number]
    for _ in range(2):  # the first one is no .bak any more
        serials.append(authority.issue_device("pico-1", force=True).cert.serial_number)
    authority.issue_device("pico-1-b")
    authority.issue_device("pico-1-b", force=True)
    with pytest.raises(Failure, match="no certificate"):
        revocation.revoke(authority, "pico")
    assert revocation.revoke(authority, "pico-1").more == 2
    assert revocation.serials(revocation.crl_file(authority.directory)) == set(serials)
    assert {one.name for one in revocation.revoked(authority.directory)} == {"pico-1"}
    with pytest.raises(Failure, match="revoked already"):
        revocation.revoke(authority, "pico-1")


def test_with_a_file_that_certificate_alone_goes(authority: ca.Authority) -> None:
    issued = authority.issue_device("pico-1", force=True)
    assert revocation.revoke(authority, str(issued.cert_pem)).more == 0
    assert len(revocation.revoked(authority.directory)) == 1
    assert revocation.revoke(authority, "pico-1").more == 1, "the former one is still good"


def test_the_list_is_signed_numbered_and_good_as_long_as_the_ca(authority: ca.Authority) -> None:
    for number, name in enumerate(("pico-1", "pico-2"), 1):
        revocation.revoke(authority, name)
        found = revocation.read(revocation.crl_file(authority.directory), authority.cert)
        assert found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == number
        assert len(found) == number
        assert found.next_update_utc == authority.cert.not_valid_after_utc
        assert found.last_update_utc + timedelta(minutes=4) < found[0].revocation_date_utc + timedelta(minutes=1)


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")
@pytest.mark.parametrize(("name", "code"), [("pico-1", 2), ("pico-2", 0)])
def test_openssl_agrees(authority: ca.Authority, name: str, code: int) -> None:
    revocation.revoke(authority, "pico-1")
    issued = authority.directory / "issued" / f"device-{name}.crt.pem"
    crl = revocation.crl_file(authority.directory)
    command = ["openssl", "verify", "-crl_check", "-CRLfile", crl, "-CAfile", authority.cert_pem, issued]
    assert subprocess.run(command, capture_output=True, timeout=20).returncode == code


def test_what_cannot_be_revoked(authority: ca.Authority, tmp_path: Path) -> None:
    stranger = ca.init(tmp_path / "other").issue_device("pico-1")
    revocation.revoke(authority, "pico-2")
    for what, reason in (
        ("pico-2", "unspecified"), ("pico-9", "unspecified"), ("ca", "unspecified"), ("pico-1", "boredom"),
        (str(stranger.cert_pem), "unspecified"),
    ):  # fmt: skip
        with pytest.raises(Failure) as e:
            revocation.revoke(authority, what, reason)
        assert e.value.code == Exit.USAGE
    assert len(revocation.revoked(authority.directory)) == 1


def test_a_list_that_is_damaged_or_of_another_ca_stops_all(authority: ca.Authority, tmp_path: Path) -> None:
    other = ca.init(tmp_path / "other")
    other.issue_device("pico-1")
    revocation.revoke(other, "pico-1")
    path = revocation.crl_file(authority.directory)
    for data in (revocation.crl_file(other.directory).read_bytes(), b"", b"-----BEGIN X509 CRL-----\nAAAA\n"):
        path.write_bytes(data)
        for ask in (revocation.revoked, revocation.listed):
            with pytest.raises(Failure, match="cannot use the list"):
                ask(authority.directory)


def test_files_for_three_machines(authority: ca.Authority, tmp_path: Path) -> None:
    hosts = ["a.example", "b.example", "192.0.2.3"]
    written = cluster.write(authority, hosts, tmp_path / "out", engine="nats", devices=("pico-1",))
    secrets = set()
    for node, files in written:
        assert all(path.stat().st_mode & 0o777 == 0o600 for path in files)
        folder = files[0].parent
        texts = {path.name: path.read_text() for path in files}
        assert str(folder) not in "".join(texts.values())
        conf, unit = texts["nats.conf"], texts["rootlet-broker.service"]
        assert "/etc/rootlet-broker/nats.conf" in unit and "LimitNOFILE=" in unit
        assert '"user": "CN=pico-1"' in conf and '"stream_replicas": 3' in conf
        for other in hosts:
            assert (f"@{other}:6222" in conf) is (other != node.address)
        secrets.add(conf.partition("node:")[2].partition("@")[0])
        cert = x509.load_pem_x509_certificate(texts["node.crt.pem"].encode())
        uses = cert.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert len(list(uses)) == 2
    assert len(secrets) == 1 and len(secrets.pop()) == 64


@pytest.mark.parametrize("hosts", [[], ["a"], ["a", "b"], ["a", "b", "c", "d"], ["a", "a", "b"]])
def test_no_such_cluster(authority: ca.Authority, tmp_path: Path, hosts: list[str]) -> None:
    with pytest.raises(Failure, match="no such cluster"):
        cluster.write(authority, hosts, tmp_path / "out", engine="nats")


def test_an_engine_without_clusters_says_so(authority: ca.Authority, tmp_path: Path) -> None:
    with pytest.raises(Failure, match="mosquitto has no cluster"):
        cluster.write(authority, ["a", "b", "c"], tmp_path / "out", engine="mosquitto")


def test_a_ca_made_anew_begins_without_the_list_of_the_one_before(tmp_path: Path) -> None:
    first = ca.init(tmp_path / "ca")
    first.issue_device("dev-1")
    revocation.revoke(first, "dev-1")
    second = ca.init(tmp_path / "ca", force=True)
    assert revocation.existing(second.directory) is None
    assert (tmp_path / "ca" / "ca.crl.pem.bak").exists()
    second.issue_device("dev-1", force=True)
    assert revocation.listed(second.directory) == ("dev-1",)
    assert revocation.revoke(second, "dev-1").name == "dev-1"
