"""The keys that other tools have for one process, whether they can be taken or not."""

PROCESS_COMPOSE = (
    *("command", "entrypoint", "environment", "env_file"),
    *("availability", "depends_on", "liveness_probe", "readiness_probe"),
    *("ready_log_line", "shutdown", "working_dir", "namespace"),
    *("replicas", "description", "vars", "disabled"),
    *("is_disabled", "is_daemon", "is_foreground", "is_tty"),
    *("is_interactive", "is_dotenv_disabled", "schedule", "watch"),
    *("log_configuration", "success_exit_codes", "extends", "is_template_disabled"),
    *("log_location", "disable_ansi_colors", "is_elevated", "launch_timeout_seconds"),
    *("mcp", "monitor_for", "monitor_silence_threshold", "truncate_log"),
    *("original_config", "replica_num", "replica_name", "executable"),
    *("args",),
)
"""Of a process."""

PROCESS_COMPOSE_PROBE = (
    *("exec", "http_get", "initial_delay_seconds", "period_seconds"),
    *("timeout_seconds", "success_threshold", "failure_threshold"),
)
"""Of its probes."""

PM2 = (
    *("name", "script", "args", "exec_interpreter"),
    *("interpreter", "node_args", "cwd", "instances"),
    *("exec_mode", "watch", "ignore_watch", "max_memory_restart"),
    *("env", "autorestart", "autostart", "max_restarts"),
    *("min_uptime", "restart_delay", "exp_backoff_restart_delay", "kill_timeout"),
    *("cron_restart", "namespace", "uid", "gid"),
    *("port", "treekill", "stop_exit_codes", "instance_var"),
    *("out_file", "error_file", "log_file", "disable_logs"),
    *("merge_logs", "log_type", "log_date_format", "time"),
    *("pid_file", "vizion", "pmx", "automation"),
    *("trace", "disable_trace", "deep_monitoring", "event_loop_inspector"),
    *("io", "v8", "install_url", "post_update"),
    *("username", "windowsHide", "kill_retry_time", "force"),
    *("write", "increment_var", "source_map_support", "disable_source_map_support"),
    *("execute_command", "append_env_to_name", "name_prefix", "filter_env"),
    *("wait_ready", "listen_timeout", "shutdown_with_message", "watch_delay"),
    *("watch_options",),
)
"""Of an app."""

SUPERVISORD = (
    *("command", "process_name", "numprocs", "numprocs_start"),
    *("directory", "umask", "priority", "autostart"),
    *("autorestart", "startsecs", "startretries", "exitcodes"),
    *("stopsignal", "stopwaitsecs", "stopasgroup", "killasgroup"),
    *("user", "redirect_stderr", "stdout_logfile", "stderr_logfile"),
    *("stdout_logfile_maxbytes", "stdout_logfile_backups", "environment", "stdout_capture_maxbytes"),
    *("stderr_capture_maxbytes", "stdout_events_enabled", "stderr_events_enabled", "stdout_syslog"),
    *("stderr_syslog", "serverurl", "stderr_logfile_maxbytes", "stderr_logfile_backups"),
)
"""Of a program."""
