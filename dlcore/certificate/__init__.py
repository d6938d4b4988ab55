"""Certificates of linear heads: an upper bound on J − J*, computed by NumPy in float64.

The package imports no solver, and nothing of dlcore except `dlcore/_core`. The heads may come from any library.
"""

from dlcore.certificate.certify import certify
from dlcore.certificate.data_report.report import DataReport, data_report
from dlcore.certificate.linear_heads import LinearHeads
from dlcore.certificate.result import Certificate

__all__ = ["Certificate", "DataReport", "LinearHeads", "certify", "data_report"]
