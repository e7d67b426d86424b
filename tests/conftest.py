"""Fixtures shared by all tests; what is slow to make is made once."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("default", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("default")

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets; its absence is a failure, not a skip."""
    folder = Path(os.environ.get("BOXWRIGHT_DATA", REPOSITORY.parent / "shared" / "data"))
    assert (folder / "aquarium").is_dir(), f"{folder} holds no aquarium; set BOXWRIGHT_DATA"
    return folder


@pytest.fixture(scope="session")
def demo_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn data set, small."""
    from boxwright.data import draw_demo_data

    return draw_demo_data(tmp_path_factory.mktemp("demo") / "data", sizes={"train": 96, "valid": 16, "test": 8})


@pytest.fixture(scope="session")
def run(demo_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the tiny model."""
    import boxwright

    result = boxwright.train(
        data=demo_data,
        model="fasterrcnn_tiny_fpn",
        weights="none",
        epochs=4,
        batch_size=8,
        name="tiny",
        out=tmp_path_factory.mktemp("runs"),
        wandb="off",
        workers=1,
    )
    assert result.spec is not None
    return result.folder


@pytest.fixture(scope="session")
def mar(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its archive."""
    import boxwright

    return boxwright.archive(run, store=tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def odd_pictures(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Ten real pictures, among them those that other servers refuse or get wrong."""
    from support.pictures import write_odd_pictures

    return write_odd_pictures(real_data, tmp_path_factory.mktemp("pictures"))
