"""The HTTP service over a folder of self-describing ONNX files. It knows nothing of torch."""

__version__ = "0.1.0"
