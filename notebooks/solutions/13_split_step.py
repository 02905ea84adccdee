import math


def split_step(seconds, share=0.1):
    """{batch: seconds of a step}, two -> overhead, seconds of a picture, batch with so small an overhead"""
    (small, s_small), (large, s_large) = sorted(seconds.items())
    each = (s_large - s_small) / (large - small)  # only the pictures differ
    overhead = s_small - small * each
    # overhead = share * (overhead + B * each), solved for B
    return overhead, each, math.ceil(overhead * (1 - share) / (share * each))
