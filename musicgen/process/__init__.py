"""The process: start-up, logs, tracing, memory and threads."""
