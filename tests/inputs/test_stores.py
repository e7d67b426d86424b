"""Folders of an S3 server, and of what else fsspec knows, are copied here and kept in step."""

import json
import shutil
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import fsspec
import pytest
import s3fs
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from boxwright.host.files import cache_folder
from boxwright.inputs import stores
from boxwright.inputs.stores import Sender, local_copy, local_place
from boxwright.runtime import ConfigError, DataError, MissingDependency
from support.object_store import KEYS, Bucket, Wire, object_store

SPLITS = ("train", "valid", "test")
FILES = {
    "train/_annotations.coco.json": b"{}",
    **{f"train/{number}.jpg": bytes([number]) * (number + 1) for number in range(20)},
    "valid/_annotations.coco.json": b"[]",
    "valid/deep/er/a b.jpg": b"a b",
    "valid/ünter.jpg": b"u",
}


@pytest.fixture(scope="module")
def address():
    with object_store() as address:
        s3fs.S3FileSystem.clear_instance_cache()
        yield address


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "boxwright" / "stores"


@pytest.fixture
def client(address, monkeypatch):
    """What s3fs finds in the environment."""
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": address, "AWS_MAX_ATTEMPTS": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)


@pytest.fixture
def anew(client):
    """For tests that change what is found there: its clients are kept in the process."""
    s3fs.S3FileSystem.clear_instance_cache()
    yield s3fs.S3FileSystem.clear_instance_cache
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def bucket(address, client):
    bucket = Bucket(address)
    for name, content in FILES.items():
        bucket.put(f"sets/fish/{name}", content)
    return bucket


@pytest.fixture
def url(bucket):
    return f"s3://{bucket.name}/sets/fish"


class Fetches:
    """Copies a URL; tells what was said."""

    def __call__(self, url, only=()):
        console = Console(width=1000, color_system=None)
        with console.capture() as said:
            self.path = local_copy(url, only, console)
        self.said = said.get()
        return self.path


@pytest.fixture
def fetch():
    return Fetches()


def held(folder):
    return {one.relative_to(folder).as_posix(): one.read_bytes() for one in folder.rglob("*") if one.is_file()}


def test_a_folder_comes_whole_and_is_told_of(url, fetch, cache):
    folder = fetch(url, SPLITS)
    assert folder.name == "fish"
    assert folder.is_relative_to(cache)
    assert held(folder) == FILES
    assert "Fetching" in fetch.said
    assert f"{len(FILES)} of {len(FILES)} files" in fetch.said


def test_a_second_time_takes_nothing(url, bucket, fetch, address, monkeypatch):
    fetch(url)
    times = {one: one.stat().st_mtime_ns for one in fetch.path.rglob("*")}
    monkeypatch.setattr(s3fs.S3FileSystem, "get_file", None)  # nothing could come
    assert fetch(url + "/") == fetch.path
    assert fetch.said == ""
    assert times == {one: one.stat().st_mtime_ns for one in fetch.path.rglob("*")}


def test_what_has_changed_alone_comes_again_and_what_is_gone_goes(url, bucket, fetch):
    fetch(url)
    bucket.put("sets/fish/train/1.jpg", b"xy")  # as long as it was
    bucket.put("sets/fish/train/new.jpg", b"new")
    bucket.remove("sets/fish/valid/deep/er/a b.jpg")
    folder = fetch(url)
    wanted = FILES | {"train/1.jpg": b"xy", "train/new.jpg": b"new"}
    del wanted["valid/deep/er/a b.jpg"]
    assert held(folder) == wanted
    assert not (folder / "valid" / "deep").exists()
    assert f"2 of {len(wanted)} files" in fetch.said
    assert "1 files are no longer there" in fetch.said


def test_only_the_splits_come_of_a_data_set_and_other_names_are_seen(url, bucket, fetch):
    bucket.put("sets/fish/val/0.jpg", b"0")
    bucket.put("sets/fish/README.txt", b"read me")
    folder = fetch(url, SPLITS)
    assert held(folder) == FILES
    assert (folder / "val").is_dir()
    assert held(fetch(url)) == FILES | {"val/0.jpg": b"0", "README.txt": b"read me"}
    assert "2 of" in fetch.said
    assert len(held(fetch(url, SPLITS))) == len(FILES) + 2  # what another call brought stays


