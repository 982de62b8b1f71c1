"""Every block of the pages is run, or checked, or says why not. ROOTLET_DOCS=all runs the long ones too."""

import ast
import collections
import json
import os
import re
from pathlib import Path

import pytest

from host_tools.paths import BUILD, ROOT
from tests.docs import checks, fences, scenes
from tests.docs.fences import Block
from tests.docs.pages import Page

ALL = os.environ.get("ROOTLET_DOCS") == "all"
# The examples have a test of their own.
PAGES = [ROOT / "README.md", *(p for p in sorted((ROOT / "docs").rglob("*.md")) if "examples" not in p.parts)]
BLOCKS = [block for page in PAGES for block in fences.blocks(page)]
COMMANDS = [block for block in BLOCKS if block.kind == "commands"]


def runs(block: Block) -> bool:
    """Whether the pages' test runs it (and not another, or none)."""
    return block.scenes is not None and not block.elsewhere


def of(kind: str) -> list[object]:
    return [pytest.param(block, id=block.place) for block in BLOCKS if block.kind == kind and block.not_run is None]


def test_every_block_of_commands_has_a_marker() -> None:
    bare = [block.place for block in COMMANDS if not block.marked]
    assert not bare, "no marker (tests/docs/fences.py says how they look) before: " + ", ".join(bare)


def test_the_scenes_and_tests_that_markers_name_exist() -> None:
    for block in BLOCKS:
        if block.elsewhere:
            path = ROOT / block.elsewhere
            assert path.is_file(), block.place
            assert block.page.name in path.read_text(), f"{block.place}: {block.elsewhere} does not name the page"
        elif block.scenes:
            assert set(block.scenes) <= set(scenes.SCENES), block.place


@pytest.mark.parametrize("block", [pytest.param(block, id=block.place) for block in COMMANDS])
def test_commands_and_options_exist(block: Block) -> None:
    if not (block.not_run or "").startswith("is output"):
        checks.shell(block)


@pytest.mark.parametrize("page", [pytest.param(page, id=page.name) for page in PAGES])
def test_commands_within_the_text_exist(page: Path) -> None:
    text = re.sub(r"^( *)(```|~~~).*?^\1\2 *$", "", page.read_text(), flags=re.M | re.S)
    for line in re.findall(r"`((?:rootlet|make) [^`\n]+)`", text):
        checks.known(re.sub(r"[…'\[\]]|\.\.\.", " ", line), page.name)


@pytest.mark.parametrize("block", of("python"))
def test_python_compiles(block: Block) -> None:
    ast.parse(block.text, block.place)


@pytest.mark.parametrize("block", of("json"))
def test_configurations_are_taken_by_the_board(block: Block) -> None:
    if "file" not in block.parts:
        checks.json_(block)


@pytest.mark.parametrize("block", of("toml"))
def test_lines_of_a_project_are_taken(block: Block, tmp_path: Path) -> None:
    checks.toml(block, tmp_path)


@pytest.mark.timeout(2000 if ALL else 300)
@pytest.mark.parametrize(
    # tests/board/test_first_steps.py runs the README, and times it.
    "page",
    [pytest.param(page, id=page.name) for page in PAGES[1:] if any(runs(b) for b in BLOCKS if b.page == page)],
)
def test_a_page_runs_as_it_is_written(page: Path, tmp_path: Path) -> None:
    with Page(tmp_path) as place:
        for block in BLOCKS:
            if block.page == page and runs(block) and (ALL or "long" not in block.parts):
                place.run(block)


def test_most_blocks_run(capsys: pytest.CaptureFixture[str]) -> None:
    """Two thirds of the blocks of commands; the counts go to the terminal and into build/docs_blocks.json."""
    shown = [block for block in COMMANDS if not (block.not_run or "").startswith("is output")]
    ran = [block for block in shown if block.scenes]
    reasons = collections.Counter(re.split("[,:;]", block.not_run)[0] for block in shown if block.not_run)
    counts = {
        "blocks of commands": len(shown),
        "run": len(ran),
        "run only with ROOTLET_DOCS=all": sum("long" in block.parts for block in ran),
        "not run": dict(reasons.most_common()),
        "configurations checked": sum(len(of(kind)) for kind in ("json", "toml", "python")),
        "shown": sum(block.kind == "shown" for block in BLOCKS),
    }
    BUILD.mkdir(exist_ok=True)
    (BUILD / "docs_blocks.json").write_text(json.dumps(counts, indent=2) + "\n")
    with capsys.disabled():
        print("\ndocumentation:", json.dumps(counts))
    assert len(ran) * 3 >= len(shown) * 2
