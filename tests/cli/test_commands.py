import json
import shutil
import subprocess
import sys

import pytest

from boxwright.inputs import Predictor
from boxwright.runtime import decode
from support.command_line import boxwright


@pytest.fixture
def picture(demo_data):
    return next((demo_data / "test").glob("*.jpg"))


def test_help_and_version():
    done = boxwright("--help")
    assert done.returncode == 0
    verbs = ("check", "train", "evaluate", "archive", "adopt", "predict", "serve", "bench", "models", "demo", "convert")
    assert all(verb in done.stdout for verb in verbs)
    assert boxwright("--version").stdout.startswith("boxwright 0.")


def test_help_loads_nothing_heavy():
    code = "import sys, boxwright.cli; print(sorted({'torch', 'numpy', 'fastapi', 'pydantic'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_models_lists_the_catalogue():
    from boxwright.models import CATALOGUE

    output = boxwright("models").stdout
    assert all(name in output for name in CATALOGUE)


def test_evaluate_prints_and_writes(run, demo_data, tmp_path):
    done = boxwright("evaluate", run, "--data", demo_data, "--split", "test", "--json", tmp_path / "f.json")
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "f.json").read_text())
    assert {"map", "map_50", "map_75", "f2", "threshold", "per_class", "images", "seconds"} <= set(document)
    low, high = document["intervals"]["map"]
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["mAP", f"{document['map']:.4f}", f"{low:.4f}", "to", f"{high:.4f}"] in lines
    assert set(document["per_class"]) == {"circle", "square", "triangle"}


def test_predict_writes_coco_results_and_pictures(mar, picture, tmp_path):
    files = ["--json", tmp_path / "p.json", "--out", tmp_path / "drawn"]
    done = boxwright("predict", mar, picture.parent, "--threshold", 0.05, "--backend", "onnxruntime", *files)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "p.json").read_text())
    found = Predictor(mar, threshold=0.05, backend="onnxruntime")(picture)
    mine = [one for one in results if one["file_name"] == picture.name]
    assert [one["score"] for one in mine] == found.scores.tolist()
    assert set(mine[0]) == {"file_name", "category_id", "class", "bbox", "score"}
    left, top, right, bottom = found.boxes[0].tolist()
    assert mine[0]["bbox"] == pytest.approx([left, top, right - left, bottom - top], rel=1e-5)
    drawn = sorted(path.stem for path in (tmp_path / "drawn").iterdir())
    assert drawn == sorted(path.stem for path in picture.parent.glob("*.jpg"))
    assert decode(tmp_path / "drawn" / f"{picture.stem}.png").size == decode(picture).size


def test_archive_says_where(run, tmp_path):
    done = boxwright("archive", run, "--store", tmp_path)
    assert f"\nArchive: {tmp_path / 'tiny.mar'}\n" in done.stdout


def test_one_bad_picture_does_not_stop_the_others(mar, picture, tmp_path):
    for name in ("a.jpg", "c.jpg"):
        (tmp_path / name).write_bytes(picture.read_bytes())
    (tmp_path / "b.jpg").write_bytes(b"")
    done = boxwright("predict", mar, tmp_path, "--threshold", 0.01, "--json", tmp_path / "p.json")
    assert done.returncode == 2
    assert "b.jpg" in done.stderr
    assert {one["file_name"] for one in json.loads((tmp_path / "p.json").read_text())} == {"a.jpg", "c.jpg"}


def test_a_fast_dev_run_says_that_it_keeps_nothing(demo_data, tmp_path):
    settings = [f"--set={text}" for text in ("fast_dev_run=true", "model=fasterrcnn_tiny_fpn", "weights=none")]
    done = boxwright("train", "--data", demo_data, "--out", tmp_path, *settings)
    assert done.returncode == 0, done.stderr
    assert "nothing was kept" in done.stdout


