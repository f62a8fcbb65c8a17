"""Samples that do not fit into memory are decoded ahead, for each of several trainings."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from segstream.datasets import Dataset
from segstream.training import data
from segstream.training.data import MOST_BATCHES, Store


def test_each_training_finds_what_was_decoded_ahead_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    def pair(index: int) -> tuple[np.ndarray, np.ndarray]:
        read.append(index)
        return np.full((8, 8, 3), index, np.uint8), np.zeros((8, 8), np.uint8)

    monkeypatch.setattr(data, "free_memory", lambda device: 0)
    store = Store(Dataset("numbers", "train", ("a",), tuple(map(str, range(200))), pair), torch.device("cpu"))
    assert not store.cached and read == [0]
    store.prefetch([1, 2])
    store.prefetch([3, 4])  # of another training
    assert store.take([1, 2])[0][:, 0, 0, 0].tolist() == [1, 2]
    assert store.take([3, 4])[0][:, 0, 0, 0].tolist() == [3, 4]
    assert sorted(read) == [0, 1, 2, 3, 4]
    assert store.take([1, 2])[0][:, 0, 0, 0].tolist() == [1, 2] and len(read) == 7  # taken once
    for i in range(100):
        store.prefetch([i])  # of trainings that have ended
    assert len(store._next) == MOST_BATCHES
    store.pool.shutdown()
