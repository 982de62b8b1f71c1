"""The reader of the pages' blocks."""

from pathlib import Path

import pytest

from tests.docs import fences


def read(tmp_path: Path, text: str) -> list[fences.Block]:
    page = tmp_path / "page.md"
    page.write_text(text)
    return fences.blocks(page)


def test_blocks_have_their_line_language_and_text(tmp_path: Path) -> None:
    text = "# a\n```sh\nmake\n```\n1. b\n\n   ```toml\n   a = 1\n     b\n   ```\n~~~\n```\n~~~\n"
    one, two, three = read(tmp_path, text)
    assert (one.line, one.language, one.text, one.place) == (2, "sh", "make\n", f"{tmp_path.name}/page.md:2")
    assert (two.line, two.language, two.text) == (7, "toml", "a = 1\n  b\n")
    assert three.text == "```\n"
    assert not one.marked


def test_markers_say_what_is_run_and_what_not(tmp_path: Path) -> None:
    text = """
<!-- not run: needs a board, in BOOTSEL mode -->
```sh
rootlet flash
```
<!-- run: project, broker; expect: one: two; exit: 3; long; replace: A = b/c -->

```sh
rootlet boards
```
<!-- run: by tests/x.py -->
```python
```
"""
    one, two, three = read(tmp_path, text)
    assert one.not_run == "needs a board, in BOOTSEL mode"
    assert two.scenes == ("project", "broker")
    assert two.parts == {"expect": "one: two", "exit": "3", "long": ""}
    assert two.replaced == (("A", "b/c"),)
    assert (two.elsewhere, three.elsewhere) == (None, "tests/x.py")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("```sh\nmake\n", 1),
        ("<!-- not run: I do not like it -->\n```sh\n```\n", 2),
        ("<!-- not run: needs a boardwalk -->\n```sh\n```\n", 2),
        ("<!-- run: project; expects: x -->\n```sh\n```\n", 2),
        ("\n<!-- run: project -->\nText.\n", 2),
        ("\n<!-- run: project -->\n", 2),
        ("<!-- run: a -->\n<!-- run: b -->\n```\n```\n", 1),
    ],
)
def test_what_cannot_be_read_is_told_by_file_and_line(tmp_path: Path, text: str, line: int) -> None:
    with pytest.raises(fences.Bad, match=rf"page\.md:{line}: "):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("language", "text", "kind"),
    [
        ("sh", "x", "commands"),
        ("", "rootlet watch", "commands"),
        ("", "$ rootlet watch\nx", "commands"),
        ("", "pico-1 online", "shown"),
        ("", "error: a\ntry: rootlet watch", "shown"),
        ("", "a\n  rootlet watch", "shown"),
        ("text", "rootlet watch", "shown"),
        ("toml", "a = 1", "toml"),
    ],
)
def test_commands_are_told_from_what_is_shown(language: str, text: str, kind: str) -> None:
    assert fences.Block(Path("p.md"), 1, language, text).kind == kind


def test_commands_of_a_block() -> None:
    text = """# first
rootlet ble scan   # hears
cat >> a <<'END'   # lines
rootlet x && y

END
a && b -c \\
  d && e
python3 -c 'a && b'
"""
    assert fences.commands(text) == [
        "rootlet ble scan   # hears",
        "cat >> a <<'END'   # lines\nrootlet x && y\n\nEND",
        "a",
        "b -c \\\n  d",
        "e",
        "python3 -c 'a && b'",
    ]
    assert fences.commands("$ rootlet x\nrootlet y\n$ z\n") == ["rootlet x", "z"]
    assert fences.words("A=b rootlet x 'c d' \\\n  e # f") == ["rootlet", "x", "c d", "e"]


@pytest.mark.parametrize(
    ("command", "stays"),
    [
        ("rootlet broker # x", True),
        ("rootlet broker --check", None),
        ("rootlet watch", False),
        (".venv/bin/rootlet watch --once", None),
        ("rootlet capture -- rootlet watch", None),
        ("rootlet demo", None),
        ("rootlet demo --keep", False),
        ("make demo", None),
    ],
)
def test_commands_that_last(command: str, stays: bool | None) -> None:
    found = fences.lasts(command)
    assert (found[1] if found else None) is stays
