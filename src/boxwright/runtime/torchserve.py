"""The handler that runs inside TorchServe (contract of 0.12: ``handle(data, context)``).

Each request of a batch is decoded on its own: a bad picture gets its own 4xx, its batchmates their
boxes. Needs what TorchServe's image has: torch, torchvision, Pillow, numpy; and onnxruntime for networks that are built
from what the image does not have.
"""

from __future__ import annotations

import base64
from importlib.util import find_spec
from typing import Any, Dict, List, Optional, Sequence, Tuple

from .backends import usable_executions
from .bundle import WEIGHTS, Bundle, open_bundle
from .errors import MissingDependency, PictureError, UnsupportedPicture
from .execution import Execution
from .predictor import PicturePredictor

__all__ = ["Handler", "error_body"]


def error_body(error: PictureError) -> Dict[str, Any]:
    """TorchServe's shape of an error: ``{"code", "type", "message"}``."""
    return {"code": error.http_status, "type": type(error).__name__, "message": str(error)}


class Handler:
    """Holds the predictor of one TorchServe worker."""

    def __init__(self) -> None:
        self._predictor: Optional[PicturePredictor] = None

    def __call__(self, data: Optional[Sequence[Dict[str, Any]]], context: Any) -> Optional[List[Any]]:
        """Answer a batch; called once with ``None`` to load the model.

        Args:
            data: one dict per request, the picture's bytes under ``body`` or, for multipart, ``data``.
            context: TorchServe's; gives the model's folder, takes each request's status.

        Returns:
            One answer per request: ``[{name: [x1, y1, x2, y2], "score": s}]`` or an error body.
        """
        if self._predictor is None:
            properties = context.system_properties
            bundle = open_bundle(properties["model_dir"])
            self._predictor = PicturePredictor(bundle, _execution(bundle, _device(properties.get("gpu_id"))))
        if data is None:
            return None
        return self._answer(self._predictor, data, context)

    def _answer(self, predictor: PicturePredictor, data: Sequence[Dict[str, Any]], context: Any) -> List[Any]:
        answers: List[Any] = [None] * len(data)
        prepared: List[Tuple[int, Any]] = []
        for index, request in enumerate(data):
            try:
                prepared.append((index, predictor.prepare(_picture_bytes(request))))
            except PictureError as error:
                context.set_response_status(code=error.http_status, phrase=type(error).__name__, idx=index)
                answers[index] = error_body(error)
        for index, picture in prepared:  # singly: on the CPU a batch is slower, and the figure is exact
            detections = predictor.report(predictor.detect([picture])[0])
            answers[index] = detections.to_answer(predictor.spec.class_names)
        return answers


def _execution(bundle: Bundle, device: str) -> Execution:
    """The trained network; where its weights or what it is built from are not there, its proved graph, on the CPU.

    Raises:
        MissingDependency: neither can run.
    """
    from .networks import network_family

    missing = [name for name in network_family(bundle.spec.architecture).packages if find_spec(name) is None]
    weights = WEIGHTS in bundle.members
    if weights and not missing:
        return Execution("torch", "fp32", device)
    graph = Execution("onnxruntime", "fp32")
    if graph not in usable_executions(bundle):
        if not missing:
            raise MissingDependency(
                f"{bundle.spec.name}: the archive holds the graph alone, and onnxruntime cannot run it here.",
                "Install onnxruntime here, or write the archive with its weights.",
            )
        raise MissingDependency(
            f"{bundle.spec.name}: its network needs {', '.join(missing)}, and onnxruntime has no proved graph to run.",
            "Install onnxruntime here, and write the archive with its exports.",
        )
    return graph


def _picture_bytes(request: Dict[str, Any]) -> bytes:
    body = request.get("body")
    if body is None:
        body = request.get("data")
    if body is None and len(request) == 1:
        body = next(iter(request.values()))
    if isinstance(body, str):  # behind TorchServe's kserve envelope: {"b64": ...}
        body = _from_base64(body)
    if not isinstance(body, (bytes, bytearray)):  # TorchServe has parsed JSON or decoded text
        raise UnsupportedPicture(
            "The request holds no picture.", "Send one as the body, or as a form file named 'data'."
        )
    return bytes(body)


def _from_base64(text: str) -> Optional[bytes]:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:  # any other text: TorchServe decodes bodies that are declared as text
        return None


def _device(gpu_id: Optional[int]) -> str:
    return "cpu" if gpu_id is None else f"cuda:{gpu_id}"
