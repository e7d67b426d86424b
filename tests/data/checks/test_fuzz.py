"""A thousand broken annotation files: findings or one clear error, never another exception."""

import copy
import io
import json
import random
from collections import Counter

import pytest
from rich.console import Console

from boxwright.cli.check import print_inspection
from boxwright.data import ANNOTATIONS, CODES, inspect_folder
from boxwright.data.repair import repair
from boxwright.reporting import write_check_page
from boxwright.runtime import BoxwrightError
from support.broken import clean_document, write_data

ODD_VALUES = [
    None, True, False, 0, -1, 1.5, 1e308, -1e308, 10**30, float("nan"), float("inf"), "", "x", "\ud800", "\0", "../x",
    "/x", "C:\\x", "a/../../b", "x" * 5000, "nan", [], {}, [[]], [1], [1, 2, 3, 4], [None] * 4, ["a"] * 4, [1e308] * 4,
    {"counts": "", "size": []}, {"id": 1}, "0.jpg", "sub/0.jpg", ".", "..", "con", "a\nb", "é", "\u202e",
]  # fmt: skip


def places(value, path=()):
    """Paths to everything inside a JSON document."""
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, (*path, key))


def mutate(content, generator):
    """Change, remove or repeat one thing somewhere."""
    path = generator.choice([place for place in places(content) if place])
    holder = content
    for key in path[:-1]:
        holder = holder[key]
    way = generator.randrange(3)
    if way == 0:
        del holder[path[-1]]
    elif way == 1 and isinstance(holder, list):
        holder.insert(path[-1], copy.deepcopy(holder[path[-1]]))
    else:
        holder[path[-1]] = copy.deepcopy(generator.choice(ODD_VALUES))


def spoil(text, generator):
    """Cut, drop or change bytes."""
    data = bytearray(text.encode("utf-8", "surrogatepass"))
    for _ in range(generator.randrange(1, 4)):
        at = generator.randrange(len(data))
        data[at : at + generator.randrange(3)] = bytes(generator.randrange(256) for _ in range(generator.randrange(3)))
    return bytes(data[: generator.randrange(1, len(data))]) if generator.random() < 0.2 else bytes(data)


def errors(inspection):
    return Counter(finding.code for finding in inspection.of("error"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("fuzz"), train=clean_document(), valid=clean_document())


@pytest.mark.parametrize("batch", range(10))
def test_a_hundred_mutated_files_give_findings_or_one_clear_error(folder, batch, tmp_path):
    generator = random.Random(batch)
    odd = 0
    for number in range(100):
        content = clean_document()
        content["images"], content["annotations"] = content["images"][:4], content["annotations"][:4]
        for _ in range(generator.randrange(1, 5)):
            mutate(content, generator)
        text = json.dumps(content)
        (folder / "train" / ANNOTATIONS).write_bytes(spoil(text, generator) if number % 4 == 0 else text.encode())
        try:
            inspection = inspect_folder(folder, pixels=number % 10 == 0)
            json.dumps(inspection.to_document()).encode()
            odd += any(finding.level != "note" for finding in inspection.findings)
            assert all(finding.code in CODES and str(finding) for finding in inspection.findings)
            print_inspection(inspection, Console(file=io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), markup=False))
            if number % 10 == 0:
                write_check_page(inspection, tmp_path / "page.html")
                repair(inspection, tmp_path / str(number))
                new = errors(inspect_folder(tmp_path / str(number))) - errors(inspection)
                assert not new, (batch, number, new)
        except BoxwrightError as error:
            assert str(error)
            odd += 1
    assert odd > 60  # most mutations are seen
