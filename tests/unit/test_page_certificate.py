"""The page's certificate is one of the CA that browsers are told to trust."""

from pathlib import Path
from typing import Any

import pytest

from host_tools import ca
from host_tools.dashboard import certificate
from host_tools.failure import Failure


def find(directory: Path, name: str = "localhost") -> Any:
    said: list[str] = []
    return certificate.find(directory, name, ca.load, said.append), said


def test_one_of_a_ca_that_was_replaced_is_not_used(tmp_path: Path) -> None:
    ca.init(tmp_path / "ca").issue_server(["page.example"])
    first, said = find(tmp_path / "ca")
    assert len(said) == 1 and find(tmp_path / "ca") == (first, [])
    assert find(tmp_path / "ca", "page.example")[1] == []
    old = first.cert.read_bytes()
    # Of the same name, by another key.
    new = ca.init(tmp_path / "ca", force=True)
    second, said = find(tmp_path / "ca")
    assert len(said) == 1 and second.cert.read_bytes() != old
    ca.certinfo.read_certificates(second.cert)[0].verify_directly_issued_by(new.cert)
    with pytest.raises(Failure, match="another CA"):
        find(tmp_path / "ca", "page.example")
