"""The library's train and predict programs, compiled for a GPU and a TPU where there is neither, and judged."""
