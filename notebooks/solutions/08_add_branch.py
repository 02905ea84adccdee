def add_branch(x, branch, kept, p):
    """(B, ...) -> (B, ...): a residual connection in training, with stochastic depth"""
    out = x.clone()  # dropped pictures keep x; a clone, because x belongs to the caller
    out[kept] = x[kept] + branch(x[kept]) / (1 - p)  # the branch sees the kept pictures only
    return out
