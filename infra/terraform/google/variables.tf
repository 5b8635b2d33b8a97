# common.tf has the variables of both clouds.

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

variable "system_machine" {
  description = "Machine type of the nodes for the API, the operators and Prometheus."
  type        = string
  default     = "e2-standard-2"
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

variable "database_machine" {
  description = "Machine type of the database."
  type        = string
  default     = "db-custom-1-3840"

  validation {
    condition     = startswith(var.database_machine, "db-")
    error_message = "database_machine: a tier such as db-custom-1-3840."
  }
}
