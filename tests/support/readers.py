"""Read what trackers wrote, with their own libraries, as {key: {step: value}}."""

import json
import struct
import time
from collections import defaultdict

from boxwright.tracking.metrics_file import read_metrics

STEP = "trainer/global_step"


def local_figures(run):
    lines = [{**line, STEP: line["step"]} for line in read_metrics(run)]
    return _by_key([{key: value for key, value in line.items() if key != "step"} for line in lines])


def wandb_files(run):
    return sorted((run / "wandb").glob("offline-run-*/*.wandb"))


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


def wandb_rows(run):
    """What was logged in each call, of all the run's files."""
    return [
        {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        for file in wandb_files(run)
        for record in wandb_records(file)
        if record.WhichOneof("record_type") == "history"
    ]


def wandb_figures(run):
    return _by_key(
        [
            {key: value for key, value in row.items() if isinstance(value, (int, float)) and not key.startswith("_")}
            for row in wandb_rows(run)
        ]
    )


def tensorboard_events(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"images": 0, "scalars": 0, "tensors": 0})
    return events.Reload()


def tensorboard_figures(run):
    events = tensorboard_events(run)
    return {key: {one.step: one.value for one in events.Scalars(key)} for key in events.Tags()["scalars"]}


def mlflow_figures(uri, run):
    from mlflow.tracking import MlflowClient

    client, run_id = MlflowClient(uri), (run / "mlflow_run_id").read_text().strip()
    keys = client.get_run(run_id).data.metrics
    return {key: {one.step: one.value for one in client.get_metric_history(run_id, key)} for key in keys}


def _by_key(rows):
    figures = defaultdict(dict)
    for row in rows:
        for key, value in row.items():
            if key != STEP:
                figures[key][row[STEP]] = value
    return dict(figures)


def wait_for_the_next_second():
    """W&B's folders and TensorBoard's files are told apart by the second they were made in."""
    time.sleep(1 - time.time() % 1)
