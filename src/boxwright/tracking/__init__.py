"""Where figures go: a file beside the run, always; W&B, TensorBoard and MLflow where asked for."""
