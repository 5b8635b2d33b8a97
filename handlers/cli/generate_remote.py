"""`musicgen generate --server URL`: have a job API make the clip."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handlers.cli.progress import ProgressLine
from musicgen.errors import GenerationCancelled, NotWritable, RemoteError
from musicgen.settings.job_api import ClientSettings

if TYPE_CHECKING:
    from musicgen.request import GenerationRequest
    from musicgen_client import Job


def ask_server(request: GenerationRequest, options: argparse.Namespace) -> int:
    """Have a job API make the clips and save them; return the exit status.

    Ctrl-C cancels the job. Raises: `RemoteError`, `NotWritable`, `GenerationCancelled`.
    """
    from musicgen_client import CannotWrite, JobCancelled, MusicGenClientError

    try:
        return _ask_server(request, options)
    except CannotWrite as error:
        raise NotWritable(str(error)) from error
    except JobCancelled as error:
        raise GenerationCancelled(str(error)) from error
    except MusicGenClientError as error:
        raise RemoteError(str(error)) from error


def _ask_server(request: GenerationRequest, options: argparse.Namespace) -> int:
    from musicgen.remote.fields import build_fields
    from musicgen_client import ConnectionFailed, MusicGenClient, UnexpectedAnswer

    fields: dict[str, Any] = build_fields(request, "to be uploaded")
    fields["input_audio"] = request.input_audio
    if options.model is not None:
        fields["model_version"] = options.model
    output = options.output or Path(f"musicgen.{request.output_format}")
    with MusicGenClient(options.server, ClientSettings.from_env().api_key) as client:
        try:
            job_id = client.submit(**fields)
        except (ConnectionFailed, UnexpectedAnswer) as error:
            raise RemoteError(
                f"{options.server}: {error}. Start a job API with `musicgen serve all`, or check "
                "the address."
            ) from error
        line = ProgressLine(sys.stderr)
        try:
            job = client.wait(job_id, lambda job: _show_progress(line, job))
        except KeyboardInterrupt:
            client.cancel(job_id)
            raise
        finally:
            line.close()
        paths = client.save(job, output)
    if options.json:
        sys.stdout.write(json.dumps(job.raw, indent=2) + "\n")
        return 0
    for path, clip in zip(paths, job.clips, strict=True):
        sys.stdout.write(f"{path}: seed {clip.seed}, licence {job.licence}\n")
    return 0


def _show_progress(line: ProgressLine, job: Job) -> None:
    if job.status == "queued":
        line.show(f"waiting, number {job.position} in the queue")
    else:
        line.show(f"{job.progress:.0%} made", job.progress)
