"""How far linear heads are from their optimum: a bound that shares no code with what made them.

NumPy in float64 alone. The heads may come from this library or from any other.
"""

from dlcore.certificate.certify import certify
from dlcore.certificate.data_report.inspect import data_report
from dlcore.certificate.data_report.report import DataReport
from dlcore.certificate.result import Certificate, LinearHeads

__all__ = ["Certificate", "DataReport", "LinearHeads", "certify", "data_report"]
