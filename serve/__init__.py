"""The HTTP service over a folder of self-describing ONNX files. It knows nothing of torch."""

import os

# ONNX Runtime's official builds send telemetry unless told not to before they are loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
