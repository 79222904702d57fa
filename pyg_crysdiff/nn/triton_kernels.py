"""The attention over pairs as Triton kernels, for :mod:`pyg_crysdiff.nn.triton_attention`.

One program serves an atom and a head, or some pairs and a head. Sizes: H heads, feature width D,
hidden width C, N atoms, P pairs i < j, S ordered pairs with i, i. ``table`` has for every sorted
atom its first neighbour, the size of its crystal, where the crystal's pairs and ordered pairs
begin, its number within the crystal and the crystal (:attr:`PairLayout.atom_table`). Everything is
computed in float32, whatever the number format in memory is.

Hidden layers u of the pairs, first those of alpha, then those of beta, (2, H, C):

    u_ij = even_ij + common + odd_ij,   u_ji = even_ij + common - odd_ij,   u_ii = own
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _silu(u):
    return u * tl.sigmoid(u)


@triton.jit
def _slope(u):
    """Return the derivative of SiLU."""
    s = tl.sigmoid(u)
    return s * (1.0 + u * (1.0 - s))


@triton.jit
def _hidden(odd, even, common, own, pair, sign, off, at, inside, W):
    """Return u of some ordered pairs, (pairs, channels); ``at`` are the columns."""
    place = pair[:, None] * W + at[None, :]
    mask = off[:, None] & inside[None, :]
    o = tl.load(odd + place, mask=mask, other=0.0).to(tl.float32)
    e = tl.load(even + place, mask=mask, other=0.0).to(tl.float32)
    g = tl.load(common + at, mask=inside, other=0.0).to(tl.float32)
    s = tl.load(own + at, mask=inside, other=0.0).to(tl.float32)
    return tl.where(off[:, None], e + g[None, :] + sign[:, None] * o, s[None, :])


@triton.jit
def _pair(i, j, n):
    """Return the number of the pair of two atoms of a crystal, whichever comes first."""
    low, high = tl.minimum(i, j), tl.maximum(i, j)
    return low * (2 * n - low - 1) // 2 + high - low - 1


@triton.jit
def _atom(table, N, atom):
    """Return what the table has of an atom."""
    first, n = tl.load(table + atom), tl.load(table + N + atom)
    pairs, squares = tl.load(table + 2 * N + atom), tl.load(table + 3 * N + atom)
    i, crystal = tl.load(table + 4 * N + atom), tl.load(table + 5 * N + atom)
    return first, n, pairs, squares, i, crystal


@triton.jit
def forward(
    query, key, odd, even, common, own, alpha, table, out, logits, norms, N,
    H: tl.constexpr, D: tl.constexpr, C: tl.constexpr,
    ROWS: tl.constexpr, FEATURES: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Average keys and hidden layers of an atom's neighbours, with one pass over them."""
    atom, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    first, n, pairs, squares, i, crystal = _atom(table, N, atom)
    W = 2 * H * C
    d, c = tl.arange(0, FEATURES), tl.arange(0, CHANNELS)
    in_d, in_c = d < D, c < C
    at = head * C + c
    common += crystal * W
    own += crystal * W
    w = tl.load(alpha + at, mask=in_c, other=0.0).to(tl.float32)
    q = tl.load(query + (atom * H + head) * D + d, mask=in_d, other=0.0).to(tl.float32)
    top, total = tl.full((), -float("inf"), tl.float32), tl.full((), 0.0, tl.float32)
    mean = tl.zeros((FEATURES,), tl.float32)
    mixed = tl.zeros((CHANNELS,), tl.float32)
    for start in range(0, n, ROWS):
        j = start + tl.arange(0, ROWS)
        there = j < n
        off = there & (j != i)
        pair, sign = pairs + _pair(i, j, n), tl.where(j > i, 1.0, -1.0)
        u = _hidden(odd, even, common, own, pair, sign, off, at, in_c, W)
        k = tl.load(
            key + (first + j)[:, None] * D + d[None, :],
            mask=there[:, None] & in_d[None, :], other=0.0,
        ).to(tl.float32)  # fmt: skip
        logit = tl.sum(_silu(u) * w[None, :], 1) + tl.sum(k * q[None, :], 1)
        tl.store(logits + (squares + i * n + j) * H + head, logit, mask=there)
        logit = tl.where(there, logit, -float("inf"))
        higher = tl.maximum(top, tl.max(logit, 0))
        shrink, weight = tl.exp(top - higher), tl.exp(logit - higher)
        u = _hidden(odd, even, common, own, pair, sign, off, H * C + at, in_c, W)
        total = total * shrink + tl.sum(weight, 0)
        mean = mean * shrink + tl.sum(weight[:, None] * k, 0)
        mixed = mixed * shrink + tl.sum(weight[:, None] * _silu(u), 0)
        top = higher
    tl.store(norms + atom * H + head, top + tl.log(total))
    out += atom * H * (D + C)
    tl.store(out + head * D + d, mean / total, mask=in_d)
    tl.store(out + H * D + at, mixed / total, mask=in_c)


