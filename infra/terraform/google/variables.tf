variable "name" {
  description = "Name of the cluster, and beginning of the names of everything else."
  type        = string
  default     = "musicgen"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "name: 3 to 20 lower-case letters, digits and hyphens, beginning with a letter."
  }
}

variable "project" {
  description = "Google Cloud project, with billing."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "project: the id of a project, such as music-123456."
  }
}

variable "region" {
  description = "Region of database, bucket and network."
  type        = string
  default     = "us-central1"

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "region: a region such as us-central1."
  }
}

variable "zone" {
  description = "Zone of the nodes, one with the GPU of gpu_type."
  type        = string
  default     = "us-central1-a"

  validation {
    condition     = startswith(var.zone, "${var.region}-")
    error_message = "zone: a zone of the region, such as us-central1-a."
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

variable "system_machine" {
  description = "Machine type of the nodes for the API, the operators and Prometheus."
  type        = string
  default     = "e2-standard-2"
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

variable "gpu_machine" {
  description = "Machine type of a worker: one GPU, at least 4 processors and 16 GiB."
  type        = string
  default     = "g2-standard-4"

  validation {
    condition     = can(regex("^(g2|a2|a3|n1)-", var.gpu_machine))
    error_message = "gpu_machine: a machine with a GPU of NVIDIA, such as g2-standard-4."
  }
}

variable "gpu_type" {
  description = "GPU of that machine."
  type        = string
  default     = "nvidia-l4"

  validation {
    condition     = startswith(var.gpu_type, "nvidia-")
    error_message = "gpu_type: a name such as nvidia-l4."
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

variable "database_machine" {
  description = "Machine type of the database."
  type        = string
  default     = "db-custom-1-3840"

  validation {
    condition     = startswith(var.database_machine, "db-")
    error_message = "database_machine: a tier such as db-custom-1-3840."
  }
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
