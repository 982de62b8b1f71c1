"""Measurements: ratios, tables, the picture, the README's table, and the comparison with a reference."""

import dataclasses
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from host_tools.bench import chart, check, report, run
from host_tools.bench.rows import Row, from_json, number, parse_results, ratios, to_json
from host_tools.failure import Exit, Failure

RAW = Row("publish", "64 B: bare loop", "messages/s", (20000.0, 40000.0, 30000.0))
OURS = Row(
    "publish", "64 B: rootlet", "messages/s", (16000.0, 24000.0, 24000.0), to="64 B: bare loop", promised=0.6,
    headline=True,
)  # fmt: skip
PEEK = Row("roots", "look <p256> & more", "ms", (5.0,), to="handshake", better="less", promised=0.3)
SHAKE = Row("roots", "handshake", "ms", (50.0,), better="less")
ROWS = [RAW, OURS, PEEK, SHAKE]
SVG = "{http://www.w3.org/2000/svg}"


def result(rows: list[Row] = ROWS) -> dict[str, Any]:
    place = {"board": "pico_w", "virtual": True, "micropython": "1.29.0", "bits": 64, "hz": None}
    return {
        "date": "2026-11-21",
        "quick": False,
        "place": place,
        "machine": {"cpu": "A CPU", "cores": 2, "system": "Linux 6"},
        "versions": {"Python": "3.11"},
        "rows": rows,
    }


def with_ratio(row: Row, ratio: float, to: Row) -> Row:
    return dataclasses.replace(row, values=tuple(value * ratio for value in to.values))


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    found = ratios(ROWS)
    assert found == {("publish", "64 B: rootlet"): 0.8, ("roots", "look <p256> & more"): 0.1}  # 0.8, 0.6, 0.8
    assert (OURS.median, round(OURS.spread, 2)) == (24000, 0.33)


def test_what_cannot_be_a_row_is_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        Row("a", "b", "ms", ())
    with pytest.raises(ValueError, match="no row 'handshake'"):
        ratios([PEEK])


def test_rows_come_back_from_json() -> None:
    assert from_json(json.loads(json.dumps(to_json(ROWS)))) == ROWS
    assert parse_results('boot\nresult {"a": 1}\nx\nresult {"a": 2}\n') == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    ("value", "told"), [(30483.4, "30,483"), (22.34, "22.3"), (0.00129, "0.00129"), (4, "4"), (0, "0"), (1.0, "1")]
)
def test_a_number_has_three_digits_that_count(value: float, told: str) -> None:
    assert number(value) == told


def test_the_files_hold_every_row(tmp_path: Path) -> None:
    paths = report.write(result(), tmp_path)
    assert [path.name for path in paths] == ["bench.json", "bench.md", "bench.svg"]
    data = json.loads(paths[0].read_text())
    assert [(row["name"], row["median"]) for row in data["rows"]] == [(row.name, row.median) for row in ROWS]
    assert data["rows"][1]["ratio"] == 0.8
    lines = paths[1].read_text().splitlines()
    assert "| 64 B: rootlet | 24,000 messages/s | 33% | 0.8 | 64 B: bare loop | ≥ 0.6 |" in lines
    assert [line for line in lines if line.startswith("## ")] == ["## publish", "## roots"]
    assert "virtual pico_w, MicroPython 1.29.0 (64-bit); A CPU, 2 cores" in lines[2]


def test_the_picture_is_xml_with_a_bar_for_each_row() -> None:
    root = ET.fromstring(chart.svg(ROWS, "title <one>; two"))
    texts = [element.text for element in root.iter(f"{SVG}text")]
    for row in ROWS:
        assert row.name in texts
    bars = [element for element in root.iter(f"{SVG}rect") if element.get("class") in ("ours", "other")]
    assert [bar.get("class") for bar in bars] == ["other", "ours", "ours", "other"]
    widths = [float(bar.get("width") or 0) for bar in bars]
    assert widths[0] > widths[1] > 1, "the longer bar is the higher figure"
    _, _, width, height = (float(n) for n in (root.get("viewBox") or "").split())
    assert all(float(e.get("x") or 0) + float(e.get("width") or 0) <= width for e in root.iter(f"{SVG}rect"))
    assert all(float(e.get("y") or 0) < height for e in root.iter(f"{SVG}text"))
    style = root.findtext(f"{SVG}style") or ""
    assert "prefers-color-scheme: dark" in style


def luminance(colour: str) -> float:
    digits = colour if len(colour) == 6 else "".join(c * 2 for c in colour)
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_the_pictures_text_can_be_read_on_light_and_on_dark() -> None:
    themes = [dict(re.findall(r"--(\w+): #(\w+);", part)) for part in chart._STYLE.split("@media")]
    assert len(themes) == 2
    for theme in themes:
        for kind in ("ink", "quiet"):
            low, high = sorted((luminance(theme["paper"]), luminance(theme[kind])))
            assert (high + 0.05) / (low + 0.05) >= 4.5, kind


