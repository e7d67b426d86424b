"""The demo end to end, on a smaller drawing than `make demo` uses."""

import json

from boxwright.cli import demo
from boxwright.data import draw_demo_data
from boxwright.runtime import decode


def test_the_demo_walks_the_whole_path(tmp_path, monkeypatch):
    sizes = {"train": 48, "valid": 8, "test": 8}
    monkeypatch.setattr(demo, "draw_demo_data", lambda root: draw_demo_data(root, sizes=sizes))
    monkeypatch.setattr(demo, "_SETTINGS", {**demo._SETTINGS, "epochs": 3})
    for _ in range(2):  # again in the same folder
        said = []
        demo.run_demo(tmp_path, said.append)
    text = "\n".join(said)
    answer = json.loads(text[text.index("\n[") : text.index("\n6/6")])
    assert isinstance(answer, list)
    assert (tmp_path / "model-store" / "demo.mar").is_file()
    assert decode(tmp_path / "answer.png").size
    assert "boxwright train --data MY-FOLDER" in text
