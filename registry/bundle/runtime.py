"""ONNX Runtime, imported so that it sends nothing home and warns of nothing; everything else imports it from here."""

import os

# Its Linux wheels report each session to their maker, from the moment they are imported; this is read just then.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime  # noqa: TID251 — after the environment is set
from onnxruntime.capi import onnxruntime_pybind11_state as onnxruntime_errors  # noqa: TID251 — the same

_ERROR = 3
# Its warnings are of graphs it repairs and of devices it looks for, in colours of its own, past every setting of a log.
onnxruntime.set_default_logger_severity(_ERROR)

__all__ = ["onnxruntime", "onnxruntime_errors"]
