import re
from pathlib import Path

from boxwright.data import CODES, Finding, inspect_folder
from boxwright.data.findings import LEVELS
from support.broken import clean_document, write_data

PAGE = (Path(__file__).parents[2] / "docs" / "check.md").read_text()


def test_the_page_lists_the_codes_as_they_are():
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| (\w+) \| (.*?) \| (.*?) ?\|$", PAGE, flags=re.MULTILINE)
    assert {code: (level, meaning, repair) for code, level, meaning, repair in rows} == {
        code: (row.level, row.meaning, row.repair) for code, row in CODES.items()
    }


def test_the_page_shows_the_json_as_it_is(tmp_path):
    content = clean_document()
    root = write_data(tmp_path, train=content, valid=content)
    (root / "train" / "3.jpg").unlink()
    document = inspect_folder(root).to_document()
    shown = re.search(r"```json\n(.*?)```", PAGE, flags=re.DOTALL).group(1)
    keys = {*document, *document["summary"], *document["splits"]["train"], *document["findings"][0]}
    assert keys <= set(re.findall(r'"(\w+)":', shown))
    assert document["findings"][0]["code"] == "picture-missing"


def test_every_code_says_what_to_do():
    for code, row in CODES.items():
        assert row.level in LEVELS, code
        assert row.remedy.endswith("."), code
        assert not row.meaning.endswith("."), code


def test_a_finding_says_where_it_is():
    finding = Finding("box-tiny", "is small", "train", "a.jpg", 3, 7)
    assert str(finding) == "train, 'a.jpg', picture id 3, annotation id 7: is small"
    assert str(Finding("class-unused", "is unused")) == "is unused"
    assert finding.to_json()["remedy"] == CODES["box-tiny"].remedy
