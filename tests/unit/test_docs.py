"""The documentation keeps up with the code."""

import json
import re

import pytest

from host_tools import handshakes
from host_tools.explain_page import page
from host_tools.paths import FIRMWARE, ROOT
from rootlet import config, config_ble
from rootlet.catalogue import CATALOGUE
from rootlet.errors import words


def test_the_troubleshooting_page_is_made_from_the_table():
    """Make it again with: rootlet explain --markdown > docs/troubleshooting.md"""
    assert (ROOT / "docs" / "troubleshooting.md").read_text() == page()


def test_the_links_of_the_troubleshooting_page_lead_somewhere():
    text = page()
    heads = [re.sub("[`']", "", head).lower().replace(" ", "-") for head in re.findall(r"^#+ (.+)$", text, re.M)]
    assert len(heads) == len(set(heads))
    links = re.findall(r"\]\(#([^)]+)\)", text)
    assert len(links) > 300 and set(links) <= set(heads)


def test_every_error_code_is_in_the_troubleshooting_page_word_for_word():
    text = page()
    for code in CATALOGUE:
        what, fix = words(code)
        assert f"### `{code}`\n\n```\n{code}: {what}; " in text
        assert f"; try: {fix}\n```" in text


def test_every_code_that_is_raised_is_in_the_catalogue():
    source = "".join(path.read_text() for path in (FIRMWARE / "rootlet").glob("*.py"))
    raised = set(re.findall(r'RootletError\(\s*"(\w+)"', source))
    assert len(raised) > 30
    assert raised <= set(CATALOGUE)


def test_every_configuration_key_is_in_the_readme_or_a_page():
    readme = "".join(page.read_text() for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")))
    for section, rows in (
        ("wifi.", config._WIFI),
        ("clock.", config._CLOCK),
        ("mqtt.", config._MQTT),
        ("https.", config._HTTPS),
        ("outbox.", config._OUTBOX),
        ("update.", config._UPDATE),
        ("ble.", config_ble._BLE),
        ("ble.sensors[].", config_ble._SENSOR),
        ("ble.sensors[].values[].", config_ble._VALUE),
        ("", [row for row in config._TOP if row[0] in ("home_assistant", "watchdog_s")]),
    ):
        for row in rows:
            assert f"`{section}{row[0]}`" in readme, section + row[0]


@pytest.mark.parametrize(("page", "port"), [("docs/configuration.md", 8883), ("docs/psk.md", 8884)])
def test_the_example_configurations_are_accepted(page, port):
    example = re.search(r"```json\n(.*?)```", (ROOT / page).read_text(), re.S)
    assert example
    checked = config.check(json.loads(example.group(1)))
    assert checked["mqtt"]["port"] == port


def test_the_figures_of_handshakes_are_those_of_the_table():
    page = (ROOT / "docs" / "keys.md").read_text()
    shown = re.findall(r"\| (\d\.\d\d) to (\d\.\d\d) \| (\d\d\.\d) \|$", page, re.M)
    known = {("%.2f" % row.seconds[0], "%.2f" % row.seconds[1], "%.1f" % row.peak_kb) for row in handshakes.ROWS}
    assert len(shown) == 5 and set(shown) <= known


def pages():
    """Every page that is written for readers."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def anchors(path):
    """The anchors that GitHub makes of a page's headings."""
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.S)
    heads = re.findall(r"^#+ (.+)$", text, re.M)
    plain = [re.sub(r"[^\w\- ]", "", re.sub(r"\[(.+?)\]\(.*?\)", r"\1", head).lower()) for head in heads]
    return {head.strip().replace(" ", "-") for head in plain}


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.name)
def test_links_within_the_documentation_lead_somewhere(path):
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", text)):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        there = (path.parent / name) if name else path
        assert there.exists(), target
        if anchor:
            assert anchor in anchors(there), target


def test_every_page_is_in_the_index():
    index = (ROOT / "docs" / "README.md").read_text()
    linked = set(re.findall(r"\]\(([\w./-]+\.md)[#)]", index))
    there = {str(path.relative_to(ROOT / "docs")) for path in pages() if path.parent.name == "docs"}
    assert there - linked == {"README.md"}


def test_what_peers_are_said_to_do_has_a_source():
    text = (ROOT / "docs" / "peers.md").read_text()
    claims, sources = text.split("## Sources")
    numbers = {int(number) for number in re.findall(r"^(\d+)\. <https://", sources, re.M)}
    assert {int(number) for number in re.findall(r"\[(\d+)\]", claims)} == numbers == set(range(1, len(numbers) + 1))
    assert "**2026-11-21**" in claims


def test_every_command_is_in_the_readme():
    from typer.main import get_command

    from host_tools.commands.app import app

    readme = (ROOT / "README.md").read_text()
    commands = get_command(app).commands
    assert len(commands) > 20
    for name, command in commands.items():
        below = [f"{name} {each}" for each in getattr(command, "commands", {})] or [name]
        for typed in below:
            assert re.search(rf"(`|^\s*)rootlet {typed}\b", readme, re.M), typed


def test_the_readmes_bluetooth_sensor_is_the_one_whose_page_is_run() -> None:
    """tests/docs/test_blocks.py runs docs/ble.md; the README says the same in one block of at most ten lines."""
    readme = (ROOT / "README.md").read_text()
    block = readme.partition("rootlet ble scan --active\n")[2].partition("```")[0]
    assert len(block.splitlines()) < 10
    page = (ROOT / "docs" / "ble.md").read_text()
    assert "```sh\nrootlet ble scan --active\n```" in page
    assert f"```toml\n{block.partition('END' + chr(39))[2].partition('END')[0].strip()}\n```" in page
    assert "```sh\n" + block.splitlines()[-1].replace(" && ", "\n") + "\n```" in page
