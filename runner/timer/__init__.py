"""Drift on a schedule: systemd timers and cron."""