def test_a_lost_connection_is_one_sentence_and_the_next_start_goes_on(url, bucket, address, fetch, monkeypatch, anew):
    wire = Wire(address)
    monkeypatch.setenv("AWS_ENDPOINT_URL", wire.address)
    anew()
    wire.left = 7
    with pytest.raises(ConfigError, match="cannot be reached") as caught:
        local_copy(url, console=Console(quiet=True))
    assert "\n" not in str(caught.value)
    home = next((cache_folder() / "stores").iterdir())
    came = held(home / "fish")
    assert 0 < len(came) < len(FILES)
    assert all(FILES[name] == content for name, content in came.items())  # each one whole
    wire.left = None
    folder = fetch(url)
    assert held(folder) == FILES
    assert f"{len(FILES) - len(came)} of {len(FILES)} files" in fetch.said
    wire.close()


def test_a_store_that_nobody_answers_for_is_one_sentence(client, monkeypatch, anew):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    anew()
    with pytest.raises(ConfigError, match=r"s3://bucket/x: cannot be reached: .*127\.0\.0\.1:9"):
        local_copy("s3://bucket/x")


def test_no_credentials_are_one_sentence(url, monkeypatch, anew):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    anew()
    with pytest.raises(ConfigError, match=r"access is refused: .*AWS_ACCESS_KEY_ID"):
        local_copy(url)


@pytest.mark.parametrize("place", ["s3://no-such-bucket-here/fish", "{url}/nowhere", "memory://nowhere/at/all"])
def test_what_is_not_there_is_named(url, place):
    place = place.format(url=url)
    with pytest.raises(DataError, match=f"{place}: there is no such bucket or folder"):
        local_copy(place)


def test_a_folder_without_splits_says_what_it_holds(bucket):
    with pytest.raises(DataError, match=r"holds no files in train/, valid/, test/; there is fish\."):
        local_copy(f"s3://{bucket.name}/sets", SPLITS)


def test_an_unknown_scheme_is_named():
    with pytest.raises(ConfigError, match="nope://a/b: Protocol not known: nope"):
        local_copy("nope://a/b")


