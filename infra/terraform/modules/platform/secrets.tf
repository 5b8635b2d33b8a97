# The overlay has this namespace too, with labels of its own.
resource "kubernetes_namespace_v1" "musicgen" {
  metadata {
    name = "musicgen"
  }

  lifecycle {
    ignore_changes = [metadata[0].annotations, metadata[0].labels]
  }

  # A destroy deletes the Gateway and the ScaledObject while their controllers run: both have
  # finalizers.
  depends_on = [
    helm_release.gateway,
    helm_release.keda,
    helm_release.monitoring,
    helm_release.platform,
  ]
}

resource "kubernetes_secret_v1" "database" {
  metadata {
    name      = "musicgen-database"
    namespace = kubernetes_namespace_v1.musicgen.metadata[0].name
  }

  data = {
    url = var.database_url
  }
}

resource "kubernetes_secret_v1" "bucket" {
  metadata {
    name      = "musicgen-bucket"
    namespace = kubernetes_namespace_v1.musicgen.metadata[0].name
  }

  data = var.bucket
}