def test_bars_far_apart_are_logarithmic_and_say_so() -> None:
    rows = [
        Row("a", "slow", "messages/s", (22.0,)),
        Row("a", "fast", "messages/s", (30000.0,)),
        Row("b", "0", "B", (0,)),
    ]
    text = chart.svg(rows, "t")
    assert "messages/s, longer is better, logarithmic" in text
    widths = [float(bar.get("width") or 0) for bar in ET.fromstring(text).iter(f"{SVG}rect") if bar.get("rx")]
    assert widths[1] > widths[0] > widths[1] / 20
    assert widths[2] == 1


def test_the_readmes_table_is_replaced_between_its_markers(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.into_readme(result(), page)
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert "| publish, 64 B: rootlet | 24,000 messages/s | 0.8 | 64 B: bare loop |" in text
    assert "bare loop |\n| roots" not in text, "only what is marked as a headline"
    once = text
    report.into_readme(result(), page)
    assert page.read_text() == once
    page.write_text("nothing")
    with pytest.raises(Failure) as e:
        report.into_readme(result(), page)
    assert e.value.code == Exit.USAGE


def reference(tmp_path: Path, rows: list[Row] = ROWS) -> Path:
    path = tmp_path / "reference.json"
    path.write_text(report.as_json(result(rows)))
    return path


def test_equal_and_better_ratios_pass(tmp_path: Path) -> None:
    path = reference(tmp_path)
    assert check.check(ROWS, path) == []
    assert check.check([RAW, with_ratio(OURS, 0.95, RAW), with_ratio(PEEK, 0.02, SHAKE), SHAKE], path) == []
    # A machine of half the speed.
    slow = [dataclasses.replace(row, values=tuple(value / 2 for value in row.values)) for row in ROWS]
    assert check.check(slow, path) == []
    # Worse, but within what is allowed.
    assert check.check([RAW, with_ratio(OURS, 0.63, RAW), with_ratio(PEEK, 0.129, SHAKE), SHAKE], path) == []


def test_a_worse_ratio_fails_by_name(tmp_path: Path) -> None:
    path = reference(tmp_path)
    with pytest.raises(Failure) as e:
        check.check([RAW, with_ratio(OURS, 0.61, RAW), PEEK, SHAKE], path)
    assert "1 measurement is worse" in e.value.what
    assert "publish: 64 B: rootlet is 0.61 of 64 B: bare loop; it was 0.8" in e.value.because
    with pytest.raises(Failure) as e:
        check.check([RAW, OURS, with_ratio(PEEK, 0.14, SHAKE), SHAKE], path)
    assert "look <p256> & more" in e.value.because and "rootlet" not in e.value.because
    assert e.value.code == Exit.FAILED


def test_a_row_says_how_much_worse_it_may_be(tmp_path: Path) -> None:
    path = reference(tmp_path)
    patient = dataclasses.replace(with_ratio(PEEK, 0.29, SHAKE), allowance=2.0)
    assert check.check([RAW, OURS, patient, SHAKE], path) == []


def test_a_broken_promise_fails_even_where_the_reference_breaks_it_too(tmp_path: Path) -> None:
    low = [RAW, with_ratio(OURS, 0.5, RAW), PEEK, SHAKE]
    with pytest.raises(Failure) as e:
        check.check(low, reference(tmp_path, low))
    assert "promised is at least 0.6" in e.value.because


def test_new_and_gone_rows_are_told(tmp_path: Path) -> None:
    path = reference(tmp_path)
    more = Row("publish", "4 KB: bare loop", "messages/s", (1.0,))
    assert check.check([RAW, more, PEEK, SHAKE], path) == [
        "new: publish: 4 KB: bare loop",
        "gone: publish: 64 B: rootlet",
    ]
    assert check.check([RAW, OURS], path) == [], "a group that was not measured is not gone"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"rows": [{}]}', '{"rows": [{"values": []}]}', '{"rows": 3}'])
def test_a_damaged_reference_is_a_failure(tmp_path: Path, text: str) -> None:
    path = tmp_path / "reference.json"
    path.write_text(text)
    with pytest.raises(Failure, match="reference"):
        check.read(path)


def test_the_committed_reference_can_be_read_and_has_no_broken_promise() -> None:
    rows = check.read()
    found = check.compare(rows, rows)
    assert not found.worse and not found.broken
    assert {"publish, QoS 1", "sizes"} <= {row.group for row in rows}


def test_an_unknown_group_is_named() -> None:
    assert run.chosen([]) == list(run.GROUPS)
    assert run.chosen(["sizes", "publish"]) == ["publish", "sizes"]
    with pytest.raises(Failure) as e:
        run.chosen(["publish", "nonsense"])
    assert "nonsense" in e.value.what and "publish" in e.value.because
