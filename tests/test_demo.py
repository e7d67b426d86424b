"""The demo end to end, on a smaller drawing than `make demo` uses."""

import json

from boxwright.cli.demo import run_demo
from boxwright.runtime import decode
from support.command_line import boxwright


def test_the_demo_walks_the_whole_path(tmp_path):
    for _ in range(2):  # again in the same folder
        lines = []
        run_demo(tmp_path, lines.append, sizes={"train": 48, "valid": 8, "test": 8}, epochs=3)
    text = "\n".join(lines)
    answer = json.loads(text[text.index("\n[") : text.index("\n6/6")])
    assert isinstance(answer, list)
    assert (tmp_path / "model-store" / "demo.mar").is_file()
    assert decode(tmp_path / "answer.png").size
    assert "boxwright train --data MY-FOLDER" in text


def test_a_folder_that_looks_like_the_demos_is_left_alone(tmp_path):
    mine = tmp_path / "data" / "train" / "_annotations.coco.json"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    done = boxwright("demo", "--out", tmp_path)
    assert done.returncode == 2
    assert "holds 'data', which is not the demo's. Choose another --out." in done.stderr
    assert mine.read_text() == "mine"
