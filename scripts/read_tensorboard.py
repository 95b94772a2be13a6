"""What TensorBoard reads from a run folder, beside metrics.jsonl.

    python scripts/read_tensorboard.py runs/birds
    python scripts/read_tensorboard.py --golden   # the bytes in the unit test of tensorboard.rs

Ends with 0 if every number of metrics.jsonl is found at its step, rounded to single precision, and
nothing else. Needs the package tensorboard.
"""

import io
import json
import struct
import sys
from pathlib import Path


def golden():
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog
    from tensorboard.summary.writer.record_writer import RecordWriter

    file = io.BytesIO()
    writer = RecordWriter(file)
    events = [
        Event(wall_time=1700000000.25, file_version="brain.Event:2"),
        Event(wall_time=1700000000.25, step=300, session_log=SessionLog(status=SessionLog.START)),
        Event(wall_time=1700000001.5, step=310),
    ]
    for tag, value in [("train/loss", 1.25), ("train/lr", 0.1)]:
        events[2].summary.value.add(tag=tag, simple_value=value)
    for event in events:
        writer.write(event.SerializeToString())
    hexed = file.getvalue().hex()
    for start in range(0, len(hexed), 40):
        print(f'"{hexed[start:start + 40]}",')


def expected(run):
    """Numbers of metrics.jsonl by tag and step."""
    found = {}
    for line in Path(run, "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        is_evaluation = "eval" in row
        for name, value in row.items():
            if isinstance(value, dict):
                for inner, number in value.items():
                    found.setdefault(f"{name}/{inner}", {})[row["step"]] = number
            elif name != "step" and not (is_evaluation and name == "epoch"):
                found.setdefault(f"train/{name}", {})[row["step"]] = value
    return found


def main():
    if sys.argv[1:] == ["--golden"]:
        return golden()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0})
    events.Reload()
    tags = events.Tags()["scalars"]
    single = lambda value: struct.unpack("f", struct.pack("f", value))[0]
    read = {tag: {event.step: event.value for event in events.Scalars(tag)} for tag in tags}
    wanted = {
        tag: {step: single(value) for step, value in points.items()}
        for tag, points in expected(sys.argv[1]).items()
    }
    for tag, points in sorted(read.items()):
        print(f"{tag}: {len(points)} points, the last {list(points.items())[-1]}")
    if read != wanted:
        sys.exit("metrics.jsonl says something else")


if __name__ == "__main__":
    main()
