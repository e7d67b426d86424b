import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from boxwright.data import read_folder
from boxwright.runtime import ConfigError, InputSpec, PictureError
from boxwright.training.data_module import DetectionData, EpochSampler, Loading, SharedBatches, batches_of, open_caches
from boxwright.training.world import World


@pytest.fixture
def data(demo_data):
    return DetectionData(read_folder(demo_data), InputSpec(96, 96), Loading("light", batch_size=5, workers=0, seed=3))


def test_validation_is_whole_in_order_and_untouched(data):
    batches = list(data.val_dataloader())
    assert [batch.indices for batch in batches] == [[index] for index in range(16)]
    again = list(data.val_dataloader())
    assert all((one.canvases == other.canvases).all() for one, other in zip(batches, again, strict=True))


def test_training_sees_every_picture_once_the_last_small_batch_too(data):
    batches = list(data.train_dataloader())
    assert sorted(index for batch in batches for index in batch.indices) == list(range(96))
    assert len(batches[-1].indices) == 1


def test_a_last_picture_alone_joins_the_batch_before(demo_data):
    loading = Loading("none", 5, 0, seed=3, least=2)
    loader = DetectionData(read_folder(demo_data), InputSpec(96, 96), loading).train_dataloader()
    sizes = [len(batch.indices) for batch in loader]
    assert sizes == [5] * 18 + [6]
    assert len(loader) == 19


@given(pictures=st.integers(1, 40), size=st.integers(1, 9), least=st.integers(1, 2))
def test_batches_are_counted_as_they_come(pictures, size, least):
    size = max(size, least)
    batches = list(SharedBatches(range(pictures), size, least))
    assert [one for batch in batches for one in batch] == list(range(pictures))
    assert len(batches) == batches_of(pictures, size, least)
    assert min(map(len, batches)) >= min(least, pictures)


@given(pictures=st.integers(1, 40), size=st.integers(1, 9), least=st.integers(1, 3), processes=st.integers(1, 4))
def test_processes_together_have_the_batches_of_one(pictures, size, least, processes):
    size = max(size, least, processes)
    whole = list(SharedBatches(range(pictures), size, least))
    worlds = [World(rank, processes, processes) for rank in range(processes)]
    shared = [SharedBatches(range(pictures), size, least, world) for world in worlds]
    for number, (batch, *parts) in enumerate(zip(whole, *shared, strict=True)):
        sizes = worlds[0].sizes(len(batch))
        assert [shared[0].pictures(number), sum(sizes)] == [len(batch)] * 2
        assert max(sizes) - min(sizes) <= 1
        counted = [picture for part, count in zip(parts, sizes, strict=True) for picture in part[:count]]
        assert counted == batch
        assert all(parts), "each process computes on something"


def test_a_batch_larger_than_the_data_takes_no_more_memory_than_the_data(demo_data):
    loading = Loading("none", 10**9, workers=1, seed=3)
    (batch,) = DetectionData(read_folder(demo_data), InputSpec(96, 96), loading).train_dataloader()
    assert sorted(batch.indices) == list(range(96))


def test_a_resumed_epoch_goes_on_behind_what_was_seen(demo_data):
    folder = read_folder(demo_data)
    whole = DetectionData(folder, InputSpec(96, 96), Loading("light", 5, 1, seed=3)).train_dataloader()
    whole.batch_sampler.sampler.set_epoch(2)
    expected = list(whole)
    loading = Loading("light", 5, 1, seed=3, first_epoch=2, seen_batches=4)
    rest = DetectionData(folder, InputSpec(96, 96), loading).train_dataloader()
    seen = list(rest)
    assert [batch.indices for batch in seen] == [batch.indices for batch in expected[4:]]
    assert all(torch.equal(one.canvases, other.canvases) for one, other in zip(seen, expected[4:], strict=True))
    rest.batch_sampler.sampler.set_epoch(3)
    assert len(list(rest)) == 20


def test_the_order_depends_on_seed_and_epoch_alone(demo_data):
    loader = DetectionData(read_folder(demo_data), InputSpec(96, 96), Loading("none", 5, 0, seed=3)).train_dataloader()
    one = loader.batch_sampler.sampler
    assert isinstance(one, EpochSampler)
    first = list(one)
    one.set_epoch(1)
    second = list(one)
    one.set_epoch(0)
    assert list(one) == first != second


@pytest.fixture
def folder(demo_data):
    return read_folder(demo_data)


