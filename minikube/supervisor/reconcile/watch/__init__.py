"""Watching files: `directory_watcher` reports changed paths, `watcher` restarts the service whose sources they are
(`project.watch_patterns`) or applies the manifest. Imported only where something is watched."""
