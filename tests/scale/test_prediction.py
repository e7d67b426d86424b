"""What ``predict --on`` refuses before a cluster is started."""

import pytest

from boxwright.runtime import BoxwrightError, Execution
from boxwright.scale.prediction import JOB, predict_on


@pytest.mark.parametrize(
    ("pictures", "out", "message"),
    [
        (["."], "answers.csv", r"answers\.csv: with --on it is a folder of rows"),
        (["nowhere"], "answers.jsonl", r"nowhere: no such file or folder"),
        (["film.mp4"], "answers.jsonl", r"film\.mp4 is a video"),
        (["http://127.0.0.1/picture.jpg"], "answers.jsonl", r"they are not fetched by default"),
        (["nothing://there"], "answers.jsonl", r"nothing://there: "),
    ],
)
def test_what_cannot_be_done_is_said_at_once(mar, tmp_path, monkeypatch, pictures, out, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "picture.jpg").write_bytes(b"not looked at yet")
    with pytest.raises(BoxwrightError, match=message):
        predict_on(mar, pictures, out, execution=Execution("onnxruntime"))
    assert not (tmp_path / out).exists()


@pytest.mark.parametrize("content", [b"{}", b"[]", b"not JSON"])
def test_a_folder_of_something_else_is_left_alone(mar, tmp_path, content):
    (tmp_path / "picture.jpg").write_bytes(b"not looked at yet")
    out = tmp_path / "answers.jsonl"
    out.mkdir()
    (out / "other.txt").write_text("mine")
    with pytest.raises(BoxwrightError, match="holds something else"):
        predict_on(mar, [str(tmp_path)], str(out), execution=Execution("onnxruntime"))
    (out / JOB).write_bytes(content)
    with pytest.raises(BoxwrightError, match=r"was begun differently \("):
        predict_on(mar, [str(tmp_path)], str(out), execution=Execution("onnxruntime"))
    assert (out / "other.txt").read_text() == "mine"
