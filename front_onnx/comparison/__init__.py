"""Every start that fits a request, side by side: what it keeps of the source, and what it is worth after a training."""
