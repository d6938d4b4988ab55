"""Arguments of `fit_heads`, checked on the host and placed on the device once."""
