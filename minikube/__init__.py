"""Placeholder, replaced by the SDK's re-exports."""

__version__ = "0.1.0"
