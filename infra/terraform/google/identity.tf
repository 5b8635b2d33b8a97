# The service speaks S3's protocol to the bucket. Google signs it with a key of a service account;
# a pod's own identity gives no such key. This account may use the objects of this bucket and no more.
resource "google_service_account" "clips" {
  account_id   = "${var.name}-clips"
  display_name = "Clips of ${var.name}"
  depends_on   = [google_project_service.this]
}

resource "google_storage_bucket_iam_member" "clips" {
  bucket = google_storage_bucket.clips.name
  role   = "roles/storage.objectUser"
  member = google_service_account.clips.member
}

resource "google_storage_hmac_key" "clips" {
  service_account_email = google_service_account.clips.email
}
