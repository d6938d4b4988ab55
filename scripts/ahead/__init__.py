"""Every train and predict program of the library, compiled for a GPU and a TPU where there is neither, and judged."""
