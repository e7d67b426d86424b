import json
import subprocess
import sys

import pytest

from boxwright.runtime import decode
from support.broken import clean_document, draw, write_data
from support.command_line import boxwright


@pytest.fixture
def faulty(tmp_path):
    """A small data set with a missing picture and a box over the edge."""
    content = clean_document()
    content["annotations"][5]["bbox"] = [50, 30, 30, 10]
    root = write_data(tmp_path / "faulty", train=content, valid=clean_document())
    (root / "train" / "3.jpg").unlink()
    return root


def test_check_reports_repairs_and_exits_with_1(faulty, tmp_path):
    files = ["--json", tmp_path / "c.json", "--html", tmp_path / "pages" / "c.html"]
    done = boxwright("check", faulty, *files)
    assert done.returncode == 1, done.stderr
    document = json.loads((tmp_path / "c.json").read_text())
    assert [one["code"] for one in document["findings"]][:2] == ["picture-missing", "box-outside"]
    assert "1 error, 1 warning, 3 notes" in done.stdout
    assert "picture-missing" in done.stdout
    assert "picture-missing" in (tmp_path / "pages" / "c.html").read_text()
    fixed = boxwright("check", faulty, "--fix", tmp_path / "fixed")
    assert fixed.returncode == 0, fixed.stderr
    assert "Repaired 1 x picture-missing" in fixed.stdout
    assert boxwright("check", tmp_path / "fixed", "--strict").returncode == 0


def test_check_strict_counts_warnings(faulty):
    (faulty / "train" / "3.jpg").write_bytes((faulty / "valid" / "4.jpg").read_bytes())
    assert boxwright("check", faulty).returncode == 0
    assert boxwright("check", faulty, "--strict").returncode == 1


def test_check_loads_no_torch(demo_data):
    heavy = "{'torch', 'lightning', 'pydantic'} & {*sys.modules}"
    code = f"import sys, boxwright; boxwright.check(sys.argv[1]); print({heavy})"
    done = subprocess.run([sys.executable, "-c", code, str(demo_data)], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


def test_check_draws_what_training_would_see(demo_data, tmp_path):
    sheet = tmp_path / "sheet.png"
    done = boxwright(
        "check", demo_data, "--show-augmented", 3, "--augmentation", "strong", "--image-size", 128, "--sheet", sheet
    )
    assert done.returncode == 0, done.stderr
    assert decode(sheet).width > 5 * 128


def test_a_sheet_of_what_cannot_be_trained_on_is_not_drawn_and_that_is_said(faulty, tmp_path):
    done = boxwright("check", faulty, "--show-augmented", 1, "--sheet", tmp_path / "s.png")
    assert done.returncode == 1
    assert "was not drawn" in done.stdout
    assert not (tmp_path / "s.png").exists()


def test_files_are_written_although_nobody_reads_the_words(faulty, tmp_path):
    command = f"{sys.executable} -m boxwright check {faulty} --fix {tmp_path / 'fixed'} | head -1"
    subprocess.run(command, shell=True, capture_output=True, check=True)
    assert (tmp_path / "fixed" / "train" / "4.jpg").is_file()


def test_a_pipe_gets_a_finding_a_line(faulty):
    lines = boxwright("check", faulty).stdout.splitlines()
    assert "error   picture-missing: train, '3.jpg', picture id 3: picture '3.jpg' is missing" in lines


def test_what_could_not_be_read_at_all_gives_2(faulty):
    for split in ("train", "valid"):
        (faulty / split / "_annotations.coco.json").write_text("{")
    assert boxwright("check", faulty).returncode == 2


def test_training_starts_with_the_same_check(faulty, tmp_path):
    settings = ["--set", "model=fasterrcnn_tiny_fpn", "--set", "weights=none", "--set", "fast_dev_run=true"]
    done = boxwright("train", "--data", faulty, "--out", tmp_path / "runs", *settings)
    assert done.returncode == 2
    assert "'3.jpg' is missing" in done.stderr
    (faulty / "train" / "3.jpg").write_bytes((faulty / "valid" / "4.jpg").read_bytes())
    done = boxwright("train", "--data", faulty, "--out", tmp_path / "runs", *settings)
    assert done.returncode == 0, done.stderr
    assert "is the same file as '4.jpg' (valid)" in done.stdout
    assert "reaches over the edge" in done.stdout


def test_convert_writes_what_check_takes(tmp_path):
    source = tmp_path / "yolo"
    for split in ("train", "valid"):
        (source / split / "images").mkdir(parents=True)
        (source / split / "labels").mkdir()
        for number in range(12):
            draw(f"{split}{number}").save(source / split / "images" / f"{number}.jpg")
            (source / split / "labels" / f"{number}.txt").write_text("0 0.5 0.5 0.25 0.5\n")
    (source / "data.yaml").write_text("train: ../train/images\nval: ../valid/images\nnames: [fish]\n")
    done = boxwright("convert", source, tmp_path / "coco", "--from", "yolo")
    assert done.returncode == 0, done.stderr
    assert "train: pictures 12, boxes 12" in done.stdout
    assert boxwright("check", tmp_path / "coco", "--strict").returncode == 0
    again = boxwright("convert", source, tmp_path / "split", "--from", "yolo", "--split", "0.5,0.25,0.25", "--seed", 1)
    assert again.returncode == 0, again.stderr
    assert " test: pictures 6, boxes 6" in again.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--sheet", "s.png", "--augmentation", "nonsense", "--seed", "5"], "--augmentation, --seed, --sheet go with"),
        (["--json", "{data}/train/_annotations.coco.json"], "would overwrite a file of"),
        (["--html", "{data}/valid/4.jpg"], "would overwrite a file of"),
        (["--json", "same.out", "--html", "./same.out"], "--json and --html are both same.out"),
        (["--fix", "fixed", "--json", "fixed/report.json"], "lies inside --fix fixed"),
    ],
)
def test_what_cannot_be_done_is_refused_before_the_check(faulty, tmp_path, options, said):
    before = sorted((one, one.is_file() and one.read_bytes()) for one in tmp_path.rglob("*"))
    done = boxwright("check", faulty, *(option.format(data=faulty) for option in options), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert said in " ".join(done.stderr.split()).replace("./same.out", "same.out")
    assert sorted((one, one.is_file() and one.read_bytes()) for one in tmp_path.rglob("*")) == before


def test_a_seed_is_of_new_splits(faulty, tmp_path):
    (faulty / "train" / "3.jpg").write_bytes((faulty / "valid" / "4.jpg").read_bytes())
    done = boxwright("convert", faulty, tmp_path / "out", "--from", "coco", "--seed", 5)
    assert done.returncode == 2
    assert "--seed 5 decides nothing: the splits of the source are kept: train, valid." in done.stderr
    assert not (tmp_path / "out").exists()
