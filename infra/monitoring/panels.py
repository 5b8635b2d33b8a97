"""What the dashboard shows: rows of panels, each with its questions to Prometheus."""

from __future__ import annotations

from dataclasses import dataclass

RANGE = "$__rate_interval"


@dataclass(frozen=True)
class Panel:
    """`queries`: legend to expression. `unit`: Grafana's name of it."""

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
            "Waiting, and being made. Every API process tells the same: the database's count.",
            "short",
            {"waiting": "max(musicgen_jobs_waiting)", "running": "max(musicgen_jobs_running)"},
        ),
        Panel(
            "Workers and slots",
            "Heard of lately, and the jobs that they can make at once.",
            "short",
            {"workers": "max(musicgen_workers)", "slots": "max(musicgen_slots)"},
        ),
        Panel("Wait", "From submission to beginning.", "s", _quantiles("queue_wait_seconds")),
        Panel(
            "Audio to be made",
            "Seconds of audio that were asked for and are not made yet.",
            "s",
            {"seconds": "max(musicgen_audio_seconds_waiting)"},
        ),
    ),
    "Music": (
        Panel(
            "Jobs ended",
            "By what became of them.",
            "reqps",
            {"{{outcome}}": f"sum by (outcome) (rate(musicgen_jobs_total[{RANGE}]))"},
        ),
        Panel(
            "Audio made",
            "Seconds of audio a second, of all workers.",
            "short",
            {"audio": f"sum(rate(musicgen_audio_seconds_total[{RANGE}]))"},
        ),
        Panel(
            "First sound",
            "From submission to the first streamed sound.",
            "s",
            _quantiles("time_to_first_audio_seconds"),
        ),
        Panel("Job duration", "From beginning to end.", "s", _quantiles("job_duration_seconds")),
        Panel(
            "Real-time factor",
            "Seconds of work for a second of audio: below 1 is faster than real time.",
            "short",
            _quantiles("realtime_factor"),
        ),
        Panel(
            "Batch",
            "Jobs that are made side by side, by worker.",
            "short",
            {"{{instance}}": "musicgen_batch_size"},
        ),
    ),
    "API": (
        Panel(
            "Calls",
            "By status.",
            "reqps",
            {"{{status}}": f"sum by (status) (rate(musicgen_http_request_seconds_count[{RANGE}]))"},
        ),
        Panel(
            "Latency",
            "Without events and streams, which last as long as a job.",
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
            "From a process's start until its model was ready.",
            "s",
            {"{{instance}}": "musicgen_model_load_seconds"},
        ),
        Panel(
            "Jobs of lost workers",
            "Queued again, by whoever found them.",
            "short",
            {"again": f"sum(increase(musicgen_orphans_recovered_total[{RANGE}]))"},
        ),
        Panel(
            "Spent elsewhere",
            "On platforms, in this month.",
            "currencyUSD",
            {"USD": "max(musicgen_spent_usd)"},
        ),
        Panel(
            "Jobs that are kept",
            "By state, until their retention ends.",
            "short",
            {"{{state}}": "max by (state) (musicgen_jobs_kept)"},
        ),
    ),
}
