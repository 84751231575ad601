"""One file per model family, the MODELS table and the ONNX export."""