WRONG = [
    (["check", "nowhere"], "nowhere: no such folder"),
    (["check", "."], "_annotations.coco.json: missing"),
    (["check", "text.txt"], "text.txt: is a file"),
    (["check", "{data}", "--show-augmented", "2", "--sheet", "a.jpg"], "a.jpg is not a .png"),
    (["check", "{data}", "--html", "."], "--html . is a folder"),
    (["check", "{data}", "--fix", "{data}/copy"], "lies inside"),
    (["check", "{data}", "--fix", "."], "not empty"),
    (["check", "{data}", "--show-augmented", "2", "--augmentation", "wild"], "'wild'"),
    (["check", "{data}", "--show-augmented", "2", "--image-size", "100"], "multiple of 32"),
    (["convert", "nowhere", "out", "--from", "yolo"], "nowhere: no such"),
    (["convert", ".", "out", "--from", "xml"], "'xml'"),
    (["convert", ".", "out", "--from", "voc"], "."),
    (["convert", ".", "out", "--from", "yolo", "--split", "half"], "--split 'half'"),
    (["train", "--data", "{data}", "--cache", "tape"], "'cache' = 'tape'"),
    (["train"], "'data' is missing"),
    (["train", "--data", "nowhere"], "nowhere: no such folder"),
    (["train", "--data", "nowhere", "--model", "yolo"], "nowhere"),
    (["train", "--data", "nothing.yaml"], "nothing.yaml: no such file"),
    (["train", "export.zip"], "export.zip: no such file"),
    (["train", "nothing.yaml"], "nothing.yaml: cannot be read"),
    (["train", "--data", ".", "--set", "epoch=3"], "Did you mean 'epochs'?"),
    (["train", "--data", ".", "--set", "epochs"], "has no '='"),
    (["train", "--epochs", "3", "--data", ".", "--resume", "x"], "--resume takes the run's own settings"),
    (["train", "--resume", "x"], "x: no such file or folder"),
    (["train", "--data", ".", "--epochs", "ten"], "--epochs ten does not fit. Give a whole number."),
    (["train", "--data", ".", "--set", "augmentation=lite"], "did you mean 'light'? What"),
    (["train", "{data}/train/_annotations.coco.json"], "Give the folder that holds train/ and valid/: "),
    (["predict", "{mar}", "text.txt", "--threshold", "2"], "--threshold 2 does not fit. Give 1 or less."),
    (["bench", "{mar}", "--rounds=0"], "--rounds 0 does not fit. Give 1 or more."),
    (["train", "--data", "."], "_annotations.coco.json: missing"),
    (["tune", "nowhere", "--minutes", "9"], "nowhere: no such folder"),
    (["tune", "--minutes", "9"], "Type: boxwright tune DATA --minutes N"),
    (["tune", "nowhere", "--data", "{data}", "--minutes", "9"], "The data is given twice"),
    (["evaluate", "nothing", "--data", "."], "nothing: no such file or folder"),
    (["evaluate", "{run}", "--data", "."], "_annotations.coco.json: missing"),
    (["evaluate", "{run}", "--data", "{data}", "--split", "dev"], "no split 'dev'"),
    (["evaluate", "{run}", "--data", "{data}", "--json", "."], "--json . is a folder"),
    (["archive", "nothing"], "nothing: no such"),
    (["archive", "nothing", "--inspect"], "nothing: no such"),
    (["archive", "{run}", "--inspect"], "a folder"),
    (["archive", "text.txt", "--inspect"], "text.txt: not a readable archive"),
    (["archive", "{mar}", "--inspect", "--json", "."], "--json . is a folder"),
    (["adopt", "{mar}", "--model", "fasterrcnn_tiny_fpn"], "boxwright's already"),
    (["adopt", "text.txt"], "--model"),
    (["predict", "{picture}", "{mar}"], "is a picture; the model comes first. Type: boxwright predict RUN_OR_MAR "),
    (
        ["predict", "a.onnx", "{picture}"],
        "a.onnx: is a network alone, not a model. Give a run folder or a .mar archive.",
    ),
    (["predict", "https://127.0.0.1:9/a.jpg", "{mar}"], "is a picture; the model comes first."),
    (["archive", "{picture}"], "is a picture, not a model. Give a run folder or a .mar archive."),
    (["predict", "{mar}", "nothing.jpg"], "'nothing.jpg' cannot be read"),
    (["predict", "{mar}", "text.txt"], "not a JPEG, PNG, WebP or BMP"),
    (["predict", "text.txt", "text.txt"], "text.txt: not a readable archive"),
    (["train", "--data", "{data}", "--weights", "text.txt", "--out", "runs"], "'text.txt': a text, no weights"),
    (["train", "{run}"], "is a run, not a data set. To go on with it: boxwright train --resume"),
    (["train", "{mar}"], "is an archive of a model, not a data set"),
    (["train", "--resume", "{mar}"], "is a file; a run is a folder"),
    (["train", "--data", ".", "--set", "epochs", "3"], "has no '='"),
    (["train", "--data", ".", "--set", "lrr=1"], "Did you mean 'lr'?"),
    (["check", "{data}/train"], "is one split, not the whole data set. Give the folder above: {data}"),
    (["evaluate", "{run}/.."], "Give one of those in it: {run}/../"),
    (["archive", "{mar}"], "is an archive already"),
    (["export", "{run}", "--out", "a.pth"], "For a file of that kind: --to state-dict"),
    (["predict", "{mar}", "{picture}", "--out", "drawn.jpg"], "is the folder of the drawn pictures"),
    (["predict", "{mar}", "{data}"], "There are some in {data}/test: give that"),
    (["demo", "--out", "."], "holds 'a.onnx', which is not the demo's"),
    (["predict", "{mar}", "."], "no pictures"),
    (["predict", "{mar}", "{picture}", "--devices", "2"], "--devices is for a cluster. Add --on ray"),
    (["predict", "{mar}", "{picture}", "--out", "rows.jsonl"], "rows are written with --on"),
    (["predict", "{mar}", "text.txt", "--device", "cuda:9"], "cuda:9"),
    (["predict", "{mar}", "{picture}", "--out", "text.txt"], "text.txt is a file"),
    (["predict", "{mar}", "{data}/test", "{data}/valid", "--out", "drawn"], "would overwrite"),
    (["predict", "{mar}", "text.txt", "--device", "gpu"], "'gpu' is not available"),
    (["demo", "--out", "text.txt"], "text.txt"),
    (["serve", "nothing.mar"], "nothing.mar: no such"),
    (["serve", "{mar}", "--port", "70000"], "--port 70000 does not fit. Give 65535 or less."),
    (["tarin"], "Did you mean 'train'?"),
]


