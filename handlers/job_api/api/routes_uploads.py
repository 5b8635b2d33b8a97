"""Routes of a caller's uploads: list and delete them; `routes_audio` receives them."""

from __future__ import annotations

import re
from datetime import UTC, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from handlers.job_api.api.auth import require_scope
from handlers.job_api.api.context import Context
from handlers.job_api.api.cursors import decode_cursor, encode_cursor
from handlers.job_api.api.history_schemas import Deletion, Uploads
from handlers.job_api.api.routes_history import finish_deletion
from handlers.job_api.api.routes_jobs import CurrentCaller
from handlers.job_api.api.schemas import ErrorReply
from handlers.job_api.errors import NotFound
from handlers.job_api.store import deletions, uploads
from handlers.job_api.store.upload_files import UPLOAD

UPLOAD_ID = re.compile(r"[0-9a-f]{1,64}")
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorReply} for status in (401, 403, 422, 429, 503)
}

router = APIRouter(tags=["audio"])


@router.get("/uploads", response_model=Uploads, responses=_ERRORS)
async def list_uploads(
    request: Request,
    caller: CurrentCaller,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    before: Annotated[str | None, Query(max_length=200)] = None,
) -> JSONResponse:
    """List the caller's uploads, newest first."""
    context: Context = request.app.state.context
    last = None if before is None else decode_cursor(before)
    rows = await uploads.list_uploads(context.pool, caller.owner, limit + 1, last)
    life = timedelta(hours=context.settings.upload_hours)
    return JSONResponse(
        {
            "uploads": [_describe(row, life) for row in rows[:limit]],
            "next": encode_cursor(rows[limit - 1]) if len(rows) > limit else None,
        }
    )


@router.delete(
    "/uploads/{upload_id}",
    status_code=204,
    response_class=Response,
    responses={
        **_ERRORS,
        202: {"model": Deletion, "description": "Deleted; its file goes once the bucket answers"},
        204: {"description": "Deleted with its file"},
        404: {"model": ErrorReply},
        409: {"model": ErrorReply, "description": "An unfinished job needs the upload"},
    },
)
async def delete_upload(request: Request, caller: CurrentCaller, upload_id: str) -> Response:
    """Delete an upload that no unfinished job needs."""
    context: Context = request.app.state.context
    require_scope(caller, "generate")
    is_known = UPLOAD_ID.fullmatch(upload_id) is not None
    if not is_known or not await deletions.delete_upload(context.pool, caller.owner, upload_id):
        raise NotFound("No such upload, or it has been deleted.")
    return await finish_deletion(context, "upload", upload_id)


def _describe(row: dict[str, Any], life: timedelta) -> dict[str, Any]:
    created = row["created_at"].astimezone(UTC)
    return {
        "upload_id": row["id"],
        "input_audio": UPLOAD + row["id"],
        "bytes": row["bytes"],
        "created_at": created.isoformat(timespec="seconds"),
        "expires_at": (created + life).isoformat(timespec="seconds"),
    }
