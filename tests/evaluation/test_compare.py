from dataclasses import replace

import numpy as np
import pytest

import boxwright
from boxwright.metrics import GroundTruth
from boxwright.runtime import ArchiveError, ConfigError, ContractError, DataError
from support.made import made_results, made_run


@pytest.fixture
def runs(tmp_path):
    weak, strong = made_results(0.5, noise=5.0), made_results(0.9)
    strong = replace(strong, truths=weak.truths)  # the same boxes to the last bit
    return made_run(tmp_path / "weak", weak, "weak"), made_run(tmp_path / "strong", strong, "strong")


def test_a_plain_difference_stands(runs):
    contenders, (comparison,) = boxwright.compare(runs)
    assert [one.name for one in contenders] == ["weak", "strong"]
    f2 = comparison["f2"]
    assert f2.stands
    assert f2.interval.low > 0
    assert "of strong is" in f2.sentence("weak", "strong")


def test_a_run_does_not_differ_from_itself(runs):
    contenders, (comparison,) = boxwright.compare([runs[0], runs[0]])
    assert contenders[0].name == str(runs[0])  # the name alone would not tell them apart
    assert not any(one.stands for one in comparison.figures)
    assert all(one.difference == 0 for one in comparison.figures)


def test_one_alone_is_refused(runs):
    with pytest.raises(ConfigError, match="two or more"):
        boxwright.compare(runs[:1])


def changed(tmp_path, **changes):
    return made_run(tmp_path / "other", replace(made_results(0.9), **changes), "other")


def test_other_pictures_are_named(runs, tmp_path):
    names = tuple(f"{number}.png" for number in range(60))
    with pytest.raises(DataError, match=r"other pictures: '0\.jpg'.*--data"):
        boxwright.compare([runs[0], changed(tmp_path, file_names=names)])


def test_other_annotations_are_named(runs, tmp_path):
    truths = list(made_results(0.5, noise=5.0).truths)
    truths[7] = GroundTruth.of(truths[7].boxes + 1, truths[7].labels)
    with pytest.raises(DataError, match=r"'7\.jpg' differs"):
        boxwright.compare([runs[0], changed(tmp_path, truths=tuple(truths))])


def test_other_crowds_are_named(runs, tmp_path):
    truths = list(made_results(0.5, noise=5.0).truths)
    truths[7] = replace(truths[7], crowd=np.array([True, False]))
    with pytest.raises(DataError, match=r"'7\.jpg' differs"):
        boxwright.compare([runs[0], changed(tmp_path, truths=tuple(truths))])


def test_another_split_is_that_of_the_data_that_all_were_trained_on(run, demo_data, runs, tmp_path):
    contenders, (comparison,) = boxwright.compare([run, run], split="test")
    assert len(contenders[0].results.file_names) == len(list((demo_data / "test").glob("*.jpg")))
    assert all(one.difference == 0 for one in comparison.figures)
    with pytest.raises(DataError, match=r"does not say where its data lies.*--data"):
        boxwright.compare([run, runs[0]], split="test")
    (tmp_path / "data").mkdir()
    (runs[0] / "config.yaml").write_text(f"data: {tmp_path / 'data'}\n")
    with pytest.raises(DataError, match=rf"trained on {demo_data} and {tmp_path / 'data'}.*--data"):
        boxwright.compare([run, runs[0]], split="test")


def test_files_that_do_not_belong_together_are_refused(runs, tmp_path):
    made_results(0.9, pictures=20).save(runs[1] / "detections.npz")
    with pytest.raises(ArchiveError, match="not of one run"):
        boxwright.compare(runs)


def test_what_is_no_run_is_named(runs, tmp_path):
    with pytest.raises(ArchiveError, match="no such file or folder"):
        boxwright.compare([runs[0], tmp_path / "gone"])
    (runs[1] / "spec.json").unlink()
    with pytest.raises(ArchiveError, match="Give a run folder"):
        boxwright.compare(runs)
    (runs[1] / "config.yaml").write_text("data: x\n")
    with pytest.raises(ArchiveError, match="--resume"):
        boxwright.compare(runs)


def test_other_classes_are_named(runs, tmp_path):
    folder = changed(tmp_path, class_names=("cat", "fox"))
    with pytest.raises(ContractError, match="fox"):
        boxwright.compare([runs[0], folder])


def test_an_archive_needs_data(runs, tmp_path):
    archive = tmp_path / "a.mar"
    archive.write_bytes(b"PK")
    with pytest.raises(ArchiveError, match=r"a\.mar.*--data"):
        boxwright.compare([runs[0], archive])


def test_runs_and_archives_are_measured_on_data(run, demo_data, tmp_path):
    mar = boxwright.archive(run, store=tmp_path, precisions=())  # torch, like the run: equal to the last bit
    contenders, (comparison,) = boxwright.compare([run, mar], demo_data, "test")
    assert contenders[0].results.split == "test"
    assert all(one.difference == 0 for one in comparison.figures)
    for one, two in zip(contenders[0].results.detections, contenders[1].results.detections, strict=True):
        assert np.array_equal(one.boxes, two.boxes)
