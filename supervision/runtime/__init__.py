"""Threads and timers: the pool that actors run on, the timer thread, waits, log events."""
