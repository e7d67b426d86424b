"""Fixtures shared by all tests; what is slow to make is made once."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from support.once import made_once

settings.register_profile("default", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("default")

REPOSITORY = Path(__file__).parents[1]

LONGEST_FIRST = (
    "test_contract.py",
    "training/test_several_processes.py",
    "exporting/test_onnx.py",
    "scale/test_on_ray.py",
    "training/test_resume.py",
    "training/test_train.py",
    "test_readme.py",
    "test_tutorial.py",
    "release/test_gate.py",
    "cli/test_commands.py",
    "runtime/test_backends.py",
    "training/test_tracking.py",
    "training/test_started_by_others.py",
    "tracking/test_loggers.py",
    "archiving/test_adoption.py",
    "integration/test_torchserve.py",
    "integration/test_differential.py",
    "integration/test_kserve_clients.py",
    "integration/test_transformers_detectors.py",
    "integration/test_stored_data.py",
    "integration/test_stored_runs.py",
    "integration/test_bare_install.py",
    "integration/test_distribution.py",
    "test_examples.py",
    "test_demo.py",
    "cli/test_export.py",
    "data/test_workers.py",
    "search/test_study.py",
    "tuning/test_bench.py",
    "exporting/test_quantize.py",
)
"""Test files that take longest begin first, so that no worker is left alone with one of them at the end.

They are marked ``long``: ``make test`` leaves them out, ``make test-all`` does not.
"""

if "PYTEST_XDIST_WORKER" in os.environ:  # beside other workers: threads of torch and numpy, before either is imported
    cores = len(os.sched_getaffinity(0)) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ["OMP_NUM_THREADS"] = str(max(1, cores))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first, and mark them; within a file the order stays."""
    places = {REPOSITORY / "tests" / name: number for number, name in enumerate(LONGEST_FIRST)}
    assert all(path.is_file() for path in places), f"LONGEST_FIRST names files that do not exist: {LONGEST_FIRST}"
    items.sort(key=lambda item: places.get(item.path, len(places)))
    for item in items:
        if item.path in places:
            item.add_marker(pytest.mark.long)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets; its absence is a failure, not a skip."""
    folder = Path(os.environ.get("BOXWRIGHT_DATA", REPOSITORY.parent / "shared" / "data"))
    assert (folder / "aquarium").is_dir(), f"{folder} holds no aquarium; set BOXWRIGHT_DATA"
    return folder


@pytest.fixture(scope="session")
def cases() -> Path:
    """The folder of small data sets after public reports; its absence is a failure, not a skip."""
    folder = Path(os.environ.get("BOXWRIGHT_CASES", REPOSITORY.parent / "shared" / "cases")) / "data"
    assert folder.is_dir(), f"{folder} is no folder; set BOXWRIGHT_CASES"
    return folder


@pytest.fixture(scope="session")
def demo_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small drawn data set."""
    from boxwright.data import draw_demo_data

    sizes = {"train": 96, "valid": 16, "test": 8}
    return made_once(tmp_path_factory, "demo", lambda place: draw_demo_data(place / "data", sizes=sizes)) / "data"


@pytest.fixture(scope="session")
def run(demo_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the tiny model."""

    def train(place: Path) -> None:
        import boxwright

        result = boxwright.train(
            data=demo_data,
            model="fasterrcnn_tiny_fpn",
            weights="none",
            epochs=4,
            batch_size=8,
            name="tiny",
            out=place,
            wandb="off",
            workers=1,
        )
        assert result.spec is not None

    return made_once(tmp_path_factory, "runs", train) / "tiny"


@pytest.fixture(scope="session")
def mar(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its archive."""

    def archive(place: Path) -> None:
        import boxwright

        boxwright.archive(run, store=place)

    return made_once(tmp_path_factory, "store", archive) / "tiny.mar"


@pytest.fixture(scope="session")
def odd_pictures(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Ten real pictures, among them those that other servers refuse or get wrong."""
    from support.pictures import write_odd_pictures

    return sorted(made_once(tmp_path_factory, "pictures", lambda place: write_odd_pictures(real_data, place)).iterdir())
