"""``boxwright predict``: videos, URLs, drawings, and what a person sees."""

import json
import os
import pty
import shutil
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from boxwright.archiving import write_archive
from boxwright.host.machine import describe_machine
from boxwright.inputs import Predictor
from boxwright.inputs.video import describe_video, read_video
from boxwright.runtime import decode, open_bundle
from boxwright.runtime.drawing import draw_detections
from boxwright.tuning.store import write_entry
from support.command_line import boxwright
from support.videos import blocks, plain, write_video
from support.web import web_server

ASKED = ("--threshold", 0.05, "--backend", "torch")  # auto may choose anew in every process


@pytest.fixture(scope="module")
def pictures(demo_data):
    return sorted((demo_data / "test").glob("*.jpg"))


@pytest.fixture(scope="module")
def video(pictures, tmp_path_factory):
    frames = [np.asarray(decode(path).resize((256, 192))) for path in pictures[:6]]
    return write_video(tmp_path_factory.mktemp("video") / "fish.mp4", frames, rate=12.0)


def test_a_video_gives_lines_results_and_a_drawn_copy(mar, video, tmp_path):
    files = ["--json", tmp_path / "p.json", "--out", tmp_path / "drawn"]
    done = boxwright("predict", mar, video, "--every", 2, *ASKED, *files)
    assert done.returncode == 0, done.stderr
    predictor = Predictor(mar, threshold=0.05, backend="torch")
    found = list(predictor.stream(video, every=2))
    heads = [line for line in done.stdout.splitlines() if not line.startswith(" ")]
    moments = [(0, "0.000"), (2, "0.167"), (4, "0.333")]
    assert heads == [
        f"{video} frame {n} ({seconds} s): {len(one.detections)} found"
        for (n, seconds), one in zip(moments, found, strict=True)
    ]
    results = json.loads((tmp_path / "p.json").read_text())
    assert {tuple(one) for one in results} == {
        ("file_name", "frame", "seconds", "category_id", "class", "bbox", "score")
    }
    assert [one["frame"] for one in results] == [one.frame for one in found for _ in one.detections.scores]
    assert {one["seconds"] for one in results} == {one.seconds for one in found if len(one.detections)}
    drawn = list(read_video(tmp_path / "drawn" / "fish.mp4"))
    assert describe_video(tmp_path / "drawn" / "fish.mp4").rate == 6.0  # as long as the original
    for frame, one in zip(drawn, found, strict=True):
        wanted = draw_detections(one.image, one.detections, predictor.spec.class_names)
        assert difference(frame.image, wanted) < difference(frame.image, one.image)


def difference(one, other):
    return np.abs(np.asarray(one, int) - np.asarray(other, int)).mean()


