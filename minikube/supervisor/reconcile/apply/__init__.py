"""An edited manifest: `diff` says what has to be done, `manifest_reconciler` does it in order."""
