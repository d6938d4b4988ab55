"""How far linear heads are from their optimum: a bound that shares no code with what made them.

NumPy in float64 alone. The heads may come from this library or from any other.
"""

from dlcore.certificate.heads import Certificate, LinearHeads
from dlcore.certificate.interface import certify

__all__ = ["Certificate", "LinearHeads", "certify"]
