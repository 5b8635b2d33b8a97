"""Residual vector quantization with moving averages (van den Oord et al. 2017, 2018).

Gradients pass straight through the quantizer; each codebook entry follows its assigned vectors.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from musicgen.model.encodec import Codec

DECAY = 0.99
DEAD_SHARE = 0.1
"""An entry with less than this share of the average use is moved elsewhere."""
KMEANS_ROUNDS = 12


class Quantizer:
    """Codebooks of `codec`, with their training state."""

    def __init__(self, codec: Codec, generator: torch.Generator) -> None:
        self.books = codec.codebooks
        self._generator = generator
        count, size, dimensions = self.books.shape
        self.counts = torch.ones(count, size)
        self.sums = torch.zeros(count, size, dimensions)

    @torch.no_grad()
    def start(self, vectors: Tensor) -> None:
        """Run k-means on `vectors` (many, dimensions), each book on the residual so far."""
        residual = vectors
        for book, counts, sums in zip(self.books, self.counts, self.sums, strict=True):
            book.copy_(residual[self._pick(len(residual), len(book))])
            for _ in range(KMEANS_ROUNDS):
                index = _nearest(residual, book)
                chosen = F.one_hot(index, len(book)).float()
                total = chosen.sum(0)
                means = chosen.t() @ residual / total.clamp(min=1)[:, None]
                fresh = residual[self._pick(len(residual), len(book))]
                book.copy_(torch.where((total > 0)[:, None], means, fresh))
            counts.copy_(total * 0 + len(residual) / len(book))
            sums.copy_(book * counts[:, None])
            residual = residual - book[_nearest(residual, book)]

    def __call__(self, vectors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Quantize `vectors` (many, dimensions) with a straight-through gradient.

        Returns: the quantized vectors, the commitment loss, and the codes (books, many).
        """
        residual, total, loss, codes = vectors, torch.zeros_like(vectors), 0.0, []
        for k in range(len(self.books)):
            index = _nearest(residual.detach(), self.books[k])
            chosen = F.embedding(index, self.books[k])
            loss = loss + F.mse_loss(residual, chosen)
            self._follow(k, residual.detach(), index)
            residual = residual - chosen
            total = total + chosen
            codes.append(index)
        assert isinstance(loss, Tensor)
        return vectors + (total - vectors).detach(), loss, torch.stack(codes)

    @torch.no_grad()
    def _follow(self, k: int, vectors: Tensor, index: Tensor) -> None:
        chosen = F.one_hot(index, self.books.shape[1]).float()
        self.counts[k].lerp_(chosen.sum(0), 1 - DECAY)
        self.sums[k].lerp_(chosen.t() @ vectors, 1 - DECAY)
        dead = self.counts[k] < DEAD_SHARE * len(vectors) / self.books.shape[1]
        if dead.any():
            fresh = vectors[self._pick(len(vectors), int(dead.sum()))]
            average = len(vectors) / self.books.shape[1]
            self.counts[k][dead] = average
            self.sums[k][dead] = fresh * average
        self.books[k].copy_(self.sums[k] / self.counts[k][:, None])

    def _pick(self, among: int, count: int) -> Tensor:
        return torch.randint(among, (count,), generator=self._generator)


def _nearest(vectors: Tensor, book: Tensor) -> Tensor:
    distance = book.pow(2).sum(1) - 2 * vectors @ book.t()
    return distance.argmin(dim=1)
