output "overlay" {
  description = "Facts for `python -m infra.terraform.overlay`."
  value = {
    cloud         = "aws"
    name          = var.name
    host          = var.host
    gateway_class = module.platform.gateway_class
    components    = ["identity-eks"]
    images        = { for name, repository in aws_ecr_repository.images : name => repository.repository_url }
    gpu_nodes_max = var.gpu_nodes_max
    spot = var.gpu_spot ? {
      label = "eks.amazonaws.com/capacityType"
      value = "SPOT"
    } : null
  }
}

output "kubectl" {
  description = "Command that adds the cluster to kubectl's contexts."
  value       = "aws eks update-kubeconfig --region ${var.region} --name ${aws_eks_cluster.this.name}"
}

output "registry_login" {
  description = "Command before a push of images."
  value       = "aws ecr get-login-password --region ${var.region} | docker login --username AWS --password-stdin ${split("/", aws_ecr_repository.images["api"].repository_url)[0]}"
}

output "bucket" {
  description = "Name of the bucket."
  value       = aws_s3_bucket.clips.id
}
