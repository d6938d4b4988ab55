"""Comparison of every public function with its float64 twin, on the user's device."""

from dlcore.verification.check import Check, Exact, Outcome
from dlcore.verification.device_facts import DeviceFacts
from dlcore.verification.verify import Verification, VerificationError, verify

__all__ = ["Check", "DeviceFacts", "Exact", "Outcome", "Verification", "VerificationError", "verify"]
