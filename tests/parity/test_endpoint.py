"""Endpoints held to a run's or an archive's figures: our own server, and servers that get something wrong."""

import json
import shutil
from dataclasses import replace

import pytest

import boxwright
from boxwright.archiving import write_archive
from boxwright.evaluation.results import SplitResults
from boxwright.inputs import Predictor
from boxwright.parity import endpoint, pictures
from boxwright.parity.endpoint import tolerance_of
from boxwright.runtime import ContractError, ModelSpec, OutOfTolerance, ServingError, open_bundle
from boxwright.serving.engine import load_models
from boxwright.serving.server import background_server
from support.command_line import boxwright as command
from support.stub_server import stub_server


@pytest.fixture(scope="module")
def base(mar):
    with background_server(load_models([mar])) as url:
        yield url


@pytest.fixture(scope="module")
def answers(run, mar, demo_data):
    """What our server answers to each validation picture, by its bytes."""
    predictor = Predictor(mar)
    paths = sorted((demo_data / "valid").glob("*.jpg"))
    return {path.read_bytes(): predictor(path).to_answer(predictor.spec.class_names) for path in paths}


@pytest.mark.parametrize("path", ["", "/predictions/tiny", "/predictions/tiny/1.0", "/v2/models/tiny"])
def test_our_own_server_gives_the_very_figures(base, mar, run, demo_data, path):
    spec = ModelSpec.load(run / "spec.json")
    for source in (mar, run):
        evaluation = boxwright.evaluate_endpoint(source, demo_data, url=base + path)
        assert evaluation.failures == ()
        assert evaluation.reference == spec.measured["valid"]["reported"]
        assert evaluation.figures == pytest.approx(evaluation.reference, abs=1e-4)
        assert evaluation.figures["f2"] == pytest.approx(spec.operating_point.value, abs=1e-4)
        assert evaluation.figures["images"] == 16


def test_an_archive_that_promises_nothing_of_a_split_is_run_here(base, mar, demo_data):
    evaluation = boxwright.evaluate_endpoint(mar, demo_data, "test", url=base)
    assert evaluation.reference_from == f"{mar}, run here"
    assert evaluation.figures == pytest.approx(evaluation.reference, abs=1e-4)
    assert evaluation.worst.wrong == 0


def test_an_older_archive_is_run_here_as_well(base, mar, demo_data, tmp_path):
    bundle = open_bundle(mar)
    measured = {"valid": {**bundle.spec.measured["valid"]}}
    del measured["valid"]["reported"]
    old = write_archive(replace(bundle.spec, measured=measured), bundle.weights, store=tmp_path)
    evaluation = boxwright.evaluate_endpoint(old, demo_data, url=base)
    assert evaluation.reference_from == f"{old}, run here"
    assert evaluation.failures == ()


def test_the_model_runs_here_once_and_its_archive_is_opened_once(base, mar, demo_data, monkeypatch):
    """Only a split of which the archive holds no figures needs the model here."""
    opened, prepared = [], []
    open_once, prepare = endpoint.open_bundle, pictures.prepare
    monkeypatch.setattr(endpoint, "open_bundle", lambda path: opened.append(path) or open_once(path))
    monkeypatch.setattr(pictures, "prepare", lambda path, *rest: prepared.append(path) or prepare(path, *rest))
    boxwright.evaluate_endpoint(mar, demo_data, "test", url=base)
    assert (len(opened), sorted(prepared)) == (1, sorted((demo_data / "test").glob("*.jpg")))
    boxwright.evaluate_endpoint(mar, demo_data, url=base)
    assert (len(opened), len(prepared)) == (2, 8)


def test_the_tolerance_is_that_of_the_least_precise_export(mar):
    spec = open_bundle(mar).spec
    proofs = {"onnxruntime-fp32": {"tolerance": 0.0005}, "onnxruntime-int8": {"tolerance": 0.01}}
    assert tolerance_of(replace(spec, exports={})) == 0.0005
    assert tolerance_of(replace(spec, exports=proofs)) == 0.01


def test_the_command_prints_both_and_ends_with_0(base, mar, demo_data, tmp_path):
    done = command("evaluate", mar, "--data", demo_data, "--endpoint", base, "--json", tmp_path / "e.json")
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "e.json").read_text())
    assert document["within_tolerance"] is True
    assert document["figures"]["f2"] == pytest.approx(document["reference"]["f2"], abs=0.0005)
    (line,) = (cells for cells in map(str.split, done.stdout.splitlines()) if cells[:1] == ["mAP"])
    assert line[1:3] == [f"{document[side]['map']:.4f}" for side in ("figures", "reference")]
    assert float(line[3]) == pytest.approx(document["figures"]["map"] - document["reference"]["map"], abs=1e-6)
    assert f"The model's figures are from {mar}; tolerance 0.0005" in done.stdout
    assert f"{base}/predictions/tiny: 16 pictures of valid" in done.stdout


