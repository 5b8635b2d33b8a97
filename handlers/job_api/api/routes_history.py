"""Routes of a caller's history: name and favour jobs, delete them, download many at once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from handlers.job_api.api.auth import find_client, require_scope
from handlers.job_api.api.clip_zip import list_clips, stream_zip
from handlers.job_api.api.context import Context
from handlers.job_api.api.counted_streams import CheckedStream
from handlers.job_api.api.history_schemas import DeletedData, Deletion, JobPatch
from handlers.job_api.api.openapi.media import ZIP, type_reply
from handlers.job_api.api.routes_jobs import CurrentCaller, read_own_status
from handlers.job_api.api.schemas import ErrorReply, Status
from handlers.job_api.errors import NotFound, NothingToDownload
from handlers.job_api.store import deletions, history, jobs
from handlers.job_api.store.texts import is_storable
from musicgen.errors import InvalidRequest

ZIP_JOBS_MAX = 100
NO_JOB = "No such job, or it has been deleted."
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorReply} for status in (401, 403, 422, 429, 503)
}
_NOT_FOUND: dict[int | str, dict[str, Any]] = {**_ERRORS, 404: {"model": ErrorReply}}
_BODY: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorReply} for status in (400, 408, 413)
}

router = APIRouter(tags=["jobs"])


@router.get(
    "/jobs/zip",
    response_class=StreamingResponse,
    responses={
        **_NOT_FOUND,
        200: ZIP,
        409: {"model": ErrorReply, "description": "None of these jobs has a clip"},
        502: {"model": ErrorReply},
    },
)
async def zip_jobs(
    request: Request,
    caller: CurrentCaller,
    job_id: Annotated[list[str], Query(alias="id", min_length=1, max_length=ZIP_JOBS_MAX)],
) -> Response:
    """Send the clips of several completed jobs as one zip file, named by their prompts.

    Jobs without clips are left out.
    """
    context: Context = request.app.state.context
    rows = []
    for each in dict.fromkeys(job_id):
        row = await jobs.get(context.pool, each, caller.owner)
        if row is None:
            raise NotFound(f"{NO_JOB[:-1]}: {each[:40]!r}.")
        rows.append(row)
    clips = list_clips(rows)
    if not clips:
        raise NothingToDownload("None of these jobs has a clip.")
    is_head = request.method == "HEAD"
    moment = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    archive = CheckedStream(
        context.streams,
        find_client(request, caller),
        () if is_head else stream_zip(context.files, clips),
        media_type="application/zip",
        headers={
            "Content-Disposition": f'attachment; filename="musicgen-{moment}.zip"',
            "Cache-Control": "no-store",
        },
    )
    return type_reply(request, archive)


@router.patch(
    "/jobs/{job_id}",
    response_model=Status,
    responses={**_NOT_FOUND, **_BODY, 409: {"model": ErrorReply}},
)
async def change_job(
    request: Request, caller: CurrentCaller, job_id: str, body: JobPatch
) -> JSONResponse:
    """Name a job, or make it a favourite: favourites are kept until they are deleted."""
    context: Context = request.app.state.context
    require_scope(caller, "generate")
    name = None
    if "name" in body.model_fields_set:
        name = " ".join((body.name or "").split())
        if not is_storable(name):
            raise InvalidRequest("name", "must not contain null characters")
    changes = history.JobChanges(name, body.favourite)
    most = context.settings.favourites_per_key
    if not await history.update_job(context.pool, caller.owner, job_id, changes, most):
        raise NotFound(NO_JOB)
    return JSONResponse(await read_own_status(context, caller, job_id))


@router.delete(
    "/jobs/{job_id}",
    status_code=204,
    response_class=Response,
    responses={
        **_NOT_FOUND,
        200: {"model": Status, "description": "The job was queued or running: it is cancelled"},
        202: {"model": Deletion, "description": "Deleted; its files go once the bucket answers"},
        204: {"description": "Deleted with its files"},
    },
)
async def delete_job(request: Request, caller: CurrentCaller, job_id: str) -> Response:
    """Delete a finished job with its files; cancel a queued or running one.

    A cancelled job can be deleted by a second call.
    """
    context: Context = request.app.state.context
    require_scope(caller, "generate")
    row = await jobs.get(context.pool, job_id, caller.owner)
    if row is not None and row["state"] not in jobs.FINAL:
        await jobs.cancel(context.pool, caller.owner, job_id)
        return JSONResponse(await read_own_status(context, caller, job_id))
    # Without a row too: an earlier call may have left files.
    is_known = jobs.JOB_ID.fullmatch(job_id) is not None
    is_pending = is_known and await deletions.delete_job(context.pool, caller.owner, job_id)
    if row is None and not is_pending:
        raise NotFound(NO_JOB)
    return await finish_deletion(context, "job", job_id)


@router.delete("/jobs", status_code=202, response_model=DeletedData, responses={**_ERRORS, 202: {}})
async def delete_all(
    request: Request, caller: CurrentCaller, confirm: Literal["everything"]
) -> JSONResponse:
    """Delete all jobs and uploads of the caller, favourites and unfinished jobs too.

    They are gone at once for callers; their files go within seconds, or once the bucket answers.
    """
    context: Context = request.app.state.context
    require_scope(caller, "generate")
    counts = await deletions.delete_all(context.pool, caller.owner)
    return JSONResponse({"jobs": counts.jobs, "uploads": counts.uploads}, 202)


async def finish_deletion(context: Context, kind: str, name: str) -> Response:
    """Delete the files of a deleted row, and return the reply: 202 if they have to wait."""
    if await deletions.delete_files(context.pool, context.files, kind, name):
        return Response(status_code=204)
    return JSONResponse(Deletion().model_dump(), 202)
