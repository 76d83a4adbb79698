"""What a zoo file is: model card, tensor names, zoo folder, checksums, and the path from an image to a network's input.

It imports no other package of cnnzoo, and no torch, onnxruntime, starlette or bentoml.
"""

__version__ = "0.3.0"  # the one source; pyproject.toml reads it
