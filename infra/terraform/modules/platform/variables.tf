variable "email" {
  description = "Address for Let's Encrypt's notices."
  type        = string
}

variable "has_gpu_operator" {
  description = "Whether NVIDIA's GPU operator is installed. GKE has a device plugin of its own."
  type        = bool
}

variable "database_url" {
  description = "Address of the database with its password."
  type        = string
  sensitive   = true

  validation {
    condition     = startswith(var.database_url, "postgresql://")
    error_message = "database_url: an address such as postgresql://USER:PASSWORD@HOST:5432/musicgen."
  }
}

variable "bucket" {
  description = "Keys of the Secret musicgen-bucket; without access keys, the pods have an identity."
  type        = map(string)
  sensitive   = true

  validation {
    condition     = contains(keys(var.bucket), "name") && contains(keys(var.bucket), "region")
    error_message = "bucket: name and region are needed."
  }
}

variable "gateway_annotations" {
  description = "Annotations of the gateway's load balancer."
  type        = map(string)
  default     = {}
}

variable "chart_versions" {
  description = "Versions of the Helm charts."
  type        = map(string)
  default = {
    cert_manager  = "v1.20.2"
    envoy_gateway = "v1.8.2"
    gpu_operator  = "v26.3.2"
    keda          = "2.17.2"
    prometheus    = "81.6.2"
  }
}
