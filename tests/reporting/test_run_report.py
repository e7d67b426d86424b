import json
import re
from dataclasses import replace

import pytest
from PIL import Image

from boxwright.archiving import model_card
from boxwright.config import TrainConfig, save_config
from boxwright.evaluation import analysis
from boxwright.reporting import choose_threshold, missing_pictures, report_run
from boxwright.runtime import DataError, ModelSpec
from support.made import made_results, made_run

GONE = "The pictures were missing when this page was written."


@pytest.fixture
def run(tmp_path):
    return made_run(tmp_path / "my runs" / "made", made_results(0.5, pictures=8), "made")


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    (folder / "valid").mkdir(parents=True)
    for number in range(8):
        Image.new("RGB", (200, 200)).save(folder / "valid" / f"{number}.jpg")
    return folder


def shown(run):
    return (run / "report.html").read_text(encoding="utf-8").count('class="frame"')


def test_pictures_come_from_where_the_settings_say(run, data):
    save_config(TrainConfig(data=data), run / "config.yaml")
    assert report_run(run) == run / "report.html"
    assert shown(run) > 0
    assert missing_pictures(run) == ""


def test_the_current_folder_is_no_place_for_pictures(run, data, monkeypatch):
    monkeypatch.chdir(data)
    report_run(run)
    assert shown(run) == 0
    assert GONE in (run / "report.html").read_text(encoding="utf-8")
    assert f"{run} does not say where its pictures are; give --data" in missing_pictures(run)


def test_pictures_that_have_moved_are_asked_for(run, data):
    save_config(TrainConfig(data=data), run / "config.yaml")
    moved = data.rename(data.with_name("moved"))
    report_run(run)
    assert GONE in (run / "report.html").read_text(encoding="utf-8")
    command = f"boxwright report '{run}' --data FOLDER"
    assert missing_pictures(run) == f"The pictures are no longer at {data / 'valid'}; give --data: {command}"
    report_run(run, moved)
    assert shown(run) > 0


def test_a_folder_without_the_pictures_leaves_the_page_alone(run, data, tmp_path):
    report_run(run, data)
    before = (run / "report.html").read_text(encoding="utf-8")
    (tmp_path / "other" / "valid").mkdir(parents=True)
    (tmp_path / "other" / "valid" / "a.jpg").write_bytes(b"")
    for wrong in (tmp_path, tmp_path / "other"):
        with pytest.raises(DataError, match=re.escape(f"{wrong / 'valid'}: holds none of the pictures of {run}")):
            report_run(run, wrong)
    assert (run / "report.html").read_text(encoding="utf-8") == before


def test_the_page_names_the_run_where_it_lies(run):
    page = report_run(run).read_text(encoding="utf-8")
    assert f"boxwright predict &#39;{run}&#39; PICTURE" in page
    elsewhere = run.rename(run.with_name("plain"))
    assert f"boxwright predict &#39;{elsewhere}&#39; PICTURE" in report_run(elsewhere).read_text(encoding="utf-8")


@pytest.fixture
def resamplings(monkeypatch):
    """The calls that resample for a report; all are made."""
    calls, resample = [], analysis.intervals
    monkeypatch.setattr(analysis, "intervals", lambda *given: calls.append(given) or resample(*given))
    return calls


def test_intervals_measured_with_the_operating_point_are_not_measured_again(run, resamplings):
    page = report_run(run).read_text(encoding="utf-8")
    choose_threshold(run, "f2", by_class=True)
    choose_threshold(run, "f2", by_class=False)
    assert resamplings == []
    document = json.loads((run / "spec.json").read_text())
    del document["measured"]["valid"]["intervals"]  # as an old run
    (run / "spec.json").write_text(json.dumps(document))
    assert report_run(run).read_text(encoding="utf-8") == page
    assert len(resamplings) == 1


def test_intervals_of_other_thresholds_are_measured_again(run, resamplings):
    document = json.loads((run / "spec.json").read_text())
    document["operating_point"]["threshold"] /= 2
    (run / "spec.json").write_text(json.dumps(document))
    report_run(run)
    assert len(resamplings) == 1


def test_the_model_card_is_on_the_page_as_text(run):
    spec = ModelSpec.load(run / "spec.json")
    classes = tuple(replace(one, name=f"<b>{one.name}</b>") for one in spec.classes)
    page = report_run(run).read_text(encoding="utf-8")
    (card,) = re.findall(r'<details id="model-card">.*?<pre tabindex="0">(.*?)</pre>', page, re.DOTALL)
    assert "## Where it fails" in card
    assert f"# {spec.name}" in card
    assert model_card(replace(spec, classes=classes)).count("<b>") == 0
    assert "<" not in card
