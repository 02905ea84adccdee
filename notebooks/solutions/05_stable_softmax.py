def stable_softmax(scores):
    """(..., N) -> (..., N): positive, each row adds up to 1, for scores of any size"""
    # With its largest score subtracted, a row has exps from 0 to exp(0) = 1: none is too large,
    # and the sum is at least 1, so we never divide by 0.
    largest = scores.amax(dim=-1, keepdim=True)  # (..., 1): one number per row
    positive = (scores - largest).exp()
    return positive / positive.sum(dim=-1, keepdim=True)
