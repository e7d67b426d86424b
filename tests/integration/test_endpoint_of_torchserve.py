"""``evaluate --endpoint`` against TorchServe 0.12 itself: the archive's figures, to the tolerance."""

import json

import pytest

from boxwright import evaluate_endpoint
from support.command_line import boxwright
from support.torchserve import torchserve


@pytest.fixture(scope="module")
def url(mar, tmp_path_factory):
    with torchserve(mar, tmp_path_factory.mktemp("torchserve"), batch_size=4) as prediction_url:
        yield prediction_url


def test_torchserve_gives_the_figures_of_the_archive(url, mar, demo_data, tmp_path):
    """Its base URL alone, and the model's own."""
    for number, endpoint in enumerate((url, url.rsplit("/predictions", 1)[0])):
        file = tmp_path / f"{number}.json"
        done = boxwright("evaluate", mar, "--data", demo_data, "--endpoint", endpoint, "--json", file)
        assert done.returncode == 0, done.stderr
        document = json.loads(file.read_text())
        assert document["url"] == url
        assert document["reference_from"] == str(mar)
        for figure in ("map", "f2"):
            assert document["figures"][figure] == pytest.approx(document["reference"][figure], abs=0.0005)
        assert document["figures"]["images"] == 16
        print(document["figures"], document["reference"])


def test_a_model_that_is_not_there_is_named(url, mar, demo_data):
    done = boxwright("evaluate", mar, "--data", demo_data, "--endpoint", url + "-not")
    assert done.returncode == 2
    assert "answered 404" in done.stderr
    assert done.stderr.count("\n") == 1


def test_behind_its_kserve_envelope_as_well(mar, demo_data, tmp_path):
    with torchserve(mar, tmp_path, 1, "service_envelope=kserve") as url:
        endpoint = url.replace("/predictions/", "/v1/models/") + ":predict"
        evaluation = evaluate_endpoint(mar, demo_data, url=endpoint)
    assert evaluation.failures == ()
    assert evaluation.figures == pytest.approx(evaluation.reference, abs=1e-4)
