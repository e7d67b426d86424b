import subprocess
import sys

from boxwright.tracking.metrics_file import METRICS_FILE, next_step, read_metrics


def test_the_next_step_follows_the_last(tmp_path):
    assert next_step(tmp_path) == 0
    (tmp_path / METRICS_FILE).write_text(
        '{"epoch": 0, "step": 5}\n{"epoch": 0, "step": 6}\n{"epoch": 1, "step": null}\n'
    )
    assert next_step(tmp_path) == 7
    assert [line["epoch"] for line in read_metrics(tmp_path)] == [0, 0, 1]


def test_pages_need_no_lightning():
    code = "import sys, boxwright.tracking.metrics_file; print('lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
