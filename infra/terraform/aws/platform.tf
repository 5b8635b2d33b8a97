resource "helm_release" "autoscaler" {
  name       = "cluster-autoscaler"
  namespace  = "kube-system"
  repository = "https://kubernetes.github.io/autoscaler"
  chart      = "cluster-autoscaler"
  version    = "9.52.1"

  values = [yamlencode({
    autoDiscovery = {
      clusterName = aws_eks_cluster.this.name
    }
    awsRegion = var.region
    rbac = {
      serviceAccount = {
        name = aws_eks_pod_identity_association.autoscaler.service_account
      }
    }
    extraArgs = {
      "scale-down-unneeded-time" = "5m"
    }
  })]

  depends_on = [
    aws_eks_addon.late,
    aws_eks_node_group.system,
    aws_iam_role_policy.autoscaler,
  ]
}

module "platform" {
  source = "../modules/platform"

  email = var.email
  # The machine's image has driver and container toolkit.
  has_gpu_operator = true
  database_url     = "postgresql://musicgen:${random_password.database.result}@${aws_db_instance.this.address}:5432/musicgen?sslmode=require"
  bucket = {
    name   = aws_s3_bucket.clips.id
    region = var.region
  }
  gateway_annotations = {
    "service.beta.kubernetes.io/aws-load-balancer-type"   = "nlb"
    "service.beta.kubernetes.io/aws-load-balancer-scheme" = "internet-facing"
  }

  # A destroy removes the releases, and with them the load balancer, while nodes and network are there.
  depends_on = [
    aws_eks_addon.late,
    aws_eks_node_group.gpu,
    aws_eks_node_group.system,
    aws_nat_gateway.this,
    aws_route_table_association.private,
    aws_route_table_association.public,
    aws_vpc_security_group_ingress_rule.database,
  ]
}
