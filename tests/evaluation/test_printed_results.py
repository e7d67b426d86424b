"""What ``print`` and notebooks show of results: short, and the figures of their documents."""

from pathlib import Path

import pytest

from boxwright.data import inspect_folder
from boxwright.evaluation import evaluate
from boxwright.metrics.comparison import compare
from boxwright.metrics.figures import HEADLINE
from boxwright.runtime import open_bundle
from boxwright.training import RunResult


@pytest.fixture(scope="module")
def evaluation(run, demo_data):
    return evaluate(run, demo_data, "test")


def test_an_evaluation_shows_its_figures_with_their_intervals(evaluation):
    document = evaluation.to_document()
    lines = str(evaluation).splitlines()
    assert lines[0] == "tiny, measured on 8 pictures of test"
    assert len(lines) == 2 + len(HEADLINE) + 1
    for (key, title), line in zip(HEADLINE.items(), lines[2:], strict=False):
        low, high = document["intervals"][key]
        assert line.split("  ")[1:] != []
        assert line.strip().startswith(title)
        assert line.endswith(f"{document[key]:.4f}  {low:.4f} to {high:.4f}")
    assert f"a score of {evaluation.figures.threshold:.3f} or more." in lines[-1]
    assert repr(evaluation) == f"<{lines[0]}>"
    assert f"<td>{document['map']:.4f}</td>" in evaluation._repr_html_()


def test_a_run_shows_what_it_reached(run):
    spec = open_bundle(run).spec
    shown = str(RunResult(run, spec, False))
    assert shown.startswith(f"Run {run}, best epoch {spec.provenance['best_epoch'] + 1}\n")
    assert f"{spec.measured['valid']['f2']:.4f}" in shown
    assert shown.endswith(f"Report: {run / 'report.html'}")
    assert str(RunResult(Path("runs/a"), None, True)) == f"Run {Path('runs/a')}, interrupted: without a model"


def test_a_comparison_shows_the_differences(evaluation):
    matches = evaluation.results.matches()
    comparison = compare(matches, matches, 0.1, 0.1, resamples=20)
    lines = str(comparison).splitlines()
    assert len(lines) == 2 + len(comparison.figures)
    assert lines[1].split("  ")[-1] == "significant"
    assert all(line.endswith("no") and " 0.0000 " in line for line in lines[2:])


def test_a_check_shows_each_kind_of_finding_once(demo_data):
    inspection = inspect_folder(demo_data)
    lines = str(inspection).splitlines()
    assert lines[0].startswith(f"{demo_data}: 0 errors, 0 warnings, ")
    assert [line.split()[0] for line in lines[2:]] == list(dict.fromkeys(one.code for one in inspection.findings))
