"""What docs/security.md claims is held by tests that exist, and its two claims about the source hold."""

import ast
import re

import pytest

from host_tools.paths import FIRMWARE, ROOT

PAGE = (ROOT / "docs" / "security.md").read_text()
THREATS, CLAIMS = PAGE.split("## Claims and the tests that hold them")
ROWS = dict(re.findall(r"^\| (C\d+) \| .+? \| (.+) \|$", CLAIMS, re.M))


def functions(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("claim", ROWS)
def test_the_tests_of_a_claim_exist(claim: str) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", ROWS[claim])
    assert named and len(named) == ROWS[claim].count("::")
    missing = [f"{path}::{name}" for path, name in named if name not in functions(path)]
    assert missing == []


def test_every_claim_is_used_and_every_sign_leads_somewhere() -> None:
    assert set(re.findall(r"\[(C\d+)\]", THREATS)) == set(ROWS)
    assert len(ROWS) > 20


def test_nothing_in_the_firmware_connects_unverified() -> None:
    """One place looks without verifying: the first look of tls.py, whose callback always ends the handshake."""
    found = []
    for path in sorted((FIRMWARE / "rootlet").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in ("CERT_NONE", "CERT_OPTIONAL"):
                found.append((path.name, node.attr))
    assert found == [("tls.py", "CERT_OPTIONAL")]


def test_only_suites_with_forward_secrecy_are_offered() -> None:
    tree = ast.parse((FIRMWARE / "rootlet" / "tls.py").read_text())
    suites = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "CIPHERS"
    )
    assert suites and all(re.fullmatch(r"TLS-ECDHE-(ECDSA|RSA)-WITH-AES-\d+-GCM-SHA\d+", suite) for suite in suites)
