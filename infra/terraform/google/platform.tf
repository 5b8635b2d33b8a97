module "platform" {
  source = "../modules/platform"

  email = var.email
  # GKE installs driver and device plugin.
  has_gpu_operator = false
  database_url     = "postgresql://musicgen:${random_password.database.result}@${google_sql_database_instance.this.private_ip_address}:5432/musicgen?sslmode=require"
  bucket = {
    name              = google_storage_bucket.clips.name
    region            = "auto"
    endpoint-url      = "https://storage.googleapis.com"
    access-key-id     = google_storage_hmac_key.clips.access_id
    secret-access-key = google_storage_hmac_key.clips.secret
  }

  # A destroy removes the releases, and with them the load balancer, while nodes and network are there.
  depends_on = [
    google_artifact_registry_repository_iam_member.node,
    google_compute_router_nat.this,
    google_container_node_pool.gpu,
    google_container_node_pool.system,
    google_project_iam_member.node,
    google_sql_database.this,
    google_sql_user.this,
    google_storage_bucket_iam_member.clips,
  ]
}
