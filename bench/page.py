"""Write the tables and plots of docs/ from the JSON files in bench/results.

    python bench/page.py            # write the tables between the markers, and the pictures
    python bench/page.py --check    # change nothing; fail if a table differs from its file

A table is between `<!-- table NAME -->` and `<!-- end -->`. Its file is bench/results/NAME.json,
written by a script with --save.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as a script
    sys.path.insert(0, str(ROOT))

from bench.quality_tables import continuity_table, limiter_table, precision_table
from bench.serve_plot import plot_serve
from bench.table_lines import head, line
from musicgen.errors.counts import format_count

RESULTS, DOCS = ROOT / "bench/results", ROOT / "docs"
PAGES = ("performance.md", "precision.md", "coldstart.md", "job_api.md", "capacity.md")
_PEERS = ("transformers", "openvino int8", "onnxruntime int8")
_TABLE = re.compile(r"(<!-- table ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def decode_table(result: dict[str, Any]) -> str:
    peers = [name for name in result["medians"] if name.startswith(_PEERS)]
    over = [f"step, over {peer}" for peer in peers]
    names = {"share_of_the_roofline": "roofline", "share_of_the_median_read": "of the median read"}
    shares = {names[key]: result[key] for key in names if key in result}
    lines = head("", "ms a step", *over, *shares, "s a clip")
    for name, medians in result["medians"].items():
        steps = [1000 * run["step"] for run in result["runs"][name]]
        ratios = [f"{result['medians'][peer]['step'] / medians['step']:.2f}x" for peer in peers]
        spread = f"{1000 * medians['step']:.1f} ({min(steps):.1f} to {max(steps):.1f})"
        of_reads = [f"{share[name]:.0%}" for share in shares.values()]
        lines.append(line(name, spread, *ratios, *of_reads, f"{medians['total']:.1f}"))
    bandwidth = result["bandwidth_gb_per_second"]
    lines += ["", f"{_conditions(result)}; memory read at {bandwidth:.1f} GB/s in the same rounds."]
    return "\n".join(lines)


def serve_table(result: dict[str, Any]) -> str:
    callers = list(next(iter(result["medians"].values())))
    heads = [f"{number} caller{'' if number == '1' else 's'}" for number in callers]
    lines = head("audio a second", *heads)
    lines += [
        line(name, *(f"{loads[number]['throughput']:.2f} s" for number in callers))
        for name, loads in result["medians"].items()
    ]
    lines += ["", *head("first sound, median", *heads)]
    lines += [
        line(name, *(f"{loads[number]['first_p50']:.1f} s" for number in callers))
        for name, loads in result["medians"].items()
    ]
    return "\n".join([*lines, "", f"{_conditions(result)}."])


def codec_table(result: dict[str, Any]) -> str:
    lengths = result["lengths"]
    lines = head("", *lengths, *(f"transformers over it, {length}" for length in lengths), "error")
    last = list(lengths.values())[-1]
    errors = result.get("music of the demo", last).get("error_db", {})
    for name in last["medians"]:
        seconds = [figures["medians"][name] for figures in lengths.values()]
        peers = [figures["medians"]["transformers"] for figures in lengths.values()]
        ratios = (f"{peer / mine:.2f}x" for peer, mine in zip(peers, seconds, strict=True))
        error = f"{errors[name]:.0f} dB" if name in errors else ""
        lines.append(line(name, *(f"{second:.2f} s" for second in seconds), *ratios, error))
    ends = f"{result['machine']['threads']} threads, {result['rounds']} rounds."
    return "\n".join([*lines, "", ends])


def memory_table(result: dict[str, Any]) -> str:
    lines = head("form", "MB at the peak", "MB loaded", "MB without the file's pages", "torch")
    for name, figures in result["medians"].items():
        numbers = (str(figures[key]) for key in ("peak_mb", "loaded_mb", "anonymous_mb"))
        lines.append(line(name, *numbers, "yes" if figures["with_torch"] else "no"))
    clip = f"{result['model']}, one clip of {result['seconds_of_audio']:g} s"
    return "\n".join([*lines, "", f"{clip}."])


def soak_table(result: dict[str, Any]) -> str:
    outcomes = result["outcomes"]
    names = ("asked", "answered", "given up", "refused as busy")
    memory = result["resident_mb"]
    quarters = [memory[len(memory) * part // 4 : len(memory) * (part + 1) // 4] for part in (1, 3)]
    early, late = (statistics.median(quarter) for quarter in quarters)
    lines = head("minutes", "callers", *names, "MB in the second quarter", "MB in the last")
    counts = (str(outcomes.get(name, 0)) for name in names)
    cells = [f"{result['minutes']:g}", str(result["callers"]), *counts]
    lines.append(line(*cells, f"{early:.0f}", f"{late:.0f}"))
    return "\n".join(lines)


def coldstart_table(result: dict[str, Any]) -> str:
    has_before = "before" in result["warm"]["ready"]
    more = ("before", "times faster than before") if has_before else ()
    lines = head("page cache", "until", "musicgen", "naive", "times faster", *more)
    for state in ("cold", "warm"):
        for measure, label in (("ready", "ready"), ("first_audio", "first audio")):
            figures = result[state][measure]
            cells = [_spread(figures["musicgen"])]
            for name, prefix in (("naive", ""), ("before", "before_"))[: 2 if has_before else 1]:
                ratios = figures[f"{prefix}ratios"]
                ratio = f"{figures[f'{prefix}ratio']:.1f}x"
                cells += [
                    _spread(figures[name]),
                    f"{ratio} ({min(ratios):.1f} to {max(ratios):.1f})",
                ]
            lines.append(line(state, label, *cells))
    sizes = (result["bytes"][name] / 1e6 for name in ("musicgen", "naive"))
    conditions = (
        f"{result['model']}, {result['precision']}, {result['pairs']} pairs each, medians and "
        f"extremes; {' and '.join(f'{size:.0f} MB' for size in sizes)} of weights; "
        f"{result['machine']['threads']} threads."
    )
    return "\n".join([*lines, "", conditions])


def _spread(times: dict[str, float]) -> str:
    return f"{times['median']:.2f} s ({times['min']:.2f} to {times['max']:.2f})"


def imports_table(result: dict[str, Any]) -> str:
    states = [state for state in ("warm", "cold") if state in result]
    lines = head("import", *(f"s, {state}" for state in states), "processor s", "MB", "modules")
    for name, warm in result["warm"].items():
        seconds = [_time_of_start(result[state][name]) for state in states]
        rest = (f"{warm['cpu']:.2f}", f"{warm['mb']:.0f}", f"{warm['modules']:.0f}")
        lines.append(line(name, *seconds, *rest))
    return "\n".join([*lines, "", f"{result['rounds']} rounds, medians."])


def loaders_table(result: dict[str, Any]) -> str:
    states = [state for state in ("warm", "cold") if state in result]
    lines = head("loaded", "MB of files", *(f"s, {state}" for state in states), "MB at the peak")
    for name, warm in result["warm"].items():
        seconds = [_time_of_start(result[state][name]) for state in states]
        lines.append(line(name, f"{warm['file_mb']:.0f}", *seconds, f"{warm['mb']:.0f}"))
    return "\n".join([*lines, "", f"{result['model']}, {result['rounds']} rounds, medians."])


def diet_table(result: dict[str, Any]) -> str:
    lines = head("removed", "MB")
    lines += [line(rule, f"{size:.0f}") for rule, size in result["mb_by_rule"].items()]
    lines.append(line("left", f"{result['mb_after']:.0f} of {result['mb_before']:.0f}"))
    return "\n".join(lines)


def job_load_table(result: dict[str, Any]) -> str:
    ends, cost = result["ends"], result["queue"]
    again = sum(jobs for attempts, jobs in result["attempts"].items() if int(attempts) > 1)
    names = ("jobs", "completed", "cancelled", "wrong", "run more than once", "workers killed")
    counts = (result["jobs"], ends.get("completed", 0), ends.get("cancelled", 0))
    numbers = (*counts, len(result["wrong"]), again, result["kills"])
    lines = [*head(*names, "seconds"), line(*map(str, numbers), f"{result['seconds']:.0f}")]
    lines += ["", *head("call", "calls", "median", "p95", "p99")]
    for name, figures in result["latency_ms"].items():
        times = (f"{figures[percentile]:.0f} ms" for percentile in ("p50", "p95", "p99"))
        lines.append(line(name, str(figures["calls"]), *times))
    lines += ["", *head("the queue's own work for a job", "")]
    lines.append(line("putting it in", f"{cost['submit_ms']:.1f} ms"))
    lines.append(line("taking it out and ending it", f"{cost['run_ms']:.1f} ms"))
    return "\n".join(lines)


def plan_check_table(result: dict[str, Any]) -> str:
    lines = head("jobs", "load", "jobs an hour", "measured", "ratio", "p95", "measured", "ratio")
    for entry in result["rounds"]:
        predicted, measured = entry["predicted"], entry["measured"]
        ratios = entry["predicted_over_measured"]
        cells = [str(entry["jobs"]), f"{entry['load']:g}" if entry["load"] else "all at once"]
        for name, form in (("jobs_per_hour", "{:.0f}"), ("p95", "{:.2f} s")):
            numbers = (form.format(predicted[name]), form.format(measured[name]))
            cells += [*numbers, f"{ratios[name]:.2f}"]
        lines.append(line(*cells))
    paces = (f"{pace:.2f} with {jobs}" for jobs, pace in result["pace"].items())
    return "\n".join([*lines, "", f"Seconds of audio a second: {', '.join(paces)}."])


def image_speed_table(result: dict[str, Any]) -> str:
    lines = head("", "native step", "ms a step", "step, image over it", "s a clip")
    for name, medians in result["medians"].items():
        steps = [1000 * run["decode"] for run in result["runs"][name]]
        spread = f"{1000 * medians['decode']:.3f} ({min(steps):.3f} to {max(steps):.3f})"
        ratio = f"{medians['decode'] / result['medians']['image']['decode']:.2f}x"
        step = result["contestants"][name]["native_step"].partition(" (")[0]
        lines.append(line(name, step, spread, ratio, f"{medians['total']:.2f}"))
    return "\n".join([*lines, "", f"{_conditions(result)}."])


TABLES: dict[str, Callable[[dict[str, Any]], str]] = {
    "decode": decode_table,
    "serve": serve_table,
    "callers": serve_table,
    "codec": codec_table,
    "memory": memory_table,
    "precision": precision_table,
    "soak": soak_table,
    "job_load": job_load_table,
    "plan_check": plan_check_table,
    "coldstart": coldstart_table,
    "coldstart-imports": imports_table,
    "coldstart-loaders": loaders_table,
    "continuity": continuity_table,
    "image-diet": diet_table,
    "image_speed": image_speed_table,
    "limiter": limiter_table,
}


def table(name: str) -> str:
    """Return the table of the result file `name`. Raises: `KeyError` for an unknown kind."""
    file = RESULTS / f"{name}.json"
    if not file.exists():
        return "Not measured yet."
    result = json.loads(file.read_text())
    return TABLES[result["name"]](result)


def rewrite_tables(page: str) -> str:
    """Return the page with new tables."""
    return _TABLE.sub(lambda match: f"{match[1]}{table(match[2])}\n{match[3]}", page)


def _time_of_start(figures: dict[str, float]) -> str:
    return f"{figures['seconds']:.2f} (at least {figures['least']:.2f})"


def _conditions(result: dict[str, Any]) -> str:
    threads = format_count(result["machine"]["threads"], "thread")
    seconds, rounds = result["seconds_of_audio"], format_count(result["rounds"], "round")
    return f"{result['model']}, {seconds:g} s of audio, {threads}, {rounds}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    for page in (DOCS / name for name in PAGES):
        written = page.read_text(encoding="utf-8")
        current = rewrite_tables(written)
        if options.check and current != written:
            sys.exit(f"{page.relative_to(ROOT)} differs from bench/results. Run bench/page.py.")
        page.write_text(current, encoding="utf-8")
    if not options.check:
        for result in RESULTS.glob("serve*.json"):
            plot_serve(json.loads(result.read_text()), DOCS / f"images/{result.stem}.png")


if __name__ == "__main__":
    main()