@pytest.mark.parametrize("hidden", ["fsspec", "s3fs", "filelock"])
def test_what_is_not_installed_is_named(hidden):
    code = (
        f"import sys; from importlib import util; found = util.find_spec; sys.modules[{hidden!r}] = None\n"
        f"util.find_spec = lambda name, *a: None if name == {hidden!r} else found(name, *a)\n"
        "import boxwright.host.dependencies as d; d.find_spec = util.find_spec\n"
        "from boxwright.inputs.stores import local_copy; from boxwright.runtime import MissingDependency\n"
        "try: local_copy('s3://bucket/folder')\n"
        "except MissingDependency as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert hidden in done.stdout
    assert "pip install 'boxwright[urls]'" in done.stdout


def test_a_store_whose_part_is_missing_says_which(monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(MissingDependency, match=r"gs://bucket/folder: .*gcsfs"):
        local_copy("gs://bucket/folder")


@pytest.mark.parametrize(
    "key", ["../evil.jpg", "train/../../evil.jpg", "train//evil.jpg", "/evil.jpg", "train/./evil.jpg", "train/.."]
)
def test_names_that_lead_elsewhere_are_refused_before_anything_comes(bucket, url, key, cache):
    bucket.put(f"sets/fish/{key}", b"evil")
    with pytest.raises(DataError, match="cannot be the name of a file here"):
        local_copy(url)
    assert not [one for one in cache.rglob("*") if one.is_file()]


@given(st.lists(st.sampled_from(["..", ".", "", "a", "b.jpg", "\0", "...", "~", "ä"]), min_size=1, max_size=5))
def test_a_safe_name_stays_below_its_folder(tmp_path_factory, parts):
    name, folder = "/".join(parts), tmp_path_factory.getbasetemp() / "folder"
    bad = {"..", ".", ""} & set(parts) or "\0" in name
    assert stores._is_safe(name) != bool(bad)
    if not bad:
        assert (folder / name).resolve().is_relative_to(folder.resolve())


def test_a_file_that_is_also_a_folder_is_refused(bucket, url):
    bucket.put("sets/fish/train/1.jpg/2.jpg", b"2")
    with pytest.raises(DataError, match=r"'fish/train/1\.jpg' in it is a file and a folder"):
        local_copy(url)


def test_markers_of_folders_are_no_files(bucket, url, fetch):
    for key in ("sets/fish/", "sets/fish/train/", "sets/fish/test/"):
        bucket.put(key, b"")
    assert held(fetch(url, SPLITS)) == FILES


def test_a_file_alone_comes_too(bucket, url, fetch):
    path = fetch(f"{url}/train/_annotations.coco.json", SPLITS)
    assert path.name == "_annotations.coco.json"
    assert path.read_bytes() == b"{}"
    bucket.put("sets/fish/train/_annotations.coco.json", b"[1]")
    assert fetch(f"{url}/train/_annotations.coco.json").read_bytes() == b"[1]"


def test_a_whole_bucket_is_a_folder(bucket, fetch):
    folder = fetch(f"s3://{bucket.name}")
    assert folder.name == bucket.name
    assert held(folder) == {f"sets/fish/{name}": content for name, content in FILES.items()}


def test_without_room_nothing_comes(url, cache, monkeypatch):
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(stores.shutil, "disk_usage", lambda path: usage._replace(free=stores._SPARE))
    with pytest.raises(ConfigError, match=r"files, .* MB do not fit on the disk of .*XDG_CACHE_HOME"):
        local_copy(url)
    assert not list(cache.rglob("*.jpg"))


def test_a_cache_that_cannot_be_written_is_named(url, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match=r"file/boxwright.*: Not a directory\. Set XDG_CACHE_HOME"):
        local_copy(url)


def test_what_a_killed_process_left_is_no_harm(url, fetch):
    home = fetch(url).parent
    journal = (home / ".journal").read_text()
    (home / ".journal").write_text(journal + '["fish/train/2.jpg", "half a li')
    (home / "fish" / "train" / "3.jpg.123.part").write_bytes(b"half")
    (home / "fish" / "train" / "3.jpg").unlink()
    (home / "fish" / "train" / "4.jpg").write_bytes(b"cut short")
    assert held(fetch(url)) == FILES
    assert "2 of" in fetch.said
    (home / ".journal").write_bytes(b"\xff\xfe no text")
    assert held(fetch(url)) == FILES


def test_a_version_that_comes_back_is_fetched_again(url, bucket, fetch, monkeypatch):
    """A copy was killed between the file and the journal: what is written down must not be taken for what is there."""
    home = fetch(url).parent
    bucket.put("sets/fish/train/1.jpg", b"xy")
    write = stores._Copy._fetch_all

    def killed(self, files, missing, advance):
        for one in missing:
            self._fetch(files, one)
        raise KeyboardInterrupt

    monkeypatch.setattr(stores._Copy, "_fetch_all", killed)
    with pytest.raises(KeyboardInterrupt):
        local_copy(url, console=Console(quiet=True))
    assert (home / "fish" / "train" / "1.jpg").read_bytes() == b"xy"
    monkeypatch.setattr(stores._Copy, "_fetch_all", write)
    bucket.put("sets/fish/train/1.jpg", FILES["train/1.jpg"])
    assert held(fetch(url)) == FILES


def test_two_at_once_fetch_once(url, bucket):
    said, paths = [], []

    def copy():
        console = Console(width=1000, color_system=None)
        with console.capture() as words:
            paths.append(local_copy(url, console=console))
        said.append(words.get())

    threads = [threading.Thread(target=copy) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(set(paths)) == 1
    assert held(paths[0]) == FILES
    assert sum("Fetching" in one for one in said) == 1


@pytest.mark.parametrize("scheme", ["file", "memory"])
def test_other_stores_are_the_same(scheme, fetch, tmp_path):
    place = f"{scheme}://{tmp_path}/there/fish"
    files, root = fsspec.core.url_to_fs(place)
    for name, content in FILES.items():
        files.makedirs(f"{root}/{name}".rpartition("/")[0], exist_ok=True)
        files.pipe_file(f"{root}/{name}", content)
    assert held(fetch(place, SPLITS)) == FILES
    fetch(place, SPLITS)
    assert fetch.said == ""
    files.pipe_file(f"{root}/train/2.jpg", b"other")
    files.rm_file(f"{root}/train/3.jpg")
    folder = fetch(place, SPLITS)
    assert (folder / "train" / "2.jpg").read_bytes() == b"other"
    assert not (folder / "train" / "3.jpg").exists()


def test_a_packed_folder_is_a_store_too(fetch, tmp_path):
    shutil.make_archive(str(tmp_path / "fish"), "zip", fsspec_folder(tmp_path))
    folder = fetch(f"zip://::file://{tmp_path}/fish.zip", SPLITS)
    assert held(folder) == FILES


def fsspec_folder(tmp_path):
    for name, content in FILES.items():
        path = tmp_path / "packed" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "packed"


@pytest.fixture
def web(tmp_path):
    """A folder behind a web server, which counts what is fetched; its address."""
    (tmp_path / "web").mkdir()

    fetched = []

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self):
            fetched.append(self.path)
            super().do_GET()

        def log_message(self, *parts):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=tmp_path / "web")) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield SimpleNamespace(folder=tmp_path / "web", host=f"127.0.0.1:{server.server_port}", fetched=fetched)
        server.shutdown()


