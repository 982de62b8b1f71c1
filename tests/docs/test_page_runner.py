"""A block that does not work as it is written fails, with its file and line."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from host_tools import cluster
from host_tools.paths import ROOT
from tests.docs import checks
from tests.docs.fences import Block
from tests.docs.pages import Page


def block(text: str, language: str = "sh", **parts: str) -> Block:
    return Block(Path("docs/page.md"), 7, language, text, scenes=("folder",), parts=parts)


def test_blocks_run_in_order_in_one_folder(tmp_path: Path) -> None:
    with Page(tmp_path) as page:
        page.run(block("mkdir a\ncd a\n"))
        page.run(block("x = 1\n", "toml", file="x.toml"))
        page.run(block("y = 2\n", "toml", **{"add to": "x.toml"}))
        assert page.run(block("cat x.toml; echo $HOME")) == f"x = 1\n\ny = 2\n{tmp_path}/home\n"


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (block("false\ntrue\n"), "exit code 1"),
        (block("rootlet nonsense\n"), "No such command"),
        (block("rootlet inspect example.org:443\n"), "could not be resolved"),
        (block("echo two\n", expect="one"), "no 'one' in"),
        (block("$ echo two\none\n"), "no line like 'one'"),
        (block("true\n", exit="3"), "exit code 0"),
        (block("rootlet broker\n"), "there is no CA yet"),
    ],
)
def test_what_does_not_work_is_told_by_file_and_line(tmp_path: Path, wrong: Block, why: str) -> None:
    with Page(tmp_path) as page, pytest.raises(AssertionError, match=r"docs/page\.md:7") as raised:
        page.run(wrong)
    assert why in str(raised.value)


def test_what_lasts_is_ended_with_the_page(tmp_path: Path) -> None:
    with Page(tmp_path) as page:
        said = page.run(block("rootlet sim\n"))
        assert "mpremote" in said or "Ctrl-C" in said
        process = page.lasting[0].process
        os.kill(process.pid, 0)
    assert process.returncode is not None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("rootlet broker --no-tls\n", "has no --no-tls"),
        ("rootlet ca isue device x\n", "there is no `rootlet ca isue`"),
        ("rootlet capture -- rootlet watch --onse\n", "has no --onse"),
        ("make tests\n", "no target of `make tests`"),
        ("if true\n", "docs/page.md:7"),
    ],
)
def test_commands_that_do_not_exist_are_found_without_running(text: str, why: str) -> None:
    with pytest.raises(AssertionError) as raised:
        checks.shell(block(text))
    assert why in str(raised.value)


def test_a_configuration_that_no_board_takes_is_found(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="qoss"):
        checks.json_(block('{"mqtt": {"qoss": 1}}', "json"))
    with pytest.raises(Exception, match="qoss"):
        checks.toml(block("[mqtt]\nqoss = 1\n", "toml"), tmp_path)


def test_what_a_cluster_prints_for_a_project_is_taken_by_it(tmp_path: Path) -> None:
    nodes: Any = [SimpleNamespace(address=f"127.0.0.{n}", port=8883) for n in (1, 2, 3)]
    checks.toml(block(cluster.mqtt_lines(nodes)["rootlet.toml"], "toml"), tmp_path)
    page = (ROOT / "docs" / "brokers.md").read_text()
    assert cluster.mqtt_lines(nodes)["rootlet.toml"] in page
