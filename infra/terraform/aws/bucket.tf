# The account's number makes the name the only one in the world.
resource "aws_s3_bucket" "clips" {
  bucket        = "${var.name}-${data.aws_caller_identity.current.account_id}-${var.region}"
  force_destroy = !var.is_lasting
}

resource "aws_s3_bucket_public_access_block" "clips" {
  bucket                  = aws_s3_bucket.clips.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_server_side_encryption_configuration" "clips" {
  bucket = aws_s3_bucket.clips.id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

# The page plays clips from presigned URLs (MUSICGEN_BUCKET_DELIVERY=redirect).
resource "aws_s3_bucket_cors_configuration" "clips" {
  bucket = aws_s3_bucket.clips.id

  cors_rule {
    allowed_origins = ["https://${var.host}"]
    allowed_methods = ["GET", "HEAD"]
    allowed_headers = ["*"]
    expose_headers  = ["Accept-Ranges", "Content-Length", "Content-Range", "ETag"]
    max_age_seconds = 3600
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "clips" {
  bucket = aws_s3_bucket.clips.id

  # They stay after a process is killed during an upload.
  rule {
    id     = "unfinished-uploads"
    status = "Enabled"

    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }

  # A live part lasts a minute after its job; these are left over from killed servers.
  rule {
    id     = "live"
    status = "Enabled"

    filter {
      prefix = "musicgen/live/"
    }

    expiration {
      days = 1
    }
  }

  dynamic "rule" {
    for_each = var.clip_days > 0 ? [var.clip_days] : []

    content {
      id     = "clips"
      status = "Enabled"

      filter {}

      expiration {
        days = rule.value
      }
    }
  }
}

data "aws_iam_policy_document" "tls" {
  statement {
    sid       = "EncryptedConnectionsOnly"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [aws_s3_bucket.clips.arn, "${aws_s3_bucket.clips.arn}/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_s3_bucket_policy" "clips" {
  bucket     = aws_s3_bucket.clips.id
  policy     = data.aws_iam_policy_document.tls.json
  depends_on = [aws_s3_bucket_public_access_block.clips]
}

resource "aws_ecr_repository" "images" {
  for_each             = toset(["api", "worker"])
  name                 = "${var.name}/${each.value}"
  image_tag_mutability = "IMMUTABLE"
  force_delete         = !var.is_lasting

  image_scanning_configuration {
    scan_on_push = true
  }
}
