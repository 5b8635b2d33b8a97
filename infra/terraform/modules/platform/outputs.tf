output "gateway_class" {
  description = "Class of the gateway."
  value       = "envoy"
  depends_on  = [helm_release.platform]
}
