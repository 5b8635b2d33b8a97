# common.tf has the variables of both clouds.

variable "region" {
  description = "AWS region, one with the GPU machines of gpu_machine."
  type        = string
  default     = "us-east-1"

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region: an AWS region such as us-east-1."
  }
}

variable "cidr" {
  description = "Private network of the cluster."
  type        = string
  default     = "10.20.0.0/16"

  validation {
    condition     = can(cidrsubnet(var.cidr, 4, 15)) && can(regex("/(1[6-9]|20)$", var.cidr))
    error_message = "cidr: a private IPv4 network between /16 and /20."
  }
}

variable "system_machine" {
  description = "Machine type of the nodes for the API, the operators and Prometheus."
  type        = string
  default     = "t3.large"
}

variable "gpu_machine" {
  description = "Machine type of a worker: one GPU, at least 4 processors and 16 GiB."
  type        = string
  default     = "g6.xlarge"

  validation {
    condition     = can(regex("^(g[4-9]|p[3-9])[a-z]*\\.", var.gpu_machine))
    error_message = "gpu_machine: a machine with a GPU of NVIDIA, such as g6.xlarge."
  }
}

variable "database_machine" {
  description = "Machine type of the database."
  type        = string
  default     = "db.t4g.small"

  validation {
    condition     = startswith(var.database_machine, "db.")
    error_message = "database_machine: a class such as db.t4g.small."
  }
}
