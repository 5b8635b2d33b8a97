resource "google_storage_bucket" "clips" {
  name                        = "${var.project}-${var.name}"
  location                    = upper(var.region)
  force_destroy               = !var.is_lasting
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  depends_on                  = [google_project_service.this]

  # A deleted clip is gone: no copies of a caller's music for a week.
  soft_delete_policy {
    retention_duration_seconds = 0
  }

  # The page plays clips from presigned URLs (MUSICGEN_BUCKET_DELIVERY=redirect).
  cors {
    origin          = ["https://${var.host}"]
    method          = ["GET", "HEAD"]
    response_header = ["Accept-Ranges", "Content-Length", "Content-Range", "Content-Type", "ETag"]
    max_age_seconds = 3600
  }

  # They stay after a process is killed during an upload.
  lifecycle_rule {
    condition {
      age = 1
    }

    action {
      type = "AbortIncompleteMultipartUpload"
    }
  }

  # A live part lasts a minute after its job; these are left over from killed servers.
  lifecycle_rule {
    condition {
      age            = 1
      matches_prefix = ["musicgen/live/"]
    }

    action {
      type = "Delete"
    }
  }

  dynamic "lifecycle_rule" {
    for_each = var.clip_days > 0 ? [var.clip_days] : []

    content {
      condition {
        age = lifecycle_rule.value
      }

      action {
        type = "Delete"
      }
    }
  }
}
