"""Serve one bundle over HTTP with BentoML, ONNX Runtime and Prometheus."""