def test_a_picture_to_be_drawn_is_opened_once_and_the_backend_said_once(mar, pictures, tmp_path):
    code = (
        "import os, sys\n"
        "from boxwright.cli import main\n"
        "opened = []\n"
        "watch = lambda event, args: event == 'open' and opened.append(args[0])\n"
        "sys.addaudithook(watch)\n"
        "try: main()\n"
        "finally: print([os.fspath(one) for one in opened if not isinstance(one, int)].count(sys.argv[3]))"
    )
    command = [sys.executable, "-c", code, "predict", mar, pictures[0], "--out", tmp_path, "--backend", "torch"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stderr == f"Backend torch-fp32\nDrawn: {tmp_path}\nNext: boxwright serve {mar}\n"
    assert done.stdout.splitlines()[0].startswith(f"{pictures[0]}: ")  # what is read by others has no bar
    assert done.stdout.splitlines()[-1] == "1"
    assert (tmp_path / f"{pictures[0].stem}.png").is_file()


@pytest.mark.parametrize(("f2", "said"), [(0.049, True), (0.05, False), (None, False), ("high", False)])
def test_a_model_that_finds_hardly_anything_is_told_of(f2, said, run, pictures, tmp_path):
    bundle = open_bundle(run)
    archive = write_archive(replace(bundle.spec, measured={"valid": {"f2": f2}}), bundle.weights, "1", tmp_path)
    done = boxwright("predict", archive, pictures[0])
    assert ("Note: on its validation split this model finds hardly anything" in done.stderr) is said


def test_an_archive_is_run_as_bench_found_best_here(mar, pictures, tmp_path):
    archive = shutil.copy(mar, tmp_path / "tiny.mar")
    runs = [
        {"backend": backend, "precision": "fp32", "threads": 1, "sessions": sessions, "batch": 1, **figures}
        for backend, sessions, figures in (
            ("onnxruntime", 1, {"images_per_s": 1.0, "latency_ms_p50": 9.0}),
            ("torch", 1, {"images_per_s": 2.0, "latency_ms_p50": 5.0}),
            ("openvino", 2, {"images_per_s": 9.0, "latency_ms_p50": 5.0}),  # predict runs one picture at a time
        )
    ]
    write_entry(archive, open_bundle(archive), describe_machine(), runs, "2026-01-01T00:00:00+00:00")
    assert boxwright("predict", archive, pictures[0]).stderr == "Backend torch-fp32\n"
    assert boxwright("predict", archive, pictures[0], "--backend", "onnxruntime").stderr == "Backend onnxruntime-fp32\n"


def test_urls_are_fetched_and_drawn_if_allowed(mar, pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with web_server({"/some/cat.jpg?size=2": pictures[0].read_bytes()}) as (address, asked):
        url = f"{address}/some/cat.jpg?size=2"
        files = ["--out", tmp_path / "drawn", "--json", tmp_path / "p.json"]
        refused = boxwright("predict", mar, url, *files)
        assert (refused.returncode, asked) == (2, [])
        assert "Allow it with --urls" in refused.stderr
        done = boxwright("predict", mar, url, f"{address}/no.jpg", "--urls", *ASKED, *files)
    assert done.returncode == 2
    assert "/no.jpg' cannot be fetched: the server answered 404" in done.stderr
    found = Predictor(mar, threshold=0.05, backend="torch")(pictures[0])
    results = json.loads((tmp_path / "p.json").read_text())
    assert [one["file_name"] for one in results] == [url] * len(found)
    assert [path.name for path in (tmp_path / "drawn").iterdir()] == ["cat.png"]


def test_a_broken_video_stops_nothing_else(mar, pictures, tmp_path):
    path = write_video(tmp_path / "cut.avi", [blocks(n) for n in range(12)], codec="MJPG")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (tmp_path / "text.mp4").write_text("hello")
    done = boxwright("predict", mar, path, tmp_path / "text.mp4", pictures[0])
    assert done.returncode == 2
    errors = done.stderr.splitlines()
    assert len(errors) == 3, errors  # the backend, and a sentence each; nothing of FFmpeg's own
    assert "cut.avi' ends after" in errors[1]
    assert "text.mp4' cannot be decoded" in errors[2]
    assert f"{path} frame 0 (0.000 s)" in done.stdout
    assert f"{pictures[0]}: " in done.stdout


def test_a_terminal_shows_a_bar_with_the_frames_counted(mar, video, pictures):
    shown = on_a_terminal("predict", mar, video, pictures[0], "--every", 2)
    assert "4/4" in shown  # three of six frames, and a picture
    assert f"{video} frame 4 (0.333 s):" in shown


def on_a_terminal(*arguments):
    """What a person sees who runs ``boxwright ARGUMENTS``."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "boxwright", *map(str, arguments)]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "300"}
    shown = bytearray()

    def collect():
        try:
            while part := os.read(ours, 4096):
                shown.extend(part)
        except OSError:  # the other end is closed
            return

    reader = threading.Thread(target=collect)
    reader.start()
    done = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, env=environment, timeout=300)
    os.close(theirs)
    reader.join()
    os.close(ours)
    assert done.returncode == 0, done.stderr
    return shown.decode()


def test_a_name_that_is_no_unicode_is_printed_escaped(mar, pictures, tmp_path):
    path = os.fsencode(tmp_path) + b"/\xff.jpg"
    with open(path, "wb") as file:
        file.write(pictures[0].read_bytes())
    command = [sys.executable, "-m", "boxwright", "predict", mar, path]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "/\\udcff.jpg: " in done.stdout


def test_a_video_without_opencv_gives_the_remedy_before_anything_runs(mar, video, pictures):
    code = "import sys; sys.modules['cv2'] = None\nfrom boxwright.cli import main; main()"
    command = [sys.executable, "-c", code, "predict", mar, pictures[0], video]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "Error: Videos need OpenCV (cv2). pip install 'boxwright[video]'\n"


@pytest.fixture
def place(tmp_path):
    Image.fromarray(plain((0, 0, 0))).save(tmp_path / "a.jpg")
    (tmp_path / "twins").mkdir()
    Image.fromarray(plain((0, 0, 0))).save(tmp_path / "twins" / "a.png")
    (tmp_path / "empty").mkdir()
    write_video(tmp_path / "v.mp4", [plain((0, 0, 0))])
    return tmp_path


WRONG = [
    (["empty"], "'empty' has no pictures"),
    (["a.jpg", "empty"], "'empty' has no pictures"),
    (["v.mp4", "--every", "0"], "--every 0 does not fit. Give 1 or more."),
    (["v.mp4", "--out", "."], "v.mp4: its drawing would overwrite v.mp4"),
    (["a.jpg", "twins", "--out", "drawn"], "twins/a.png: its drawing would overwrite drawn/a.png"),
    (["http://127.0.0.1:9/a.mp4", "--urls"], "Download it first"),
    (["ftp://127.0.0.1/a.jpg", "--urls"], "Only http:// and https:// can be fetched"),
    (
        ["a.jpg", "twins/../a.jpg", "--json", "p.json"],
        "a.jpg and twins/../a.jpg have one name, by which --json lists them",
    ),
    (["a.jpg", "a.jpg", "--json", "p.json"], "a.jpg is given twice"),
    (["a.jpg", "--json", "a.jpg"], "--json a.jpg would overwrite a file of a.jpg"),
    (["a.jpg", "--backend", "tensorrt"], "Backend 'tensorrt' is unknown"),
    (["a.jpg", "--precision", "int4"], "Precision 'int4' is unknown"),
]


@pytest.mark.parametrize(("arguments", "culprit"), WRONG, ids=[" ".join(words) for words, _ in WRONG])
def test_wrong_input_to_predict_gives_one_clear_error(mar, place, arguments, culprit):
    before = sorted(place.iterdir())
    done = boxwright("predict", mar, *arguments, cwd=place)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert culprit in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(place.iterdir()) == before


def test_nothing_else_in_the_folder_of_the_pictures_is_written_over(mar, pictures, tmp_path):
    theirs = {"a.jpg": pictures[0].read_bytes(), "a.png": b"another", "_annotations.coco.json": b"{}"}
    for name, content in theirs.items():
        (tmp_path / name).write_bytes(content)
    for arguments in (("a.jpg", "--out", "."), ("a.jpg", "--json", "_annotations.coco.json")):
        folder = tmp_path if "--json" in arguments else "a.jpg"
        done = boxwright("predict", mar, folder, *arguments[1:], cwd=tmp_path)
        assert done.returncode == 2
        assert "would overwrite" in done.stderr
    assert {name: (tmp_path / name).read_bytes() for name in theirs} == theirs


def test_pictures_of_a_folder_that_are_not_read_are_counted_and_named(mar, pictures, tmp_path):
    shutil.copy(pictures[0], tmp_path / "a.jpg")
    shutil.copy(pictures[1], tmp_path / "jpeg.jfif")
    Image.new("RGB", (9, 9)).save(tmp_path / "t.tif")
    for name in ("b.HEIC", "c.heic", "d.gif", "._e.heic", "notes.txt"):
        (tmp_path / name).write_bytes(b"not read")
    done = boxwright("predict", mar, tmp_path, *ASKED)
    assert done.returncode == 0, done.stderr
    said = "left out: 1 .gif, 2 .heic, 1 .tif; the first is 'b.HEIC'. Save them as JPEG."
    assert [line for line in done.stderr.splitlines() if line.startswith("Note:") and said in line]
    assert f"{tmp_path / 'jpeg.jfif'}: " in done.stdout
    (tmp_path / "a.jpg").unlink()
    (tmp_path / "jpeg.jfif").unlink()
    done = boxwright("predict", mar, tmp_path, *ASKED)
    assert done.returncode == 2
    assert said in done.stderr
    assert "has no pictures" in done.stderr


@pytest.mark.parametrize("kept", [True, False])
def test_a_reader_that_leaves_early_costs_no_file(mar, pictures, tmp_path, kept):
    """As ``| head -1`` does: the pipe breaks at the second picture at the latest."""
    file = tmp_path / "found.json"
    arguments = map(str, [mar, *pictures, *ASKED, *(["--json", file] if kept else [])])
    command = [sys.executable, "-m", "boxwright", "predict", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == (0 if kept else 1), said
    assert "Traceback" not in said
    if kept:
        assert boxwright("predict", mar, *pictures, *ASKED, "--json", tmp_path / "whole.json").returncode == 0
        assert json.loads(file.read_text()) == json.loads((tmp_path / "whole.json").read_text())
