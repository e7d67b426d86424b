"""Small files that all machines of a cluster see."""

import pytest

from boxwright.runtime import ConfigError
from boxwright.scale.shared import SharedFolder


@pytest.mark.parametrize("name", ["plain", "a b%20c", "zip::a", "50%"])
def test_a_folder_of_any_name_holds_files_until_it_is_deleted(tmp_path, name):
    folder = SharedFolder(str(tmp_path / name))
    assert folder.names() == set()
    folder.write("1.json", b"first")
    folder.write("1.json", b"second")
    folder.write("task.json", b"")
    assert folder.names() == {"1.json", "task.json"} == {one.name for one in (tmp_path / name).iterdir()}
    assert folder.read("1.json") == b"second"
    folder.remove("1.json")
    assert folder.names() == {"task.json"}
    folder.delete()
    folder.delete()
    assert not (tmp_path / name).exists()


def test_a_url_is_the_same(tmp_path):
    folder = SharedFolder(f"file://{tmp_path}/there")
    folder.write("1.json", b"first")
    assert (tmp_path / "there" / "1.json").read_bytes() == b"first"
    assert folder.names() == {"1.json"}
    folder.delete()
    assert not (tmp_path / "there").exists()


def test_storage_that_does_not_let_in_is_a_sentence(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with pytest.raises(ConfigError, match=r"^s3://bucket/runs: cannot be reached: "):
        SharedFolder("s3://bucket/runs").write("1.json", b"")
