"""The certificates that a device had before: they are good until they end, so a lost board takes them along.

`issued/device-ID.crt.pem` is the present one. Each that it replaces is kept as
`former/device-ID/SERIAL.crt.pem`, without its key, so that `rootlet ca revoke ID` can take all of them back.
"""

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from host_tools import certinfo
from host_tools.failure import Failure
from host_tools.safe_write import File, make_directory


def kept(path: Path) -> list[File]:
    """The file to write before a device's certificate in `issued/` is replaced; none where none is there or has to be.

    Args: path: of the PEM file that will be replaced; certificates of servers, which no board looks up, are not kept.
    """
    certs = _read(path) if path.name.startswith("device-") else []
    if not certs:
        return []
    folder = _folder(path)
    target = folder / f"{certs[0].serial_number:x}.crt.pem"
    if target.exists():
        return []
    make_directory(folder.parent)
    make_directory(folder)
    return [File(target, certs[0].public_bytes(Encoding.PEM))]


def of(path: Path) -> list[x509.Certificate]:
    """The certificates that were in the place of this one, in no order. Args: path: of a PEM file in `issued/`."""
    files = [*sorted(_folder(path).glob("*.crt.pem")), path.with_name(path.name + ".bak")]
    return list({cert.serial_number: cert for file in files for cert in _read(file)[:1]}.values())


def _folder(path: Path) -> Path:
    return path.parent.parent / "former" / path.name.removesuffix(".crt.pem")


def _read(path: Path) -> list[x509.Certificate]:
    try:
        return certinfo.read_certificates(path) if path.is_file() else []
    except Failure:  # a damaged file must not hinder a new certificate
        return []
