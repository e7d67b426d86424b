"""The real library, offline: the file it wrote is read back with its own record types."""

import json
import signal
import struct

import pytest

import boxwright
from boxwright.data import draw_demo_data
from boxwright.tracking.local import read_metrics
from boxwright.tracking.weights_and_biases import _interrupts_wait, resolve_wandb_mode, wandb_sync_command


@pytest.fixture
def no_key(tmp_path, monkeypatch):
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("wanted", "environment", "mode"),
    [
        ("auto", {}, "offline"),
        ("auto", {"WANDB_API_KEY": "k" * 40}, "online"),
        ("auto", {"WANDB_MODE": "disabled"}, "off"),
        ("auto", {"WANDB_MODE": "offline", "WANDB_API_KEY": "k" * 40}, "offline"),
        ("online", {}, "offline"),
        ("online", {"WANDB_API_KEY": "k" * 40}, "online"),
        ("off", {"WANDB_API_KEY": "k" * 40}, "off"),
    ],
)
def test_offline_without_a_key_and_never_a_prompt(no_key, monkeypatch, wanted, environment, mode):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert resolve_wandb_mode(wanted) == mode


def test_a_key_in_netrc_counts(no_key, tmp_path):
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    assert resolve_wandb_mode("auto") == "online"


def test_ctrl_c_waits_until_wandb_has_started():
    done = []

    def start():
        with _interrupts_wait():
            signal.raise_signal(signal.SIGINT)
            done.append(True)

    with pytest.raises(KeyboardInterrupt):
        start()
    assert done
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def wandb_records(file):
    """The protobuf records of a .wandb file: LevelDB's log format after a header of seven bytes."""
    from wandb.proto import wandb_internal_pb2

    content, position, part = file.read_bytes(), 7, b""
    while position + 7 <= len(content):
        if 32768 - position % 32768 < 7:  # a record's header does not cross a block
            position += 32768 - position % 32768
            continue
        length, kind = struct.unpack_from("<HB", content, position + 4)
        part += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(part)
            yield record
            part = b""


def test_an_offline_run_holds_every_epochs_figures(no_key, tmp_path):
    data = draw_demo_data(tmp_path / "data", sizes={"train": 4, "valid": 2})
    settings = {"model": "fasterrcnn_tiny_fpn", "weights": "none", "epochs": 2, "workers": 0}
    run = boxwright.train(data=data, out=tmp_path / "runs", name="tracked", **settings).folder
    file = next((run / "wandb").glob("offline-run-*/*.wandb"))
    assert (run / "wandb_run_id").read_text().strip() in file.name
    assert wandb_sync_command(run) == f"wandb sync {file.parent}"
    rows = [
        {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        for record in wandb_records(file)
        if record.WhichOneof("record_type") == "history"
    ]
    local = [line for line in read_metrics(run) if "val/f2" in line]
    for name in ("val/f2", "val/map_50"):
        assert [row[name] for row in rows if name in row] == pytest.approx([line[name] for line in local])
