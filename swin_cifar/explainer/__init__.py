"""The interactive page: Swin at work in a browser, step by step, on the weights of a checkpoint."""
