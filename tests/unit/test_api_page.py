"""docs/api.md is made from the docstrings, and those tell of every argument and every error."""

import ast
import re

import pytest

from host_tools.api_page import ON_A_BOARD, ON_A_HOST, Entry, entries, page
from host_tools.paths import ROOT

ENTRIES = [entry for row in (*ON_A_BOARD, *ON_A_HOST) for entry in entries(*row)]


def test_the_page_is_made_from_the_docstrings() -> None:
    """Make it again with: python -m host_tools.api_page > docs/api.md"""
    assert (ROOT / "docs" / "api.md").read_text() == page()


def errors(entry: Entry) -> set[str]:
    """What is raised in the body itself: codes of RootletError, names of other exceptions."""
    found = set()
    for node in ast.walk(entry.node):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
            name, args = node.exc.func.id, node.exc.args
            code = args[0].value if name == "RootletError" and args and isinstance(args[0], ast.Constant) else name
            if name[0].isupper():
                found.add(str(code))
    return found


def told(what: str, text: str) -> bool:
    """By its whole name, or by the start of it and an asterisk, as in HTTP_*."""
    starts = re.findall(r"\b([A-Z]+_?)\*", text)
    return re.search(rf"\b{re.escape(what)}\b", text) is not None or any(what.startswith(s) for s in starts)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_it_is_told(entry: Entry) -> None:
    assert len(entry.doc) > 10
    assert [name for name in entry.arguments if not re.search(rf"\b{name}\b", entry.told)] == []
    assert [what for what in errors(entry) if not told(what, entry.told)] == []


def test_no_name_is_there_twice_and_all_modules_are_importable_by_their_name() -> None:
    heads = re.findall(r"^#+ `(?:await )?(.+?)[(`]", page(), re.M)
    assert len(heads) == len(set(heads)) > 100
    for path, module, _ in (*ON_A_BOARD, *ON_A_HOST):
        assert path.removeprefix("firmware/") == module.replace(".", "/") + ".py"


def test_a_missing_argument_is_seen() -> None:
    node = ast.parse("def f(a, b):\n    raise RootletError('DNS')").body[0]
    entry = Entry("f", "(a, b)", "Tells of a only.", node, "Tells of a only.", ("a", "b"))
    with pytest.raises(AssertionError):
        test_it_is_told(entry)
    assert errors(entry) == {"DNS"} and not told("DNS", "Raises TCP_*") and told("TCP_REFUSED", "Raises TCP_*")
