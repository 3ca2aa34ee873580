"""Apply an edited manifest: `diff` plans the steps, `manifest_reconciler` makes them in the order of dependencies."""