@pytest.mark.parametrize(("arguments", "culprit"), WRONG, ids=lambda value: " ".join(value)[:40])
def test_wrong_input_gives_one_clear_error_and_exit_code_2(run, mar, demo_data, picture, tmp_path, arguments, culprit):
    (tmp_path / "text.txt").write_text("hello")
    (tmp_path / "a.onnx").write_text("hello")
    places = {"run": run, "mar": mar, "data": demo_data, "picture": picture}
    done = boxwright(*(argument.format(**places) for argument in arguments), cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert culprit.format(**places) in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "text.txt"]


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("flat.zip", "flat.zi", "Did you mean flat.zip?"),
        ("text.zip", "text.zip", "text.zip: is a file. It is no ZIP archive, whatever its name: download it again."),
    ],
)
def test_a_zip_archive_that_is_none_or_elsewhere(tmp_path, name, given, words):
    (tmp_path / name).write_text("hello")
    done = boxwright("check", given, cwd=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr


def test_a_split_alone_is_converted_packed_or_not(demo_data, tmp_path):
    """Its folder is named as it was given, whether it is in the cache or here."""
    alone = tmp_path / "alone"
    shutil.copytree(demo_data / "test", alone)
    shutil.make_archive(str(tmp_path / "packed"), "zip", alone)
    for given in ("alone", "packed.zip"):
        done = boxwright("check", given, cwd=tmp_path)
        command = f"boxwright convert {given} OUT --from coco --split 0.7,0.15,0.15"
        assert done.stderr.strip().endswith(f"Make splits of it: {command}"), done.stderr
        assert boxwright(*command.replace("OUT", f"{given}-out").split()[1:], cwd=tmp_path).returncode == 0
    done = boxwright("check", "train", cwd=demo_data)
    assert done.stderr.strip().endswith("Give the folder above: .")


def test_what_can_be_repaired_is_followed_by_the_command(demo_data, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(demo_data, data)
    path = data / "train" / "_annotations.coco.json"
    document = json.loads(path.read_text())
    document["images"][0]["file_name"] = "../escaped.jpg"
    path.write_text(json.dumps(document))
    done = boxwright("check", "data", cwd=tmp_path)
    assert "Next: boxwright check data --fix OUT" in done.stdout
    assert boxwright("check", "data", "--fix", "OUT", cwd=tmp_path).returncode == 0


def test_pictures_and_tables_are_not_called_annotations(demo_data, tmp_path):
    (tmp_path / "pictures").mkdir()
    shutil.copy(next((demo_data / "test").glob("*.jpg")), tmp_path / "pictures")
    (tmp_path / "boxes.csv").write_text("filename,xmin,ymin,xmax,ymax,class\na.jpg,1,2,3,4,fish\n")
    assert "and no annotations. Annotate them first" in boxwright("convert", "pictures", "o", cwd=tmp_path).stderr
    assert "other tables are not read" in boxwright("convert", "boxes.csv", "o", cwd=tmp_path).stderr