def test_a_server_that_adds_boxes_is_refused_and_the_worst_picture_named(run, mar, demo_data, answers, tmp_path):
    crowded = max(answers, key=lambda picture: len(answers[picture]))
    name = next(path.name for path in (demo_data / "valid").glob("*.jpg") if path.read_bytes() == crowded)

    def answer(path, headers, body):
        added = [{"circle": [0, 0, 5, 5], "score": 0.99}] * 9 if body == crowded else []
        return 200, answers[body] + added, {}

    with stub_server(answer) as base:
        url = f"{base}/predictions/tiny"
        done = command("evaluate", run, "--data", demo_data, "--endpoint", url, "--json", tmp_path / "e.json")
        assert done.returncode == 1, done.stderr
        assert "does not give the figures of 'tiny'" in done.stderr
        assert f"Most differs picture '{name}'" in done.stderr
        assert "beyond 0.0005" in done.stderr
        document = json.loads((tmp_path / "e.json").read_text())
        assert (document["within_tolerance"], document["worst_picture"]) == (False, name)
        for source in (mar, run):
            wide = boxwright.evaluate_endpoint(source, demo_data, url=url, tolerance=1.0)
            assert wide.failures == ()
            assert wide.figures["f2"] < wide.reference["f2"]


def test_a_server_that_reports_from_a_lower_score_is_refused(mar, demo_data):
    """The figures are the same, cut at the model's threshold as both are."""
    predictor = Predictor(mar, threshold=0.01)
    paths = sorted((demo_data / "valid").glob("*.jpg"))
    found = {path.read_bytes(): predictor(path).to_answer(predictor.spec.class_names) for path in paths}
    with stub_server(lambda path, headers, body: (200, found[body], {})) as base:
        evaluation = boxwright.evaluate_endpoint(mar, demo_data, url=f"{base}/predictions/tiny")
    assert evaluation.figures == pytest.approx(evaluation.reference, abs=1e-4)
    (failure,) = evaluation.failures
    assert "detections below the model's threshold were answered" in failure


def test_a_refused_picture_is_a_failure_and_named(mar, demo_data, answers):
    def answer(path, headers, body):
        return (503, b"Prediction failed", {}) if body == next(iter(answers)) else (200, answers[body], {})

    with stub_server(answer) as base:
        evaluation = boxwright.evaluate_endpoint(mar, demo_data, url=f"{base}/predictions/tiny", tolerance=1.0)
    assert list(evaluation.refused) == ["shapes_0000.jpg"]
    with pytest.raises(OutOfTolerance, match=r"1 of 16 pictures were refused, first 'shapes_0000\.jpg' with 503: Pred"):
        evaluation.require()


def test_a_class_that_the_model_does_not_have_is_a_failure(mar, demo_data, answers):
    def answer(path, headers, body):
        return 200, [*answers[body], {"hexagon": [0, 0, 5, 5], "score": 0.9}], {}

    with stub_server(answer) as base:
        evaluation = boxwright.evaluate_endpoint(mar, demo_data, url=f"{base}/predictions/tiny")
    assert evaluation.unknown == {"hexagon": 16}
    assert evaluation.failures == ("Classes that the model does not have were answered: hexagon.",)


def test_the_endpoint_of_another_model_is_named(mar, demo_data):
    with (
        stub_server(lambda *_: (200, [{"cat": [0, 0, 5, 5], "score": 0.9}], {})) as base,
        pytest.raises(ContractError, match=r"answers cat; this model knows circle, square, triangle\. It serves"),
    ):
        boxwright.evaluate_endpoint(mar, demo_data, url=f"{base}/predictions/tiny")


def test_a_wrong_name_is_named(base, mar, demo_data):
    for path in ("/predictions/tinny", "/v2/models/tinny", "/predictions/tiny/9"):
        with pytest.raises(ServingError, match=r"answered 404: .*Check the model's name and version"):
            boxwright.evaluate_endpoint(mar, demo_data, url=base + path)


def test_the_boxes_count_as_they_are_now(base, run, mar, demo_data, tmp_path):
    """Annotations corrected since the training change both sides alike, also where only an archive is left."""
    data = tmp_path / "data"
    shutil.copytree(demo_data, data)
    file = data / "valid" / "_annotations.coco.json"
    document = json.loads(file.read_text())
    document["annotations"] = document["annotations"][::2]
    file.write_text(json.dumps(document))
    evaluation = boxwright.evaluate_endpoint(run, data, url=base)
    kept = SplitResults.load(run / "detections.npz")
    assert evaluation.failures == ()
    assert evaluation.figures["map"] != ModelSpec.load(run / "spec.json").measured["valid"]["reported"]["map"]
    assert sum(len(one.labels) for one in kept.truths) > len(document["annotations"])
    of_archive = boxwright.evaluate_endpoint(mar, data, url=base)
    assert of_archive.reference_from == f"{mar}, run here"
    assert of_archive.figures == pytest.approx(of_archive.reference, abs=1e-4)
    assert of_archive.figures == evaluation.figures


WRONG = [
    (["--endpoint", "http://127.0.0.1:1/predictions/x"], 2, "127.0.0.1:1/predictions/x: cannot be reached"),
    (["--endpoint", "http://no-such-host.invalid"], 2, "cannot be reached"),
    (["--endpoint", "localhost:8080"], 2, "is not the URL of a server"),
    (["--endpoint", "http://127.0.0.1:1", "--threshold", "0.5"], 2, "--threshold does not go with --endpoint"),
    (["--endpoint", "http://127.0.0.1:1", "--html", "a.html"], 2, "--html does not go with --endpoint"),
    (["--endpoint", "http://127.0.0.1:1", "--split", "dev"], 2, "no split 'dev'"),
    (["--tolerance", "0.1"], 2, "--tolerance needs --endpoint"),
]


@pytest.mark.parametrize(("options", "code", "said"), WRONG)
def test_what_cannot_be_done_is_one_line(mar, demo_data, options, code, said):
    done = command("evaluate", mar, "--data", demo_data, *options)
    assert done.returncode == code
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
