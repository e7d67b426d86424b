import json

from boxwright.tracking.local import METRICS_FILE, LocalLogger, read_metrics


def test_lines_are_json_and_nan_is_null(tmp_path):
    logger = LocalLogger(tmp_path)
    logger.log_metrics({"epoch": 0.0, "val/map": float("nan"), "val/f2": 0.5}, step=7)
    assert [json.loads(line) for line in (tmp_path / METRICS_FILE).read_text().splitlines()] == [
        {"epoch": 0, "step": 7, "val/map": None, "val/f2": 0.5}
    ]


def test_resuming_drops_what_comes_again_and_a_line_cut_off(tmp_path):
    logger = LocalLogger(tmp_path)
    for epoch in range(3):
        logger.log_metrics({"epoch": epoch, "val/f2": epoch / 10}, step=epoch)
    with (tmp_path / METRICS_FILE).open("a") as file:
        file.write('{"epoch": 2, "val')
    LocalLogger(tmp_path, first_epoch=2)
    assert [line["epoch"] for line in read_metrics(tmp_path)] == [0, 1]


def test_no_file_no_lines(tmp_path):
    assert read_metrics(tmp_path) == []
