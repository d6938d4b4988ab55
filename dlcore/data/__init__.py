"""Readers of tables: files, folders, data frames and arrays become one `Dataset`."""

from dlcore.data.dataset import Dataset
from dlcore.data.read import read
from dlcore.data.split import train_test_split

__all__ = ["Dataset", "read", "train_test_split"]
