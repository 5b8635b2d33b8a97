# Namespaces with the labels of the NetworkPolicies in infra/k8s.
resource "kubernetes_namespace_v1" "this" {
  for_each = {
    gateways     = { "musicgen.io/gateway" = "true" }
    monitoring   = { "musicgen.io/monitoring" = "true" }
    cert-manager = {}
    gpu-operator = {}
    keda         = {}
  }

  metadata {
    name   = each.key
    labels = each.value
  }
}

resource "helm_release" "keda" {
  name       = "keda"
  namespace  = kubernetes_namespace_v1.this["keda"].metadata[0].name
  repository = "https://kedacore.github.io/charts"
  chart      = "keda"
  version    = var.chart_versions.keda
}

# Gateway API's resources come with this chart.
resource "helm_release" "gateway" {
  name       = "envoy-gateway"
  namespace  = kubernetes_namespace_v1.this["gateways"].metadata[0].name
  repository = "oci://docker.io/envoyproxy"
  chart      = "gateway-helm"
  version    = var.chart_versions.envoy_gateway
}

resource "helm_release" "certificates" {
  name       = "cert-manager"
  namespace  = kubernetes_namespace_v1.this["cert-manager"].metadata[0].name
  repository = "oci://quay.io/jetstack/charts"
  chart      = "cert-manager"
  version    = var.chart_versions.cert_manager

  values = [yamlencode({
    crds = {
      enabled = true
    }
    config = {
      apiVersion       = "controller.config.cert-manager.io/v1alpha1"
      kind             = "ControllerConfiguration"
      enableGatewayAPI = true
    }
  })]

  # It looks for Gateway API once, at its start.
  depends_on = [helm_release.gateway]
}

resource "helm_release" "monitoring" {
  name       = "kube-prometheus-stack"
  namespace  = kubernetes_namespace_v1.this["monitoring"].metadata[0].name
  repository = "oci://ghcr.io/prometheus-community/charts"
  chart      = "kube-prometheus-stack"
  version    = var.chart_versions.prometheus
  timeout    = 900

  # Every monitor and rule in the cluster, without a label of this release.
  values = [yamlencode({
    prometheus = {
      prometheusSpec = {
        podMonitorSelectorNilUsesHelmValues     = false
        serviceMonitorSelectorNilUsesHelmValues = false
        ruleSelectorNilUsesHelmValues           = false
      }
    }
    grafana = {
      sidecar = {
        dashboards = {
          searchNamespace = "ALL"
        }
      }
    }
  })]
}

resource "helm_release" "gpus" {
  count      = var.has_gpu_operator ? 1 : 0
  name       = "gpu-operator"
  namespace  = kubernetes_namespace_v1.this["gpu-operator"].metadata[0].name
  repository = "https://helm.ngc.nvidia.com/nvidia"
  chart      = "gpu-operator"
  version    = var.chart_versions.gpu_operator

  values = [yamlencode({
    driver = {
      enabled = false
    }
    toolkit = {
      enabled = false
    }
  })]
}

# Class of the gateway, and issuer of its certificate: their kinds exist only after the charts above.
resource "helm_release" "platform" {
  name      = "musicgen-platform"
  namespace = kubernetes_namespace_v1.this["gateways"].metadata[0].name
  chart     = "${path.module}/chart"

  values = [yamlencode({
    email              = var.email
    gatewayAnnotations = var.gateway_annotations
  })]

  depends_on = [
    helm_release.certificates,
    helm_release.gateway,
  ]
}