def test_caches_print_where_they_are_and_how_full(folder, tmp_path):
    messages = []
    caches = open_caches("disk", tmp_path, folder, InputSpec(96, 96), messages.append)
    data = DetectionData(folder, InputSpec(96, 96), Loading("light", 5, 0, 3), caches)
    assert len(list(data.train_dataloader())) == 20
    open_caches("disk", tmp_path, folder, InputSpec(96, 96), messages.append)
    assert messages == [
        f"Cache of train: 3 MiB in {tmp_path}; 0 of 96 pictures are in it.",
        f"Cache of valid: 1 MiB in {tmp_path}; 0 of 16 pictures are in it.",
        f"Cache of train: 3 MiB in {tmp_path}; 96 of 96 pictures are in it.",
        f"Cache of valid: 1 MiB in {tmp_path}; 0 of 16 pictures are in it.",
    ]
    assert open_caches("off", None, folder, InputSpec(96, 96), messages.append) == {}


def test_digests_of_the_data_check_are_not_computed_again(folder, tmp_path):
    def of_other_files(split):
        pictures = [replace(one, digest=bytes([number]) * 32) for number, one in enumerate(split.pictures)]
        return replace(split, pictures=tuple(pictures))

    odd = replace(folder, splits={name: of_other_files(split) for name, split in folder.splits.items()})
    caches = open_caches("disk", tmp_path, odd, InputSpec(96, 96), str)
    data = DetectionData(odd, InputSpec(96, 96), Loading("none", 5, 0, 3), caches)
    assert len(list(data.val_dataloader())) == 16
    assert caches["valid"].filled == 0  # the pictures are not those that the digests are of


def test_a_cache_that_cannot_be_is_told_before_training(folder, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match="cache_dir"):
        open_caches("disk", tmp_path / "file", folder, InputSpec(96, 96), str)


@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_a_system_that_cannot_hold_a_cache_is_told_so(folder, tmp_path, monkeypatch, kind):
    for name in ("pread", "preadv", "pwrite"):
        monkeypatch.delattr(os, name)
    with pytest.raises(ConfigError, match=rf"cache = '{kind}': this system has no pread, preadv, pwrite\. .*off"):
        open_caches(kind, tmp_path / "cache", folder, InputSpec(96, 96), str)
    assert not (tmp_path / "cache").exists()
    assert open_caches("off", None, folder, InputSpec(96, 96), str) == {}


def resident(loader, part):
    """KiB of one part of the resident memory, of this process and a loader's."""
    numbers = [os.getpid(), *(worker.pid for worker in loader._iterator._workers)]
    texts = [Path(f"/proc/{number}/status").read_text() for number in numbers]
    return sum(int(text.split(part)[1].split()[0]) for text in texts)


def test_ten_epochs_do_not_grow(folder, tmp_path):
    """Anonymous memory by less than 4 MiB over ten epochs, shared memory not at all; a leaked batch is 138 KiB."""
    small = replace(folder, splits={**folder.splits, "train": folder.splits["valid"]})
    caches = open_caches("disk", tmp_path, small, InputSpec(96, 96), str)
    loader = DetectionData(small, InputSpec(96, 96), Loading("light", 5, 2, 3), caches).train_dataloader()
    anonymous, shared = [], []
    for epoch in range(33):
        loader.batch_sampler.sampler.set_epoch(epoch)
        assert sum(len(batch.indices) for batch in loader) == 16
        anonymous.append(resident(loader, "RssAnon:"))
        shared.append(resident(loader, "RssShmem:"))
    growth = anonymous[-1] - anonymous[-11]
    assert growth < 4096, anonymous
    assert shared[-1] - shared[-11] < 64, shared


def test_a_picture_broken_in_a_loader_process_is_named(demo_data, tmp_path, folder):
    record = replace(folder.splits["valid"].pictures[0], path=tmp_path / "gone.jpg")
    broken = replace(folder, splits={**folder.splits, "valid": replace(folder.splits["valid"], pictures=(record,))})
    loader = DetectionData(broken, InputSpec(96, 96), Loading("none", 5, 1, 3)).val_dataloader()
    with pytest.raises(PictureError, match=r"gone\.jpg"):
        list(loader)


def test_running_processes_follow_the_epoch(folder):
    spec = InputSpec(96, 96)
    inside, outside = (
        DetectionData(folder, spec, Loading("light", 32, workers, 3)).train_dataloader() for workers in (0, 1)
    )
    for epoch in (0, 3):
        for loader in (inside, outside):
            loader.batch_sampler.sampler.set_epoch(epoch)
        for one, other in zip(inside, outside, strict=True):
            assert torch.equal(one.canvases, other.canvases)
            assert one.indices == other.indices


def test_more_loader_processes_than_processors_are_as_asked_for(demo_data, recwarn):
    loading = Loading("none", 5, len(os.sched_getaffinity(0)) + 1, 3)
    data = DetectionData(read_folder(demo_data), InputSpec(96, 96), loading)
    assert [loader.num_workers for loader in (data.train_dataloader(), data.val_dataloader())] == [loading.workers] * 2
    assert [str(one.message) for one in recwarn] == []
