"""ONNX Runtime, imported so that it sends nothing home; everything else imports it from here."""

import os

# Its Linux wheels report each session to their maker, from the moment they are imported; this is read just then.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime  # noqa: TID251 — after the environment is set
from onnxruntime.capi import onnxruntime_pybind11_state as onnxruntime_errors  # noqa: TID251 — the same

__all__ = ["onnxruntime", "onnxruntime_errors"]
