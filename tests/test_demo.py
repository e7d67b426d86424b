"""The demo end to end, on a smaller drawing than `make demo` uses."""

import json

from boxwright.cli.demo import run_demo
from boxwright.runtime import decode


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
