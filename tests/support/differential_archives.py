"""The store from which both servers serve."""

import hashlib
import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import boxwright
from boxwright.runtime import ModelSpec, OperatingPoint
from boxwright.runtime.bundle import CHECKSUMS, MANIFEST, SPEC


def make_store(run: Path, folder: Path) -> Path:
    """Archives ``tiny`` and two versions of ``pair``, from one run; and two files that are none.

    Even faint detections are reported, so that there is much to compare.
    """
    shutil.copytree(run, folder / "run")
    spec = ModelSpec.load(folder / "run" / "spec.json")
    (folder / "run" / "spec.json").write_text(replace(spec, operating_point=OperatingPoint(0.02)).to_json())
    store = folder / "store"
    tiny = boxwright.archive(folder / "run", store=store)
    _variant(tiny, store / "pair-1.mar", "pair", "1.0")
    _variant(tiny, store / "pair-2.mar", "pair", "2.0")
    (store / "noise.mar").write_bytes(b"this is no archive")
    with zipfile.ZipFile(store / "foreign.mar", "w") as archive:
        archive.writestr("hello.txt", "no manifest")
    return store


def _variant(mar: Path, target: Path, name: str, version: str) -> None:
    """The same network under another name and version."""
    with zipfile.ZipFile(mar) as old:
        members = {member: old.read(member) for member in old.namelist() if member != CHECKSUMS}
    members[SPEC] = replace(ModelSpec.from_json(members[SPEC]), name=name).to_json().encode()
    manifest = json.loads(members[MANIFEST])
    manifest["model"].update(modelName=name, modelVersion=version)
    members[MANIFEST] = json.dumps(manifest).encode()
    sums = (f"{hashlib.sha256(content).hexdigest()}  {member}\n" for member, content in sorted(members.items()))
    members[CHECKSUMS] = "".join(sums).encode()
    with zipfile.ZipFile(target, "w") as new:
        for member, content in members.items():
            new.writestr(member, content)
