# Variables of both clouds. `python -m infra.generate` copies them into each cloud's folder.

variable "name" {
  description = "Name of the cluster, and beginning of the names of everything else."
  type        = string
  default     = "musicgen"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "name: 3 to 20 lower-case letters, digits and hyphens, beginning with a letter."
  }
}

variable "host" {
  description = "Host name of the service. Its page may read clips from the bucket."
  type        = string

  validation {
    condition     = can(regex("^([a-z0-9]([a-z0-9-]*[a-z0-9])?\\.)+[a-z]{2,}$", var.host))
    error_message = "host: a host name such as music.example.com, without https:// and path."
  }
}

variable "email" {
  description = "Address for Let's Encrypt's notices about the certificate."
  type        = string

  validation {
    condition     = can(regex("^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$", var.email))
    error_message = "email: an address such as ops@example.com."
  }
}

variable "callers" {
  description = "Networks that may reach the cluster's own API, such as the address of your office as 198.51.100.7/32."
  type        = list(string)

  validation {
    condition     = length(var.callers) > 0 && alltrue([for cidr in var.callers : can(cidrhost(cidr, 0)) && cidr != "0.0.0.0/0"])
    error_message = "callers: at least one network in CIDR form, not 0.0.0.0/0."
  }
}

variable "kubernetes_version" {
  description = "Version of Kubernetes."
  type        = string
  default     = "1.35"

  validation {
    condition     = can(regex("^1\\.(3[4-9]|[4-9][0-9])$", var.kubernetes_version))
    error_message = "kubernetes_version: 1.34 or newer, such as 1.35."
  }
}

variable "system_nodes" {
  description = "Number of these nodes."
  type        = number
  default     = 2

  validation {
    condition     = var.system_nodes >= 1 && var.system_nodes <= 20
    error_message = "system_nodes: 1 to 20."
  }
}

variable "gpu_nodes_max" {
  description = "Most GPU nodes at once. There are none while no job waits or runs. The limit of the cost."
  type        = number
  default     = 2

  validation {
    condition     = var.gpu_nodes_max >= 1 && var.gpu_nodes_max <= 100
    error_message = "gpu_nodes_max: 1 to 100."
  }
}

variable "gpu_spot" {
  description = "Whether workers run on spot machines, with the overlay's settings for lost workers."
  type        = bool
  default     = false
}

variable "is_lasting" {
  description = "Whether database, bucket and cluster are protected against deletion. Set it to false and apply before a destroy."
  type        = bool
  default     = true
}

variable "clip_days" {
  description = "Days after which the bucket deletes every object. 0: never; the service deletes expired jobs itself."
  type        = number
  default     = 0

  validation {
    condition     = var.clip_days >= 0 && var.clip_days <= 3650 && floor(var.clip_days) == var.clip_days
    error_message = "clip_days: a whole number from 0 to 3650."
  }
}