def test_a_file_of_a_web_server_is_fetched_once_and_its_key_is_not_shown(web, fetch):
    (web.folder / "set.zip").write_bytes(b"PK" * 1000)
    url = f"http://me:hidden-word@{web.host}/set.zip?version=1&key=hidden-key"
    copy = fetch(url)
    assert (copy.name, copy.read_bytes()) == ("set.zip", b"PK" * 1000)
    assert fetch.said.startswith(f"Fetching http://***@{web.host}/set.zip?version=1&key=***: 1 of 1 files")
    asked = len(web.fetched)
    assert fetch(url) == copy
    assert (fetch.said, len(web.fetched)) == ("", asked)


def test_a_page_of_a_web_server_is_refused(web):
    (web.folder / "index.html").write_text("<a href='set.zip'>our pictures</a>")
    with pytest.raises(DataError, match=r"is a web page, not a file\. Give the address of the archive"):
        local_copy(f"http://{web.host}/")


def test_what_a_web_server_does_not_give_is_one_sentence_without_the_key(web):
    for host, reason in ((web.host, "404"), ("127.0.0.1:9", "Cannot connect")):
        with pytest.raises(ConfigError, match=rf"/set.zip\?key=\*\*\*: cannot be reached: .*{reason}") as told:
            local_copy(f"http://{host}/set.zip?key=hidden")
        assert "hidden" not in str(told.value)


def test_a_url_whose_key_was_not_kept_asks_for_it():
    with pytest.raises(ConfigError, match=r"its password or key is not kept in files\. Give the whole URL again"):
        local_copy("https://host/set.zip?key=***")


def test_a_path_is_itself(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    assert local_place(str(tmp_path)) == tmp_path


def test_names_are_whatever_file_systems_allow(bucket, url, fetch):
    odd = ["train/a%20b.jpg", "train/-rf.jpg", "train/.hidden", "train/a+b&c=d?.jpg", "train/#1.jpg"]
    for name in odd:
        bucket.put(f"sets/fish/{name}", name.encode())
    assert held(fetch(url)) == FILES | {name: name.encode() for name in odd}
    fetch(url)
    assert fetch.said == ""
    assert all(json.loads(line) for line in (fetch.path.parent / ".journal").read_text().splitlines())


@pytest.mark.parametrize("scheme", ["s3", "file"])
def test_a_folder_is_sent_and_then_what_has_changed(scheme, bucket, tmp_path):
    url = f"s3://{bucket.name}/runs/a" if scheme == "s3" else f"file://{tmp_path}/there/a"
    folder = tmp_path / "here"
    (folder / "deep").mkdir(parents=True)
    for name in ("one", "deep/last", "two"):
        (folder / name).write_text(name)
    (folder / ".claim").touch()
    (folder / "one.12.part").touch()
    sender, sent = Sender(folder, url, ("deep/last",)), []
    with pytest.MonkeyPatch.context() as patch:
        put = stores._put
        patch.setattr(stores, "_put", lambda files, path, target: (sent.append(path.name), put(files, path, target)))
        sender.send()
        assert sent == ["one", "two", "last"]
        (folder / "two").write_text("two!")
        (folder / "deep" / "last").write_text("last!")
        sender.send()
        sender.send()
        assert sent[3:] == ["two", "last"]
        Sender(folder, url, sent=True).send()
        assert len(sent) == 5
    assert held(local_copy(url)) == {"one": b"one", "two": b"two!", "deep/last": b"last!"}
    assert stores.names_in(url) == {"one", "two", "deep"}
    assert stores.names_in(f"{url}/none") == set()


def test_what_cannot_be_sent_is_sent_the_next_time(bucket, address, tmp_path, anew, monkeypatch):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "one").write_text("one")
    sender = Sender(tmp_path / "run", f"s3://{bucket.name}/runs/a")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    anew()
    with pytest.raises(ConfigError, match="cannot be reached"):
        sender.send()
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    anew()
    sender.send()
    assert bucket.get("runs/a/one") == b"one"
