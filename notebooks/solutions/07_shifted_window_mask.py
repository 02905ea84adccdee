import torch


def shifted_window_mask(H, W, M, shift):
    """-> (nW, N, N) bool, True where the query (row) may attend to the key (column)"""

    def label(size):
        """Of each row or column after padding and roll: 0 in place, 1 wrapped around, -1 padding."""
        s = shift if size > M else 0  # one window: nothing to shift
        place = torch.arange(size + -size % M).roll(-s)
        return (place < s).long().masked_fill(place >= size, -1)

    rows, columns = label(H)[:, None], label(W)[None, :]
    labels = (2 * rows + columns).masked_fill((rows < 0) | (columns < 0), -1)
    # A map of one channel: cut it as the map is cut, then compare each token with each.
    labels = window_partition(labels[None, :, :, None], M)[0, :, :, 0]  # (nW, N)
    return labels[:, :, None] == labels[:, None, :]
