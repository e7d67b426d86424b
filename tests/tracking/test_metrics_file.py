import subprocess
import sys

import pytest

from boxwright.tracking.metrics_file import METRICS_FILE, next_step, read_metrics


def test_the_next_step_follows_the_last(tmp_path):
    assert read_metrics(tmp_path) == []
    assert next_step(tmp_path) == 0
    (tmp_path / METRICS_FILE).write_text(
        '{"epoch": 0, "step": 5}\n{"epoch": 0, "step": 6}\n{"epoch": 1, "step": null}\n'
    )
    assert next_step(tmp_path) == 7
    assert [line["epoch"] for line in read_metrics(tmp_path)] == [0, 0, 1]


@pytest.mark.parametrize(
    "line",
    [
        b"\xff\xfe\x00",
        b'{"epoch": 0, "st',
        b"[1, 2]",
        b"7",
        b"null",
        b"[" * 100_000,
        b'{"step": 3}',
        b'{"epoch": "1", "step": 3}',
        b'{"epoch": 1.5, "step": 3}',
        b'{"epoch": true, "step": 3}',
        b'{"epoch": null, "step": 3}',
        b'{"epoch": 1, "step": "3"}',
        b'{"epoch": 1, "step": 3.5}',
        b'{"epoch": 1, "step": false}',
    ],
)
def test_other_lines_are_left_out(tmp_path, line):
    good = b'{"epoch": 0, "step": 1}\n'
    (tmp_path / METRICS_FILE).write_bytes(good + line + b"\r\n" + good)
    assert read_metrics(tmp_path) == [{"epoch": 0, "step": 1}] * 2
    assert next_step(tmp_path) == 2


def test_a_line_that_is_no_utf8_inside_a_text_still_counts(tmp_path):
    (tmp_path / METRICS_FILE).write_bytes('{"epoch": 0, "note": "a\u2028'.encode() + b'\xff"}\n')
    assert read_metrics(tmp_path) == [{"epoch": 0, "note": "a\u2028\ufffd"}]
    assert next_step(tmp_path) == 0


def test_pages_need_no_lightning():
    code = "import sys, boxwright.tracking.metrics_file; print('lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
