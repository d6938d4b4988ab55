"""Compiled programs: their cache in memory, their cache on the disk, and their count."""
