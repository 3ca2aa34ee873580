"""An edited manifest: `diff` decides what has to be done, `manifest_reconciler` does it in order."""
