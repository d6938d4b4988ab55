"""Certificates of linear heads: an upper bound on J − J*, computed by NumPy in float64.

No solver is imported, and `dlcore/_core` alone is shared. The heads may come from this library or from any other.
"""

from dlcore.certificate.certify import certify
from dlcore.certificate.data_report.report import DataReport, data_report
from dlcore.certificate.linear_heads import LinearHeads
from dlcore.certificate.result import Certificate

__all__ = ["Certificate", "DataReport", "LinearHeads", "certify", "data_report"]
