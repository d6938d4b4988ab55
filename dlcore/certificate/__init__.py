"""How far linear heads are from their optimum: a bound that shares no code with what made them.

NumPy in float64 alone. The heads may come from this library or from any other.
"""

from dlcore.certificate.data import data_report
from dlcore.certificate.heads import Certificate, LinearHeads
from dlcore.certificate.interface import certify
from dlcore.certificate.report import DataReport

__all__ = ["Certificate", "DataReport", "LinearHeads", "certify", "data_report"]
