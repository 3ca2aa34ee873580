"""Scheduled services: `cron` computes when a schedule is due, `scheduler` starts the service at that time."""
