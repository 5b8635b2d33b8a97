"""Rows of the dashboard: panels with their PromQL queries."""

from __future__ import annotations

from dataclasses import dataclass

RANGE = "$__rate_interval"


@dataclass(frozen=True)
class Panel:
    """One graph. `queries`: PromQL by legend. `unit`: Grafana's name of the unit."""

    title: str
    about: str
    unit: str
    queries: dict[str, str]


def _quantiles(metric: str) -> dict[str, str]:
    return {
        f"p{round(100 * q)}": f"histogram_quantile({q}, "
        f"sum by (le) (rate(musicgen_{metric}_bucket[{RANGE}])))"
        for q in (0.5, 0.95, 0.99)
    }


ROWS: dict[str, tuple[Panel, ...]] = {
    "Queue": (
        Panel(
            "Jobs",
            "Jobs waiting and running. The count is the database's, the same in every API process.",
            "short",
            {"waiting": "max(musicgen_jobs_waiting)", "running": "max(musicgen_jobs_running)"},
        ),
        Panel(
            "Workers and slots",
            "Workers with a recent heartbeat, and their total of parallel jobs.",
            "short",
            {"workers": "max(musicgen_workers)", "slots": "max(musicgen_slots)"},
        ),
        Panel("Wait", "From submission to start.", "s", _quantiles("queue_wait_seconds")),
        Panel(
            "Audio waiting",
            "Seconds of requested audio still to make.",
            "s",
            {"seconds": "max(musicgen_audio_seconds_waiting)"},
        ),
    ),
    "Music": (
        Panel(
            "Jobs ended",
            "Finished jobs a second, by outcome.",
            "reqps",
            {"{{outcome}}": f"sum by (outcome) (rate(musicgen_jobs_total[{RANGE}]))"},
        ),
        Panel(
            "Audio made",
            "Seconds of audio a second, by all workers together.",
            "short",
            {"audio": f"sum(rate(musicgen_audio_seconds_total[{RANGE}]))"},
        ),
        Panel(
            "First sound",
            "From submission to the first streamed audio.",
            "s",
            _quantiles("time_to_first_audio_seconds"),
        ),
        Panel("Job duration", "From start to end.", "s", _quantiles("job_duration_seconds")),
        Panel(
            "Real-time factor",
            "Seconds of work for a second of audio: below 1 is faster than real time.",
            "short",
            _quantiles("realtime_factor"),
        ),
        Panel(
            "Batch",
            "Jobs in one batch, by worker.",
            "short",
            {"{{instance}}": "musicgen_batch_size"},
        ),
    ),
    "API": (
        Panel(
            "Calls",
            "Requests a second, by status.",
            "reqps",
            {"{{status}}": f"sum by (status) (rate(musicgen_http_request_seconds_count[{RANGE}]))"},
        ),
        Panel(
            "Latency",
            "Time of requests, without events and streams: those last as long as a job.",
            "s",
            {
                "p50": "histogram_quantile(0.5, sum by (le) (rate("
                f'musicgen_http_request_seconds_bucket{{route!~".*(events|stream)"}}[{RANGE}])))',
                "p99": "histogram_quantile(0.99, sum by (le) (rate("
                f'musicgen_http_request_seconds_bucket{{route!~".*(events|stream)"}}[{RANGE}])))',
            },
        ),
    ),
    "Health": (
        Panel(
            "Starts",
            "From the start of a process to a ready model.",
            "s",
            {"{{instance}}": "musicgen_model_load_seconds"},
        ),
        Panel(
            "Jobs of lost workers",
            "Jobs queued again after the loss of their worker.",
            "short",
            {"again": f"sum(increase(musicgen_orphans_recovered_total[{RANGE}]))"},
        ),
        Panel(
            "Spent on platforms",
            "Cost of remote jobs in this month.",
            "currencyUSD",
            {"USD": "max(musicgen_spent_usd)"},
        ),
        Panel(
            "Stored jobs",
            "Jobs in the database, by state, until the end of their retention.",
            "short",
            {"{{state}}": "max by (state) (musicgen_jobs_kept)"},
        ),
    ),
}
