"""What the notebooks import beside `swin_cifar`: the checks of their exercises, and their figures."""
