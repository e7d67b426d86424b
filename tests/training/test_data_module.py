import pytest

from boxwright.data import read_folder
from boxwright.runtime import InputSpec
from boxwright.training.data_module import DetectionData, EpochSampler


@pytest.fixture
def data(demo_data):
    return DetectionData(read_folder(demo_data), InputSpec(96, 96), "light", batch_size=5, workers=0, seed=3)


def test_validation_is_whole_in_order_and_untouched(data):
    batches = list(data.val_dataloader())
    assert [batch.indices for batch in batches] == [[index] for index in range(16)]
    again = list(data.val_dataloader())
    assert all((one.canvases == other.canvases).all() for one, other in zip(batches, again, strict=True))


def test_training_sees_every_picture_once_the_last_small_batch_too(data):
    batches = list(data.train_dataloader())
    assert sorted(index for batch in batches for index in batch.indices) == list(range(96))
    assert len(batches[-1].indices) == 1


def test_the_order_depends_on_seed_and_epoch_alone(demo_data):
    loader = DetectionData(read_folder(demo_data), InputSpec(96, 96), "none", 5, 0, seed=3).train_dataloader()
    one = loader.sampler
    assert isinstance(one, EpochSampler)
    first = list(one)
    one.set_epoch(1)
    second = list(one)
    one.set_epoch(0)
    assert list(one) == first != second
