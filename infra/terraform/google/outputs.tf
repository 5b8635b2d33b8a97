output "overlay" {
  description = "Facts for `python -m infra.terraform.overlay`."
  value = {
    cloud         = "google"
    name          = var.name
    host          = var.host
    gateway_class = module.platform.gateway_class
    components    = []
    images        = { for name in ["api", "worker"] : name => "${var.region}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.images.repository_id}/${name}" }
    gpu_nodes_max = var.gpu_nodes_max
    spot = var.gpu_spot ? {
      label = "cloud.google.com/gke-spot"
      value = "true"
    } : null
  }
}

output "kubectl" {
  description = "Command that adds the cluster to kubectl's contexts."
  value       = "gcloud container clusters get-credentials ${google_container_cluster.this.name} --zone ${var.zone} --project ${var.project}"
}

output "registry_login" {
  description = "Command before a push of images."
  value       = "gcloud auth configure-docker ${var.region}-docker.pkg.dev"
}

output "bucket" {
  description = "Name of the bucket."
  value       = google_storage_bucket.clips.name
}
