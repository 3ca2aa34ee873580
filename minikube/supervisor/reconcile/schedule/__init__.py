"""Scheduled services: `cron` says when a schedule is due, `scheduler` starts the service then."""
