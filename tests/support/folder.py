"""A model repository: the archives of a folder, loaded by name."""

from pathlib import Path

from boxwright.runtime import Execution, open_bundle
from boxwright.serving.model import load_model
from boxwright.serving.refusals import Refusal


class Folder:
    def __init__(self, engine, folder):
        self.engine, self.folder = engine, Path(folder)

    def index(self):
        return [self.entry(path) for path in sorted(self.folder.glob("*.mar"))]

    def entry(self, path):
        served = path.stem in self.engine.models
        version = open_bundle(path).version
        state, reason = ("READY", "") if served else ("UNAVAILABLE", "not loaded")
        return {"name": path.stem, "version": version, "state": state, "reason": reason}

    def load(self, name):
        path = self.folder / f"{name}.mar"
        if not path.is_file():
            raise Refusal(404, f"There is no archive named {name!r}.")
        self.engine.replace(load_model(path, open_bundle(path), Execution("onnxruntime")))

    def unload(self, name):
        self.engine.remove(name)
