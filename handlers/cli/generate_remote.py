"""`musicgen generate --server URL`: have a job API make the clip."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musicgen.settings.job_api import ClientSettings

if TYPE_CHECKING:
    from musicgen.client import Job
    from musicgen.request import GenerationRequest

_BAR = 40


def ask_server(request: GenerationRequest, options: argparse.Namespace) -> int:
    """Have a job API make the clips and save them; return the exit status.

    Ctrl-C cancels the job. Raises: `RemoteError`, `NotWritable`.
    """
    from musicgen.client import MusicGenClient
    from musicgen.remote.fields import build_fields

    fields: dict[str, Any] = build_fields(request, "to be uploaded")
    fields["input_audio"] = request.input_audio
    if options.model is not None:
        fields["model_version"] = options.model
    output = options.output or Path(f"musicgen.{request.output_format}")
    with MusicGenClient(options.server, ClientSettings.from_env().api_key) as client:
        job_id = client.submit(**fields)
        try:
            job = client.wait(job_id, _show_progress)
        except KeyboardInterrupt:
            client.cancel(job_id)
            raise
        finally:
            sys.stderr.write("\n")
        paths = client.save(job, output)
    if options.json:
        sys.stdout.write(json.dumps(job.raw, indent=2) + "\n")
        return 0
    for path, clip in zip(paths, job.clips, strict=True):
        sys.stdout.write(f"{path}: seed {clip.seed}, licence {job.licence}\n")
    return 0


def _show_progress(job: Job) -> None:
    if job.status == "queued":
        line = f"waiting, number {job.position}"
    else:
        done = round(_BAR * job.progress)
        line = f"[{'#' * done}{'.' * (_BAR - done)}] {job.progress:.0%}"
    sys.stderr.write(f"\r{line:<60}")
    sys.stderr.flush()