@triton.jit
def backward_rows(
    query, key, odd, even, common, own, table, logits, norms, out, grad, slopes, by_query, N,
    H: tl.constexpr, D: tl.constexpr, C: tl.constexpr,
    ROWS: tl.constexpr, FEATURES: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Find the gradients by the logits of an atom, and by its query."""
    atom, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    first, n, pairs, squares, i, crystal = _atom(table, N, atom)
    W = 2 * H * C
    d, c = tl.arange(0, FEATURES), tl.arange(0, CHANNELS)
    in_d, in_c = d < D, c < C
    at = H * C + head * C + c
    common += crystal * W
    own += crystal * W
    row = atom * H * (D + C)
    by_mean = tl.load(grad + row + head * D + d, mask=in_d, other=0.0).to(tl.float32)
    by_mixed = tl.load(grad + row + H * D + head * C + c, mask=in_c, other=0.0).to(tl.float32)
    mean = tl.load(out + row + head * D + d, mask=in_d, other=0.0)
    mixed = tl.load(out + row + H * D + head * C + c, mask=in_c, other=0.0)
    usual = tl.sum(by_mean * mean, 0) + tl.sum(by_mixed * mixed, 0)
    norm = tl.load(norms + atom * H + head)
    by_q = tl.zeros((FEATURES,), tl.float32)
    for start in range(0, n, ROWS):
        j = start + tl.arange(0, ROWS)
        there = j < n
        off = there & (j != i)
        pair, sign = pairs + _pair(i, j, n), tl.where(j > i, 1.0, -1.0)
        u = _hidden(odd, even, common, own, pair, sign, off, at, in_c, W)
        k = tl.load(
            key + (first + j)[:, None] * D + d[None, :],
            mask=there[:, None] & in_d[None, :], other=0.0,
        ).to(tl.float32)  # fmt: skip
        place = (squares + i * n + j) * H + head
        logit = tl.load(logits + place, mask=there, other=-float("inf"))
        weight = tl.exp(logit - norm)
        by_weight = tl.sum(k * by_mean[None, :], 1) + tl.sum(_silu(u) * by_mixed[None, :], 1)
        slope = weight * (by_weight - usual)
        tl.store(slopes + place, slope, mask=there)
        by_q += tl.sum(slope[:, None] * k, 0)
    tl.store(by_query + (atom * H + head) * D + d, by_q, mask=in_d)


@triton.jit
def backward_keys(
    query, table, logits, norms, grad, slopes, by_key, N,
    H: tl.constexpr, D: tl.constexpr, C: tl.constexpr,
    ROWS: tl.constexpr, FEATURES: tl.constexpr,
):  # fmt: skip
    """Find the gradient by the key of an atom, from all that look at it."""
    atom = tl.program_id(0).to(tl.int64)
    first, n = tl.load(table + atom), tl.load(table + N + atom)
    squares, j = tl.load(table + 3 * N + atom), tl.load(table + 4 * N + atom)
    d = tl.arange(0, FEATURES)
    in_d = d < D
    by_k = tl.zeros((FEATURES,), tl.float32)
    for start in range(0, n, ROWS):
        i = start + tl.arange(0, ROWS)
        there = i < n
        mask = there[:, None] & in_d[None, :]
        for head in range(H):
            place = (squares + i * n + j) * H + head
            logit = tl.load(logits + place, mask=there, other=-float("inf"))
            norm = tl.load(norms + (first + i) * H + head, mask=there, other=0.0)
            slope = tl.load(slopes + place, mask=there, other=0.0)
            q = tl.load(
                query + ((first + i) * H + head)[:, None] * D + d[None, :], mask=mask, other=0.0
            ).to(tl.float32)
            g = tl.load(
                grad + ((first + i) * H * (D + C) + head * D)[:, None] + d[None, :],
                mask=mask, other=0.0,
            ).to(tl.float32)  # fmt: skip
            by_k += tl.sum(slope[:, None] * q + tl.exp(logit - norm)[:, None] * g, 0)
    tl.store(by_key + atom * D + d, by_k, mask=in_d)


@triton.jit
def backward_pairs(
    odd, even, common, alpha, table, first_of_pair, second_of_pair, logits, norms, grad, slopes,
    by_odd, by_even, by_alpha, N, P,
    H: tl.constexpr, D: tl.constexpr, C: tl.constexpr,
    ROWS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Find the gradients by the hidden layers of some pairs, and their part of alpha's weight."""
    block, head = tl.program_id(0), tl.program_id(1)
    p = block * ROWS + tl.arange(0, ROWS)
    there = p < P
    one = tl.load(first_of_pair + p, mask=there, other=0)
    other = tl.load(second_of_pair + p, mask=there, other=0)
    n, squares = tl.load(table + N + one), tl.load(table + 3 * N + one)
    i, j = tl.load(table + 4 * N + one), tl.load(table + 4 * N + other)
    crystal = tl.load(table + 5 * N + one)
    W = 2 * H * C
    c = tl.arange(0, CHANNELS)
    in_c = c < C
    mask = there[:, None] & in_c[None, :]
    forth, back = (squares + i * n + j) * H + head, (squares + j * n + i) * H + head
    slope_forth = tl.load(slopes + forth, mask=there, other=0.0)[:, None]
    slope_back = tl.load(slopes + back, mask=there, other=0.0)[:, None]
    at = head * C + c
    place = p[:, None] * W + at[None, :]
    o = tl.load(odd + place, mask=mask, other=0.0).to(tl.float32)
    e = tl.load(even + place, mask=mask, other=0.0).to(tl.float32)
    e += tl.load(common + crystal[:, None] * W + at[None, :], mask=mask, other=0.0).to(tl.float32)
    w = tl.load(alpha + at, mask=in_c, other=0.0).to(tl.float32)
    to_alpha = tl.sum(slope_forth * _silu(e + o) + slope_back * _silu(e - o), 0)
    tl.store(by_alpha + block * H * C + at, to_alpha, mask=in_c)
    x, y = slope_forth * w[None, :] * _slope(e + o), slope_back * w[None, :] * _slope(e - o)
    tl.store(by_odd + place, x - y, mask=mask)
    tl.store(by_even + place, x + y, mask=mask)

    at += H * C
    place += H * C
    o = tl.load(odd + place, mask=mask, other=0.0).to(tl.float32)
    e = tl.load(even + place, mask=mask, other=0.0).to(tl.float32)
    e += tl.load(common + crystal[:, None] * W + at[None, :], mask=mask, other=0.0).to(tl.float32)
    nothing = -float("inf")
    a = tl.load(logits + forth, mask=there, other=nothing)
    b = tl.load(logits + back, mask=there, other=nothing)
    a = tl.exp(a - tl.load(norms + one * H + head, mask=there, other=0.0))
    b = tl.exp(b - tl.load(norms + other * H + head, mask=there, other=0.0))
    column = H * D + head * C + c[None, :]
    width = H * (D + C)
    g = tl.load(grad + one[:, None] * width + column, mask=mask, other=0.0).to(tl.float32)
    h = tl.load(grad + other[:, None] * width + column, mask=mask, other=0.0).to(tl.float32)
    x, y = a[:, None] * g * _slope(e + o), b[:, None] * h * _slope(e - o)
    tl.store(by_odd + place, x - y, mask=mask)
    tl.store(by_even + place, x + y, mask=mask)
