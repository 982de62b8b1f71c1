"""The documentation keeps up with the code."""

import re

from host_tools.explain_page import page
from host_tools.paths import FIRMWARE, ROOT
from rootlet import config
from rootlet.errors import CATALOGUE, words


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


def test_every_configuration_key_is_in_the_readme():
    readme = (ROOT / "README.md").read_text()
    for section, rows in (
        ("wifi.", config._WIFI),
        ("clock.", config._CLOCK),
        ("mqtt.", config._MQTT),
        ("https.", config._HTTPS),
    ):
        for row in rows:
            assert f"`{section}{row[0]}`" in readme, section + row[0]


def test_the_example_configuration_of_the_readme_is_accepted():
    import json

    example = re.search(r"```json\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert example
    checked = config.check(json.loads(example.group(1)))
    assert checked["mqtt"]["port"] == 8883
